"""From spools to the prediction log: exactly once, with what cannot be kept set aside and counted.

What lives here: reading sealed segments, grouping frames by model, commits, removal of what is committed. What must
not: type agreement (`agreement`), HTTP, files of users, panes, the state database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import OperatorError, RecordError
from monitor.fault_points import fault_point
from monitor.log import spool
from monitor.log.agreement import alike, sift, widen
from monitor.log.delta import DeltaError
from monitor.log.tables import ModelLog, TableName, check_model_name
from monitor.records import Kind, describe

# How much of the spools is taken into one commit: bounds memory, and keeps files of the log large enough.
CHUNK_BYTES = 48 * 1024 * 1024

_TABLE: dict[Kind, TableName] = {"prediction": "predictions", "label": "labels"}
_KIND: dict[TableName, Kind] = {table: kind for kind, table in _TABLE.items()}


@dataclass
class Progress:
    """What one ingest run brought, by model. `newest` is the largest event time per spool writer (µs)."""

    rows: Counter[tuple[str, TableName]] = field(default_factory=Counter)
    rejected: Counter[tuple[str, str]] = field(default_factory=Counter)
    newest: dict[tuple[str, str], int] = field(default_factory=dict)
    segments: int = 0
    damaged_bytes: int = 0
    errors: list[str] = field(default_factory=list)


# (model, kind, reason, rows): keeps what the log cannot take.
SetAside = Callable[[str, Kind, str, pa.Table], None]
# By model, the largest event time (µs) that is taken.
FutureLimit = Callable[[str], int]


@dataclass(frozen=True)
class _Refused:
    model: str
    kind: Kind
    reason: str
    rows: pa.Table


@dataclass
class _Segment:
    writer: str
    number: int
    path: Path
    frames: dict[tuple[str, TableName], list[pa.RecordBatch]]
    damaged_bytes: int
    refused: list[_Refused]
    # When it was last written to (µs), by the clock of who captured it.
    written: int


def ingest(roots: Iterable[Path], log_url: str, *, future_limit: FutureLimit, set_aside: SetAside) -> Progress:
    """Move every sealed segment below `roots` into the log; safe to kill and repeat at any point.

    A segment is committed to each table it touches under (writer, number) and removed only after all of them hold it
    and what they could not take is set aside: exactly once in the log, at least once among the dead letters. Event
    times beyond `future_limit` are set aside and move nothing. A model whose table cannot be written (a full disk, say)
    is reported in `errors`, keeps its segments, and does not stop the others.
    """
    progress = Progress()
    stuck: set[str] = set()
    for root in roots:
        for chunk in _chunks(spool.sealed_segments(root)):
            _ingest_chunk(chunk, log_url, future_limit, set_aside, progress, stuck)
            # What Arrow keeps for the next time would add up with what the writer of the files needs.
            pa.default_memory_pool().release_unused()
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
    segments = [segment for item in found if item[0] not in stuck for segment in _read(*item, progress, stuck)]
    keys = sorted({key for segment in segments for key in segment.frames})
    for model, table in keys:
        touched = [segment for segment in segments if (model, table) in segment.frames and segment.writer not in stuck]
        try:
            _commit(model, table, touched, log_url, future_limit(model), progress)
        except (OSError, OperatorError, DeltaError, pa.ArrowException) as error:
            progress.errors.append(f"model {model}: {table} cannot be written: {error}")
            stuck |= {segment.writer for segment in touched}
    for segment in segments:
        if segment.writer not in stuck:
            _finish(segment, set_aside, progress, stuck)


def _read(writer: str, number: int, path: Path, progress: Progress, stuck: set[str]) -> Iterator[_Segment]:
    try:
        read, written = spool.read_segment(path), path.stat().st_mtime_ns // 1_000
    except OSError as error:
        progress.errors.append(f"segment {path.name} of {writer} cannot be read: {error}")
        stuck.add(writer)
        return
    frames: dict[tuple[str, TableName], list[pa.RecordBatch]] = {}
    refused: list[_Refused] = []
    for batch in read.batches:
        try:
            kind, schema = describe(batch.schema)
            model = check_model_name(schema.model)
        except (RecordError, OperatorError) as error:
            refused.append(_Refused("", "prediction", "unknown_batch", pa.Table.from_batches([batch])))
            progress.errors.append(f"segment {path.name} of {writer}: {error}")
            continue
        frames.setdefault((model, _TABLE[kind]), []).append(batch)
    if read.damage:
        progress.errors.append(f"segment {path.name} of {writer}: {read.damage}, {read.damaged_bytes} bytes lost")
    yield _Segment(writer, number, path, frames, read.damaged_bytes, refused, written)


def _finish(segment: _Segment, set_aside: SetAside, progress: Progress, stuck: set[str]) -> None:
    """Keep what was refused of a segment whose rows are all in the log, then remove it."""
    try:
        fault_point("ingest.removing")
        for refused in segment.refused:
            set_aside(refused.model, refused.kind, refused.reason, refused.rows)
        spool.remove_segment(segment.path)
        fault_point("ingest.removed")
    except OSError as error:
        progress.errors.append(f"segment {segment.path.name} of {segment.writer} cannot be finished: {error}")
        stuck.add(segment.writer)
        return
    for refused in segment.refused:
        progress.rejected[refused.model, refused.reason] += refused.rows.num_rows
    progress.segments += 1
    progress.damaged_bytes += segment.damaged_bytes


def _commit(
    model: str, table: TableName, segments: list[_Segment], log_url: str, future_limit: int, progress: Progress
) -> None:
    if not segments:
        return
    log = ModelLog(log_url, model)
    known = log.schema(table)
    parts: list[pa.Table] = []
    highest: dict[str, int] = {}
    newest: dict[str, int] = {}
    repeated = False
    for segment in segments:
        # What is refused is told from what is kept in the same way when a segment is met a second time, so that a kill
        # between the commit and the dead letters loses neither. What was in the future then may no longer be: whatever
        # is later than its capture is put among the dead letters, of which none is too many.
        again = segment.number <= log.committed(table, segment.writer)
        limit = min(future_limit, segment.written) if again else future_limit
        rows, known = _sifted(model, table, segment, known, limit)
        if again:
            repeated = True
            continue
        parts += rows
        highest[segment.writer] = max(segment.number, highest.get(segment.writer, -1))
        if table == "predictions" and rows:
            newest[segment.writer] = max(newest.get(segment.writer, 0), *(_newest(part) for part in rows))
    if repeated:
        log.sync(table)  # an earlier run may have failed after its commit and before this
    if not parts:
        return
    data = pa.concat_tables(parts, promote_options="default")
    if log.append(table, data, highest) is None:
        return
    fault_point("ingest.committed")
    progress.rows[model, table] += data.num_rows
    for writer, moment in newest.items():
        progress.newest[model, writer] = max(moment, progress.newest.get((model, writer), moment))


def _sifted(
    model: str, table: TableName, segment: _Segment, known: pa.Schema | None, future_limit: int
) -> tuple[list[pa.Table], pa.Schema | None]:
    """The rows of a segment that the table takes, and its schema after them; the rest is noted in `refused`."""
    parts: list[pa.Table] = []
    for rows in alike(segment.frames[model, table]):
        good, refused = sift(rows, table, known, future_limit)
        segment.refused += [_Refused(model, _KIND[table], item.reason, item.rows) for item in refused]
        if good.num_rows:
            parts.append(good)
            known = widen(known, good.schema)
    return parts, known


def _newest(rows: pa.Table) -> int:
    return int(pc.max(rows.column("event_time")).cast(pa.int64()).as_py())
