"""A chunk of outside columns becomes one Arrow batch of the log's schema and the rows that cannot be taken.

What lives here: what a prediction and a label need, put together from converted columns. What must not: single values
(`values`), names (`roles`), bytes and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.log import values
from monitor.log.rejection import Mask, Rejected, RejectReason, Sieve, mask_of, present, shorten
from monitor.log.roles import ColumnRoles, SourceRules, assign_roles
from monitor.records import EMBEDDING, EMBEDDING_DIMENSION_KEY, TIMESTAMP, Kind, label_schema, prediction_schema

# What a JSON value should be; a name may be written as a whole number.
Wanted = Literal["name", "text", "number", "flag"]
Floats = npt.NDArray[np.float64]

# Softmax in float32 misses 1 by up to 1e-6 per class or so; more is another thing than probabilities.
_SUM_TOLERANCE = 1e-3
_ROUNDING = 1e-6
_NAMES = frozenset({"prediction_id", "version", "request_id", "source", "model"})


@dataclass(frozen=True)
class Chunk:
    """Some rows as they came: Arrow columns by name, what was of no column's kind, and where each row was.

    `wrong`: by column, rows whose value had another type than the rest and was taken out. `textual`: everything is text
    (CSV), so that text may mean a number. `line` numbers a row as its producer would; `original` are its bytes.
    `metadata` is that of the columns, where the file has any.
    """

    columns: Mapping[str, pa.Array]
    rows: int
    line: Callable[[int], int]
    original: Callable[[int], bytes]
    wrong: Mapping[str, Mapping[int, object]] = field(default_factory=dict)
    textual: bool = False
    unit: str = "line"
    metadata: Mapping[str, Mapping[bytes, bytes] | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Parsed:
    """What came of some rows: a batch of the log's schema (None if no row was good), and the rows not taken.

    `model` is whose they are, empty where they name none. `bad_rows` are the places of `rejected` in the chunk.
    """

    batch: pa.RecordBatch | None
    rejected: list[Rejected]
    model: str = ""
    bad_rows: tuple[int, ...] = ()

    @property
    def accepted(self) -> int:
        """Rows in the batch."""
        return 0 if self.batch is None else int(self.batch.num_rows)


class Converter:
    """Converts the chunks of one source; remembers the types that its features showed first."""

    def __init__(self, kind: Kind, rules: SourceRules, *, now: int, where: str) -> None:
        self.kind = kind
        self.rules = rules
        self._now = now
        self._where = where
        self._features = dict(rules.features)
        self._dimension: int | None = None

    def roles(self, names: Sequence[str]) -> ColumnRoles:
        """What the columns are; raises RecordError where that cannot be told."""
        return assign_roles(names, self.kind, self.rules, self._where)

    def wanted(self, column: str) -> Wanted | None:
        """The kind that a column of differing JSON values should have; None where any will do."""
        roles = self.roles([column])
        if roles.features:
            known = self._features.get(next(iter(roles.features)))
            return (
                None
                if known is None
                else "number"
                if known == pa.float64()
                else "flag"
                if known == pa.bool_()
                else "text"
            )
        role = next(iter(roles.roles), "")
        if role in ("prediction", "label"):
            return "name" if self.rules.model.task == "classification" else "number"
        if roles.probabilities or role == "latency_seconds":
            return "number"
        return "name" if roles.segments or role in _NAMES else None

    def convert(self, chunk: Chunk) -> Parsed:
        """The good rows and the others. `now` (microseconds) is the time of labels that name none."""
        columns = self.roles(list(chunk.columns))
        sieve = Sieve(chunk.rows, line=chunk.line, unit=chunk.unit)
        self._refuse_wrong(chunk, columns, sieve)
        self._check_model(chunk, columns, sieve)
        if self.kind == "prediction":
            schema, arrays = self._predictions(chunk, columns, sieve)
        else:
            schema, arrays = label_schema(self.rules.model), self._labels(chunk, columns, sieve)
        rejected, bad_rows = sieve.rejected(chunk.original), tuple(np.flatnonzero(sieve.bad).tolist())
        if len(bad_rows) == chunk.rows:
            return Parsed(None, rejected, self.rules.model.model, bad_rows)
        good = pa.array(~sieve.bad)
        kept = [array.filter(good) for array in arrays] if bad_rows else arrays
        return Parsed(pa.RecordBatch.from_arrays(kept, schema=schema), rejected, self.rules.model.model, bad_rows)

    def _refuse_wrong(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> None:
        used = {*columns.roles.values(), *columns.probabilities.values()}
        used |= {*columns.segments.values(), *columns.features.values()}
        for name, rows in chunk.wrong.items():
            if name in used:
                mask = np.zeros(chunk.rows, dtype=bool)
                mask[list(rows)] = True
                expected = _kind_name(chunk.columns[name].type)
                got = [rows.get(index) for index in range(chunk.rows)]
                what, reason = "of the wrong type", RejectReason.WRONG_TYPE
                sieve.refuse(mask, reason, what, column=name, expected=expected, values=got)

    def _check_model(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> None:
        name = columns.roles.get("model")
        if name is None:
            return
        model = self.rules.model.model
        words = values.text(chunk.columns[name], name, sieve)
        other = mask_of(pc.not_equal(words, model))
        what, reason = "a record of another model", RejectReason.UNKNOWN_MODEL
        sieve.refuse(other, reason, what, column=name, expected=model, values=words)

    def _column(self, chunk: Chunk, columns: ColumnRoles, role: str) -> tuple[pa.Array, str]:
        name = columns.roles.get(role)
        return (pa.nulls(chunk.rows), role) if name is None else (chunk.columns[name], name)

    def _time(self, chunk: Chunk, columns: ColumnRoles, role: str, sieve: Sieve) -> pa.Array:
        array, name = self._column(chunk, columns, role)
        zone, unit = self.rules.timezone, self.rules.epoch_unit
        return values.times(array, name, sieve, timezone=zone, epoch_unit=unit, textual=chunk.textual)

    def _labels(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> list[pa.Array]:
        ids = values.identifiers(*self._column(chunk, columns, "prediction_id"), sieve)
        label = self._output(chunk, columns, "label", sieve)
        _require(label, "label", sieve)
        arrived = self._time(chunk, columns, "label_time", sieve)
        arrived = pc.fill_null(arrived, pa.scalar(self._now, pa.int64()).cast(TIMESTAMP))
        source = values.text(*self._column(chunk, columns, "source"), sieve)
        if self.rules.source is not None:
            source = pc.fill_null(source, self.rules.source)
        return [ids, label, arrived, source, self._time(chunk, columns, "event_time", sieve)]

    def _output(self, chunk: Chunk, columns: ColumnRoles, role: str, sieve: Sieve) -> pa.Array:
        array, name = self._column(chunk, columns, role)
        if self.rules.model.task == "classification":
            return values.classes(array, name, sieve, self.rules.model)
        return values.numbers(array, name, sieve, textual=chunk.textual, finite=True)

    def _predictions(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> tuple[pa.Schema, list[pa.Array]]:
        rules = self.rules
        ids = values.identifiers(*self._column(chunk, columns, "prediction_id"), sieve)
        version, name = self._column(chunk, columns, "version")
        if rules.version is not None:
            version = pc.fill_null(values.text(version, name, sieve), rules.version)
        version = values.required_text(version, "version", sieve)
        moment = self._time(chunk, columns, "event_time", sieve)
        _require(moment, "event_time", sieve)
        prediction = self._output(chunk, columns, "prediction", sieve)
        probabilities, likeliest = self._probabilities(chunk, columns, sieve)
        if likeliest is not None:
            prediction = pc.coalesce(prediction, likeliest)
        _require(prediction, "prediction", sieve)
        features = dict(self._feature_columns(chunk, columns, sieve))
        segments = [self._segment(chunk, columns, name, sieve) for name in rules.segments]
        embedding = self._embedding(chunk, columns, sieve)
        latency, name = self._column(chunk, columns, "latency_seconds")
        latency = values.numbers(latency, name, sieve, textual=chunk.textual)
        request = values.text(*self._column(chunk, columns, "request_id"), sieve)
        types = {name: array.type for name, array in features.items()}
        dimension = None if embedding is None else self._dimension
        schema = prediction_schema(rules.model, types, rules.segments, dimension)
        arrays = [ids, version, moment, prediction, *probabilities, *features.values(), *segments]
        return schema, [*arrays, *([] if embedding is None else [embedding]), latency, request]

    def _probabilities(
        self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve
    ) -> tuple[list[pa.Array], pa.Array | None]:
        classes = self.rules.model.classes
        if not columns.probabilities:
            return [pa.nulls(chunk.rows, pa.float64()) for _ in classes], None
        arrays = []
        for name in classes:
            column = columns.probabilities.get(name)
            array = pa.nulls(chunk.rows) if column is None else chunk.columns[column]
            arrays.append(values.numbers(array, column or f"p_{name}", sieve, textual=chunk.textual, finite=True))
        there = np.column_stack([present(array) for array in arrays])
        matrix = np.column_stack([array.fill_null(0.0).to_numpy(zero_copy_only=False) for array in arrays])
        given: Mask = np.asarray(there.any(axis=1))
        self._check_probabilities(matrix, there, given, sieve)
        matrix = np.clip(matrix, 0.0, 1.0)
        likeliest = pa.array(classes, pa.string()).take(pa.array(matrix.argmax(axis=1), mask=~given))
        return [pa.array(matrix[:, index], mask=~given) for index in range(len(classes))], likeliest

    def _check_probabilities(self, matrix: Floats, there: Mask, given: Mask, sieve: Sieve) -> None:
        reason, sums = RejectReason.BAD_PROBABILITIES, matrix.sum(axis=1)
        missing = given & ~there.all(axis=1)
        first = [self.rules.model.classes[index] for index in there.argmin(axis=1)] if missing.any() else None
        what, column = "a class has no probability", "probabilities"
        sieve.refuse(missing, reason, what, column=column, expected="one for every class", values=first)
        with np.errstate(invalid="ignore"):
            outside = given & ((matrix < -_ROUNDING) | (matrix > 1 + _ROUNDING)).any(axis=1)
            off = given & ~(np.abs(sums - 1) <= _SUM_TOLERANCE)
        worst = matrix[np.arange(len(matrix)), np.abs(matrix - 0.5).argmax(axis=1)].tolist() if outside.any() else None
        sieve.refuse(outside, reason, "not a probability", column=column, expected="from 0 to 1", values=worst)
        what, expected = "the probabilities do not add up", f"1 within {_SUM_TOLERANCE:g}"
        sieve.refuse(off, reason, what, column=column, expected=expected, values=sums.tolist())

    def _feature_columns(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> Iterator[tuple[str, pa.Array]]:
        for name, column in columns.features.items():
            array = chunk.columns[column]
            kind = self._features.get(name) or _feature_type(array, chunk.textual)
            if kind is None:
                if not pa.types.is_null(array.type):
                    there, expected = present(array), "a number, text or true/false"
                    what, reason = "not a feature", RejectReason.WRONG_TYPE
                    sieve.refuse(there, reason, what, column=column, expected=expected, values=array)
                continue  # a column without values says nothing, not even its type
            self._features[name] = kind
            yield name, _as_feature(array, kind, column, sieve, chunk.textual)

    def _segment(self, chunk: Chunk, columns: ColumnRoles, name: str, sieve: Sieve) -> pa.Array:
        column = columns.segments.get(name)
        array = pa.nulls(chunk.rows) if column is None else chunk.columns[column]
        if pa.types.is_boolean(array.type):
            array = array.cast(pa.string())
        return values.text(array, column or name, sieve)

    def _embedding(self, chunk: Chunk, columns: ColumnRoles, sieve: Sieve) -> pa.Array | None:
        name = columns.roles.get(EMBEDDING)
        if name is None or pa.types.is_null(chunk.columns[name].type):
            return None
        declared = (chunk.metadata.get(name) or {}).get(EMBEDDING_DIMENSION_KEY, b"")
        if self._dimension is None and declared.isdigit():
            self._dimension = int(declared)
        array, self._dimension = values.embeddings(chunk.columns[name], name, sieve, self._dimension)
        return array if self._dimension else None


def _require(array: pa.Array, column: str, sieve: Sieve) -> None:
    sieve.refuse(~present(array), RejectReason.MISSING_VALUE, "is missing", column=column)


def _feature_type(array: pa.Array, textual: bool) -> pa.DataType | None:
    """The type a feature is logged with; None for one without values, or of a type that is no feature."""
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_boolean(kind):
        return pa.bool_()
    if not pa.types.is_string(kind) or array.null_count == len(array):
        return None
    if textual:
        given = array.drop_null()
        for kind, parsed in ((pa.float64(), values.parsed_numbers(given)), (pa.bool_(), values.booleans(given))):
            if parsed.null_count == 0:
                return kind
    return pa.string()


def _as_feature(array: pa.Array, kind: pa.DataType, column: str, sieve: Sieve, textual: bool) -> pa.Array:
    if pa.types.is_null(array.type):
        return array.cast(kind)
    if pa.types.is_floating(kind):
        return values.numbers(array, column, sieve, textual=textual)
    if array.type == kind:
        return array
    parsed = values.booleans(array) if textual and pa.types.is_boolean(kind) else pa.nulls(len(array), kind)
    wrong, expected = present(array) & ~present(parsed), _kind_name(kind)
    what, reason = "of the wrong type", RejectReason.WRONG_TYPE
    sieve.refuse(wrong, reason, what, column=column, expected=expected, values=array)
    return parsed


def _kind_name(kind: pa.DataType) -> str:
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "true or false"
    if pa.types.is_null(kind):
        return "another type"
    return "a number" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else shorten(str(kind))
