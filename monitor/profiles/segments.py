"""Segments: which values of a segment are told apart, and what the predictions of each add up to.

What lives here: the values that a segment keeps, the slot of every row, sums per slot of inputs, their build and merge.
What must not: outcomes, encodings, statistics, where values come from when the reference has none.

Every row is in exactly one slot of a segment: one of the values that are kept, `(other)`, or `(missing)` for nulls and
for rows of before there was such a column. Sums over the slots are therefore those of the whole, whatever came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.errors import DefectError
from monitor.profiles.categorical import category_counts, category_places
from monitor.profiles.columns import Batch
from monitor.profiles.estimation import MAXIMUM_DETAILED_CLASSES, EstimatedClasses, EstimatedLosses, of_class
from monitor.profiles.numeric import merge_counts
from monitor.profiles.outcome_builder import Estimators, estimated_rows
from monitor.profiles.segment_cells import SegmentCells
from monitor.profiles.sums import added
from monitor.records import SEGMENT_PREFIX, ModelSchema

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Values of a segment that are told apart, by frequency; rarer ones are `(other)`.
MAXIMUM_VALUES = 20
# What is written for the two slots that are no value; a value of this very name is counted with the others.
OTHER, MISSING = "(other)", "(missing)"


@dataclass(frozen=True)
class SegmentSpec:
    """A segment and the values that it keeps, in the order of their names."""

    name: str
    values: tuple[str, ...]

    @property
    def slots(self) -> tuple[str, ...]:
        """Names of all slots: the values, then `(other)`, then `(missing)`."""
        return (*self.values, OTHER, MISSING)

    def places(self, batch: Batch) -> Integers:
        """Slot of every row, int64 [n]."""
        column = SEGMENT_PREFIX + self.name
        if column not in batch.schema.names:
            return np.full(batch.num_rows, len(self.values) + 1, dtype=np.int64)
        return category_places(batch.column(column), self.values)


def kept_values(counts: Mapping[str, int], most: int = MAXIMUM_VALUES) -> tuple[str, ...]:
    """The most frequent values, ties by name, in the order of their names."""
    own = [(name, count) for name, count in counts.items() if count and name not in (OTHER, MISSING)]
    return tuple(sorted(name for name, _ in sorted(own, key=lambda item: (-item[1], item[0]))[:most]))


def specify_segments(table: pa.Table) -> tuple[SegmentSpec, ...]:
    """The segments of reference rows, by the name of the segment; each keeps its most frequent values.

    A segment that no row has a value of is left out: who has none must not hide those that others know.
    """
    names = sorted(name for name in table.column_names if name.startswith(SEGMENT_PREFIX))
    values = {name: kept_values(category_counts(table.column(name))) for name in names}
    return tuple(SegmentSpec(name.removeprefix(SEGMENT_PREFIX), own) for name, own in values.items() if own)


@dataclass(frozen=True, eq=False)
class SegmentEstimates:
    """What the reference's estimator expects of the rows of each slot.

    `rows` int64 [S]. Of K classes: `predicted` int64 [S, K + 1], `hits` and `mass` float64 [S, K], `sums` float64
    [S, 2] as in `EstimatedClasses`; of a regression K = 0 and `sums` [S, 4] are those of `EstimatedLosses`.
    """

    rows: Integers
    predicted: Integers
    hits: Floats
    mass: Floats
    sums: Floats

    def slot(self, place: int) -> EstimatedClasses | EstimatedLosses:
        """What is expected of one slot's rows; without histograms of scores."""
        rows, sums = int(self.rows[place]), self.sums[place].tolist()
        if not self.predicted.size:
            return EstimatedLosses(rows, *sums)
        loss, squares = sums
        scores = np.zeros((0, 0), np.int64)
        return EstimatedClasses(rows, self.predicted[place], self.hits[place], self.mass[place], loss, squares, scores)


