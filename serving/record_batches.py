"""From the plain values of answered requests to Arrow batches: columns, privacy rules, bad records.

What lives here: which columns a model logs, which are left out or hashed, conversion of many records at once. What
must not: threads, clocks, files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.errors import OperatorError
from monitor.records import (
    EMBEDDING,
    FEATURE_PREFIX,
    PROBABILITY_PREFIX,
    SEGMENT_PREFIX,
    TIMESTAMP,
    ModelSchema,
    prediction_schema,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DIGEST_BYTES = 16
_SHORTEST_KEY = 16
# What converting a value of the wrong kind raises.
_UNCONVERTIBLE = (pa.ArrowException, ValueError, TypeError, AttributeError, LookupError, OverflowError)


class Record(NamedTuple):
    """One answer as the request thread hands it over; nothing in it is checked or copied yet.

    `event_time` is microseconds since 1970 or an aware datetime; `embedding` any float array [D].
    """

    prediction_id: str
    event_time: int | datetime
    prediction: str | float
    probabilities: Sequence[float] | npt.NDArray[np.float64] | None
    features: Mapping[str, Any] | None
    segments: Mapping[str, str | None] | None
    embedding: npt.NDArray[np.floating[Any]] | None
    latency_seconds: float | None
    request_id: str | None


@dataclass(frozen=True)
class RecordShape:
    """What one model version logs: `features` by name with their Arrow type, names of segments, embedding length."""

    model: ModelSchema
    version: str
    features: Mapping[str, pa.DataType]
    segments: tuple[str, ...] = ()
    embedding_dimension: int | None = None


@dataclass(frozen=True)
class Privacy:
    """What must not reach the spool as it is. Names are those of features and segments, or `request_id`.

    `exclude`d columns (also `embedding`, `latency_seconds`) are not written at all. `hashed` ones are replaced by a
    keyed BLAKE2b digest (32 hex digits); `key` is at least 16 bytes, since an unkeyed hash of an age or a postcode is
    undone by trying them all.
    """

    exclude: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()
    key: bytes | None = None


class BatchBuilder:
    """Turns records into Arrow batches of one schema (see `monitor.records`).

    Raises OperatorError at once if `privacy` names a column that does not exist or may not be touched, so that a slip
    of the pen does not write personal data.
    """

    def __init__(self, shape: RecordShape, privacy: Privacy | None = None) -> None:
        privacy = privacy or Privacy()
        self._shape = shape
        features = dict(shape.features)
        full = prediction_schema(shape.model, features, shape.segments, shape.embedding_dimension)
        left_out = _columns(privacy.exclude, "exclude", _excludable(shape))
        hashed = _columns(privacy.hashed, "hash", _hashable(shape)) - left_out
        self._hash = _hasher(privacy.key) if hashed else None
        fields = [_as_text(field) if field.name in hashed else field for field in full if field.name not in left_out]
        self.schema = pa.schema(fields, metadata=full.metadata)
        self._hashed = hashed
        # What Arrow loads when it is first used, it loads now: an interpreter that is ending no longer can.
        self._convert([Record("", 0, (*shape.model.classes, 0.0)[0], *[None] * 6)])

    def build(self, records: Sequence[Record]) -> tuple[pa.RecordBatch | None, list[str]]:
        """A batch of the records that can be converted, and the reason for each that cannot (its id stays unsaid)."""
        try:
            return self._convert(records), []
        except _UNCONVERTIBLE:
            return self._convert_one_by_one(records)

    def _convert_one_by_one(self, records: Sequence[Record]) -> tuple[pa.RecordBatch | None, list[str]]:
        good: list[pa.RecordBatch] = []
        refused: list[str] = []
        for record in records:
            try:
                good.append(self._convert([record]))
            except _UNCONVERTIBLE as error:
                refused.append(f"{type(error).__name__}: {error}")
        if not good:
            return None, refused
        table = pa.Table.from_batches(good, self.schema).combine_chunks()
        return table.to_batches()[0], refused

    def _convert(self, records: Sequence[Record]) -> pa.RecordBatch:
        columns = Record(*zip(*records, strict=True))  # type: ignore[arg-type]  # each field now holds a column
        classes = len(self._shape.model.classes)
        if any(row is not None and len(row) != classes for row in columns.probabilities):  # type: ignore[union-attr]
            raise ValueError(f"there are {classes} probabilities")
        arrays = [self._array(field, columns, len(records)) for field in self.schema]
        for field, array in zip(self.schema, arrays, strict=True):
            if array.null_count and not field.nullable:
                raise ValueError(f"{field.name} is missing")
        batch = pa.RecordBatch.from_arrays(arrays, schema=self.schema)
        batch.validate()
        return batch

    def _array(self, field: pa.Field, columns: Any, count: int) -> pa.Array:
        name = field.name
        if name == "version":
            return pa.repeat(pa.scalar(self._shape.version), count)
        if name == "event_time":
            return pa.array([_microseconds(time) for time in columns.event_time], pa.int64()).cast(TIMESTAMP)
        if name == EMBEDDING:
            return self._embeddings(columns.embedding, field)
        values = self._values(name, columns)
        if name in self._hashed and self._hash is not None:
            return pa.array([None if value is None else self._hash(value) for value in values], pa.string())
        return pa.array(values, field.type)

    def _values(self, name: str, columns: Any) -> Iterable[Any]:
        if name.startswith(FEATURE_PREFIX):
            return _from_mappings(columns.features, name.removeprefix(FEATURE_PREFIX))
        if name.startswith(SEGMENT_PREFIX):
            return _from_mappings(columns.segments, name.removeprefix(SEGMENT_PREFIX))
        if name.startswith(PROBABILITY_PREFIX):
            index = self._shape.model.classes.index(name.removeprefix(PROBABILITY_PREFIX))
            return [None if row is None else float(row[index]) for row in columns.probabilities]
        return getattr(columns, name)  # type: ignore[no-any-return]

    def _embeddings(self, rows: Sequence[Any], field: pa.Field) -> pa.Array:
        dimension = self._shape.embedding_dimension
        present = [row for row in rows if row is not None]
        if any(np.shape(row) != (dimension,) for row in present):
            raise ValueError(f"an embedding has {dimension} numbers")
        # float16 is what the log keeps; what lies beyond 65,504 becomes infinite, which profiles count on its own.
        with np.errstate(over="ignore"):
            packed = [np.asarray(row, dtype="<f2").tobytes() for row in present]
        remaining = iter(packed)
        return pa.array([None if row is None else next(remaining) for row in rows], field.type)


def _from_mappings(mappings: Iterable[Mapping[str, Any] | None], name: str) -> list[Any]:
    return [None if mapping is None else mapping.get(name) for mapping in mappings]


def _microseconds(time: int | datetime) -> int:
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError("an event time without a time zone")
        return (time - _EPOCH) // _MICROSECOND
    return time


def _hashable(shape: RecordShape) -> dict[str, set[str]]:
    """Log columns by the name a user knows them by; a feature and a segment may share one, and then both are meant."""
    columns = {"request_id": {"request_id"}}
    for prefix, names in ((FEATURE_PREFIX, shape.features), (SEGMENT_PREFIX, shape.segments)):
        for name in names:
            columns.setdefault(name, set()).add(prefix + name)
    return columns


def _excludable(shape: RecordShape) -> dict[str, set[str]]:
    columns = _hashable(shape) | {"latency_seconds": {"latency_seconds"}}
    return columns | ({EMBEDDING: {EMBEDDING}} if shape.embedding_dimension is not None else {})


def _columns(names: Sequence[str], setting: str, possible: Mapping[str, set[str]]) -> set[str]:
    unknown = [name for name in names if name not in possible]
    if unknown:
        raise OperatorError(
            f"no column that {setting} could apply to",
            where=f"columns: {setting}",
            expected=f"names among {', '.join(sorted(possible))}",
            got=", ".join(unknown),
        )
    return set().union(*(possible[name] for name in names))


def _as_text(field: pa.Field) -> pa.Field:
    return pa.field(field.name, pa.string(), field.nullable)


def _hasher(key: bytes | None) -> Callable[[Any], str]:
    if key is None or len(key) < _SHORTEST_KEY:
        raise OperatorError(
            "hashing a column needs a secret key, or its values can be found by trying them all",
            where="columns: hash",
            expected=f"a key of at least {_SHORTEST_KEY} bytes",
            got="none" if key is None else f"{len(key)} bytes",
            hint="Set TRUEUP_HASH_KEY in the server's environment.",
        )
    usable = hashlib.blake2b(key).digest()

    def digest(value: Any) -> str:
        return hashlib.blake2b(str(value).encode(), digest_size=_DIGEST_BYTES, key=usable).hexdigest()

    return digest
