"""Realised performance: finished numbers from outcome sums, with intervals.

What lives here: classification and regression metrics and label delays. What must not: the join, thresholds.
"""

from __future__ import annotations

import numpy as np

from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, RegressionSums
from monitor.statistics.atoms import atoms
from monitor.statistics.calibration import expected_calibration_error
from monitor.statistics.intervals import LEVEL, MINIMUM_N, mean_interval, normal_interval, wilson
from monitor.statistics.macro import macro_statistics
from monitor.statistics.ranking import auroc
from monitor.statistics.result import Absent, Estimate, Reason, Result

_NO_LABELS = Absent(Reason.NO_LABELS)
CLASSIFICATION = (
    "accuracy",
    "balanced_accuracy",
    "precision",
    "recall",
    "f1",
    "auroc",
    "cross_entropy",
    "brier_score",
    "expected_calibration_error",
)
REGRESSION = ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "r_squared", "bias")


def classification_statistics(sums: ClassificationSums) -> dict[str, Result]:
    """Accuracy, balanced accuracy, macro precision/recall/F1, AUROC, cross-entropy (nats), Brier score (0–2) and ECE.

    Accuracy has Wilson's interval. Cross-entropy is the mean of −ln p(label), p floored at 1e-15; the Brier score is
    the mean of Σ_k (p_k − y_k)² over all classes; their intervals are mean ± 1.96 standard errors. The others say
    theirs where they are computed. All are absent without labels, and have no interval below 10 rows (accuracy always).
    """
    n = sums.rows
    if n == 0:
        return dict.fromkeys(CLASSIFICATION, _NO_LABELS)
    lower, upper = wilson(sums.hits, n)
    counted = {"accuracy": Estimate(sums.hits / n, n, lower, upper, LEVEL), **macro_statistics(sums)}
    if sums.scored == 0:
        unscored = Absent(Reason.COLUMN_MISSING, n, "labelled rows without probabilities of the classes")
        return {name: counted.get(name, unscored) for name in CLASSIFICATION}
    return {
        **counted,
        "auroc": auroc(sums),
        "cross_entropy": _mean(sums.log_loss, sums.log_loss_squares, sums.scored),
        "brier_score": _mean(sums.brier, sums.brier_squares, sums.scored),
        "expected_calibration_error": expected_calibration_error(sums),
    }


def regression_statistics(sums: RegressionSums, n: int) -> dict[str, Result]:
    """MSE, RMSE, MAE, R² and bias (mean of prediction − label), in units of the target; absent without labels.

    Means have an interval of ± 1.96 standard errors from 10 rows on; with heavy tails it covers less than it says.
    """
    if n == 0:
        return dict.fromkeys(REGRESSION, _NO_LABELS)
    squared = _mean(sums.error_squares, sums.error_fourth, n)
    root = squared
    if isinstance(squared, Estimate):
        edges = [None if edge is None else float(np.sqrt(max(edge, 0.0))) for edge in (squared.lower, squared.upper)]
        root = Estimate(float(np.sqrt(squared.value)), n, edges[0], edges[1], squared.level)
    return {
        "mean_squared_error": squared,
        "root_mean_squared_error": root,
        "mean_absolute_error": _mean(sums.error_absolute, sums.error_squares, n),
        "r_squared": _r_squared(sums, n),
        "bias": _mean(sums.error, sums.error_squares, n),
    }


def delay_statistics(delays: NumericProfile) -> dict[str, Result]:
    """Mean, median and 95th percentile of label_time − event_time in seconds; quantiles to a lattice cell (1/128)."""
    names = ("label_delay_seconds", "label_delay_p50_seconds", "label_delay_p95_seconds")
    n = delays.finite
    if n == 0:
        return dict.fromkeys(names, _NO_LABELS)
    cells = atoms(delays, delays)
    # Delays are laid out about zero in seconds, so positions are seconds.
    low, high, cumulative = cells.low, cells.high, np.cumsum(cells.current)
    results: dict[str, Result] = {names[0]: Estimate(delays.total / n, n)}
    for name, share in zip(names[1:], (0.5, 0.95), strict=True):
        position = int(np.searchsorted(cumulative, share * n))
        value = float(np.clip((low[position] + high[position]) / 2, delays.minimum, delays.maximum))
        results[name] = Estimate(value, n, error_bound=float(high[position] - low[position]))
    return results


def _r_squared(sums: RegressionSums, n: int) -> Result:
    """R² = 1 − Σe² / Σ(y − ȳ)², at most 1; absent where all labels are equal.

    The interval is by the delta method: with u = e² and w = d² − 2 d̄ d, R² moves by −u/D + ū w/D² per row, D the
    variance of the labels; its variance needs the moments of u and d up to the fourth, which the sums have.
    """
    mean, second, third, fourth = (
        total / n for total in (sums.label, sums.label_squares, sums.label_cubes, sums.label_fourth)
    )
    error, error_squares = sums.error_squares / n, sums.error_fourth / n
    if not np.isfinite([fourth, error_squares, sums.mixed_squares]).all():
        return Absent(Reason.OVERFLOW, n)
    spread = second - mean**2
    if spread <= 1e-12 * max(second, 1e-300):
        return Absent(Reason.REFERENCE_CONSTANT, n, "all labels are equal")
    value = 1 - error / spread
    if n < MINIMUM_N:
        return Estimate(value, n)
    shift = second - 2 * mean**2
    of_error = error_squares - error**2
    of_label = fourth - 4 * mean * third + 4 * mean**2 * second - shift**2
    together = sums.mixed_squares / n - 2 * mean * sums.mixed / n - error * shift
    slope = error / spread
    variance = max(of_error + slope**2 * of_label - 2 * slope * together, 0.0) / spread**2 / (n - 1)
    lower, upper = normal_interval(value, variance)
    return Estimate(value, n, lower, min(upper, 1.0), LEVEL)


def _mean(total: float, squares: float, n: int) -> Result:
    if n == 0:
        return _NO_LABELS
    value = total / n
    if not np.isfinite(value) or not np.isfinite(squares):
        return Absent(Reason.OVERFLOW, n)
    if n < MINIMUM_N:
        return Estimate(value, n)
    lower, upper = mean_interval(total, squares, n)
    return Estimate(value, n, lower, upper, LEVEL)
