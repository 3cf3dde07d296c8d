"""Realised performance: finished numbers from outcome sums, with intervals.

What lives here: classification and regression metrics and label delays. What must not: the join, thresholds.
"""

from __future__ import annotations

import numpy as np

from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, RegressionSums
from monitor.statistics.atoms import atoms
from monitor.statistics.intervals import LEVEL, mean_interval, wilson
from monitor.statistics.result import Absent, Estimate, Reason, Result

_NO_LABELS = Absent(Reason.NO_LABELS)


def classification_statistics(sums: ClassificationSums) -> dict[str, Result]:
    """Accuracy, balanced accuracy, macro precision/recall/F1, cross-entropy (nats), Brier score (0–2) and ECE.

    Cross-entropy is the mean of −ln p(label), p floored at 1e-15; the Brier score is the mean of Σ_k (p_k − y_k)² over
    all classes. Macro averages run over classes that were labelled or predicted; balanced accuracy over labelled ones.
    All are absent without labels.
    """
    n = sums.rows
    if n == 0:
        names = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
        return dict.fromkeys((*names, "cross_entropy", "brier_score", "expected_calibration_error"), _NO_LABELS)
    labelled, predicted, hits = sums.classes[:, :-1].astype(np.float64)
    lower, upper = wilson(float(hits.sum()), n)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = np.where(labelled > 0, hits / labelled, 0.0)
        precision = np.where(predicted > 0, hits / predicted, 0.0)
        f1 = np.where(labelled + predicted > 0, 2 * hits / (labelled + predicted), 0.0)
    used = (labelled > 0) | (predicted > 0)
    return {
        "accuracy": Estimate(float(hits.sum()) / n, n, lower, upper, LEVEL),
        "balanced_accuracy": Estimate(float(recall[labelled > 0].mean()), n),
        "precision": Estimate(float(precision[used].mean()), n),
        "recall": Estimate(float(recall[used].mean()), n),
        "f1": Estimate(float(f1[used].mean()), n),
        "cross_entropy": _mean(sums.log_loss, sums.log_loss_squares, sums.scored),
        "brier_score": _mean(sums.brier, sums.brier_squares, sums.scored),
        "expected_calibration_error": _calibration_error(sums),
    }


def regression_statistics(sums: RegressionSums, n: int) -> dict[str, Result]:
    """MSE, RMSE, MAE, R² and bias (mean of prediction − label), in units of the target; absent without labels.

    R² = 1 − Σe² / Σ(y − ȳ)², absent where all labels are equal.
    """
    names = ("mean_squared_error", "root_mean_squared_error", "mean_absolute_error", "r_squared", "bias")
    if n == 0:
        return dict.fromkeys(names, _NO_LABELS)
    squared = _mean(sums.error_squares, sums.error_fourth, n)
    spread = sums.label_squares - sums.label**2 / n
    root = squared
    if isinstance(squared, Estimate):
        edges = [None if edge is None else float(np.sqrt(max(edge, 0.0))) for edge in (squared.lower, squared.upper)]
        root = Estimate(float(np.sqrt(squared.value)), n, edges[0], edges[1], squared.level)
    return {
        "mean_squared_error": squared,
        "root_mean_squared_error": root,
        "mean_absolute_error": _mean(sums.error_absolute, sums.error_squares, n),
        "r_squared": Estimate(1 - sums.error_squares / spread, n)
        if spread > 1e-12 * max(sums.label_squares, 1e-300)
        else Absent(Reason.REFERENCE_CONSTANT, n, "all labels are equal"),
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


def _mean(total: float, squares: float, n: int) -> Result:
    if n == 0:
        return _NO_LABELS
    value = total / n
    if not np.isfinite(value) or not np.isfinite(squares):
        return Absent(Reason.OVERFLOW, n)
    if n < 2:
        return Estimate(value, n)
    lower, upper = mean_interval(total, squares, n)
    return Estimate(value, n, lower, upper, LEVEL)


def _calibration_error(sums: ClassificationSums) -> Result:
    """ECE = Σ_cells |Σ confidence − Σ correct| / n over 20 equal cells of top confidence (Naeini et al. 2015)."""
    if sums.scored == 0:
        return _NO_LABELS
    gap = np.abs(sums.calibration[:, 1] - sums.calibration[:, 2]).sum()
    return Estimate(float(gap) / sums.scored, sums.scored)
