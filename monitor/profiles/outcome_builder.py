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
from monitor.records import ModelSchema

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Probabilities handled at a time: 640 kB of float64.
_STRETCH_VALUES = 80_000


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
        parts = list(_labelled_stretches(schema, table))
        if not parts:
            return Estimators()
        position, chosen = (np.concatenate([part[i] for part in parts]) for i in range(2))
        p = np.concatenate([part[2] for part in parts], axis=1)
        complete = np.isfinite(p[0])
        return Estimators(calibrators=Calibrators.fit(position[complete], chosen[complete], p[:, complete]))
    label, predicted, known = _regression(table)
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
    for label, predicted, p in _labelled_stretches(schema, table):
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
    classes = len(schema.classes)
    total = EstimatedClasses.empty(classes)
    predicted, known = class_index(table.column("prediction"), schema.classes)
    for part, rows in _stretches(schema, table):
        complete = known[part] & np.isfinite(rows[0])
        p, index = (rows, predicted[part]) if complete.all() else (rows[:, complete], predicted[part][complete])
        cells = ScoreCells.of(classes).cells(p)
        calibrated = calibrators.apply(index, p, cells)
        loss = expected_loss(calibrated, _log_loss(p))
        total = added(total, EstimatedClasses.build(index, calibrated, loss, cells))
    return total


def regression_outcomes(estimators: Estimators, table: pa.Table) -> tuple[RegressionSums, ReconciledLosses | None, int]:
    """Sums of labelled rows, what was estimated of them, and how many rows could not be scored."""
    label, predicted, known = _regression(table)
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
    """Profile of label_time − event_time in seconds; empty where the table lacks them."""
    if "label_time" not in table.column_names or "event_time" not in table.column_names:
        return NumericProfile.empty(DELAYS)
    micros = pc.subtract(table.column("label_time").cast(pa.int64()), table.column("event_time").cast(pa.int64()))
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

    A row that lacks any of them is NaN throughout. Columns are copied a stretch at a time, and never as a whole.
    """
    names = schema.probability_columns
    columns = [table.column(name) if name in table.column_names else None for name in names]
    size = max(_STRETCH_VALUES // len(names), 1_000)
    for start in range(0, table.num_rows, size):
        rows = np.empty((len(names), min(size, table.num_rows - start)))
        for position, column in enumerate(columns):
            rows[position] = np.nan if column is None else column.slice(start, size).to_numpy()
        incomplete = ~np.isfinite(rows.sum(axis=0))
        if incomplete.any():
            rows[:, incomplete] = np.nan
        yield slice(start, start + size), rows


def _labelled_stretches(schema: ModelSchema, table: pa.Table) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Label, predicted class and probabilities of the rows with a known label and any prediction."""
    label, _ = class_index(table.column("label"), schema.classes)
    predicted, given = class_index(table.column("prediction"), schema.classes)
    known = (label < len(schema.classes)) & given
    for part, p in _stretches(schema, table):
        rows = known[part]
        if rows.all():
            yield label[part], predicted[part], p
        else:
            yield label[part][rows], predicted[part][rows], p[:, rows]


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


def _regression(table: pa.Table) -> tuple[Floats, Floats, Mask]:
    label = np.asarray(table.column("label").to_numpy(), dtype=np.float64)
    predicted = np.asarray(table.column("prediction").to_numpy(), dtype=np.float64)
    return label, predicted, np.isfinite(label) & np.isfinite(predicted)
