"""The local engine: reads panes out of the prediction log and looks predictions and labels up by id.

What lives here: pruned, bounded reads. What must not: which of repeats wins (`winners`), profiles' arithmetic, state,
clocks.
"""

from __future__ import annotations

import bisect
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.engines.freed import release_unused
from monitor.engines.hash_files import LEAST_ROWS, MOST_ROWS, keep_hashes, proposed_rows
from monitor.engines.identifiers import Hashes, Integers, hashes, one_array
from monitor.log.hash_places import hash_file
from monitor.log.tables import SEQUENCE, LogFile, ModelLog, TableName
from monitor.windows import MICROSECONDS

# Rows read at once when panes are rebuilt; a pane larger than this is still read whole.
CHUNK_ROWS = 400_000
# Files that are searched at once: each takes memory.
SEARCH_THREADS = min(os.cpu_count() or 1, 4)
_DISTINCT_TEXT = frozenset({"prediction_id", "request_id", "version"})


@dataclass(frozen=True)
class PaneRange:
    """Dirty panes of one version that are read together: their starts in order, within [start, end) (µs)."""

    version: str
    starts: tuple[int, ...]
    start: int
    end: int


def touched_panes(
    log: ModelLog, table: TableName, pane_seconds: float, *, after: int, until: int
) -> dict[str, dict[int, int]]:
    """Rows per (version, pane start) among the rows with ingest sequence in (after, until]."""
    touched: dict[str, dict[int, int]] = {}
    size = round(pane_seconds * MICROSECONDS)
    for batch in log.scan(table, ["version", "event_time"], after=after, until=until):
        if not batch.num_rows:
            continue
        starts = event_times(batch) // size * size
        versions = batch.column("version").dictionary_encode()
        codes = versions.indices.to_numpy(zero_copy_only=False)
        for code, version in enumerate(versions.dictionary.to_pylist()):
            panes, counts = np.unique(starts[codes == code], return_counts=True)
            known = touched.setdefault(version, {})
            for pane, count in zip(panes.tolist(), counts.tolist(), strict=True):
                known[pane] = known.get(pane, 0) + count
    return touched


def pane_ranges(version: str, starts: Iterable[int], pane_seconds: float, files: Sequence[LogFile]) -> list[PaneRange]:
    """Dirty panes grouped so that one read takes about CHUNK_ROWS rows, judged by the files' statistics.

    The rows of a file are taken to be spread evenly over its time.
    """
    size = round(pane_seconds * MICROSECONDS)
    ordered = sorted(starts)
    ranges: list[PaneRange] = []
    group: list[int] = []
    for start in ordered:
        if group and _rows_between(files, group[0], start + size) > CHUNK_ROWS:
            ranges.append(PaneRange(version, tuple(group), group[0], group[-1] + size))
            group = []
        group.append(start)
    if group:
        ranges.append(PaneRange(version, tuple(group), group[0], group[-1] + size))
    return ranges


def read_panes(
    log: ModelLog,
    table: TableName,
    wanted: PaneRange,
    pane_seconds: float,
    columns: Sequence[str] | None = None,
) -> Iterator[tuple[int, pa.Table]]:
    """(pane start, its rows) for every wanted pane, repeats still inside; an empty table where nothing is left.

    Text that usually repeats comes as dictionaries.
    """
    # What the range before took is not kept beside this one.
    release_unused()
    known = log.schema(table)
    numbered = set() if known is None else set(known.names) - _DISTINCT_TEXT
    data = log.read(table, columns, start=wanted.start, end=wanted.end, versions=[wanted.version], numbered=numbered)
    if data is None:
        empty = known.empty_table() if known is not None else pa.table({})
        for start in wanted.starts:
            yield start, empty
        return
    panes = event_times(data) // round(pane_seconds * MICROSECONDS) * round(pane_seconds * MICROSECONDS)
    if not np.all(panes[:-1] <= panes[1:]):
        order = np.argsort(panes, kind="stable")
        data, panes = data.take(pa.array(order)), panes[order]
    lows = np.searchsorted(panes, wanted.starts, side="left")
    highs = np.searchsorted(panes, wanted.starts, side="right")
    for start, low, high in zip(wanted.starts, lows.tolist(), highs.tolist(), strict=True):
        yield start, data.slice(low, high - low)


