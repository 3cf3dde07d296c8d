"""From Arrow tables to the sums of outcomes and of estimates, in stretches that stay in the processor's cache.

What lives here: how columns become class indices, probabilities and errors, and what the frozen estimators of a
reference are. What must not: the sums' arithmetic, cells' choice, statistics.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.profiles.calibrators import Calibrators
from monitor.profiles.columns import as_floats
from monitor.profiles.estimation import (
    EstimatedClasses,
    EstimatedLosses,
    ReconciledClasses,
    ReconciledLosses,
    expected_loss,
    of_class,
)
from monitor.profiles.loss_model import LossModel
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import DELAYS, ClassificationSums, ErrorCells, RegressionSums
from monitor.profiles.scores import PROBABILITY_FLOOR, Cells, ScoreCells
from monitor.profiles.sums import added
from monitor.records import TIMESTAMP, ModelSchema

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Probabilities handled at a time: 640 kB of float64.
_STRETCH_VALUES = 80_000
# Percentages, logits and scores are no probabilities; rounded ones are.
SUM_TOLERANCE = 0.1


@dataclass(frozen=True, eq=False)
class Estimators:
    """What a labelled reference froze for outcomes: its error cells, and the estimators where they could be fitted."""

    errors: ErrorCells = field(default_factory=ErrorCells)
    calibrators: Calibrators | None = None
    losses: LossModel | None = None

    def digest(self) -> bytes:
        """What tells these estimators from others: profiles of different ones must not merge."""
        digest = hashlib.sha256(repr(self.errors).encode())
        if self.calibrators is not None:
            digest.update(self.calibrators.steps.tobytes() + self.calibrators.top_steps.tobytes())
        if self.losses is not None:
            digest.update(self.losses.base.tobytes())
            for column in self.losses.columns:
                digest.update(f"{column.name} {column.edges} {column.categories}".encode() + column.effects.tobytes())
        return digest.digest()


def fit_estimators(schema: ModelSchema, table: pa.Table, columns: tuple[str, ...]) -> Estimators:
    """Estimators of a reference from its labelled rows; `columns` may be used to estimate a regression's losses."""
    if schema.task == "classification":
        parts = list(labelled_rows(schema, table))
        if not parts:
            return Estimators()
        position = np.concatenate([part.label for part in parts])
        chosen = np.concatenate([part.predicted for part in parts])
        p = np.concatenate([part.probabilities for part in parts], axis=1)
        complete = np.isfinite(p[0])
        return Estimators(calibrators=Calibrators.fit(position[complete], chosen[complete], p[:, complete]))
    label, predicted, known = regression_rows(table)
    usable = table.filter(pa.array(known))
    model = LossModel.fit(usable, columns, predicted[known] - label[known])
    return Estimators(ErrorCells.of(label[known], predicted[known]), losses=model)


def classification_outcomes(
    schema: ModelSchema, estimators: Estimators, table: pa.Table
) -> tuple[ClassificationSums, ReconciledClasses | None, int]:
    """Sums of labelled rows, what was estimated of them, and how many rows could not be scored."""
    classes = len(schema.classes)
    sums = ClassificationSums.empty(classes)
    calibrators = estimators.calibrators
    reconciled = None if calibrators is None else ReconciledClasses.empty(classes)
    for part in labelled_rows(schema, table):
        label, predicted, p = part.label, part.predicted, part.probabilities
        cells = ScoreCells.of(classes).cells(p)
        sums = added(sums, ClassificationSums.build(label, predicted, p, cells))
        if calibrators is not None and reconciled is not None:
            reconciled = added(reconciled, _reconciled(calibrators, label, predicted, p, cells))
    return sums, reconciled, table.num_rows - sums.rows


