"""Label shift: which mix of classes would explain the mix of predictions (black-box shift estimation).

What lives here: the estimate of class shares, when it is refused, and its distance from the reference's mix. What must
not: reweighting of anything by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import ClassificationSums
from monitor.statistics.result import Absent, Estimate, Reason, Result

Floats = npt.NDArray[np.float64]

MINIMUM_ROWS = 100
# Of P(prediction | label), column by column: past this a sampling error of the predictions' shares may grow as much.
CONDITION_LIMIT = 10.0
_NAMED = 5
# A shift that estimates of performance warn of: so sure, and so large.
SURE, PLAIN = 0.001, 0.05


@dataclass(frozen=True)
class ClassMix:
    """Estimated shares of the classes, the reference's own, and the condition number of P(prediction | label)."""

    shares: Floats
    reference: Floats
    condition: float


def black_box_shift(confusion: Floats, predicted: Floats) -> ClassMix:
    """Shares q of the classes that solve A q = μ (Lipton et al. 2018, arXiv 1802.03916).

    `confusion` [K, K]: label × prediction on the reference, counts or shares; A_ij = P(prediction i | label j) of it.
    `predicted` [K]: counts or shares of the predictions now, μ. Negative shares of the solution become 0, and the rest
    is scaled to 1. With a class without labels on the reference the condition is infinite and the shares are μ.
    """
    labelled = confusion.sum(axis=1)
    reference, now = labelled / labelled.sum(), predicted / predicted.sum()
    if (labelled == 0).any():
        return ClassMix(now, reference, float("inf"))
    conditional = (confusion / labelled[:, None]).T
    condition = float(np.linalg.cond(conditional))
    if not np.isfinite(condition) or condition > 1e12:
        return ClassMix(now, reference, float("inf"))
    shares = np.maximum(np.linalg.solve(conditional, now), 0.0)
    return ClassMix(shares / shares.sum(), reference, condition)


def label_shift_distance(reference: Reference, profile: Profile) -> Result:
    """Total variation distance (0–1) of the estimated mix of classes from the reference's, ½ Σ |q_k − p_k|.

    It assumes that within a class the outputs are as they were (label shift); under concept drift or new inputs it says
    nothing. `p_value` is of "the mix has not changed": a χ² test of the predicted classes, of which the estimate is a
    one-to-one image. Refused where the condition number of P(prediction | label) is above 10, where a class of the
    reference has no labels, below 100 rows now or in the reference, and beyond 100 classes. `detail` names the classes
    that moved most.
    """
    outcome = reference.outcome
    if outcome is None or not isinstance(outcome.sums, ClassificationSums):
        return Absent(Reason.NO_REFERENCE, detail="the reference has no labels")
    confusion = outcome.sums.confusion[:, :-1]
    if confusion.size == 0:
        return Absent(Reason.NOT_APPLICABLE, profile.rows, "more than 100 classes")
    column = profile.columns.get("prediction")
    if not isinstance(column, CategoricalProfile):
        return Absent(Reason.COLUMN_MISSING if profile.rows else Reason.NO_ROWS, profile.rows)
    now = column.counts
    rows, known = int(now.sum()), int(confusion.sum())
    if min(rows, known) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, rows, f"at least {MINIMUM_ROWS} now and in the reference")
    mix = black_box_shift(confusion.astype(np.float64), now.astype(np.float64))
    if mix.condition > CONDITION_LIMIT:
        return Absent(
            Reason.ILL_CONDITIONED, rows, f"condition number {mix.condition:.3g}, at most {CONDITION_LIMIT:g}"
        )
    moved = mix.shares - mix.reference
    largest = sorted(range(moved.size), key=lambda k: (-abs(moved[k]), k))[:_NAMED]
    named = ", ".join(
        f"{reference.schema.classes[k]} {mix.shares[k]:.3f} (reference {mix.reference[k]:.3f})" for k in largest
    )
    return Estimate(
        float(np.abs(moved).sum()) / 2,
        rows,
        p_value=_two_sample_p_value(confusion.sum(axis=0).astype(np.float64), now.astype(np.float64)),
        detail=f"estimated shares: {named}",
    )


def warned(estimates: Mapping[str, Result], shift: Result) -> dict[str, Result]:
    """Estimates of performance that say so in their `detail` where the mix of classes seems to have shifted.

    All of them take the classes to be as frequent among like inputs as they were. Predictions alone cannot tell a shift
    of the classes from one of the inputs, under which the estimates are right; the numbers stay as they are.
    """
    if isinstance(shift, Absent) or shift.p_value is None or shift.p_value >= SURE or shift.value <= PLAIN:
        return dict(estimates)
    text = f"the mix of classes seems to have shifted (distance {shift.value:.2g}): if it did, this is off"
    return {
        name: replace(result, detail=f"{result.detail}; {text}") if isinstance(result, Estimate) else result
        for name, result in estimates.items()
    }


def _two_sample_p_value(a: Floats, b: Floats) -> float | None:
    """Pearson's χ² of two rows of counts; None where only one class occurs."""
    # 0.3 s of import that those do not pay who ask for no p-value.
    from scipy.special import chdtrc

    total = a + b
    used = total > 0
    if used.sum() < 2:
        return None
    a, b, total = a[used], b[used], total[used]
    statistic = 0.0
    for counts in (a, b):
        expected = total * counts.sum() / total.sum()
        statistic += float(((counts - expected) ** 2 / expected).sum())
    return float(chdtrc(used.sum() - 1, statistic))
