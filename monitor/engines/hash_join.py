"""Joins many labels with the predictions of the log in two passes over the predictions' files, in bounded memory.

What lives here: which files and rows belong to which labels, and reading them. What must not: what becomes of the rows,
few labels (for those `local.find` reads less).

The first pass reads ids only and finds pairs of rows: hashes propose them, the texts decide. The second reads the
columns of the predictions that were found, once, in the order of the log. Labels' ids are in memory `_IDS_AT_ONCE` or
`_TEXT_AT_ONCE` at a time, what else is kept of labels (two dozen bytes each) `_LABELS_AT_ONCE` at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.freed import keep_freed, release_arrow, release_unused
from monitor.engines.identifiers import IdentifierIndex, Integers, TextRoom, one_array, text_bytes
from monitor.engines.local import SEARCH_THREADS, event_times, open_file, read_group
from monitor.engines.winners import MOST_LABELS, crowded_labels
from monitor.log.tables import SEQUENCE, LogFile, ModelLog, TableName
from monitor.records import SEGMENT_PREFIX

Item = TypeVar("Item")

# Rows handed on at a time.
PART_ROWS = 250_000
# Labels whose ids are looked for together, and bytes of their ids: about 300 MB with hashes.
_IDS_AT_ONCE = 5_000_000
_TEXT_AT_ONCE = 256 << 20
# Labels whose predictions are read together.
_LABELS_AT_ONCE = 5_000_000
# Labels up to which a join takes little memory.
_LITTLE = 2_000_000
_LABEL_COLUMNS = ("label", "label_time", "source")
# Text of few different values is read and handed on by number.
_FEW = frozenset({"version", "prediction", "label", "source"})


@dataclass(frozen=True)
class Joined:
    """Some labels with their predictions, the ids of labels that found none, and how many do not count (`winners`)."""

    rows: pa.Table
    missing: pa.Array
    surplus: int = 0


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Rows of one file of predictions and the labels they have, in order of the former."""

    file: LogFile
    rows: npt.NDArray[np.integer]
    labels: npt.NDArray[np.integer]


def join_labels(
    log: ModelLog,
    columns: Sequence[str],
    *,
    after: int,
    until: int,
    predictions_until: int,
    horizon: int,
    part_rows: int | None = None,
    labels_at_once: int | None = None,
) -> Iterator[Joined]:
    """Labels of the ingest sequences (after, until], each with every prediction it belongs to, in parts.

    `columns` of the prediction, `prediction_id` among them, then `label`, `label_time`, `source`. Files are read from
    the oldest event time on and every part is in order of event time: what is written of it can be read pane by pane.
    A label misses its prediction if none of its id has come up to `predictions_until`, or only more than `horizon` µs
    after all labels of that id. Among `labels_at_once` all labels of one prediction are in one part.
    """
    keep_freed()
    for files in _stretches(log.files("labels", after=after), labels_at_once or _LABELS_AT_ONCE):
        search = _Search(log, (after, until), predictions_until, horizon)
        search.look_for(files)
        release_unused()
        yield Joined(search.nothing(columns), search.missing(), search.surplus)
        # The next part is read while the one before is used.
        for rows in _ahead(search.parts(columns, part_rows or PART_ROWS)):
            if search.takes_much:
                release_arrow()
            yield Joined(rows, pa.array([], pa.string()))


class _Labels:
    """Labels whose ids are looked for together."""

    def __init__(self, room: TextRoom) -> None:
        self._room = room
        self._parts: list[pa.Table] = []
        # Of every part, between which ids and event times it lies.
        self._ids: list[tuple[str, str]] = []
        self._events: list[tuple[int, int]] = []

    def add(self, labels: pa.Table) -> bool:
        """Take them in, unless there is no room for their ids."""
        ids = one_array(labels.column("prediction_id"))
        if not self._room.add(ids):
            return False
        if len(ids):
            self._parts.append(labels.select(_LABEL_COLUMNS))
            ends, events = pc.min_max(ids), labels.column("event_time")
            self._ids.append((ends["min"].as_py(), ends["max"].as_py()))
            if not events.null_count:
                moments = pc.min_max(events.cast(pa.int64()))
                self._events.append((moments["min"].as_py(), moments["max"].as_py()))
        return True

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        return not self._ids

    def identifiers(self) -> tuple[pa.Array, str, str]:
        """(all ids, the first and the last of them); no more labels are taken in."""
        return self._room.array(), min(low for low, _ in self._ids), max(high for _, high in self._ids)

    def events(self) -> tuple[int | None, int | None]:
        """Event times [start, end) of the predictions (µs); None if not every label brings its prediction's."""
        if len(self._events) < len(self._parts):
            return None, None
        return min(low for low, _ in self._events), max(high for _, high in self._events) + 1

    def truth(self) -> tuple[pa.Table, Integers]:
        """(all but the ids, when they came (µs)): one copy of the times serves both. The parts are given up."""
        times = np.concatenate([event_times(part, "label_time") for part in self._parts])
        whole = pa.concat_tables([part.drop_columns(["label_time"]) for part in self._parts])
        field = self._parts[0].schema.field("label_time")
        self._parts.clear()
        return whole.append_column(field, pa.array(times).cast(field.type)), times


