"""Performance without labels: what the reference's frozen estimators expect, and how wrong they turn out to be.

What lives here: finished estimates with their sampling error, and their reconciliation with labelled rows. What must
not: fitting (`monitor.profiles.calibrators`, `loss_model`), thresholds.

Every estimate assumes that what holds between output and truth on the reference still holds. A change of that relation
(concept drift) is invisible to all of them; the reconciliation is what shows it, as labels come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from math import sqrt

import numpy as np

from monitor.profiles.estimation import EstimatedClasses, EstimatedLosses, ReconciledClasses, ReconciledLosses
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile, RegressionSums
from monitor.statistics.intervals import LEVEL, MINIMUM_N, mean_interval
from monitor.statistics.macro import macro_statistics, macro_variance
from monitor.statistics.ranking import Ranking, rank
from monitor.statistics.result import Absent, Estimate, Reason, Result

# Three standard errors of the normal approximation, two-sided.
SAMPLING_LEVEL = 0.9973
_ERRORS = 3.0
CBPE = (
    "calibrated on the reference (CBPE); assumes no concept drift, the reference's mix of classes at equal inputs, and "
    "no region that the reference lacks"
)
DOC = "difference of confidences; assumes that accuracy moves with confidence, and no concept drift"
DLE = "expected from the columns (DLE); assumes no concept drift and no region that the reference lacks"

CLASSIFICATION = ("accuracy", "cross_entropy", "f1", "auroc")
REGRESSION = ("mean_absolute_error", "mean_squared_error", "root_mean_squared_error")
# A root of a mean has no error that is a mean: the one of the mean squared error tells it.
RECONCILED = {"classification": CLASSIFICATION, "regression": REGRESSION[:2]}


def estimated_statistics(reference: Reference, profile: Profile) -> dict[str, Result]:
    """Performance estimated from predictions alone, by name with the prefix `estimated_`.

    Classification (CBPE, https://nannyml.readthedocs.io, how it works): with calibrated probabilities c of n rows,
    accuracy = Σ c(predicted) / n; cross-entropy = Σ Σ_k −c_k ln p_k / n; F1 with the expected hits and labels per
    class; AUROC with c as the fraction of a row that is positive. Where the reference had too few labelled rows to
    calibrate, accuracy alone is estimated by the difference of confidences (Guillory et al. 2021): the reference's
    accuracy + mean top confidence now − then.

    Regression (direct loss estimation): the mean of |e| and of e² that the frozen loss model expects of the rows.

    The interval is the estimate ± 3 standard errors, the deviation per row that the reference showed × √(1/n + 1/m), m
    its labelled rows: where the realised value of the window is expected if the assumptions in `detail` hold. Absent
    without rows or without an estimator.
    """
    if reference.schema.task == "regression":
        return _losses(reference, profile)
    estimated = profile.estimated
    if reference.estimators.calibrators is None:
        missing = Absent(Reason.CALIBRATION_MISSING, 0, _why_not_calibrated(reference))
        found: dict[str, Result] = {f"estimated_{name}": missing for name in CLASSIFICATION}
        return found | {"estimated_accuracy": _difference_of_confidences(reference, profile)}
    if not isinstance(estimated, EstimatedClasses) or estimated.rows == 0:
        reason = Reason.NO_ROWS if profile.rows == 0 else Reason.COLUMN_MISSING
        return {f"estimated_{name}": Absent(reason, profile.rows) for name in CLASSIFICATION}
    values = _estimates(reference, estimated)
    return {
        f"estimated_{name}": value
        if isinstance(value, Absent)
        else _with_sampling_error(reference, name, value, estimated.rows, CBPE)
        for name, value in values.items()
    }


def estimate_errors(reference: Reference, outcome: OutcomeProfile) -> dict[str, Result]:
    """Estimated − realised over the very same labelled rows, by name with `estimated_` before and `_error` after.

    Above 0 the estimate of accuracy, F1 or AUROC is too good, that of a loss too bad. The errors of means (accuracy,
    cross-entropy, MAE, MSE) have a 95 % interval from the spread of the differences, row by row: an interval without 0
    says that the estimate does not hold here. Where the labels that came are not a fair sample of the window, neither
    is the error. Absent without labels or without an estimator.
    """
    names = RECONCILED[reference.schema.task]
    n = outcome.scored
    sums, reconciled = outcome.sums, outcome.reconciled
    if n == 0:
        return {f"estimated_{name}_error": Absent(Reason.NO_LABELS) for name in names}
    if isinstance(sums, RegressionSums) and isinstance(reconciled, ReconciledLosses):
        return _loss_errors(reconciled)
    found: dict[str, Result] = {
        f"estimated_{name}_error": Absent(Reason.CALIBRATION_MISSING, n, "nothing was estimated of these rows")
        for name in names
    }
    if not isinstance(sums, ClassificationSums) or sums.scored == 0:
        return found
    if not isinstance(reconciled, ReconciledClasses):
        then = _reference_confidence(reference)
        if then is not None:
            # Row by row the difference is confidence − right, less what it was on the reference.
            count, confidence, correct, squares = sums.calibration.sum(axis=0)
            gap = float(confidence - correct)
            found["estimated_accuracy_error"] = _mean_error(gap, float(squares), int(count), then[0] - then[1], DOC)
        return found
    estimated = replace(reconciled.estimated, scores=sums.scores.sum(axis=0))
    values = _estimates(reference, estimated)
    hits = float(sums.calibration[:, 2].sum())
    found["estimated_accuracy_error"] = _mean_error(
        float(estimated.hits.sum()) - hits, reconciled.hit_gap_squares, estimated.rows, 0.0, CBPE
    )
    found["estimated_cross_entropy_error"] = _mean_error(
        estimated.loss - sums.log_loss, reconciled.loss_gap_squares, estimated.rows, 0.0, CBPE
    )
    realised: dict[str, float | None] = {"auroc": _area(rank(sums.scores[0], sums.scores[1]))}
    # Rows without complete probabilities count in the realised F1 and cannot be estimated: not comparable then.
    realised["f1"] = macro_statistics(sums)["f1"].value if sums.scored == sums.rows else None
    for name, truth in realised.items():
        value = values[name]
        if truth is None or isinstance(value, Absent):
            found[f"estimated_{name}_error"] = value if isinstance(value, Absent) else Absent(Reason.NOT_APPLICABLE, n)
        else:
            found[f"estimated_{name}_error"] = Estimate(value - truth, estimated.rows, detail=CBPE)
    return found


def _estimates(reference: Reference, estimated: EstimatedClasses) -> dict[str, float | Absent]:
    """Accuracy, cross-entropy, macro F1 and AUROC that are expected of n ≥ 1 rows."""
    n = estimated.rows
    support = estimated.mass + estimated.predicted[:-1]
    # As in the realised F1, classes that neither occur nor are predicted do not count: less than half a row expected.
    used = (estimated.predicted[:-1] > 0) | (estimated.mass >= 0.5)
    f1 = 2 * estimated.hits[used] / support[used]
    return {
        "accuracy": float(estimated.hits.sum()) / n,
        "cross_entropy": estimated.loss / n,
        "f1": float(f1.mean()) if used.any() else Absent(Reason.TOO_FEW_ROWS, n),
        "auroc": _estimated_area(reference, estimated),
    }


def _estimated_area(reference: Reference, estimated: EstimatedClasses) -> float | Absent:
    calibrators = reference.estimators.calibrators
    if estimated.scores.size == 0 or calibrators is None:
        return Absent(Reason.NOT_APPLICABLE, estimated.rows, "more than 100 classes")
    area = _area(rank(estimated.scores * calibrators.steps, estimated.scores * (1 - calibrators.steps)))
    return Absent(Reason.ONE_CLASS, estimated.rows) if area is None else area


def _area(found: Ranking | None) -> float | None:
    return None if found is None else found.value


# A reference does not change, and every value of every segment asks for the same.
@lru_cache(maxsize=4)
def _deviations(reference: Reference) -> Mapping[str, float]:
    """Standard deviation that one row contributes to each statistic, as the labelled reference showed it."""
    outcome = reference.outcome
    if outcome is None or outcome.scored == 0:
        return {}
    sums, n = outcome.sums, outcome.scored
    if isinstance(sums, RegressionSums):
        return {
            "mean_absolute_error": _deviation(sums.error_absolute, sums.error_squares, n),
            "mean_squared_error": _deviation(sums.error_squares, sums.error_fourth, n),
        }
    accuracy = sums.hits / n
    used = (sums.classes[0, :-1] > 0) | (sums.classes[1, :-1] > 0)
    found = {
        "accuracy": sqrt(accuracy * (1 - accuracy)),
        "f1": sqrt(macro_variance(sums, "f1", used)[0] * n),
    }
    if sums.scored:
        found["cross_entropy"] = _deviation(sums.log_loss, sums.log_loss_squares, sums.scored)
        ranking = rank(sums.scores[0], sums.scores[1]) if sums.scores.size else None
        if ranking is not None:
            found["auroc"] = sqrt(ranking.variance * sums.scored)
    return found


def _deviation(total: float, squares: float, n: int) -> float:
    return sqrt(max(squares / n - (total / n) ** 2, 0.0))


def _with_sampling_error(reference: Reference, name: str, value: float, n: int, detail: str) -> Result:
    deviation, outcome = _deviations(reference).get(name), reference.outcome
    if not np.isfinite(value):
        return Absent(Reason.OVERFLOW, n)
    if deviation is None or outcome is None or not np.isfinite(deviation):
        return Estimate(value, n, detail=detail)
    half = _ERRORS * deviation * sqrt(1 / n + 1 / outcome.scored)
    top = 1.0 if name in ("accuracy", "f1", "auroc") else np.inf
    return Estimate(value, n, max(value - half, 0.0), min(value + half, top), SAMPLING_LEVEL, detail=detail)


def _difference_of_confidences(reference: Reference, profile: Profile) -> Result:
    then = _reference_confidence(reference)
    if then is None:
        return Absent(Reason.NO_REFERENCE, detail=_why_not_calibrated(reference))
    now = profile.columns.get("confidence")
    if not isinstance(now, NumericProfile) or not now.finite:
        return Absent(Reason.NO_ROWS if profile.rows == 0 else Reason.COLUMN_MISSING, profile.rows)
    accuracy, confidence = then
    value = min(max(accuracy + _mean(now) - confidence, 0.0), 1.0)
    return _with_sampling_error(reference, "accuracy", value, now.finite, DOC)


def _why_not_calibrated(reference: Reference) -> str:
    if "confidence" not in reference.profile.columns:
        return "the reference has no probabilities of the classes"
    return "the reference has no labels" if reference.outcome is None else "too few labelled rows in the reference"


def _reference_confidence(reference: Reference) -> tuple[float, float] | None:
    """Accuracy and mean top confidence of the reference; None where either is unknown."""
    outcome, column = reference.outcome, reference.profile.columns.get("confidence")
    if outcome is None or not isinstance(outcome.sums, ClassificationSums) or outcome.sums.rows == 0:
        return None
    if not isinstance(column, NumericProfile) or not column.finite:
        return None
    return outcome.sums.hits / outcome.sums.rows, _mean(column)


def _mean(column: NumericProfile) -> float:
    return column.standardisation.centre + column.total / column.finite


def _losses(reference: Reference, profile: Profile) -> dict[str, Result]:
    estimated = profile.estimated
    if reference.estimators.losses is None:
        detail = "the reference has too few labelled rows, or its columns do not tell where errors are larger"
        return {f"estimated_{name}": Absent(Reason.CALIBRATION_MISSING, 0, detail) for name in REGRESSION}
    if not isinstance(estimated, EstimatedLosses) or estimated.rows == 0:
        return {f"estimated_{name}": Absent(Reason.NO_ROWS) for name in REGRESSION}
    n = estimated.rows
    found = {
        name: _with_sampling_error(reference, name, total / n, n, DLE)
        for name, total in (("mean_absolute_error", estimated.absolute), ("mean_squared_error", estimated.squared))
    }
    found["root_mean_squared_error"] = _root(found["mean_squared_error"])
    return {f"estimated_{name}": value for name, value in found.items()}


def _root(squared: Result) -> Result:
    if isinstance(squared, Absent):
        return squared
    lower, upper = (None if edge is None else sqrt(edge) for edge in (squared.lower, squared.upper))
    return Estimate(sqrt(squared.value), squared.n, lower, upper, squared.level, detail=squared.detail)


def _loss_errors(reconciled: ReconciledLosses) -> dict[str, Result]:
    estimated = reconciled.estimated
    gaps = {
        "mean_absolute_error": (estimated.absolute - reconciled.absolute, reconciled.absolute_gap_squares),
        "mean_squared_error": (estimated.squared - reconciled.squared, reconciled.squared_gap_squares),
    }
    return {
        f"estimated_{name}_error": _mean_error(total, squares, estimated.rows, 0.0, DLE)
        for name, (total, squares) in gaps.items()
    }


def _mean_error(total: float, squares: float, n: int, shift: float, detail: str) -> Result:
    """Mean of n differences with its interval, moved by a constant."""
    value = total / n + shift
    if not np.isfinite(value) or not np.isfinite(squares):
        return Absent(Reason.OVERFLOW, n)
    if n < MINIMUM_N:
        return Estimate(value, n, detail=detail)
    lower, upper = mean_interval(total, squares, n)
    return Estimate(value, n, lower + shift, upper + shift, LEVEL, detail=detail)
