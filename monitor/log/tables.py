"""The prediction log: Delta tables of one model, read and written by one ingester.

What lives here: table layout, exactly-once appends, pruned reads, small-file compaction. What must not: spools, panes,
statistics, the state.

One model has three tables below `<log url>/<model>/`: `predictions` and `matched`, partitioned by `event_date`, and
`labels`, partitioned by `label_date`. Every row carries the `ingest_sequence` of the commit that brought it, so that
"what is new since" survives compaction. Below `_hashes` hashes of ids may lie, a file for a data file, for searches.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from monitor.errors import OperatorError
from monitor.log.delta import (
    ColumnProperties,
    CommitFailedError,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    TableNotFoundError,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from monitor.records import EMBEDDING, PROBABILITY_PREFIX

TableName = Literal["predictions", "labels", "matched"]
TABLES: tuple[TableName, ...] = ("predictions", "labels", "matched")
DATE_COLUMN: dict[TableName, str] = {"predictions": "event_date", "labels": "label_date", "matched": "event_date"}
TIME_COLUMN: dict[TableName, str] = {"predictions": "event_time", "labels": "label_time", "matched": "event_time"}
SEQUENCE = "ingest_sequence"
BOOKKEEPING = frozenset({"event_date", "label_date", SEQUENCE})

_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_COMMIT_ATTEMPTS = 5
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# lz4 and snappy decode about 2.5 times faster than zstd (docs: benchmarks); decoding is what evaluation costs.
_WRITER = WriterProperties(compression="LZ4_RAW", max_row_group_size=131_072)
# Values that hardly repeat: a dictionary of them is made in vain, which costs a third of writing.
_DISTINCT = ("prediction_id", "event_time", "label_time", "latency_seconds", "request_id", EMBEDDING)
# Entries of a table's own log are kept a day: opening it reads all of them since the last checkpoint.
KEPT = {"delta.logRetentionDuration": "interval 1 days", "delta.deletedFileRetentionDuration": "interval 1 hours"}
_NUMBERED = pa.dictionary(pa.int32(), pa.string())
_STATISTICS = "delta.dataSkippingStatsColumns"
_CONFIGURATION: dict[TableName, dict[str, str]] = {
    "predictions": {_STATISTICS: "prediction_id,event_time,ingest_sequence", **KEPT},
    "labels": {_STATISTICS: "prediction_id,event_time,label_time,ingest_sequence", **KEPT},
    "matched": {_STATISTICS: "prediction_id,event_time,label_time,ingest_sequence", **KEPT},
}


def check_model_name(name: str) -> str:
    """`name`, if it can safely be a folder and a label value; raises OperatorError otherwise."""
    if not _MODEL_NAME.fullmatch(name):
        raise OperatorError(
            "not a model name", expected="letters, digits, '.', '_' or '-', at most 100, no leading '.'", got=repr(name)
        )
    return name


@dataclass(frozen=True)
class LogFile:
    """One data file of a snapshot with the statistics that reads prune by (None where the writer kept none)."""

    uri: str
    rows: int
    bytes: int
    partition: date | None
    sequence: tuple[int, int] | None
    time: tuple[int, int] | None
    identifiers: tuple[str, str] | None


class ModelLog:
    """The tables of one model. Reads see the latest committed snapshot; one process writes."""

    def __init__(self, url: str, model: str) -> None:
        self.model = check_model_name(model)
        base = url.removeprefix("file://")
        self.local = "://" not in base
        self._base = str(Path(base).absolute() / model) if self.local else f"{base.rstrip('/')}/{model}"

    def uri(self, table: TableName) -> str:
        """Where the table lies."""
        return f"{self._base}/{table}"

    def append(self, table: TableName, rows: pa.Table, segments: dict[str, int]) -> int | None:
        """Commit `rows` exactly once and return their ingest sequence; None if `segments` were committed before.

        `segments` maps an application id (a spool writer, or another idempotent source) to its highest segment number
        in `rows`. The caller leaves out segments at or below `committed()`; here the check is repeated on the very
        handle that commits, since the transaction identifier alone does not protect. New columns are added to the
        table; a column whose type differs is the caller's fault and raises.
        """
        for _ in range(_COMMIT_ATTEMPTS):
            handle = self.open(table)
            if handle is not None and any(
                (handle.transaction_version(app) or -1) >= number for app, number in segments.items()
            ):
                return None
            sequence = self._next_sequence(handle)
            data = _with_bookkeeping(rows, table, sequence)
            try:
                self._commit(handle, table, data, segments)
            except CommitFailedError:
                continue
            self.sync(table)
            return sequence
        raise OperatorError(
            "another process keeps writing to the log", where=self.uri(table), hint="One ingester only."
        )

    def committed(self, table: TableName, app: str) -> int:
        """Highest segment number of `app` in the table, -1 if none."""
        handle = self.open(table)
        version = handle.transaction_version(app) if handle is not None else None
        return -1 if version is None else version

    def schema(self, table: TableName) -> pa.Schema | None:
        """Arrow schema of the table without bookkeeping columns; None before its first commit."""
        handle = self.open(table)
        if handle is None:
            return None
        schema = pa.schema(handle.schema().to_arrow())
        return pa.schema([field for field in schema if field.name not in BOOKKEEPING])

    def last_sequence(self, table: TableName) -> int:
        """The newest ingest sequence in the table, 0 if it is empty."""
        return self._next_sequence(self.open(table)) - 1

    def files(
        self,
        table: TableName,
        *,
        after: int | None = None,
        start: int | None = None,
        end: int | None = None,
    ) -> list[LogFile]:
        """Files of the latest snapshot that may hold rows with sequence > `after` and start ≤ time < end (µs)."""
        handle = self.open(table)
        if handle is None:
            return []
        actions = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
        base = self.uri(table)
        files = [_log_file(base, action, table) for action in actions]
        return [
            file
            for file in files
            if (after is None or file.sequence is None or file.sequence[1] > after)
            and (start is None or file.time is None or file.time[1] >= start)
            and (end is None or file.time is None or file.time[0] < end)
        ]

    def scan(
        self,
        table: TableName,
        columns: Sequence[str] | None = None,
        *,
        after: int | None = None,
        until: int | None = None,
        start: int | None = None,
        end: int | None = None,
        versions: Sequence[str] | None = None,
        numbered: Collection[str] = (),
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of matching rows: sequence in (after, until], time in [start, end) µs, of these versions.

        Columns that the table does not have (yet) are left out. Text in `numbered` comes as dictionaries, which is
        several times cheaper where values are few.
        """
        handle_schema = self.schema(table)
        if handle_schema is None:
            return
        files = self.files(table, after=after, start=start, end=end)
        if until is not None:
            files = [file for file in files if file.sequence is None or file.sequence[0] <= until]
        if not files:
            return
        fields = {field.name: field for field in handle_schema}
        fields |= {
            name: item.with_type(_NUMBERED)
            for name, item in fields.items()
            if name in numbered and pa.types.is_string(item.type)
        }
        schema = pa.schema([*fields.values(), pa.field(SEQUENCE, pa.int64())])
        wanted = [name for name in (columns or [*fields, SEQUENCE]) if name in fields or name == SEQUENCE]
        time = TIME_COLUMN[table]
        conditions: list[pc.Expression] = []
        if after is not None:
            conditions.append(pc.field(SEQUENCE) > after)
        if until is not None:
            conditions.append(pc.field(SEQUENCE) <= until)
        if start is not None:
            conditions.append(pc.field(time) >= timestamp_scalar(start))
        if end is not None:
            conditions.append(pc.field(time) < timestamp_scalar(end))
        if versions is not None:
            conditions.append(pc.field("version").isin(list(versions)))
        condition = None
        for part in conditions:
            condition = part if condition is None else condition & part
        form = ds.ParquetFileFormat(dictionary_columns={item.name for item in schema if item.type == _NUMBERED})
        dataset = ds.dataset([file.uri for file in files], format=form, schema=schema)
        yield from dataset.to_batches(columns=wanted, filter=condition, batch_readahead=2, fragment_readahead=2)

    def read(self, table: TableName, columns: Sequence[str] | None = None, **limits: Any) -> pa.Table | None:
        """All matching rows as one table; None when there are none. See `scan`."""
        batches = [batch for batch in self.scan(table, columns, **limits) if batch.num_rows]
        return pa.Table.from_batches(batches) if batches else None

    def compact(self, table: TableName, *, minimum_files: int = 32) -> int:
        """Merge small files of partitions that hold at least `minimum_files`; returns how many files went away.

        The old files stay until a vacuum: somebody may be reading them.
        """
        handle = self.open(table)
        if handle is None:
            return 0
        before = self.files(table)
        counts = Counter(file.partition for file in before)
        removed = 0
        for partition, count in counts.items():
            if count >= minimum_files and partition is not None:
                metrics = handle.optimize.compact(
                    partition_filters=[(DATE_COLUMN[table], "=", partition.isoformat())], writer_properties=_WRITER
                )
                removed += int(metrics["numFilesRemoved"]) - int(metrics["numFilesAdded"])
        if removed:
            self.sync(table, {file.uri for file in before})
        return removed

    def delete(self, table: TableName, predicate: str) -> int:
        """Commit the removal of rows; their bytes stay in old files until a vacuum. Returns how many rows went."""
        handle = self.open(table)
        if handle is None:
            return 0
        before = self.files(table)
        handle.delete(predicate, writer_properties=_WRITER)
        after = self.files(table)
        self.sync(table, {file.uri for file in before})
        return sum(file.rows for file in before) - sum(file.rows for file in after)

    def bytes(self) -> int:
        """Size of all data files of the latest snapshots."""
        return sum(file.bytes for table in TABLES for file in self.files(table))

    def open(self, table: TableName) -> DeltaTable | None:
        try:
            return DeltaTable(self.uri(table))
        except TableNotFoundError:
            return None

    def _next_sequence(self, handle: DeltaTable | None) -> int:
        if handle is None:
            return 1
        actions = pa.table(handle.get_add_actions(flatten=True))
        if not actions.num_rows:
            return handle.version() + 1
        newest = pc.max(actions.column(f"max.{SEQUENCE}")).as_py()
        # The version never falls, so that a sequence is not used again after the newest rows were forgotten.
        return max(int(newest or 0), handle.version()) + 1

    def _commit(self, handle: DeltaTable | None, table: TableName, data: pa.Table, segments: dict[str, int]) -> None:
        transactions = [Transaction(app, number) for app, number in segments.items()]
        properties = CommitProperties(app_transactions=transactions, max_commit_retries=0)
        hooks = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=True)
        if handle is None:
            if self.local:
                Path(self.uri(table)).mkdir(parents=True, exist_ok=True, mode=0o700)
            write_deltalake(
                self.uri(table),
                data,
                mode="error",
                partition_by=[DATE_COLUMN[table]],
                configuration=_CONFIGURATION[table],
                commit_properties=properties,
                post_commithook_properties=hooks,
                writer_properties=_writer(data.column_names),
            )
            return
        write_deltalake(
            handle,
            data,
            mode="append",
            schema_mode="merge",
            commit_properties=properties,
            post_commithook_properties=hooks,
            writer_properties=_writer(data.column_names),
        )

    def sync(self, table: TableName, known: Collection[str] | None = None) -> None:
        """fsync what the newest commit wrote: delta-rs leaves it to the kernel, and what it replaces is deleted next.

        `known`: addresses of files that were there before; without it, files older than the newest commit.
        """
        if not self.local:
            return
        base = Path(self.uri(table))
        handle = DeltaTable(str(base))
        log = base / "_delta_log"
        newest = handle.version()
        paths = {log / f"{newest:020d}.json", log, base}
        for action in pa.table(handle.get_add_actions(flatten=True)).select(["path", f"max.{SEQUENCE}"]).to_pylist():
            path = base / action["path"]
            fresh = (action[f"max.{SEQUENCE}"] or 0) >= newest if known is None else str(path) not in known
            if fresh:
                paths |= {path, path.parent}
        for path in paths:
            _fsync(path)