class _Search:
    """Labels and the predictions they were found to belong to, file by file."""

    def __init__(self, log: ModelLog, sequences: tuple[int, int], predictions_until: int, horizon: int) -> None:
        self._log, self._sequences = log, sequences
        self._until, self._horizon = predictions_until, horizon
        self._predictions, self._labels = _schema(log, "predictions"), _schema(log, "labels")
        self._truth: list[pa.Table] = []
        # Of labels that were looked for together: those of the predictions are not read a second time.
        self._ids: pa.Array | None = None
        self._found: dict[str, list[_Pairs]] = {}
        self._missing: list[pa.Array] = []
        self._count = 0
        self.surplus = 0

    @property
    def takes_much(self) -> bool:
        """Whether memory matters more than that the next part finds some."""
        return self._count > _LITTLE

    def look_for(self, files: Sequence[LogFile]) -> None:
        """Find the predictions of the labels in these files."""
        names = ["prediction_id", *_LABEL_COLUMNS, "event_time", SEQUENCE]
        after, until = self._sequences
        batch, batches = _Labels(TextRoom(_IDS_AT_ONCE, _TEXT_AT_ONCE)), 1
        for rows in _ahead(rows for file in files for rows in _groups(file, names, self._labels)):
            is_new = pc.and_(pc.greater(rows.column(SEQUENCE), after), pc.less_equal(rows.column(SEQUENCE), until))
            labels = rows if pc.all(is_new).as_py() else rows.filter(is_new)
            if not batch.add(labels):
                self._find(batch)
                self._ids = None
                ids = one_array(labels.column("prediction_id"))
                batch = _Labels(TextRoom(max(_IDS_AT_ONCE, len(ids)), max(_TEXT_AT_ONCE, text_bytes(ids))))
                batches += 1
                batch.add(labels)
        self._find(batch)
        if batches > 1:
            self._ids = None

    def _find(self, batch: _Labels) -> None:
        if batch.is_empty:
            return
        # What reading them took is not kept beside what searching takes.
        release_unused()
        ids, first, last = batch.identifiers()
        start, end = batch.events()
        truth, times = batch.truth()
        index = IdentifierIndex(ids)
        crowded = None
        if index.may_repeat_over(MOST_LABELS):
            crowded = crowded_labels(ids, truth.column("label"), times)
        if crowded is not None:
            counts, surplus = crowded
            ids, truth, times = ids.filter(pa.array(counts)), truth.filter(pa.array(counts)), times[counts]
            index = IdentifierIndex(ids)
            self.surplus += surplus
        found = np.zeros(times.size, dtype=bool)
        candidates = [
            file
            for file in self._log.files("predictions", start=start, end=end)
            if (file.sequence is None or file.sequence[0] <= self._until)
            and (file.identifiers is None or (file.identifiers[0] <= last and file.identifiers[1] >= first))
        ]

        def look_in(file: LogFile) -> list[_Pairs]:
            return list(self._pairs(file, index, times))

        with ThreadPoolExecutor(SEARCH_THREADS) as pool:
            for pairs in chain.from_iterable(pool.map(look_in, candidates)):
                found[pairs.labels] = True
                moved = _Pairs(pairs.file, pairs.rows.astype(np.uint32), (pairs.labels + self._count).astype(np.uint32))
                self._found.setdefault(pairs.file.uri, []).append(moved)
        self._note_missing(ids, found)
        self._ids = ids
        self._truth.append(truth)
        self._count += len(ids)

    def missing(self) -> pa.Array:
        """Ids of labels that have no prediction."""
        return pa.concat_arrays([pa.array([], pa.string()), *self._missing])

    def nothing(self, columns: Sequence[str]) -> pa.Table:
        """A part without rows."""
        fields = [*(self._predictions.field(name) for name in columns), *map(self._labels.field, _LABEL_COLUMNS)]
        return pa.schema(fields).empty_table()

    def parts(self, columns: Sequence[str], part_rows: int) -> Iterator[pa.Table]:
        """The pairs with the columns of both, `part_rows` or a little more at a time."""
        if not self._found:
            return
        truth = pa.concat_tables(self._truth).unify_dictionaries().combine_chunks()
        self._truth.clear()
        waiting: list[pa.Table] = []
        rows = 0
        for pairs in sorted(self._found.values(), key=lambda found: found[0].file.time or (0, 0)):
            for part in self._read(pairs, columns, truth):
                waiting.append(part)
                rows += part.num_rows
                if rows >= part_rows:
                    yield _ordered(waiting)
                    waiting, rows = [], 0
        if waiting:
            yield _ordered(waiting)

    def _pairs(self, file: LogFile, ids: IdentifierIndex, times: Integers) -> Iterator[_Pairs]:
        is_old = file.sequence is not None and file.sequence[1] <= self._until
        names = ["prediction_id", "event_time", *([] if is_old else [SEQUENCE])]
        start = 0
        for predictions in _groups(file, names, self._predictions):
            rows, labels = ids.pairs(one_array(predictions.column("prediction_id")))
            # What was known a horizon before is another thing's.
            kept = event_times(predictions)[rows] - self._horizon <= times[labels]
            if not is_old:
                kept &= np.asarray(predictions.column(SEQUENCE).to_numpy())[rows] <= self._until
            rows, labels = (rows, labels) if kept.all() else (rows[kept], labels[kept])
            if rows.size:
                yield _Pairs(file, rows + start, labels)
            start += predictions.num_rows

    def _note_missing(self, ids: pa.Array, found: npt.NDArray[np.bool_]) -> None:
        if found.all():
            return
        missing = ids.filter(pa.array(~found)).unique()
        # An id of which another label was found has its prediction.
        others = ids.filter(pa.array(found))
        has_one = pc.is_in(missing, value_set=others.filter(pc.is_in(others, value_set=missing)).unique())
        self._missing.append(missing.filter(pc.invert(has_one)))

    def _read(self, pairs: list[_Pairs], columns: Sequence[str], truth: pa.Table) -> Iterator[pa.Table]:
        rows, labels = pairs[0].rows, pairs[0].labels
        if len(pairs) > 1:
            rows, labels = (np.concatenate([getattr(pair, name) for pair in pairs]) for name in ("rows", "labels"))
            order = np.argsort(rows, kind="stable")
            rows, labels = rows[order], labels[order]
        file = pairs[0].file
        parquet = open_file(file, self._predictions)
        start = 0
        for group in range(parquet.num_row_groups):
            end = start + parquet.metadata.row_group(group).num_rows
            low, high = np.searchsorted(rows, (start, end)).tolist()
            if low < high:
                known = truth.take(pa.array(labels[low:high]))
                if self._ids is not None:
                    known = known.append_column("prediction_id", self._ids.take(pa.array(labels[low:high])))
                theirs = [name for name in columns if name not in known.column_names]
                found = read_group(parquet, group, theirs, self._predictions).take(
                    pa.array(rows[low:high].astype(np.int64) - start)
                )
                names = [*columns, *_LABEL_COLUMNS]
                yield pa.table([(found if name in theirs else known).column(name) for name in names], names=names)
            start = end