def estimated_classes(schema: ModelSchema, calibrators: Calibrators, table: pa.Table) -> EstimatedClasses | None:
    """What is expected of predictions without labels; None where the table lacks the output's columns."""
    names = schema.probability_columns
    if any(name not in table.column_names for name in ("prediction", *names)):
        return None
    total = EstimatedClasses.empty(len(schema.classes))
    for part in _calibrated(schema, calibrators, table):
        total = added(total, EstimatedClasses.build(part.predicted, part.calibrated, part.losses[0], part.cells))
    return total


@dataclass(frozen=True, eq=False)
class EstimatedRows:
    """What is expected of single predictions [n]: which `rows` of the table they are, and the terms of the sums.

    Of K classes: `predicted` int64 [n], `calibrated` float64 [K, n], `cells` of their scores, and the expected loss;
    of a regression the expected |e| and e², and no classes.
    """

    rows: slice | Integers
    predicted: Integers
    calibrated: Floats
    losses: tuple[Floats, ...]
    cells: Cells | None = None


def estimated_rows(schema: ModelSchema, estimators: Estimators, table: pa.Table) -> Iterator[EstimatedRows]:
    """What is expected of every prediction, in stretches; nothing without an estimator or its columns."""
    if estimators.calibrators is not None:
        if all(name in table.column_names for name in ("prediction", *schema.probability_columns)):
            yield from _calibrated(schema, estimators.calibrators, table)
        return
    model = estimators.losses
    if model is not None and all(column.name in table.column_names for column in model.columns):
        yield EstimatedRows(slice(None), np.empty(0, np.int64), np.empty((0, table.num_rows)), model.apply(table))


def _calibrated(schema: ModelSchema, calibrators: Calibrators, table: pa.Table) -> Iterator[EstimatedRows]:
    predicted, known = class_index(table.column("prediction"), schema.classes)
    for part, rows in _stretches(schema, table):
        complete = known[part] & np.isfinite(rows[0])
        where: slice | Integers = part
        p, index = rows, predicted[part]
        if not complete.all():
            where, p, index = part.start + np.flatnonzero(complete), rows[:, complete], index[complete]
        cells = ScoreCells.of(len(schema.classes)).cells(p)
        calibrated = calibrators.apply(index, p, cells)
        yield EstimatedRows(where, index, calibrated, (expected_loss(calibrated, _log_loss(p)),), cells)


def regression_outcomes(estimators: Estimators, table: pa.Table) -> tuple[RegressionSums, ReconciledLosses | None, int]:
    """Sums of labelled rows, what was estimated of them, and how many rows could not be scored."""
    label, predicted, known = regression_rows(table)
    model = estimators.losses
    reconciled = None
    if model is not None and all(column.name in table.column_names for column in model.columns):
        absolute, squared = model.apply(table.filter(pa.array(known)))
        with np.errstate(over="ignore", invalid="ignore"):
            reconciled = ReconciledLosses.build(absolute, squared, predicted[known] - label[known])
    sums = RegressionSums.build(label[known], predicted[known], estimators.errors)
    return sums, reconciled, int((~known).sum())


def estimated_losses(model: LossModel, table: pa.Table) -> EstimatedLosses:
    """What is expected of a regression's predictions without labels."""
    return EstimatedLosses.build(*model.apply(table))


def delays(table: pa.Table) -> NumericProfile:
    """Profile of label_time − event_time in seconds; empty where the table lacks them or they are no timestamps."""
    names = ("label_time", "event_time")
    if any(name not in table.column_names or not pa.types.is_timestamp(table.field(name).type) for name in names):
        return NumericProfile.empty(DELAYS)
    micros = pc.subtract(*(table.column(name).cast(TIMESTAMP, safe=False).cast(pa.int64()) for name in names))
    return NumericProfile.build(np.asarray(micros.to_numpy(), dtype=np.float64) / 1e6, DELAYS)


