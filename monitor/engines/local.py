"""The local engine: reads panes out of the prediction log and looks predictions and labels up by id.

What lives here: pruned, bounded reads and the removal of repeats. What must not: profiles' arithmetic, state, clocks.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.log.tables import BOOKKEEPING, SEQUENCE, LogFile, ModelLog, TableName
from monitor.records import FEATURE_PREFIX, PROBABILITY_PREFIX
from monitor.windows import MICROSECONDS

# Rows read at once when panes are rebuilt; a pane larger than this is still read whole.
CHUNK_ROWS = 400_000


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
    """Dirty panes grouped so that one read takes about CHUNK_ROWS rows, judged by the files' statistics."""
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
    columns: Sequence[str] | None,
) -> Iterator[tuple[int, pa.Table]]:
    """(pane start, its rows) for every wanted pane, repeats still inside; an empty table where nothing is left."""
    data = log.read(table, columns, start=wanted.start, end=wanted.end, versions=[wanted.version])
    if data is None:
        schema = log.schema(table)
        empty = schema.empty_table() if schema is not None else pa.table({})
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


def unique_predictions(rows: pa.Table, superseded: dict[str, int] | None = None) -> pa.Table:
    """One row per prediction id: the smallest (event_time, hash of output, hash of all); losers elsewhere are dropped.

    `rows` are of one version, in any order. `superseded` holds the winning event time (µs) of ids repeated in other
    panes.
    """
    rows = drop_superseded(rows, superseded)
    split = split_repeats(rows)
    if split is None:
        return rows
    codes, positions = split
    subset = rows.take(pa.array(positions))
    ranks = zip(
        event_times(subset).tolist(),
        content_hashes(subset, _output_columns(subset)),
        content_hashes(subset, subset.column_names),
        strict=True,
    )
    best: dict[int, tuple[tuple[int, bytes, bytes], int]] = {}
    for rank, position in zip(ranks, positions.tolist(), strict=True):
        code = int(codes[position])
        if code not in best or rank < best[code][0]:
            best[code] = (rank, position)
    return _keep(rows, positions, [position for _, position in best.values()])


def unique_outcomes(rows: pa.Table, superseded: dict[str, int] | None = None) -> pa.Table:
    """One row per prediction id of matched rows: the winning prediction with its newest label.

    The prediction is chosen as `unique_predictions` does (event time, hash of output, hash of what else there is), then
    the label with the largest (label_time, hash of label).
    """
    rows = drop_superseded(rows, superseded)
    split = split_repeats(rows)
    if split is None:
        return rows
    codes, positions = split
    subset = rows.take(pa.array(positions))
    inputs = [name for name in rows.column_names if name.startswith(FEATURE_PREFIX)]
    predictions = zip(
        event_times(subset).tolist(),
        content_hashes(subset, _output_columns(subset)),
        content_hashes(subset, inputs) if inputs else [b""] * subset.num_rows,
        strict=True,
    )
    labels = zip(event_times(subset, "label_time").tolist(), content_hashes(subset, ["label"]), strict=True)
    best: dict[int, tuple[tuple[int, bytes, bytes], tuple[int, bytes], int]] = {}
    for prediction, label, position in zip(predictions, labels, positions.tolist(), strict=True):
        known = best.get(int(codes[position]))
        if known is None or prediction < known[0] or (prediction == known[0] and label > known[1]):
            best[int(codes[position])] = (prediction, label, position)
    return _keep(rows, positions, [position for _, _, position in best.values()])


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

    Files are pruned by time and by id range (time-ordered ids make that sharp); then the id column is read once, and
    the other columns only of row groups that hold a hit.
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
    found: list[pa.Table] = []
    for file in log.files(table, start=start, end=end):
        if not _may_hold(file, ordered):
            continue
        if until is not None and file.sequence is not None and file.sequence[0] > until:
            continue
        rows = _find_in_file(file, identifiers, names, known)
        if rows is not None and until is not None:
            rows = rows.filter(pc.less_equal(rows.column(SEQUENCE), until))
        if rows is not None and rows.num_rows:
            found.append(rows.select(wanted))
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


