"""JSON records, single, in a list or one a line, as chunks of columns.

What lives here: bytes to rows, rows to typed Arrow columns. What must not: what a column means, files, HTTP.

A record is an object; what lies in `features`, `segments` and `probabilities` may be nested (probabilities as an object
by class or a list in class order) or stand beside the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import pyarrow as pa

from monitor.errors import RecordError
from monitor.log.conversion import Chunk, Wanted
from monitor.log.rejection import Rejected, RejectReason, shorten
from monitor.log.roles import MOST_COLUMNS
from monitor.records import FEATURE_PREFIX, PROBABILITY_PREFIX, SEGMENT_PREFIX, ModelSchema

_NESTED = frozenset({"features", "segments", "probabilities"})
_NUMBERS: frozenset[type] = frozenset({int, float})
_TEXT: frozenset[type] = frozenset({str})
_KINDS_OF: Mapping[Wanted, frozenset[type]] = {
    "name": _TEXT,
    "text": _TEXT,
    "number": _NUMBERS,
    "flag": frozenset({bool}),
}
_ARROW_TYPES: tuple[tuple[frozenset[type], pa.DataType], ...] = (
    (_TEXT, pa.string()),
    (frozenset({bool}), pa.bool_()),
    (frozenset({int}), pa.int64()),
    (_NUMBERS, pa.float64()),
    (frozenset({list}), pa.list_(pa.float64())),
)


@dataclass(frozen=True)
class Row:
    """One record as it came, and the line (or place in the list) it came from, from 1."""

    record: dict[str, Any]
    line: int
    original: bytes | None = None

    @property
    def bytes(self) -> bytes:
        """The record's bytes, made again where it was part of a list."""
        return orjson.dumps(self.record) if self.original is None else self.original


def parse_lines(content: bytes, first_line: int = 1) -> tuple[list[Row], list[Rejected]]:
    """One object a line; empty lines are skipped, others that are no object are rejected."""
    rows, rejected = [], []
    for line, text in enumerate(content.split(b"\n"), first_line):
        if not text or text.isspace():
            continue
        try:
            record = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            rejected.append(_malformed(f"not JSON: {error.msg}", line, text))
            continue
        if isinstance(record, dict):
            rows.append(Row(record, line, text))
        else:
            rejected.append(_malformed(f"not a JSON object (got {shorten(record)})", line, text))
    return rows, rejected


def parse_json(content: bytes, where: str | None = None) -> tuple[list[Row], list[Rejected]]:
    """An object or a list of objects. Raises RecordError, which says `where` it came from, where it is neither."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        spot = f"line {error.lineno}, column {error.colno}"
        raise RecordError("not JSON", where=f"{where}, {spot}" if where else spot, got=error.msg) from error
    if not isinstance(value, dict | list):
        raise RecordError(
            "not a record", where=where, expected="a JSON object, or a list of objects", got=shorten(value)
        )
    rows, rejected = [], []
    for place, record in enumerate(value if isinstance(value, list) else [value], 1):
        if isinstance(record, dict):
            rows.append(Row(record, place))
        else:
            rejected.append(_malformed(f"not a JSON object (got {shorten(record)})", place, orjson.dumps(record)))
    return rows, rejected


def chunk_of(rows: Sequence[Row], model: ModelSchema, expected: Callable[[str], Wanted | None]) -> Chunk:
    """Columns of some rows. Raises RecordError where there are more columns than any model has.

    `expected` says which kind a column of differing values should have; None leaves it to what most of them are.
    """
    records = [_flat(row.record, model) for row in rows]
    names: dict[str, None] = {}
    for record in records:
        if not record.keys() <= names.keys():
            names.update(dict.fromkeys(record))
            if len(names) > MOST_COLUMNS:
                raise RecordError("too many columns", expected=f"at most {MOST_COLUMNS}", got=f"{len(names)} or more")
    columns, wrong = {}, {}
    for name in names:
        columns[name], odd = _column(name, [record.get(name) for record in records], expected)
        if odd:
            wrong[name] = odd
    return Chunk(columns, len(rows), lambda index: rows[index].line, lambda index: rows[index].bytes, wrong)


def _malformed(message: str, line: int, original: bytes) -> Rejected:
    return Rejected(RejectReason.MALFORMED, f"line {line}: {message}", line, original)


def shape_of(row: Row, model: ModelSchema) -> Hashable:
    """What must be equal for rows to be converted together as each would be alone: names, and kinds of values."""
    return tuple((name, _kind(value)) for name, value in _flat(row.record, model).items())


def _kind(value: Any) -> Hashable:
    if isinstance(value, list):
        return list, len(value)
    kind: type = type(value)
    # Beside a fraction a whole number becomes float64, which is exact up to here.
    return float if kind is int and abs(value) < 2**53 else kind


def _flat(record: dict[str, Any], model: ModelSchema) -> dict[str, Any]:
    if _NESTED.isdisjoint(record):
        return record
    flat = {name: value for name, value in record.items() if name not in _NESTED}
    for group, prefix in (("features", FEATURE_PREFIX), ("segments", SEGMENT_PREFIX)):
        nested = record.get(group)
        if isinstance(nested, dict):
            flat |= {prefix + name: value for name, value in nested.items()}
        elif nested is not None:
            flat[group] = nested  # some feature may be called so
    given = record.get("probabilities")
    if isinstance(given, dict):
        flat |= {PROBABILITY_PREFIX + name: value for name, value in given.items()}
    elif isinstance(given, list) and len(given) == len(model.classes):
        flat |= dict(zip(model.probability_columns, given, strict=True))
    elif given is not None:
        flat["probabilities"] = given
    return flat


def _column(
    name: str, values: list[Any], expected: Callable[[str], Wanted | None]
) -> tuple[pa.Array, Mapping[int, object]]:
    """An Arrow array of one type; values of another are taken out and returned by row."""
    kinds = set(map(type, values))
    kinds.discard(type(None))
    odd: dict[int, object] = {}
    if len(kinds) > 1 and not kinds <= _NUMBERS:
        wanted = expected(name)
        if wanted == "name":
            values = [str(value) if type(value) is int else value for value in values]
        known = _commonest(values) if wanted is None else _KINDS_OF[wanted]
        odd = {index: value for index, value in enumerate(values) if value is not None and type(value) not in known}
        values = [None if index in odd else value for index, value in enumerate(values)]
        kinds = set(map(type, values)) - {type(None)}
    return _typed(values, kinds), odd


def _commonest(values: Iterable[Any]) -> frozenset[type]:
    groups = (
        _NUMBERS if type(value) in _NUMBERS else frozenset({type(value)}) for value in values if value is not None
    )
    [(common, _)] = Counter(groups).most_common(1)
    return common


def _typed(values: list[Any], kinds: set[type]) -> pa.Array:
    if not kinds:
        return pa.nulls(len(values))
    target = next((target for known, target in _ARROW_TYPES if kinds <= known), None)
    if target is not None:
        try:
            return pa.array(values, target)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            if kinds <= _NUMBERS:  # a whole number that neither int64 nor float64 holds exactly
                return pa.array([None if value is None else float(value) for value in values], pa.float64())
    # An object where a value should be, or a list of such: its text, in a type that no role takes.
    return pa.array([None if value is None else orjson.dumps(value) for value in values], pa.large_binary())
