"""Rows of a spool in the types of the table they go to, and what of them cannot be brought there.

What lives here: type agreement, required values, the future guard; values in, values out. What must not: segments,
commits, dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from monitor.log.tables import TableName, timestamp_scalar
from monitor.records import FEATURE_PREFIX, SEGMENT_PREFIX, TIMESTAMP

# Without these a row cannot be found, dated or scored.
_REQUIRED: dict[TableName, tuple[str, ...]] = {
    "predictions": ("prediction_id", "version", "event_time", "prediction"),
    "labels": ("prediction_id", "label", "label_time"),
}
# What a column is before the table has said it.
_FIXED: dict[str, pa.DataType] = {
    "prediction_id": pa.string(),
    "version": pa.string(),
    "event_time": TIMESTAMP,
    "label_time": TIMESTAMP,
}


@dataclass(frozen=True)
class Refusal:
    """Rows, or one column of them with the ids it belongs to, that the table does not take; a reason of `rejection`."""

    reason: str
    rows: pa.Table


def alike(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """The batches as tables, neighbours of one schema together: what follows costs per table, not per row."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        if group and not group[0].schema.equals(batch.schema):
            yield pa.Table.from_batches(group)
            group = []
        group.append(batch)
    if group:
        yield pa.Table.from_batches(group)


def sift(
    rows: pa.Table, table: TableName, known: pa.Schema | None, future_limit: int
) -> tuple[pa.Table, list[Refusal]]:
    """The rows that the table takes, in its types, and what it does not take.

    A row without a required value, or with an event time after `future_limit` (µs), is refused as a whole.
    """
    required = list(_REQUIRED[table])
    if any(name not in rows.column_names for name in required):
        return rows.slice(0, 0), [Refusal("missing_value", rows)]
    checked, refused = agree(rows.select(required), known)
    if refused:
        return rows.slice(0, 0), [Refusal("column_type_changed", rows)]
    if checked.num_columns < len(required):
        return rows.slice(0, 0), [Refusal("missing_value", rows)]
    rejected: list[Refusal] = []
    bad = _any_of(pc.is_null(column) for column in checked.columns if column.null_count)
    if bad is not None:
        rejected.append(Refusal("missing_value", rows.filter(bad)))
    if table == "predictions":
        early = pc.fill_null(pc.greater(checked.column("event_time"), timestamp_scalar(future_limit)), False)
        if pc.any(early).as_py():
            early = early if bad is None else pc.and_not(early, bad)
            rejected.append(Refusal("future_event_time", rows.filter(early)))
            bad = early if bad is None else pc.or_(bad, early)
    good, refused = agree(rows if bad is None else rows.filter(pc.invert(bad)), known)
    return good, [item for item in (*rejected, *refused) if item.rows.num_rows]


def agree(rows: pa.Table, known: pa.Schema | None) -> tuple[pa.Table, list[Refusal]]:
    """`rows` with every column in the table's type, and the columns that cannot be brought to it.

    Numbers become float64 and dictionaries text without asking; any other difference sets the column aside (with the
    ids it belongs to) and leaves it null in the log: a prediction is never lost over one of its features. A column
    without a single value says nothing and is left out where the table does not have it.
    """
    refused: list[Refusal] = []
    types = _FIXED | ({} if known is None else {item.name: item.type for item in known})
    for item in rows.schema:
        column = rows.column(item.name)
        target = types.get(item.name, _stored_type(item.type))
        if item.type == target and (item.name in types or _may_be_new(item)):
            continue
        position = rows.schema.get_field_index(item.name)
        if pa.types.is_null(target) or (item.name not in types and not _may_be_new(item)):
            if column.null_count < len(column):
                refused.append(_column(rows, item.name, "wrong_type"))
            rows = rows.remove_column(position)
            continue
        if pa.types.is_null(item.type) or _stored_type(item.type) == target:
            converted = column.cast(target, safe=False)
        else:
            refused.append(_column(rows, item.name, "column_type_changed"))
            converted = pa.nulls(rows.num_rows, target)
        rows = rows.set_column(position, pa.field(item.name, target, metadata=item.metadata), converted)
    return rows, refused


def widen(known: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    """The table's schema after rows of `schema` were added."""
    if known is None:
        return schema.remove_metadata()
    names = set(known.names)
    return pa.schema([*known, *(item for item in schema if item.name not in names)])


def _column(rows: pa.Table, name: str, reason: str) -> Refusal:
    """The values there are of one column; the ids alone where the ids themselves are meant."""
    there = rows if rows.column(name).null_count == 0 else rows.filter(pc.is_valid(rows.column(name)))
    return Refusal(reason, there.select(["prediction_id", name] if name != "prediction_id" else [name]))


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return pa.float64()
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return TIMESTAMP
    return pa.binary() if pa.types.is_large_binary(kind) else kind


def _may_be_new(item: pa.Field) -> bool:
    """Whether a column that the table does not have may be added: features and segments have few types."""
    if not item.name.startswith((FEATURE_PREFIX, SEGMENT_PREFIX)):
        return True
    return _stored_type(item.type) in (pa.float64(), pa.string(), pa.bool_())


def _any_of(masks: Iterable[pa.ChunkedArray]) -> pa.ChunkedArray | None:
    found: pa.ChunkedArray | None = None
    for mask in masks:
        found = mask if found is None else pc.or_(found, mask)
    return found
