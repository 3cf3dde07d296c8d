"""Removes predictions and their labels for good: rows, the bytes they were in, and what was computed from them.

What lives here: finding the rows and their panes, the order of marking and deleting. What must not: the command line,
how panes are rebuilt (the next cycle does it), how files are deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

import numpy as np
import pyarrow as pa

from monitor.dirty_panes import mark_dirty
from monitor.engines.local import event_times, find
from monitor.log.maintenance import erase_history
from monitor.log.tables import DATE_COLUMN, TABLES, ModelLog, TableName
from monitor.state import State
from monitor.windows import MICROSECONDS

# Ids in one predicate: delta-rs looks every row up in them one by one.
_PREDICATE_IDS = 500


@dataclass(frozen=True)
class Forgotten:
    """How many rows went from each table, and the panes (by version, starts in µs) that are to be rebuilt."""

    rows: dict[TableName, int]
    panes: dict[str, set[int]]


def forget_identifiers(log: ModelLog, state: State, identifiers: Iterable[str], pane_seconds: float) -> Forgotten:
    """Forget predictions by id, of every version, with their labels.

    Nothing else may write to the log meanwhile. Their panes are marked first: a kill in between leaves panes that are
    rebuilt in vain, never panes that still count what is gone. Repeat it after a kill.
    """
    wanted = pa.array(sorted(set(identifiers)), pa.string())
    panes: dict[str, set[int]] = {}
    dates: dict[TableName, tuple[date, date]] = {}
    for table in TABLES:
        time = "label_time" if table == "labels" else "event_time"
        rows = find(log, table, wanted, ["version", time])
        if rows is None:
            continue
        times = event_times(rows, time)
        dates[table] = (_day(int(times.min())), _day(int(times.max())))
        if table != "labels":
            _add(panes, rows, pane_seconds)
    with state.transaction() as transaction:
        mark_dirty(transaction, log.model, panes)
        transaction.forget_identifiers(log.model, wanted.to_pylist())
    rows_gone: dict[TableName, int] = {
        table: sum(log.delete(table, predicate) for predicate in _predicates(table, wanted, *dates[table]))
        for table in TABLES
        if table in dates
    }
    erase_history(log)
    return Forgotten(rows_gone, panes)


def forget_before(log: ModelLog, state: State, day: date, pane_seconds: float) -> Forgotten:
    """Forget the predictions of all days before `day` (UTC) with their labels, and older labels; see above."""
    end = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * MICROSECONDS)
    panes: dict[str, set[int]] = {}
    for table in ("predictions", "matched"):
        for batch in log.scan(table, ["version", "event_time"], end=end):
            _add(panes, pa.Table.from_batches([batch]), pane_seconds)
    labelled = log.read("matched", ["prediction_id", "label_time"], end=end)
    later = None if labelled is None else labelled.filter(pa.array(event_times(labelled, "label_time") >= end))
    with state.transaction() as transaction:
        mark_dirty(transaction, log.model, panes)
    rows: dict[TableName, int] = dict.fromkeys(TABLES, 0)
    if later is not None and later.num_rows:
        wanted = pa.array(sorted(set(later.column("prediction_id").to_pylist())), pa.string())
        latest = _day(int(event_times(later, "label_time").max()))
        rows["labels"] += sum(log.delete("labels", text) for text in _predicates("labels", wanted, day, latest))
    for table in TABLES:
        if any(file.partition is not None and file.partition < day for file in log.files(table)):
            rows[table] += log.delete(table, f"{DATE_COLUMN[table]} < '{day.isoformat()}'")
    erase_history(log)
    return Forgotten(rows, panes)


def _predicates(table: TableName, identifiers: pa.Array, first: date, last: date) -> Iterator[str]:
    column = DATE_COLUMN[table]
    days = f"{column} >= '{first.isoformat()}' AND {column} <= '{last.isoformat()}'"
    for start in range(0, len(identifiers), _PREDICATE_IDS):
        part = identifiers[start : start + _PREDICATE_IDS].to_pylist()
        yield f"{days} AND prediction_id IN ({_quoted(part)})"


def _quoted(texts: Sequence[str]) -> str:
    return ", ".join("'" + text.replace("'", "''") + "'" for text in texts)


def _add(panes: dict[str, set[int]], rows: pa.Table, pane_seconds: float) -> None:
    size = round(pane_seconds * MICROSECONDS)
    starts = event_times(rows) // size * size
    versions = np.asarray(rows.column("version").to_numpy(zero_copy_only=False))
    for version in set(versions.tolist()):
        panes.setdefault(version, set()).update(np.unique(starts[versions == version]).tolist())


def _day(moment: int) -> date:
    return datetime.fromtimestamp(moment / MICROSECONDS, UTC).date()