def find(
    log: ModelLog,
    table: TableName,
    identifiers: pa.Array,
    columns: Sequence[str],
    *,
    start: int | None = None,
    end: int | None = None,
    until: int | None = None,
) -> pa.Table | None:
    """Rows of `table` whose prediction_id is among `identifiers` (string array, no repeats); None if there are none.

    Files are pruned by time and by id range (time-ordered ids make that sharp); then the id column is read, and the
    other columns only of row groups that hold a hit. Of large files the hashes of the ids are kept when they are read
    first: from then on only row groups that may hold a hit are read at all.
    """
    if len(identifiers) == 0:
        return None
    ordered = sorted(identifiers.to_pylist())
    known = log.schema(table)
    if known is None:
        return None
    known = known.append(pa.field(SEQUENCE, pa.int64()))
    wanted = ["prediction_id", *(name for name in columns if name in known.names and name != "prediction_id")]
    names = wanted if until is None or SEQUENCE in wanted else [*wanted, SEQUENCE]
    hashed = np.sort(hashes(identifiers))

    def look_in(file: LogFile) -> pa.Table | None:
        kept = hash_file(log, table, file) if LEAST_ROWS <= file.rows <= MOST_ROWS else None
        rows = _find_in_file(file, identifiers, hashed, kept, names, known)
        if rows is not None and until is not None:
            rows = rows.filter(pc.less_equal(rows.column(SEQUENCE), until))
        return rows.select(wanted) if rows is not None and rows.num_rows else None

    candidates = [
        file
        for file in log.files(table, start=start, end=end)
        if _may_hold(file, ordered) and (until is None or file.sequence is None or file.sequence[0] <= until)
    ]
    with ThreadPoolExecutor(SEARCH_THREADS) as pool:
        found = [rows for rows in pool.map(look_in, candidates) if rows is not None]
    return pa.concat_tables(found) if found else None


def event_times(rows: pa.Table | pa.RecordBatch, column: str = "event_time") -> npt.NDArray[np.int64]:
    """A timestamp column as integer microseconds since the epoch."""
    values = rows.column(column).cast(pa.int64())
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.int64)


def _may_hold(file: LogFile, ordered: list[str]) -> bool:
    if file.identifiers is None:
        return True
    position = bisect.bisect_left(ordered, file.identifiers[0])
    return position < len(ordered) and ordered[position] <= file.identifiers[1]


def _find_in_file(
    file: LogFile, identifiers: pa.Array, hashed: Hashes, kept: Path | None, names: Sequence[str], known: pa.Schema
) -> pa.Table | None:
    proposed = None if kept is None else proposed_rows(kept, file.rows, hashed)
    if proposed is None:
        parts = list(_scanned(file, identifiers, kept, names, known))
    else:
        parts = list(_looked_up(file, identifiers, proposed, names, known)) if proposed.size else []
    return pa.concat_tables(parts) if parts else None


def _scanned(
    file: LogFile, identifiers: pa.Array, kept: Path | None, names: Sequence[str], known: pa.Schema
) -> Iterator[pa.Table]:
    """Every id is read, and its hash kept if there is a place for it."""
    parquet = open_file(file, known)
    others = [name for name in names if name != "prediction_id"]
    read: list[Hashes] = []
    for group in range(parquet.num_row_groups):
        ids = read_group(parquet, group, ["prediction_id"], known)
        if kept is not None:
            read.append(hashes(one_array(ids.column(0))))
        hits = pc.is_in(ids.column(0), value_set=identifiers)
        if pc.any(hits).as_py():
            columns = [ids.column(0), *read_group(parquet, group, others, known).columns]
            yield pa.table(columns, names=["prediction_id", *others]).filter(hits).select(names)
    if kept is not None:
        keep_hashes(kept, np.concatenate(read))


def _looked_up(
    file: LogFile, identifiers: pa.Array, rows: Integers, names: Sequence[str], known: pa.Schema
) -> Iterator[pa.Table]:
    """Of the proposed rows those that have one of the ids."""
    parquet = open_file(file, known)
    start = 0
    for group in range(parquet.num_row_groups):
        end = start + parquet.metadata.row_group(group).num_rows
        low, high = np.searchsorted(rows, (start, end)).tolist()
        if low < high:
            found = read_group(parquet, group, names, known).take(pa.array(rows[low:high] - start))
            yield found.filter(pc.is_in(found.column("prediction_id"), value_set=identifiers))
        start = end


def open_file(file: LogFile, known: pa.Schema) -> pq.ParquetFile:
    """A file of the log, of which text is read by number where `known` has a dictionary."""
    numbered = [item.name for item in known if pa.types.is_dictionary(item.type)]
    return pq.ParquetFile(file.uri, pre_buffer=False, memory_map="://" not in file.uri, read_dictionary=numbered)


def read_group(parquet: pq.ParquetFile, group: int, names: Sequence[str], known: pa.Schema) -> pa.Table:
    """One row group in the types of `known`; a column that the file lacks is null."""
    stored = set(parquet.schema_arrow.names)
    found = parquet.read_row_group(group, columns=[name for name in names if name in stored])
    rows = found.num_rows
    columns = [
        _typed(found.column(name), known.field(name).type) if name in stored else pa.nulls(rows, known.field(name).type)
        for name in names
    ]
    return pa.table(columns, names=list(names))


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    # A file that delta-rs rewrote says of itself that its text is of another Arrow type.
    if column.type == kind:
        return column
    return column.cast(kind.value_type).dictionary_encode() if pa.types.is_dictionary(kind) else column.cast(kind)


def _rows_between(files: Sequence[LogFile], start: int, end: int) -> float:
    return sum(file.rows * _share(file.time, start, end) for file in files)


def _share(time: tuple[int, int] | None, start: int, end: int) -> float:
    """How much of a file's time lies in [start, end)."""
    if time is None:
        return 1.0
    first, last = time
    return max(min(last + 1, end) - max(first, start), 0) / (last + 1 - first)