def class_index(column: pa.ChunkedArray, classes: tuple[str, ...]) -> tuple[Integers, Mask]:
    """Position of every value among the classes (their number where it is none of them) and whether it is known at all.

    A dictionary column is looked up once per dictionary entry.
    """
    encoded = column.combine_chunks() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    if isinstance(encoded, pa.ChunkedArray):  # an empty column has no chunk to combine
        return np.empty(0, np.int64), np.empty(0, bool)
    entries = pc.index_in(encoded.dictionary.cast(pa.string()), value_set=pa.array(classes, pa.string()))
    # One entry more for nulls: whatever it says, `known` rules it out.
    lookup = np.append(np.asarray(entries.fill_null(len(classes)).to_numpy(False), np.int64), len(classes))
    valid = np.asarray(encoded.indices.is_valid().to_numpy(False), dtype=bool)
    position = np.asarray(encoded.indices.fill_null(lookup.size - 1).to_numpy(False), dtype=np.int64)
    return lookup[position], valid


def _stretches(schema: ModelSchema, table: pa.Table) -> Iterator[tuple[slice, Floats]]:
    """Rows that are handled at a time, and their probabilities float64 [K, n].

    A row that lacks any of them, or whose numbers add up to something else, is NaN throughout. Columns are copied a
    stretch at a time, and never as a whole.
    """
    names = schema.probability_columns
    columns = [table.column(name) if name in table.column_names else None for name in names]
    size = max(_STRETCH_VALUES // len(names), 1_000)
    for start in range(0, table.num_rows, size):
        rows = np.empty((len(names), min(size, table.num_rows - start)))
        for position, column in enumerate(columns):
            rows[position] = np.nan if column is None else as_floats(column.slice(start, size))
        # NaN is incomplete, too.
        incomplete = ~(np.abs(rows.sum(axis=0) - 1) < SUM_TOLERANCE)
        if incomplete.any():
            rows[:, incomplete] = np.nan
        yield slice(start, start + size), rows


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Labelled predictions [n] that can be scored: which `rows` of the table, label and predicted class, [K, n] p."""

    rows: slice | Integers
    label: Integers
    predicted: Integers
    probabilities: Floats


def labelled_rows(schema: ModelSchema, table: pa.Table) -> Iterator[LabelledRows]:
    """The rows with the known label of a class and any prediction, in stretches."""
    label, _ = class_index(table.column("label"), schema.classes)
    predicted, given = class_index(table.column("prediction"), schema.classes)
    known = (label < len(schema.classes)) & given
    for part, p in _stretches(schema, table):
        rows = known[part]
        if rows.all():
            yield LabelledRows(part, label[part], predicted[part], p)
        else:
            where = part.start + np.flatnonzero(rows)
            yield LabelledRows(where, label[where], predicted[where], p[:, rows])


def _reconciled(
    calibrators: Calibrators, label: Integers, predicted: Integers, p: Floats, cells: Cells
) -> ReconciledClasses:
    complete = np.isfinite(p[0])
    if not complete.all():
        label, predicted, p, cells = label[complete], predicted[complete], p[:, complete], cells[:, complete]
    calibrated, log_loss = calibrators.apply(predicted, p, cells), _log_loss(p)
    expected = expected_loss(calibrated, log_loss)
    hit_gap = of_class(calibrated, predicted) - (label == predicted)
    loss_gap = expected - of_class(log_loss, label)
    estimated = EstimatedClasses.build(predicted, calibrated, expected, None)
    return ReconciledClasses(estimated, float(hit_gap @ hit_gap), float(loss_gap @ loss_gap))


def _log_loss(p: Floats) -> Floats:
    floored = np.maximum(p, PROBABILITY_FLOOR)
    np.log(floored, out=floored)
    return np.negative(floored, out=floored)


def regression_rows(table: pa.Table) -> tuple[Floats, Floats, Mask]:
    """Label and prediction of every row [n], and whether both are finite."""
    label, predicted = as_floats(table.column("label")), as_floats(table.column("prediction"))
    return label, predicted, np.isfinite(label) & np.isfinite(predicted)
