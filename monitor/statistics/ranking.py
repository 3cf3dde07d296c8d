"""Area under the ROC curve, from histograms of scores.

What lives here: AUROC, its variance and its error bound, for counts and for expected (fractional) counts. What must
not: which cells scores have, intervals' formulas.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.profiles.outcome import ClassificationSums
from monitor.statistics.intervals import LEVEL, MINIMUM_N, unit_interval
from monitor.statistics.result import Absent, Estimate, Reason, Result

Floats = npt.NDArray[np.float64]


# Rows' worth of trust in Hanley and McNeil's variance, beside the observed one.
_MODEL_ROWS = 20.0


@dataclass(frozen=True)
class Ranking:
    """An AUROC, an upper bound of its variance, its error bound, and a value in (0, 1) that stands for it."""

    value: float
    variance: float
    error_bound: float
    typical: float


def auroc(sums: ClassificationSums) -> Result:
    """AUROC of the rows with complete probabilities: of the second class for two classes, else one-vs-rest macro.

    AUROC_k = P(p_k of a row labelled k > p_k of another) + ½ P(equal), and the mean over the classes that have both.
    Scores within a cell count as equal, so the value is within `error_bound` = ½ Σ_cells P_c N_c / (P N) of the exact
    one (usually far nearer, since ties are right on average). The interval is DeLong's (1988), whose components are
    read from the same histograms; the covariance between classes is not in them, so the standard error of the mean is
    taken at its largest, the mean of the standard errors. Absent with one class only, and beyond 100 classes.
    """
    if sums.scored == 0:
        return Absent(Reason.NO_LABELS)
    if sums.scores.size == 0:
        return Absent(Reason.NOT_APPLICABLE, sums.scored, "more than 100 classes")
    found = rank(sums.scores[0], sums.scores[1])
    if found is None:
        return Absent(Reason.ONE_CLASS, sums.scored, "all labels are of one class")
    if sums.scored < MINIMUM_N:
        return Estimate(found.value, sums.scored, error_bound=found.error_bound)
    lower, upper = unit_interval(found.value, found.variance, found.typical)
    return Estimate(found.value, sums.scored, lower, upper, LEVEL, error_bound=found.error_bound)


def rank(positives: npt.NDArray[Any], negatives: npt.NDArray[Any]) -> Ranking | None:
    """AUROC from counts per class and score cell, [K, cells] ascending; None where no class has both.

    The counts may be fractions: the expected positives of calibrated scores.
    """
    if positives.shape[0] == 2:
        # p_0 = 1 − p_1: both classes have the same curve.
        positives, negatives = positives[1:], negatives[1:]
    found = [ranking for ranking in rank_each(positives, negatives) if ranking is not None]
    if not found:
        return None
    error = sum(sqrt(ranking.variance) for ranking in found) / len(found)
    means = (
        sum(getattr(ranking, name) for ranking in found) / len(found) for name in ("value", "error_bound", "typical")
    )
    value, error_bound, typical = means
    return Ranking(value, error**2, error_bound, typical)


def rank_each(positives: npt.NDArray[Any], negatives: npt.NDArray[Any]) -> list[Ranking | None]:
    """AUROC of every class against the rest, from counts [K, cells]; None for a class that lacks either."""
    of_class, others = positives.sum(axis=1), negatives.sum(axis=1)
    used = (of_class > 0) & (others > 0)
    p, n = positives[used].astype(np.float64), negatives[used].astype(np.float64)
    rows, rest = of_class[used].astype(np.float64), others[used].astype(np.float64)
    # For a row in cell c: the share of the other side that it is ranked rightly against (DeLong's components).
    above = (np.cumsum(n, axis=1) - n / 2) / rest[:, None]
    below = 1 - (np.cumsum(p, axis=1) - p / 2) / rows[:, None]
    area = np.einsum("kc,kc->k", p, above) / rows
    spread = np.einsum("kc,kc->k", p, (above - area[:, None]) ** 2) / np.maximum(rows - 1, 1) / rows
    spread += np.einsum("kc,kc->k", n, (below - area[:, None]) ** 2) / np.maximum(rest - 1, 1) / rest
    # Of few rows the observed spread tells little (none where the order is perfect): it is mixed with a model's.
    fewer = np.maximum(np.minimum(rows, rest), 1.0)
    typical = np.clip(area, 1 / (2 * fewer + 1), 1 - 1 / (2 * fewer + 1))
    spread = (fewer * spread + _MODEL_ROWS * _hanley_mcneil(typical, rows, rest)) / (fewer + _MODEL_ROWS)
    bound = np.einsum("kc,kc->k", p, n) / (2 * rows * rest)
    found = iter(zip(area.tolist(), spread.tolist(), bound.tolist(), typical.tolist(), strict=True))
    return [Ranking(*next(found)) if has_both else None for has_both in used]


def _hanley_mcneil(area: Floats, positives: Floats, negatives: Floats) -> Floats:
    """Variance of an AUROC by Hanley & McNeil (1982), for scores that are exponential on both sides."""
    both_positive, both_negative = area / (2 - area), 2 * area**2 / (1 + area)
    pairs = area * (1 - area)
    pairs += (positives - 1) * (both_positive - area**2) + (negatives - 1) * (both_negative - area**2)
    return np.asarray(np.maximum(pairs, 0.0) / (positives * negatives))