def _stretches(files: Sequence[LogFile], limit: int) -> Iterator[list[LogFile]]:
    """Whole files of about as many rows together."""
    some: list[LogFile] = []
    for file in files:
        some.append(file)
        if sum(item.rows for item in some) >= limit:
            yield some
            some = []
    if some:
        yield some


def _schema(log: ModelLog, table: TableName) -> pa.Schema:
    known = log.schema(table)
    assert known is not None
    numbered = pa.dictionary(pa.int32(), pa.string())
    fields = [
        item.with_type(numbered)
        if (item.name in _FEW or item.name.startswith(SEGMENT_PREFIX)) and pa.types.is_string(item.type)
        else item
        for item in known
    ]
    return pa.schema([*fields, pa.field(SEQUENCE, pa.int64())])


def _groups(file: LogFile, names: Sequence[str], known: pa.Schema) -> Iterator[pa.Table]:
    parquet = open_file(file, known)
    for group in range(parquet.num_row_groups):
        yield read_group(parquet, group, names, known)


def _ordered(parts: list[pa.Table]) -> pa.Table:
    rows = pa.concat_tables(parts).unify_dictionaries()
    times = event_times(rows)
    return rows if (times[:-1] <= times[1:]).all() else rows.take(pa.array(np.argsort(times, kind="stable")))


def _ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made in a thread while the one before is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