def _find_in_file(file: LogFile, identifiers: pa.Array, names: Sequence[str], known: pa.Schema) -> pa.Table | None:
    parquet = pq.ParquetFile(file.uri, pre_buffer=False)
    # A file that delta-rs rewrote says of itself that its text is of another Arrow type.
    ids = parquet.read(columns=["prediction_id"], use_threads=True).column("prediction_id").cast(pa.string())
    hits = pc.is_in(ids, value_set=identifiers)
    if not pc.any(hits).as_py():
        return None
    mask = hits.combine_chunks() if isinstance(hits, pa.ChunkedArray) else hits
    stored = set(parquet.schema_arrow.names)
    present = [name for name in names if name in stored]
    parts: list[pa.Table] = []
    offset = 0
    for group in range(parquet.num_row_groups):
        count = parquet.metadata.row_group(group).num_rows
        part = mask.slice(offset, count)
        offset += count
        if pc.any(part).as_py():
            rows = parquet.read_row_group(group, columns=present).select(present)
            parts.append(rows.cast(pa.schema([known.field(name) for name in present])).filter(part))
    rows = pa.concat_tables(parts)
    for name in names:
        if name not in stored:
            rows = rows.append_column(name, pa.nulls(rows.num_rows, known.field(name).type))
    return rows.select(list(names))


def drop_superseded(rows: pa.Table, superseded: dict[str, int] | None) -> pa.Table:
    """`rows` without those whose id has an earlier prediction, whose event time (µs) is in `superseded`."""
    if not superseded or not rows.num_rows:
        return rows
    index = pc.index_in(_one_chunk(rows, "prediction_id"), value_set=pa.array(list(superseded), pa.string()))
    known = index.fill_null(-1).to_numpy(zero_copy_only=False)
    winners = np.fromiter(superseded.values(), dtype=np.int64, count=len(superseded))
    lost = (known >= 0) & (winners[known] < event_times(rows))
    return rows.filter(pa.array(~lost)) if lost.any() else rows


def split_repeats(rows: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """(code of every row's id, positions of rows whose id repeats); None when no id repeats."""
    if rows.num_rows < 2:
        return None
    encoded = _one_chunk(rows, "prediction_id").dictionary_encode()
    if len(encoded.dictionary) == rows.num_rows:
        return None
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    repeated = np.bincount(codes)[codes] > 1
    return np.asarray(codes, dtype=np.int64), np.flatnonzero(repeated)


def _keep(rows: pa.Table, repeated: npt.NDArray[np.int64], winners: list[int]) -> pa.Table:
    keep = np.ones(rows.num_rows, dtype=bool)
    keep[repeated] = False
    keep[winners] = True
    return rows.filter(pa.array(keep))


def _one_chunk(rows: pa.Table, column: str) -> pa.Array:
    values = rows.column(column)
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _output_columns(rows: pa.Table) -> list[str]:
    return [name for name in rows.column_names if name == "prediction" or name.startswith(PROBABILITY_PREFIX)]


def content_hashes(rows: pa.Table, columns: Sequence[str]) -> list[bytes]:
    """A digest of every row over these columns, as the producer sent them."""
    # Only of repeats, which are few; over what the producer sent, not over our bookkeeping.
    names = sorted(name for name in columns if name not in BOOKKEEPING)
    values = [rows.column(name).to_pylist() for name in names]
    return [hashlib.blake2b(repr(row).encode(), digest_size=16).digest() for row in zip(*values, strict=True)]


def _rows_between(files: Sequence[LogFile], start: int, end: int) -> int:
    return sum(file.rows for file in files if file.time is None or (file.time[0] < end and file.time[1] >= start))
