"""The profile of a model's predictions, and the reference that fixes every cell of it.

What lives here: which columns a model has, how an Arrow table becomes profiles. What must not: encodings, statistics,
files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DefectError, RecordError
from monitor.profiles.categorical import CategoricalProfile, reference_categories
from monitor.profiles.estimation import EstimatedClasses, EstimatedLosses
from monitor.profiles.lattice import Axis, Standardisation
from monitor.profiles.losses import LossLimits, loss_limits, row_losses
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import DELAYS, ClassificationSums, OutcomeProfile, RegressionSums
from monitor.profiles.outcome_builder import (
    Estimators,
    classification_outcomes,
    delays,
    estimated_classes,
    estimated_losses,
    fit_estimators,
    regression_outcomes,
)
from monitor.profiles.standardise import standardise
from monitor.records import FEATURE_PREFIX, ModelSchema

Floats = npt.NDArray[np.float64]
ColumnProfile = NumericProfile | CategoricalProfile
Source = Literal["column", "entropy", "confidence"]


@dataclass(frozen=True)
class ColumnSpec:
    """How one profiled column is made: from which log column, and on which cells.

    `source`: the column itself, or the entropy (nats) or top confidence of all probabilities. Exactly one of
    `standardisation` (numeric; of probabilities on the clipped logit) and `categories` is set.
    """

    name: str
    source: Source
    standardisation: Standardisation | None = None
    categories: tuple[str, ...] | None = None

    def empty(self) -> ColumnProfile:
        """The identity of merge for this column."""
        if self.standardisation is not None:
            return NumericProfile.empty(self.standardisation)
        return CategoricalProfile.empty(self.categories or ())


@dataclass(frozen=True, eq=False)
class Profile:
    """Mergeable summary of predictions: `rows`, and a profile per column present (by log column name).

    `estimated` holds what the reference's estimator expects of them, None where it has none.
    """

    reference: str
    rows: int
    columns: Mapping[str, ColumnProfile]
    estimated: EstimatedClasses | EstimatedLosses | None = None

    @classmethod
    def empty(cls, reference: Reference) -> Profile:
        """The identity of merge."""
        return cls(reference.identity, 0, {})

    def merge(self, other: Profile) -> Profile:
        """Profile of both; refuses (DefectError) a partner of another reference. A column may be in one only."""
        if other.reference != self.reference:
            raise DefectError(
                "profiles of different references cannot be merged", expected=self.reference, got=other.reference
            )
        columns = dict(self.columns)
        for name, column in other.columns.items():
            mine = columns.get(name)
            columns[name] = column if mine is None else mine.merge(column)  # type: ignore[arg-type]
        own, its = self.estimated, other.estimated
        estimated = its if own is None else own if its is None else own.merge(its)  # type: ignore[arg-type]
        return Profile(self.reference, self.rows + other.rows, columns, estimated)


@dataclass(frozen=True, eq=False)
class Reference:
    """The profile of labelled held-out data that fixes every cell and scale.

    `identity` is a SHA-256 over everything in it: profiles carry it, and merge with nothing else. `losses` has the
    quantiles of its own loss; None without labels (or in a file that is older than they are). `estimators` fix the
    cells of residuals and estimate performance without labels.
    """

    schema: ModelSchema
    columns: tuple[ColumnSpec, ...]
    profile: Profile
    outcome: OutcomeProfile | None
    identity: str = field(default="")
    losses: LossLimits | None = None
    estimators: Estimators = field(default_factory=Estimators)


def build_reference(schema: ModelSchema, table: pa.Table) -> Reference:
    """Reference of held-out rows: the columns of a prediction batch and, where known, `label`.

    Every numeric column gets its standardisation, every categorical one its categories from this table. Raises
    RecordError for an empty table.
    """
    if table.num_rows == 0:
        raise RecordError("a reference needs rows", where=f"model {schema.model!r}", expected="held-out data", got="0")
    columns = tuple(_specify(schema, table))
    estimators, labelled = Estimators(), None
    if "label" in table.column_names:
        labelled = table.filter(pc.is_valid(table.column("label")))
        own = tuple(spec.name for spec in columns if spec.source == "column")
        estimators = fit_estimators(schema, labelled, own)
    identity = _identity(schema, columns, table, estimators)
    draft = Reference(schema, columns, Profile(identity, 0, {}), None, identity, estimators=estimators)
    outcome, limits = None, None
    if labelled is not None:
        outcome = profile_outcomes(draft, labelled) if labelled.num_rows else None
        losses = row_losses(schema, labelled)
        limits = loss_limits(losses) if losses.size else None
    return replace(draft, profile=profile_inputs(draft, table), outcome=outcome, losses=limits)


def profile_inputs(reference: Reference, table: pa.Table) -> Profile:
    """Drift profile of prediction rows (repeats removed): every column of the reference that the table has."""
    columns: dict[str, ColumnProfile] = {}
    derived = _derived(reference.schema, table)
    for spec in reference.columns:
        if spec.standardisation is not None:
            found = _numeric(spec, table, derived)
            if found is not None:
                values, null = found
                columns[spec.name] = NumericProfile.build(values, spec.standardisation, null=null)
        elif spec.name in table.column_names:
            columns[spec.name] = CategoricalProfile.build(table.column(spec.name), spec.categories or ())
    return Profile(reference.identity, table.num_rows, columns, _estimated(reference, table))


def profile_outcomes(reference: Reference, table: pa.Table) -> OutcomeProfile:
    """Outcome profile of joined rows: `prediction`, `p_<class>`, `label`, and `event_time`/`label_time` for delays."""
    schema, identity, rows = reference.schema, reference.identity, table.num_rows
    if schema.task == "classification":
        sums, reconciled, unusable = classification_outcomes(schema, reference.estimators, table)
        return OutcomeProfile(identity, rows, unusable, sums, delays(table), reconciled)
    errors, losses, unusable = regression_outcomes(reference.estimators, table)
    return OutcomeProfile(identity, rows, unusable, errors, delays(table), losses)


def empty_outcome(reference: Reference) -> OutcomeProfile:
    """The identity of merge of outcomes."""
    schema = reference.schema
    sums: ClassificationSums | RegressionSums = (
        ClassificationSums.empty(len(schema.classes))
        if schema.task == "classification"
        else RegressionSums.empty(reference.estimators.errors)
    )
    return OutcomeProfile(reference.identity, 0, 0, sums, NumericProfile.empty(DELAYS))


def _estimated(reference: Reference, table: pa.Table) -> EstimatedClasses | EstimatedLosses | None:
    estimators = reference.estimators
    if estimators.calibrators is not None:
        return estimated_classes(reference.schema, estimators.calibrators, table)
    return None if estimators.losses is None else estimated_losses(estimators.losses, table)


def _specify(schema: ModelSchema, table: pa.Table) -> list[ColumnSpec]:
    derived = _derived(schema, table)
    specs: list[ColumnSpec] = []
    for name in table.column_names:
        if not (name.startswith(FEATURE_PREFIX) or name == "prediction" or name in schema.probability_columns):
            continue
        kind = table.schema.field(name).type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            specs.append(_numeric_spec(schema, name, "column", table, derived))
        else:
            specs.append(ColumnSpec(name, "column", categories=_categories(schema, name, table)))
    if schema.task == "classification" and derived is not None:
        specs += [_numeric_spec(schema, "entropy", "entropy", table, derived)]
        specs += [_numeric_spec(schema, "confidence", "confidence", table, derived)]
    return specs


def _categories(schema: ModelSchema, name: str, table: pa.Table) -> tuple[str, ...]:
    return schema.classes if name == "prediction" else reference_categories(table.column(name))


def _numeric_spec(
    schema: ModelSchema, name: str, source: Source, table: pa.Table, derived: Floats | None
) -> ColumnSpec:
    draft = ColumnSpec(name, source, Standardisation(0.0, 1.0))
    found = _numeric(draft, table, derived)
    values = np.empty(0) if found is None else found[0]
    # Near 0 and 1 is where a classifier's drift shows.
    axis: Axis = "logit" if name in schema.probability_columns else "value"
    return ColumnSpec(name, source, standardise(values, axis))


def _numeric(spec: ColumnSpec, table: pa.Table, derived: Floats | None) -> tuple[Floats, int] | None:
    """Values of a numeric column (nulls taken out) and its nulls; None where the table lacks it."""
    if spec.source in ("entropy", "confidence"):
        if derived is None:
            return None
        complete = np.isfinite(derived).all(axis=1)
        p = derived[complete]
        values = _entropy(p) if spec.source == "entropy" else p.max(axis=1, initial=0.0)
        return values, int((~complete).sum())
    if spec.name not in table.column_names:
        return None
    column = table.column(spec.name)
    null = column.null_count
    if null == len(column) and not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
        return np.empty(0), null
    present = column.drop_null() if null else column
    return np.asarray(present.to_numpy(), dtype=np.float64), null


def _entropy(p: Floats) -> Floats:
    return np.asarray(-np.sum(p * np.log(np.maximum(p, 1e-300)), axis=1), dtype=np.float64)


def _derived(schema: ModelSchema, table: pa.Table) -> Floats | None:
    names = schema.probability_columns
    if not names or any(name not in table.column_names for name in names):
        return None
    return _probabilities(schema, table)


def _probabilities(schema: ModelSchema, table: pa.Table) -> Floats:
    rows = np.full((table.num_rows, len(schema.classes)), np.nan)
    for position, name in enumerate(schema.probability_columns):
        if name in table.column_names:
            rows[:, position] = table.column(name).to_numpy()
    return rows


def _identity(schema: ModelSchema, columns: tuple[ColumnSpec, ...], table: pa.Table, estimators: Estimators) -> str:
    digest = hashlib.sha256(json.dumps([schema.model, schema.task, schema.classes], ensure_ascii=True).encode())
    digest.update(repr(columns).encode())
    digest.update(estimators.digest())
    sink = pa.BufferOutputStream()
    # One chunk and no metadata: the same rows give the same identity however they arrived.
    names = [*(spec.name for spec in columns), "label"]
    plain = table.select([name for name in names if name in table.column_names]).combine_chunks()
    with pa.ipc.new_stream(sink, plain.schema.remove_metadata()) as writer:
        writer.write_table(plain.replace_schema_metadata(None))
    digest.update(sink.getvalue())
    return digest.hexdigest()