def timestamp_scalar(microseconds: int) -> pa.Scalar:
    """An Arrow UTC timestamp of microseconds since the epoch."""
    return pa.scalar(microseconds, pa.int64()).cast(pa.timestamp("us", tz="UTC"))


def _writer(names: Sequence[str]) -> WriterProperties:
    plain = ColumnProperties(dictionary_enabled=False)
    distinct = [name for name in names if name in _DISTINCT or name.startswith(PROBABILITY_PREFIX)]
    return WriterProperties(
        compression="LZ4_RAW", max_row_group_size=131_072, column_properties=dict.fromkeys(distinct, plain)
    )


def _with_bookkeeping(rows: pa.Table, table: TableName, sequence: int) -> pa.Table:
    dates = rows.column(TIME_COLUMN[table]).cast(pa.date32())
    data = rows.append_column(DATE_COLUMN[table], dates)
    data = data.append_column(SEQUENCE, pa.repeat(pa.scalar(sequence, pa.int64()), rows.num_rows))
    return data.replace_schema_metadata(None)


def _log_file(base: str, action: dict[str, Any], table: TableName) -> LogFile:
    def bounds(column: str) -> tuple[Any, Any] | None:
        low, high = action.get(f"min.{column}"), action.get(f"max.{column}")
        return None if low is None or high is None else (low, high)

    time = bounds(TIME_COLUMN[table])
    return LogFile(
        uri=f"{base}/{action['path']}",
        rows=int(action["num_records"] or 0),
        bytes=int(action["size_bytes"]),
        partition=action.get(f"partition.{DATE_COLUMN[table]}"),
        sequence=bounds(SEQUENCE),
        # Statistics may be kept in milliseconds, rounded down: widen the upper end so that pruning stays right.
        time=None if time is None else (_microseconds(time[0]), _microseconds(time[1]) + 1_000),
        identifiers=bounds("prediction_id"),
    )


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
