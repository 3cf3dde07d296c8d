"""From spools to the prediction log: exactly once, with what cannot be kept set aside and counted.

What lives here: reading sealed segments, grouping frames by model, type agreement with the table, the future guard,
removal of what is committed. What must not: HTTP, files of users, panes, the state database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import OperatorError, RecordError
from monitor.log import spool
from monitor.log.tables import ModelLog, TableName, check_model_name, timestamp_scalar
from monitor.records import Kind, describe

# How much of the spools is taken into one commit: bounds memory, and keeps files of the log large enough.
CHUNK_BYTES = 96 * 1024 * 1024

_TABLE: dict[Kind, TableName] = {"prediction": "predictions", "label": "labels"}


@dataclass
class Progress:
    """What one ingest run brought, by model. `newest` is the largest event time per spool writer (µs)."""

    rows: Counter[tuple[str, TableName]] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    segments: int = 0
    damaged_bytes: int = 0
    errors: list[str] = field(default_factory=list)


# (model, reason, rows): keeps what the log cannot take.
SetAside = Callable[[str, str, pa.Table], None]
# By model, the largest event time (µs) that is taken.
FutureLimit = Callable[[str], int]


@dataclass
class _Segment:
    writer: str
    number: int
    path: Path
    frames: dict[tuple[str, TableName], list[pa.RecordBatch]]
    damaged_bytes: int


def ingest(roots: Iterable[Path], log_url: str, *, future_limit: FutureLimit, set_aside: SetAside) -> Progress:
    """Move every sealed segment below `roots` into the log; safe to kill and repeat at any point.

    A segment is committed to each table it touches under (writer, number) and removed only after all of them hold it.
    Event times beyond `future_limit` are set aside and move nothing. A model whose table cannot be written is
    reported in `errors`, keeps its segments, and does not stop the others.
    """
    progress = Progress()
    stuck: set[str] = set()
    for root in roots:
        for chunk in _chunks(spool.sealed_segments(root)):
            _ingest_chunk(chunk, log_url, future_limit, set_aside, progress, stuck)
    return progress


def _chunks(found: Iterator[tuple[str, int, Path]]) -> Iterator[list[tuple[str, int, Path]]]:
    chunk: list[tuple[str, int, Path]] = []
    size = 0
    for item in found:
        chunk.append(item)
        size += item[2].stat().st_size
        if size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _ingest_chunk(
    found: list[tuple[str, int, Path]],
    log_url: str,
    future_limit: FutureLimit,
    set_aside: SetAside,
    progress: Progress,
    stuck: set[str],
) -> None:
    # A writer whose earlier segment could not be committed must not have a later one committed: the transaction number
    # would step over the earlier one for good.
    segments = [_read(writer, number, path, progress) for writer, number, path in found if writer not in stuck]
    keys = sorted({key for segment in segments for key in segment.frames})
    for model, table in keys:
        try:
            _commit(model, table, segments, log_url, future_limit, set_aside, progress)
        except (OSError, OperatorError, pa.ArrowException) as error:
            progress.errors.append(f"model {model}: {table} cannot be written: {error}")
            stuck |= {segment.writer for segment in segments if (model, table) in segment.frames}
    for segment in segments:
        if segment.writer not in stuck:
            spool.remove_segment(segment.path)
            progress.segments += 1
            progress.damaged_bytes += segment.damaged_bytes


def _read(writer: str, number: int, path: Path, progress: Progress) -> _Segment:
    read = spool.read_segment(path)
    frames: dict[tuple[str, TableName], list[pa.RecordBatch]] = {}
    for batch in read.batches:
        try:
            kind, schema = describe(batch.schema)
            model = check_model_name(schema.model)
        except (RecordError, OperatorError) as error:
            progress.rejected["", "unknown_batch"] += batch.num_rows
            progress.errors.append(f"segment {path.name} of {writer}: {error}")
            continue
        frames.setdefault((model, _TABLE[kind]), []).append(batch)
    if read.damage:
        progress.errors.append(f"segment {path.name} of {writer}: {read.damage}, {read.damaged_bytes} bytes lost")
    return _Segment(writer, number, path, frames, read.damaged_bytes)


def _commit(
    model: str,
    table: TableName,
    segments: list[_Segment],
    log_url: str,
    future_limit: FutureLimit,
    set_aside: SetAside,
    progress: Progress,
) -> None:
    log = ModelLog(log_url, model)
    fresh = [
        segment
        for segment in segments
        if (model, table) in segment.frames and segment.number > log.committed(table, segment.writer)
    ]
    if not fresh:
        return
    known = log.schema(table)
    limit = future_limit(model)
    parts: list[pa.Table] = []
    for segment in fresh:
        for batch in segment.frames[model, table]:
            rows, refused = agree(pa.Table.from_batches([batch]), known)
            for reason, column in refused:
                set_aside(model, reason, column)
                progress.rejected[model, reason] += column.num_rows
            rows, early = _split_future(rows, limit)
            if early.num_rows:
                set_aside(model, "future_event_time", early)
                progress.rejected[model, "future_event_time"] += early.num_rows
            if rows.num_rows:
                parts.append(rows)
                known = _widen(known, rows.schema)
    highest: dict[str, int] = {}
    for segment in fresh:
        highest[segment.writer] = max(segment.number, highest.get(segment.writer, -1))
    if not parts:
        return
    data = pa.concat_tables(parts, promote_options="default")
    if log.append(table, data, highest) is None:
        return
    progress.rows[model, table] += data.num_rows
    if table == "predictions":
        _note_newest(model, fresh, limit, progress)


def _note_newest(model: str, segments: list[_Segment], future_limit: int, progress: Progress) -> None:
    limit = timestamp_scalar(future_limit)
    for segment in segments:
        for batch in segment.frames[model, "predictions"]:
            times = batch.column("event_time")
            newest = pc.max(times.filter(pc.less_equal(times, limit))).cast(pa.int64()).as_py()
            if newest is not None:
                key = (model, segment.writer)
                progress.newest[key] = max(newest, progress.newest.get(key, newest))


def agree(rows: pa.Table, known: pa.Schema | None) -> tuple[pa.Table, list[tuple[str, pa.Table]]]:
    """`rows` with every column in the table's type, and the columns that cannot be brought to it.

    Integers and floats become float64 features without asking; any other difference sets the column aside (with the
    ids it belongs to) and leaves it null in the log: a prediction is never lost over one of its features. A refused
    required column sets the whole rows aside.
    """
    refused: list[tuple[str, pa.Table]] = []
    known_types = {} if known is None else {item.name: item.type for item in known}
    for item in rows.schema:
        column = rows.column(item.name)
        target = known_types.get(item.name, _stored_type(item.type))
        if item.type == target:
            continue
        position = rows.schema.get_field_index(item.name)
        try:
            if not (pa.types.is_floating(target) and _is_number(item.type)) and not pa.types.is_null(item.type):
                raise pa.ArrowInvalid("the type changed")  # one way out for both refusals
            rows = rows.set_column(position, pa.field(item.name, target), column.cast(target))
        except pa.ArrowInvalid:
            refused.append(("column_type_changed", rows.select(["prediction_id", item.name])))
            rows = rows.set_column(position, pa.field(item.name, target), pa.nulls(rows.num_rows, target))
    return rows, refused


def _stored_type(kind: pa.DataType) -> pa.DataType:
    if _is_number(kind):
        return pa.float64()
    if pa.types.is_dictionary(kind) or pa.types.is_large_string(kind):
        return pa.string()
    return kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _split_future(rows: pa.Table, limit: int) -> tuple[pa.Table, pa.Table]:
    if "event_time" not in rows.column_names:
        return rows, rows.slice(0, 0)
    early = pc.fill_null(pc.greater(rows.column("event_time"), timestamp_scalar(limit)), False)
    if not pc.any(early).as_py():
        return rows, rows.slice(0, 0)
    return rows.filter(pc.invert(early)), rows.filter(early)


def _widen(known: pa.Schema | None, schema: pa.Schema) -> pa.Schema:
    if known is None:
        return schema.remove_metadata()
    names = set(known.names)
    return pa.schema([*known, *(item for item in schema if item.name not in names)])
