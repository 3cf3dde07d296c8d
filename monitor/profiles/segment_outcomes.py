"""What the labelled predictions of each slot of a segment add up to.

What lives here: sums per slot of outcomes, their build and merge. What must not: the slots themselves (`segments`),
encodings, finished ratios.

The sums are those of `outcome` without what would outgrow its use when it is kept for every value: histograms of scores
and residuals, and label delays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.profiles.estimation import MAXIMUM_DETAILED_CLASSES
from monitor.profiles.numeric import NumericProfile, merge_counts
from monitor.profiles.outcome import (
    CALIBRATION_CELLS,
    REGRESSION_TERMS,
    ClassificationSums,
    RegressionSums,
    calibration_terms,
    error_terms,
    row_scores,
)
from monitor.profiles.outcome_builder import Estimators, labelled_rows, regression_rows
from monitor.profiles.segments import SegmentSpec, check_same
from monitor.records import ModelSchema

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
_NO_COUNTS = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class SegmentOutcomes:
    """Labelled predictions of each slot of one segment.

    `rows`, `unusable` int64 [S] as in `OutcomeProfile`. Of K classes: `scored` int64 [S]; `sums` float64 [S, 4] are
    log loss, its squares, Brier and its squares; `calibration` float64 [S, cells, 4]; `cells` int64, ascending, and
    `counts` int64 hold the confusion, code = (slot × K + label) × (K + 1) + predicted. Of a regression `sums` [S, 11]
    are those of `RegressionSums` in its order, `calibration` is [S, 0, 4] and there is no confusion.
    """

    spec: SegmentSpec
    rows: Integers
    unusable: Integers
    scored: Integers
    sums: Floats
    calibration: Floats
    cells: Integers
    counts: Integers

    def merge(self, other: SegmentOutcomes) -> SegmentOutcomes:
        """Both sets of rows; refuses (DefectError) a partner that keeps other values."""
        check_same(self.spec, other.spec)
        cells, counts = merge_counts(self.cells, self.counts, other.cells, other.counts)  # type: ignore[arg-type]
        return SegmentOutcomes(
            self.spec,
            self.rows + other.rows,
            self.unusable + other.unusable,
            self.scored + other.scored,
            self.sums + other.sums,
            self.calibration + other.calibration,
            cells,  # type: ignore[arg-type]
            counts,
        )

    def classification(self, place: int, classes: int) -> ClassificationSums:
        """The sums of one slot of a classification; without histograms of scores."""
        size = classes * (classes + 1)
        low, high = np.searchsorted(self.cells, (place * size, (place + 1) * size))
        label, predicted = np.divmod(self.cells[low:high] - place * size, classes + 1)
        counts, hit = self.counts[low:high], label == predicted
        by_class = [
            np.bincount(index, weights=weights, minlength=classes + 1)
            for index, weights in ((label, counts), (predicted, counts), (label[hit], counts[hit]))
        ]
        confusion = np.zeros((0, 0), np.int64)
        if classes <= MAXIMUM_DETAILED_CLASSES:
            confusion = np.zeros((classes, classes + 1), np.int64)
            confusion[label, predicted] = counts
        log_loss, log_loss_squares, brier, brier_squares = self.sums[place].tolist()
        return ClassificationSums(
            np.stack(by_class).astype(np.int64),
            confusion,
            log_loss,
            log_loss_squares,
            brier,
            brier_squares,
            self.calibration[place],
            np.zeros((2, 0, 0), np.int64),
            int(self.scored[place]),
        )

    def regression(self, place: int, estimators: Estimators) -> RegressionSums:
        """The sums of one slot of a regression; without its residuals."""
        residuals = NumericProfile.empty(estimators.errors.residuals)
        sums = dict(zip(REGRESSION_TERMS, self.sums[place].tolist(), strict=True))
        return RegressionSums(residuals=residuals, **sums)


def segment_outcomes(
    specs: tuple[SegmentSpec, ...], schema: ModelSchema, estimators: Estimators, table: pa.Table
) -> dict[str, SegmentOutcomes]:
    """Labelled rows of each slot of every segment, by the segment's name."""
    if not specs:
        return {}
    build = _classification if schema.task == "classification" else _regression
    return {spec.name: build(spec, schema, estimators, table) for spec in specs}


def _classification(spec: SegmentSpec, schema: ModelSchema, _: Estimators, table: pa.Table) -> SegmentOutcomes:
    slots, classes = len(spec.slots), len(schema.classes)
    every = spec.places(table)
    scored, unusable = np.zeros(slots, np.int64), np.bincount(every, minlength=slots)
    sums, calibration = np.zeros((slots, 4)), np.zeros((slots * CALIBRATION_CELLS, 4))
    codes: list[Integers] = []
    for part in labelled_rows(schema, table):
        place, label, predicted, p = every[part.rows], part.label, part.predicted, part.probabilities
        unusable -= np.bincount(place, minlength=slots)
        codes.append((place * classes + label) * (classes + 1) + predicted)
        complete = np.isfinite(p[0])
        if not complete.all():
            place, label, predicted, p = place[complete], label[complete], predicted[complete], p[:, complete]
        scored += np.bincount(place, minlength=slots)
        loss, brier = row_scores(label, p)
        for column, terms in enumerate((loss, loss * loss, brier, brier * brier)):
            sums[:, column] += np.bincount(place, weights=terms, minlength=slots)
        cell, weights = calibration_terms(p.max(axis=0, initial=0.0), label == predicted)
        code = place * CALIBRATION_CELLS + cell
        for column, weight in enumerate(weights):
            calibration[:, column] += np.bincount(code, weights=weight, minlength=calibration.shape[0])
    cells, counts = np.unique(np.concatenate((*codes, _NO_COUNTS)), return_counts=True)
    rows = np.bincount(every, minlength=slots)
    per_slot = calibration.reshape(slots, CALIBRATION_CELLS, 4)
    return SegmentOutcomes(spec, rows, unusable, scored, sums, per_slot, cells, counts.astype(np.int64))


def _regression(spec: SegmentSpec, _: ModelSchema, estimators: Estimators, table: pa.Table) -> SegmentOutcomes:
    slots = len(spec.slots)
    every = spec.places(table)
    label, predicted, known = regression_rows(table)
    place = every[known]
    with np.errstate(over="ignore", invalid="ignore"):
        terms = error_terms(label[known], predicted[known], estimators.errors)
        sums = np.stack([np.bincount(place, weights=term, minlength=slots) for term in terms], axis=1)
    rows, scored = (np.bincount(own, minlength=slots) for own in (every, place))
    nothing = np.zeros((slots, 0, 4))
    return SegmentOutcomes(spec, rows, rows - scored, scored, sums.astype(np.float64), nothing, _NO_COUNTS, _NO_COUNTS)