@dataclass(frozen=True, eq=False)
class SegmentInputs:
    """Predictions of each slot of one segment.

    `rows` int64 [S]. `cells` int64, ascending, and `counts` int64: rows per slot and cell of the reference's columns,
    code = slot × all cells + cell. `estimated` is None where the reference has no estimator (or over 100 classes).
    """

    spec: SegmentSpec
    rows: Integers
    cells: Integers
    counts: Integers
    estimated: SegmentEstimates | None = None

    def merge(self, other: SegmentInputs) -> SegmentInputs:
        """Both sets of rows; refuses (DefectError) a partner that keeps other values."""
        check_same(self.spec, other.spec)
        cells, counts = merge_counts(self.cells, self.counts, other.cells, other.counts)  # type: ignore[arg-type]
        own, its = self.estimated, other.estimated
        estimated = its if own is None else own if its is None else added(own, its)
        return SegmentInputs(self.spec, self.rows + other.rows, cells, counts, estimated)  # type: ignore[arg-type]

    def dense(self, place: int, total: int) -> Integers:
        """Rows of one slot in all cells, int64 [total]."""
        low, high = np.searchsorted(self.cells, (place * total, (place + 1) * total))
        found = np.zeros(total, np.int64)
        found[self.cells[low:high] - place * total] = self.counts[low:high]
        return found


def profile_segments(
    specs: tuple[SegmentSpec, ...], cells: SegmentCells, estimators: Estimators, batch: Batch
) -> dict[str, SegmentInputs]:
    """Predictions of each slot of every segment, by the segment's name."""
    if not specs:
        return {}
    places = [spec.places(batch) for spec in specs]
    codes: list[list[Integers]] = [[] for _ in specs]
    counts: list[list[Integers]] = [[] for _ in specs]
    # Column by column, so that the cells of a large batch are not all in memory.
    for number, cell in cells.places(batch):
        size, offset = int(cells.sizes[number]), int(cells.offsets[number])
        for index, (spec, place) in enumerate(zip(specs, places, strict=True)):
            dense = np.bincount(place * size + cell, minlength=len(spec.slots) * size)
            filled = np.flatnonzero(dense)
            codes[index].append(filled // size * cells.total + offset + filled % size)
            counts[index].append(dense[filled])
    estimated = _estimates(specs, places, cells.schema, estimators, batch)
    found = {}
    for index, (spec, place) in enumerate(zip(specs, places, strict=True)):
        merged = np.concatenate((*codes[index], np.empty(0, np.int64)))
        order = np.argsort(merged, kind="stable")
        rows = np.bincount(place, minlength=len(spec.slots))
        counted = np.concatenate((*counts[index], np.empty(0, np.int64)))[order]
        found[spec.name] = SegmentInputs(spec, rows, merged[order], counted, estimated[index])
    return found


def check_same(mine: SegmentSpec, other: SegmentSpec) -> None:
    """Refuse (DefectError) to add up segments that tell other values apart."""
    if mine != other:
        raise DefectError(
            "segments with other values cannot be merged", expected=f"{mine.name}: {mine.values}", got=str(other.values)
        )


def _estimates(
    specs: tuple[SegmentSpec, ...], places: list[Integers], schema: ModelSchema, estimators: Estimators, batch: Batch
) -> list[SegmentEstimates | None]:
    if len(schema.classes) > MAXIMUM_DETAILED_CLASSES:
        return [None] * len(specs)
    table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
    total: list[SegmentEstimates | None] = [None] * len(specs)
    for part in estimated_rows(schema, estimators, table):
        for index, (spec, place) in enumerate(zip(specs, places, strict=True)):
            own = place[part.rows]
            made = _of_slots(own, len(spec.slots), len(schema.classes), part.predicted, part.calibrated, part.losses)
            before = total[index]
            total[index] = made if before is None else added(before, made)
    return total


def _of_slots(
    place: Integers, slots: int, classes: int, predicted: Integers, calibrated: Floats, losses: tuple[Floats, ...]
) -> SegmentEstimates:
    def summed(terms: Floats) -> Floats:
        return np.bincount(place, weights=terms, minlength=slots).astype(np.float64)

    sums = np.stack([summed(terms) for loss in losses for terms in (loss, loss * loss)], axis=1)
    rows = np.bincount(place, minlength=slots)
    if not classes:
        return SegmentEstimates(rows, np.zeros((slots, 0), np.int64), np.zeros((slots, 0)), np.zeros((slots, 0)), sums)
    code = place * (classes + 1) + predicted
    shape = (slots, classes + 1)
    hits = np.bincount(code, weights=of_class(calibrated, predicted), minlength=slots * (classes + 1)).reshape(shape)
    return SegmentEstimates(
        rows,
        np.bincount(code, minlength=slots * (classes + 1)).reshape(shape),
        hits[:, :classes].astype(np.float64),
        np.stack([summed(own) for own in calibrated], axis=1),
        sums,
    )
