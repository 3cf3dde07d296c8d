"""Calibrators of class probabilities: fitted once on the reference, frozen with it.

What lives here: the isotonic fit, the rule by which a calibrator is kept, and their application. What must not: sums of
current data, statistics.

A calibrator is a step function on the score cells of its class: the monotone least-squares fit of a share per cell
(isotonic regression, Zadrozny & Elkan 2002). Being constant on each cell it costs one look-up, and whatever was counted
per cell can be calibrated later without any error.

Two shares are fitted for each class. Of all rows, those labelled k by p_k (one against the rest): where the labels lie.
Of the rows predicted k, those that are right by p_k (top-label calibration, Gupta & Ramdas 2022): what accuracy,
precision and F1 rest on. The first does not imply the second, since it mixes rows where k is the best with rows where
it is not; with the second, the hits that are expected of the reference are those that it had.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.profiles.scores import Cells, ScoreCells

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SPLITS = 3
# Labelled rows of the reference below which nothing is fitted, and per class rows of it and of the others.
MINIMUM_ROWS = 300
MINIMUM_CLASS_ROWS = 30
# Equal cells of probability over which calibration errors are compared.
_ERROR_CELLS = 20
_SEED = 20_020_723
# A rest of probability below this share is rounding.
_NOTHING = 1e-12


@dataclass(frozen=True, eq=False)
class Calibrators:
    """Of every class, per score cell: `steps` float64 [K, cells], the share of all rows that is labelled so, and
    `top_steps`, the share that is right of the rows predicted so.

    `kept`, `top_kept` bool [K]: whether the calibrator lowered the calibration error on rows that it was not fitted on.
    Where it did not, the probability stands as it is, and the steps are the middles of the cells.
    """

    kept: Mask
    steps: Floats
    top_kept: Mask
    top_steps: Floats

    @classmethod
    def fit(cls, label: Integers, predicted: Integers, probabilities: Floats) -> Calibrators | None:
        """From labels and predictions [n] and complete probabilities [K, n] of the reference; None below 300 rows.

        Whatever the order of the rows, the result is the same: the three splits, stratified by label, are dealt by a
        fixed generator over the rows sorted by their values.
        """
        if label.size < MINIMUM_ROWS:
            return None
        score_cells = ScoreCells.of(probabilities.shape[0])
        cells = score_cells.cells(probabilities)
        steps = np.tile(score_cells.middles, (probabilities.shape[0], 1))
        top_steps = steps.copy()
        kept, top_kept = (np.zeros(probabilities.shape[0], dtype=bool) for _ in range(2))
        for k, scores in enumerate(probabilities):
            positive = label == k
            if MINIMUM_CLASS_ROWS <= positive.sum() <= label.size - MINIMUM_CLASS_ROWS:
                kept[k] = _fit(_Counts.of(scores, cells[k], positive, score_cells.size), steps[k])
            rows = predicted == k
            if rows.sum() >= MINIMUM_CLASS_ROWS:
                counts = _Counts.of(scores[rows], cells[k][rows], positive[rows], score_cells.size)
                top_kept[k] = _fit(counts, top_steps[k])
        return cls(kept, steps, top_kept, top_steps)

    def apply(self, predicted: Integers, probabilities: Floats, cells: Cells) -> Floats:
        """Calibrated probabilities [K, n] that sum to 1 over the classes, from complete ones and their score cells.

        The predicted class has its top-label calibrated probability, the others share the rest as their own calibrators
        have it. A row whose predicted class is unknown (index K), or has no top-label calibrator, is only scaled.
        """
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
        known = np.append(self.top_kept, False)[predicted]
        if not known.any():
            calibrated /= total
            return calibrated
        rows = np.flatnonzero(known)
        at = predicted[rows]
        own = self.top_steps[at, cells[at, rows]]
        rest = total[rows] - calibrated[at, rows]
        scale = 1 / total
        # Where nothing is left to share, the others share it equally.
        none = rest <= _NOTHING * total[rows]
        scale[rows] = np.where(none, 0.0, (1 - own) / np.where(none, 1.0, rest))
        calibrated *= scale
        if none.any():
            calibrated[:, rows[none]] = (1 - own[none]) / (calibrated.shape[0] - 1)
        calibrated[at, rows] = own
        return calibrated


@dataclass(frozen=True, eq=False)
class _Counts:
    """Per split and score cell, [3, cells]: rows, rows of the class, and Σ of the probabilities."""

    rows: Integers
    positive: Integers
    score: Floats

    @classmethod
    def of(cls, scores: Floats, cells: Cells, positive: Mask, size: int) -> _Counts:
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
            # Both over the groups of the raw score: a step function fills fewer groups of its own, and a sum of
            # absolute gaps is the smaller the fewer they are, right or wrong.
            group = np.minimum(score / np.maximum(rows, 1) * _ERROR_CELLS, _ERROR_CELLS - 1).astype(np.int64)
            for_groups = [np.bincount(group, weights=gap) for gap in (score - positive, steps * rows - positive)]
            raw += float(np.abs(for_groups[0]).sum() / rows.sum())
            calibrated += float(np.abs(for_groups[1]).sum() / rows.sum())
        return calibrated < raw


def _fit(counts: _Counts, steps: Floats) -> bool:
    """Whether a calibrator helps; if so, `steps` [cells] become it."""
    if not counts.calibration_helps():
        return False
    steps[:] = _isotonic(counts.rows.sum(axis=0), counts.positive.sum(axis=0))
    return True


def _isotonic(rows: Integers, positive: Integers) -> Floats:
    """Isotonic share of positives per cell; a cell without rows has the value of the nearest filled one below it."""
    from scipy.optimize import isotonic_regression

    filled = np.flatnonzero(rows)
    fitted = isotonic_regression(positive[filled] / rows[filled], weights=rows[filled]).x
    position = np.searchsorted(filled, np.arange(rows.size), side="right") - 1
    return np.asarray(np.clip(fitted[np.maximum(position, 0)], 0.0, 1.0), dtype=np.float64)
