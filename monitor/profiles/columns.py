"""The profiled columns of a model: what each is made from, and how the values of a batch reach their counts.

What lives here: the specification of a column, its choice from reference rows, tallies of all columns. What must not:
reading of files, threads, outcomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.profiles.arrow_values import ColumnKind, column_kind, numbers
from monitor.profiles.categorical import CategoricalProfile, CategoricalTally, reference_categories
from monitor.profiles.lattice import Axis, Standardisation
from monitor.profiles.numeric import NumericProfile, NumericTally
from monitor.profiles.standardise import standardise
from monitor.records import FEATURE_PREFIX, ModelSchema

Floats = npt.NDArray[np.float64]
Batch: TypeAlias = pa.RecordBatch | pa.Table
ColumnProfile = NumericProfile | CategoricalProfile
Source = Literal["column", "entropy", "confidence"]
Ends = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class ColumnSpec:
    """How one profiled column is made: from which log column, and on which cells.

    `source`: the column itself, or the entropy (nats) or top confidence of all probabilities. Exactly one of
    `standardisation` (numbers and times; probabilities on the clipped logit) and `categories` is set.
    """

    name: str
    source: Source
    standardisation: Standardisation | None = None
    categories: tuple[str, ...] | None = None
    kind: ColumnKind = "numeric"

    def empty(self) -> ColumnProfile:
        """The identity of merge for this column."""
        if self.standardisation is not None:
            return NumericProfile.empty(self.standardisation)
        return CategoricalProfile.empty(self.categories or ())


def specify_columns(schema: ModelSchema, table: pa.Table, ends: Ends | None = None) -> tuple[ColumnSpec, ...]:
    """Specifications from reference rows: of features, outputs, and what is derived from probabilities.

    `ends`: smallest and largest value by column name, where the rows are a sample. Columns of types that are neither
    numbers, times, text nor truth values are left out.
    """
    specs: list[ColumnSpec] = []
    for name in table.column_names:
        if not (name.startswith(FEATURE_PREFIX) or name == "prediction" or name in schema.probability_columns):
            continue
        kind = column_kind(table.schema.field(name).type)
        if name == "prediction" and schema.task == "classification":
            specs.append(ColumnSpec(name, "column", categories=schema.classes, kind="categorical"))
        elif kind in ("categorical", "boolean"):
            categories = reference_categories(table.column(name))
            specs.append(ColumnSpec(name, "column", categories=categories, kind=kind))
        elif kind is not None:
            # Near 0 and 1 is where a classifier's drift shows.
            axis: Axis = "logit" if name in schema.probability_columns else "value"
            found = numbers(table.column(name))
            values = np.empty(0) if found is None else found[0]
            specs.append(ColumnSpec(name, "column", standardise(values, axis, (ends or {}).get(name)), kind=kind))
    derived = uncertainty(schema, table)
    for source in ("entropy", "confidence"):
        if source in derived:
            specs.append(ColumnSpec(source, source, standardise(derived[source][0])))
    return tuple(specs)


class ColumnTallies:
    """Counts of all columns while batches arrive.

    A column that never came has none, so that its profile is absent and not empty; neither has one whose values are of
    a type that cannot be counted as what the reference has.
    """

    def __init__(self, schema: ModelSchema, specs: tuple[ColumnSpec, ...]) -> None:
        self._schema = schema
        self._specs = specs
        self._numeric: dict[str, NumericTally] = {}
        self._categorical: dict[str, CategoricalTally] = {}

    def add(self, batch: Batch) -> None:
        """Count the columns that the batch has."""
        present = set(batch.schema.names)
        derived = uncertainty(self._schema, batch) if any(spec.source != "column" for spec in self._specs) else {}
        for spec in self._specs:
            if spec.standardisation is not None:
                found = derived.get(spec.name)
                if spec.source == "column":
                    found = numbers(batch.column(spec.name)) if spec.name in present else None
                if found is not None:
                    self._tally(spec.name, spec.standardisation).add(found[0], null=found[1])
            elif spec.name in present:
                column = batch.column(spec.name)
                for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
                    self._categories(spec.name, spec.categories or ()).add(chunk)

    def _tally(self, name: str, standardisation: Standardisation) -> NumericTally:
        tally = self._numeric.get(name)
        if tally is None:
            tally = self._numeric[name] = NumericTally(standardisation)
        return tally

    def _categories(self, name: str, categories: tuple[str, ...]) -> CategoricalTally:
        tally = self._categorical.get(name)
        if tally is None:
            tally = self._categorical[name] = CategoricalTally(categories)
        return tally

    def profiles(self) -> dict[str, ColumnProfile]:
        """Profiles of the columns that came, by name."""
        tallies: dict[str, NumericTally | CategoricalTally] = {**self._numeric, **self._categorical}
        return {spec.name: tallies[spec.name].profile() for spec in self._specs if spec.name in tallies}


def uncertainty(schema: ModelSchema, batch: Batch) -> Mapping[str, tuple[Floats, int]]:
    """Entropy (nats) and top confidence of the rows whose probabilities are complete, and how many are not.

    Empty where the batch lacks a probability column or the model has none.
    """
    found = _uncertainty(schema, batch)
    if found is None:
        return {}
    entropy, confidence, complete = found
    missing = batch.num_rows - int(complete.sum())
    return {"entropy": (entropy, missing), "confidence": (confidence, missing)}


def row_uncertainty(schema: ModelSchema, batch: Batch) -> Mapping[str, Floats] | None:
    """As `uncertainty`, of every row: NaN where its probabilities are not complete."""
    found = _uncertainty(schema, batch)
    if found is None:
        return None
    every = {}
    for name, values in (("entropy", found[0]), ("confidence", found[1])):
        every[name] = np.full(batch.num_rows, np.nan)
        every[name][found[2]] = values
    return every


def _uncertainty(schema: ModelSchema, batch: Batch) -> tuple[Floats, Floats, npt.NDArray[np.bool_]] | None:
    """Entropy and top confidence of complete rows, and which rows these are."""
    names = schema.probability_columns
    if not names or any(name not in batch.schema.names for name in names):
        return None
    rows = np.empty((len(names), batch.num_rows))
    for position, name in enumerate(names):
        rows[position] = as_floats(batch.column(name))
    complete = np.isfinite(rows.sum(axis=0))
    if not complete.all():
        rows = rows[:, complete]
    entropy, confidence = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for p in rows:
        entropy -= p * np.log(np.maximum(p, 1e-300))
        np.maximum(confidence, p, out=confidence)
    return entropy, confidence, complete


def as_floats(column: pa.Array | pa.ChunkedArray) -> Floats:
    """float64 of every row; NaN for nulls and for what is no number."""
    if not column.null_count:
        found = numbers(column)
        return np.full(len(column), np.nan) if found is None else found[0]
    if numbers(column) is None or column.null_count == len(column):
        return np.full(len(column), np.nan)
    values = column.cast(pa.float64()) if not pa.types.is_floating(column.type) else column
    if isinstance(values, pa.ChunkedArray):
        return np.asarray(values.to_numpy(), dtype=np.float64)
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
