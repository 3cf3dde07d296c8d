"""Calibrators of class probabilities: fitted once on the reference, frozen with it.

What lives here: the isotonic fit, the rule by which a calibrator is kept, and their application. What must not: sums of
current data, statistics.

A calibrator is a step function on the score cells of its class: the monotone least-squares fit of the share of rows
labelled k per cell (isotonic regression, Zadrozny & Elkan 2002). Being constant on each cell it costs one look-up, and
whatever was counted per cell can be calibrated later without any error.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.profiles.scores import Cells, ScoreCells

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

SPLITS = 3
# Labelled rows of the reference below which nothing is fitted, and per class rows of it and of the others.
MINIMUM_ROWS = 300
MINIMUM_CLASS_ROWS = 30
# Equal cells of probability over which calibration errors are compared.
_ERROR_CELLS = 20
_SEED = 20_020_723


@dataclass(frozen=True, eq=False)
class Calibrators:
    """Of every class: `kept` bool [K], and `steps` float64 [K, cells], the calibrated probability per score cell.

    Where a calibrator was not kept, because it did not lower the expected calibration error on rows it was not fitted
    on, the probability stands as it is; `steps` then holds the middles of the cells.
    """

    kept: npt.NDArray[np.bool_]
    steps: Floats

    @classmethod
    def fit(cls, label: Integers, probabilities: Floats) -> Calibrators | None:
        """From labels [n] and complete probabilities [K, n] of the reference; None with fewer than 300 rows.

        Whatever the order of the rows, the result is the same: the three splits, stratified by label, are dealt by a
        fixed generator over the rows sorted by their values.
        """
        if label.size < MINIMUM_ROWS:
            return None
        score_cells = ScoreCells.of(probabilities.shape[0])
        steps = np.tile(score_cells.middles, (probabilities.shape[0], 1))
        kept = np.zeros(probabilities.shape[0], dtype=bool)
        for k, scores in enumerate(probabilities):
            positive = label == k
            if not MINIMUM_CLASS_ROWS <= positive.sum() <= label.size - MINIMUM_CLASS_ROWS:
                continue
            counts = _Counts.of(scores, score_cells.cells(scores), positive, score_cells.size)
            kept[k] = counts.calibration_helps()
            if kept[k]:
                steps[k] = _isotonic(counts.rows.sum(axis=0), counts.positive.sum(axis=0))
        return cls(kept, steps)

    def apply(self, probabilities: Floats, cells: Cells) -> Floats:
        """Calibrated probabilities [K, n] that sum to 1 over the classes, from complete ones and their score cells."""
        calibrated = np.empty_like(probabilities)
        for k, keep in enumerate(self.kept):
            if keep:
                np.take(self.steps[k], cells[k], out=calibrated[k])
            else:
                calibrated[k] = probabilities[k]
        total = calibrated.sum(axis=0)
        if not total.all():
            # Every class calibrated to 0: the calibrators have nothing to say of such a row.
            nothing = total == 0
            calibrated[:, nothing] = probabilities[:, nothing]
            total[nothing] = calibrated[:, nothing].sum(axis=0)
            total[total == 0] = 1.0
        calibrated /= total
        return calibrated


@dataclass(frozen=True, eq=False)
class _Counts:
    """Per split and score cell, [3, cells]: rows, rows of the class, and Σ of the probabilities."""

    rows: Integers
    positive: Integers
    score: Floats

    @classmethod
    def of(cls, scores: Floats, cells: Cells, positive: npt.NDArray[np.bool_], size: int) -> _Counts:
        split = np.empty(scores.size, dtype=np.int64)
        generator = np.random.default_rng(_SEED)
        for stratum in (positive, ~positive):
            rows = np.flatnonzero(stratum)
            rows = rows[np.argsort(scores[rows], kind="stable")]
            split[rows] = generator.permutation(rows.size) % SPLITS
        code = split * size + cells
        shape, length = (SPLITS, size), SPLITS * size
        return cls(
            np.bincount(code, minlength=length).reshape(shape),
            np.bincount(code[positive], minlength=length).reshape(shape),
            np.bincount(code, weights=scores, minlength=length).reshape(shape).astype(np.float64),
        )

    def calibration_helps(self) -> bool:
        """Whether the mean calibration error over the splits is lower with a fit on the other two than without."""
        raw = calibrated = 0.0
        for held_out in range(SPLITS):
            others = [split for split in range(SPLITS) if split != held_out]
            steps = _isotonic(self.rows[others].sum(axis=0), self.positive[others].sum(axis=0))
            rows, positive, score = self.rows[held_out], self.positive[held_out], self.score[held_out]
            raw += _calibration_error(rows, positive, score)
            calibrated += _calibration_error(rows, positive, steps * rows)
        return calibrated < raw


def _isotonic(rows: Integers, positive: Integers) -> Floats:
    """Isotonic share of positives per cell; a cell without rows has the value of the nearest filled one below it."""
    from scipy.optimize import isotonic_regression

    filled = np.flatnonzero(rows)
    fitted = isotonic_regression(positive[filled] / rows[filled], weights=rows[filled]).x
    position = np.searchsorted(filled, np.arange(rows.size), side="right") - 1
    return np.asarray(np.clip(fitted[np.maximum(position, 0)], 0.0, 1.0), dtype=np.float64)


def _calibration_error(rows: Integers, positive: Integers, score: Floats) -> float:
    """Σ |Σ score − positives| / n over equal cells of probability; score cells are put together by their mean score."""
    mean = score / np.maximum(rows, 1)
    cell = np.minimum((mean * _ERROR_CELLS).astype(np.int64), _ERROR_CELLS - 1)
    gap = np.bincount(cell, weights=score - positive, minlength=_ERROR_CELLS)
    return float(np.abs(gap).sum() / max(rows.sum(), 1))
