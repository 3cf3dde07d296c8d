"""The profile of a model's predictions, and the reference that fixes every cell of it.

What lives here: which columns a model has, how an Arrow table becomes profiles. What must not: encodings, statistics,
files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DefectError, RecordError
from monitor.profiles.columns import Batch, ColumnProfile, ColumnSpec, ColumnTallies, Ends, specify_columns
from monitor.profiles.embedding import EmbeddingProfile, profile_embedding
from monitor.profiles.embedding_fit import EmbeddingReference, fit_embedding
from monitor.profiles.estimation import EstimatedClasses, EstimatedLosses
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
from monitor.profiles.segment_cells import SegmentCells
from monitor.profiles.segment_outcomes import segment_outcomes
from monitor.profiles.segments import SegmentInputs, SegmentSpec, profile_segments, specify_segments
from monitor.profiles.sums import merged_by_name
from monitor.records import ModelSchema


@dataclass(frozen=True, eq=False)
class Profile:
    """Mergeable summary of predictions: `rows`, and a profile per column present (by log column name).

    `estimated` holds what the reference's estimator expects of them, None where it has none; `embedding` is of the
    embeddings, None where there are none. `segments`: the same predictions by the values of each segment.
    """

    reference: str
    rows: int
    columns: Mapping[str, ColumnProfile]
    estimated: EstimatedClasses | EstimatedLosses | None = None
    embedding: EmbeddingProfile | None = None
    segments: Mapping[str, SegmentInputs] = field(default_factory=dict)

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
        ours, theirs = self.embedding, other.embedding
        embedding = theirs if ours is None else ours if theirs is None else ours.merge(theirs)
        segments = merged_by_name(self.segments, other.segments)
        return Profile(self.reference, self.rows + other.rows, columns, estimated, embedding, segments)


@dataclass(frozen=True, eq=False)
class Reference:
    """The profile of labelled held-out data that fixes every cell and scale.

    `identity` is a SHA-256 over everything in it: profiles carry it, and merge with nothing else. `losses` has the
    quantiles of its own loss; None without labels (or in a file that is older than they are). `estimators` fix the
    cells of residuals and estimate performance without labels. `sampled_rows`: how many of its rows fixed cells and
    scales, None where all did. `embedding`: None where too few rows had one; its profile is of those of its rows that
    did not choose its space. `segments`: by which segments its rows, and those held against it, are told apart;
    `base`: its identity before others than its own were put in, else empty.
    """

    schema: ModelSchema
    columns: tuple[ColumnSpec, ...]
    profile: Profile
    outcome: OutcomeProfile | None
    identity: str = field(default="")
    losses: LossLimits | None = None
    estimators: Estimators = field(default_factory=Estimators)
    sampled_rows: int | None = None
    embedding: EmbeddingReference | None = None
    segments: tuple[SegmentSpec, ...] = ()
    base: str = ""

    @property
    def base_identity(self) -> str:
        """The identity that it has with the segments it was built with: of what is said of all rows together."""
        return self.base or self.identity

    @cached_property
    def segment_cells(self) -> SegmentCells:
        """The cells that are counted per segment."""
        return SegmentCells(self.schema, self.columns)


def build_reference(schema: ModelSchema, table: pa.Table) -> Reference:
    """Reference of held-out rows: the columns of a prediction batch and, where known, `label`.

    Every numeric column gets its standardisation, every categorical one its categories, every segment (`s_<name>`) its
    values from this table. Raises RecordError for an empty table.
    """
    draft = draft_reference(schema, table)
    labelled = table.filter(pc.is_valid(table.column("label"))) if "label" in table.column_names else None
    outcome = profile_outcomes(draft, labelled) if labelled is not None and labelled.num_rows else None
    return complete_reference(draft, profile_inputs(draft, table), outcome)


def draft_reference(
    schema: ModelSchema, table: pa.Table, *, sampled: bool = False, ends: Ends | None = None
) -> Reference:
    """A reference whose cells, estimators and loss limits are fixed by these rows, but that has counted none yet.

    `sampled`: the rows are a sample of the reference's, `ends` the smallest and largest value of all of them by column.
    Profiles made with the draft are for `complete_reference` alone. Raises RecordError for an empty table.
    """
    if table.num_rows == 0:
        raise RecordError("a reference needs rows", where=f"model {schema.model!r}", expected="held-out data", got="0")
    columns = specify_columns(schema, table, ends)
    estimators, limits = Estimators(), None
    if "label" in table.column_names and "prediction" in table.column_names:
        labelled = table.filter(pc.is_valid(table.column("label")))
        own = tuple(spec.name for spec in columns if spec.source == "column")
        estimators = fit_estimators(schema, labelled, own)
        losses = row_losses(schema, labelled)
        limits = loss_limits(losses) if np.isfinite(losses).any() else None
    space, embedded = fit_embedding(table, schema.model) or (None, None)
    counted = Profile("", 0, {}, embedding=embedded)
    cells_from = table.num_rows if sampled else None
    segments = specify_segments(table)
    return Reference(schema, columns, counted, None, "", limits, estimators, cells_from, space, segments)


def complete_reference(draft: Reference, profile: Profile, outcome: OutcomeProfile | None) -> Reference:
    """The reference of a draft and of what was counted with it."""
    identity = _identity(draft, profile, outcome)
    named = None if outcome is None else replace(outcome, reference=identity)
    # The draft's rows that chose the space of the embedding must not be counted in it.
    profile = replace(profile, reference=identity, embedding=draft.profile.embedding)
    return replace(draft, identity=identity, profile=profile, outcome=named)


def with_segments(reference: Reference, segments: tuple[SegmentSpec, ...]) -> Reference:
    """The same reference with its rows told apart by these segments only.

    It has counts of its own of those that it was built with. Its identity is another one, since profiles that are told
    apart otherwise do not merge with its own.
    """
    if segments == reference.segments:
        return reference
    identity = hashlib.sha256(f"{reference.identity} {_segments_text(segments)}".encode()).hexdigest()
    own = {spec.name for spec in segments if spec in reference.segments}
    profile, outcome = reference.profile, reference.outcome
    inputs = {name: found for name, found in profile.segments.items() if name in own}
    profile = replace(profile, reference=identity, segments=inputs)
    if outcome is not None:
        outcomes = {name: found for name, found in outcome.segments.items() if name in own}
        outcome = replace(outcome, reference=identity, segments=outcomes)
    return replace(
        reference, identity=identity, profile=profile, outcome=outcome, segments=segments, base=reference.base_identity
    )


def profile_inputs(reference: Reference, table: pa.Table) -> Profile:
    """Drift profile of prediction rows (repeats removed): every column of the reference that the table has."""
    builder = ProfileBuilder(reference)
    builder.add(table)
    return builder.profile()


class ProfileBuilder:
    """A drift profile that is built batch by batch, in memory that does not grow with the rows.

    Not safe for several threads: each has its own, and their profiles are merged.
    """

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._columns = ColumnTallies(reference.schema, reference.columns)
        self._rest = Profile.empty(reference)

    def add(self, batch: Batch) -> None:
        """Count a batch of prediction rows."""
        table = batch if isinstance(batch, pa.Table) else pa.Table.from_batches([batch])
        self._columns.add(batch)
        estimated = _estimated(self._reference, table)
        embedding = None
        # What a draft says of the embedding was counted when its space was chosen.
        if self._reference.identity:
            space = None if self._reference.embedding is None else self._reference.embedding.space
            embedding = profile_embedding(table, space)
        own = self._reference
        segments = profile_segments(own.segments, own.segment_cells, own.estimators, batch) if own.segments else {}
        self._rest = self._rest.merge(Profile(own.identity, batch.num_rows, {}, estimated, embedding, segments))

    def profile(self) -> Profile:
        """The profile of everything added so far."""
        return replace(self._rest, columns=self._columns.profiles())


def profile_outcomes(reference: Reference, table: pa.Table) -> OutcomeProfile:
    """Outcome profile of joined rows: `prediction`, `p_<class>`, `label`, and `event_time`/`label_time` for delays."""
    schema, identity, rows = reference.schema, reference.identity, table.num_rows
    segments = segment_outcomes(reference.segments, schema, reference.estimators, table)
    if schema.task == "classification":
        sums, reconciled, unusable = classification_outcomes(schema, reference.estimators, table)
        return OutcomeProfile(identity, rows, unusable, sums, delays(table), reconciled, segments)
    errors, losses, unusable = regression_outcomes(reference.estimators, table)
    return OutcomeProfile(identity, rows, unusable, errors, delays(table), losses, segments)


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
    model = estimators.losses
    if model is None or any(column.name not in table.column_names for column in model.columns):
        return None
    return estimated_losses(model, table)


def _identity(draft: Reference, profile: Profile, outcome: OutcomeProfile | None) -> str:
    """SHA-256 of what the reference fixes and of its integer counts: equal however the rows were split and ordered."""
    schema = draft.schema
    digest = hashlib.sha256(json.dumps([schema.model, schema.task, schema.classes], ensure_ascii=True).encode())
    digest.update(repr(draft.columns).encode())
    digest.update(draft.estimators.digest())
    digest.update(repr((profile.rows, draft.losses)).encode())
    if draft.profile.embedding is not None:
        digest.update(draft.profile.embedding.digest())
    for name, column in sorted(profile.columns.items()):
        digest.update(f"{name} {column.rows} {column.missing}".encode())
        digest.update(np.ascontiguousarray(column.counts, dtype="<i8").tobytes())
    if outcome is not None:
        digest.update(f"{outcome.rows} {outcome.unusable}".encode())
        if isinstance(outcome.sums, ClassificationSums):
            digest.update(np.ascontiguousarray(outcome.sums.classes, dtype="<i8").tobytes())
    if draft.segments:
        digest.update(_segments_text(draft.segments).encode())
        for _, inputs in sorted(profile.segments.items()):
            digest.update(b"".join(part.astype("<i8").tobytes() for part in (inputs.rows, inputs.cells, inputs.counts)))
        for _, found in sorted(outcome.segments.items() if outcome else ()):
            digest.update(b"".join(part.astype("<i8").tobytes() for part in (found.rows, found.cells, found.counts)))
    return digest.hexdigest()


def _segments_text(segments: tuple[SegmentSpec, ...]) -> str:
    return json.dumps([[spec.name, spec.values] for spec in segments], ensure_ascii=True)
