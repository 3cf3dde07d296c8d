"""The prediction log as it was at a moment of the past: what had been made and what had become known by then.

What lives here: the cut of time into steps, the log seen up to a step, and the label join laid out for all steps at
once. What must not: panes, windows, evaluation; the log that is replayed is only read.

A step stands where an ingest sequence stands in the live log: a prediction belongs to the step of its event time, a
matched row to the later one of its event time and its label's time. A cycle that reads "what is new since" therefore
reads what became known since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.engines.winners import MOST_LABELS
from monitor.errors import DefectError
from monitor.label_join import LabelSettings
from monitor.log.tables import SEQUENCE, LogFile, ModelLog, TableName
from monitor.matching import REPEAT_HORIZON_SECONDS, Matching, Repeat, Repeats
from monitor.records import PROBABILITY_PREFIX, SEGMENT_PREFIX, TIMESTAMP
from monitor.windows import MICROSECONDS, pane_start

Integers = npt.NDArray[np.int64]
# Rows of one file of the joined table: files are pruned by their time, and panes read together are judged by them.
_FILE_ROWS = 200_000


@dataclass(frozen=True)
class Steps:
    """Time cut into equal steps, numbered from 1; step k ends at origin + k × width (µs), which is when it is seen."""

    origin: int
    width: int

    def end(self, step: int) -> int:
        """The moment up to which (exclusive) things are known at this step."""
        return self.origin + step * self.width

    def of(self, moment: int) -> int:
        """The first step at which something of this moment is known."""
        return max((moment - self.origin) // self.width + 1, 1)


class ReplayLog(ModelLog):
    """A log up to the step `now`, which only goes up. Holds the files of one snapshot; nothing can be appended."""

    def __init__(self, source: ModelLog, steps: Steps, first: int, last: int, joined: Sequence[LogFile]) -> None:
        super().__init__(source.uri("predictions").rpartition("/" + source.model)[0], source.model)
        self.now = 0
        self._steps = steps
        self._range = first, last
        self._schemas = {"predictions": source.schema("predictions"), "matched": _schema(joined)}
        self._files = {"predictions": source.files("predictions", start=first, end=last), "matched": list(joined)}

    def schema(self, table: TableName) -> pa.Schema | None:
        """Schema of the table in this snapshot."""
        return self._schemas.get(table)

    def last_sequence(self, table: TableName) -> int:  # noqa: ARG002  # the same for all
        """The step it is."""
        return self.now

    def files(
        self, table: TableName, *, after: int | None = None, start: int | None = None, end: int | None = None
    ) -> list[LogFile]:
        """Files of the snapshot that may hold rows of [start, end) (µs)."""
        return [
            file
            for file in self._files.get(table, [])
            if (after is None or table != "matched" or file.sequence is None or file.sequence[1] > after)
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
        """Record batches of matching rows that are known at the step it is."""
        until = self.now if until is None else min(until, self.now)
        if table == "labels":
            return
        if table == "matched":
            limits = {"after": after, "until": until, "start": start, "end": end}
            yield from super().scan(table, columns, **limits, versions=versions, numbered=numbered)
            return
        low = self._range[0] if not after else max(self._range[0], self._steps.end(after))
        high = min(self._range[1], self._steps.end(until))
        start, end = low if start is None else max(start, low), high if end is None else min(end, high)
        stepped = columns is None or SEQUENCE in columns
        wanted = columns if columns is None or not stepped else [*dict.fromkeys([*columns, "event_time"])]
        for batch in super().scan(table, wanted, start=start, end=end, versions=versions, numbered=numbered):
            if not stepped:
                yield batch
                continue
            steps = (np.asarray(batch.column("event_time").cast(pa.int64())) - self._steps.origin) // self._steps.width
            place = batch.schema.get_field_index(SEQUENCE)
            batch = batch.set_column(place, SEQUENCE, pa.array(np.maximum(steps + 1, 1)))  # noqa: PLW2901
            yield batch if columns is None else batch.select([name for name in columns if name in batch.schema.names])

    def append(self, table: TableName, rows: pa.Table, segments: dict[str, int]) -> int | None:  # noqa: ARG002
        """Refused: the past does not change."""
        raise DefectError(f"a replay may not write to {table}")


@dataclass(frozen=True)
class Past:
    """What is known of the past beside the rows: by step, what the label join of a live cycle would have found."""

    labels: dict[int, int]
    surplus: dict[int, int]
    waiting: dict[int, set[str]]
    found_later: dict[int, set[str]]
    repeats: dict[int, Repeats]
    changes: frozenset[int]


class PastJoin:
    """The label join of a replay: everything was found when it was laid out, each cycle is told its part."""

    def __init__(self, past: Past) -> None:
        self._past = past

    def labels(self, _log: ModelLog, _settings: LabelSettings, *, after: int, until: int, **_: object) -> Matching:
        """What the labels of the steps (after, until] found."""
        steps = range(after + 1, until + 1)
        count, surplus = (sum(part.get(step, 0) for step in steps) for part in (self._past.labels, self._past.surplus))
        return Matching(count, frozenset(), _union(self._past.waiting, steps), surplus)

    def predictions(self, _log: ModelLog, _settings: LabelSettings, *, after: int, until: int, **_: object) -> Matching:
        """Labels that had waited for the predictions of the steps (after, until]."""
        return Matching(0, _union(self._past.found_later, range(after + 1, until + 1)), frozenset())

    def repeats(self, _log: ModelLog, _pane_seconds: float, *, after: int, until: int) -> Repeats:
        """Predictions of the steps (after, until] that had answered in other panes."""
        found: Repeats = {}
        for step in range(after + 1, until + 1):
            for key, repeat in self._past.repeats.get(step, {}).items():
                known = found[key].known_panes if key in found else repeat.known_panes
                found[key] = Repeat(repeat.earliest, repeat.panes, known)
        return found


def _union(by_step: Mapping[int, set[str]], steps: range) -> frozenset[str]:
    return frozenset[str]().union(*(by_step.get(step, ()) for step in steps))


def lay_out(
    source: ModelLog,
    folder: Path,
    steps: Steps,
    settings: LabelSettings,
    *,
    first: int,
    last: int,
    until: int,
    pane_seconds: float,
) -> tuple[list[LogFile], Past]:
    """Join the predictions of [first, last) with all labels known before `until` (µs), into files below `folder`.

    The join is DuckDB's and spills to `folder`; its rules are those of the live join.
    """
    connection = duckdb.connect(str(folder / "join.duckdb"), config={"temp_directory": str(folder / "spill")})
    try:
        connection.execute("SET enable_progress_bar = false")
        columns = _load(connection, source, first, last, until)
        horizon = round(settings.horizon_seconds * MICROSECONDS)
        truth, surplus = _not_crowded(connection, steps)
        connection.execute(
            f"""CREATE TABLE joined AS
            SELECT p.*, l.label, l.label_time, l.source,
                   greatest((greatest(p.event_time, l.label_time) - {steps.origin}) // {steps.width} + 1, 1) AS step
            FROM predictions p JOIN {truth} l USING (prediction_id)
            WHERE p.event_time - l.label_time <= {horizon}"""
        )
        files = _write_joined(connection, folder, columns)
        return files, _past(connection, steps, pane_seconds, surplus)
    finally:
        connection.close()


def extent(source: ModelLog, table: TableName, column: str) -> tuple[int, int] | None:
    """Earliest and latest time (µs) of a table; None where it is empty."""
    low: list[int] = []
    high: list[int] = []
    for batch in source.scan(table, [column]):
        if batch.num_rows:
            found = pc.min_max(batch.column(column).cast(pa.int64()))
            low.append(found["min"].as_py())
            high.append(found["max"].as_py())
    return (min(low), max(high)) if low else None


def _load(connection: duckdb.DuckDBPyConnection, source: ModelLog, first: int, last: int, until: int) -> list[str]:
    known = source.schema("predictions")
    names = [] if known is None else known.names
    needed = (PROBABILITY_PREFIX, SEGMENT_PREFIX)
    outputs = ["prediction", *(name for name in names if name.startswith(needed))]
    wanted = ["prediction_id", "version", "event_time", *outputs]
    _create(connection, "predictions", source, wanted, start=first, end=last)
    _create(connection, "labels", source, ["prediction_id", "label", "label_time", "source"], end=until)
    return wanted


def _create(
    connection: duckdb.DuckDBPyConnection, table: TableName, source: ModelLog, columns: list[str], **limits: Any
) -> None:
    schema = source.schema(table)
    if schema is None:
        connection.execute(
            "CREATE TABLE labels (prediction_id VARCHAR, label VARCHAR, label_time BIGINT, source VARCHAR)"
        )
        return
    target = pa.schema(
        [pa.field(name, pa.int64() if name.endswith("_time") else schema.field(name).type) for name in columns]
    )
    batches = (batch.select(columns).cast(target) for batch in source.scan(table, columns, **limits))
    reader = pa.RecordBatchReader.from_batches(target, batches)
    connection.register("incoming", reader)
    connection.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
    connection.unregister("incoming")


def _not_crowded(connection: duckdb.DuckDBPyConnection, steps: Steps) -> tuple[str, dict[int, int]]:
    """(table of the labels that count where an id has very many in a step, how many others there are by step)."""
    step = _label_step(steps)
    crowded = connection.execute(
        f"SELECT 1 FROM labels GROUP BY prediction_id, {step} HAVING count(*) > {MOST_LABELS} LIMIT 1"
    ).fetchone()
    if crowded is None:
        return "labels", {}
    connection.execute(
        f"""CREATE TABLE ranked AS
        SELECT *, row_number() OVER (PARTITION BY prediction_id, step ORDER BY label_time DESC, label) AS place
        FROM (SELECT prediction_id, label, label_time, min(source) AS source, {step} AS step
              FROM labels GROUP BY ALL)"""
    )
    connection.execute(f"CREATE VIEW newest AS SELECT * EXCLUDE (step, place) FROM ranked WHERE place <= {MOST_LABELS}")
    others = connection.execute(f"SELECT step, count(*) FROM ranked WHERE place > {MOST_LABELS} GROUP BY 1").fetchall()
    return "newest", {int(step): int(count) for step, count in others}


def _label_step(steps: Steps) -> str:
    return f"greatest((label_time - {steps.origin}) // {steps.width} + 1, 1)"


def _write_joined(connection: duckdb.DuckDBPyConnection, folder: Path, columns: list[str]) -> list[LogFile]:
    quoted = (name.replace('"', '""') for name in [*columns, "label", "label_time", "source"])
    names = ", ".join(f'"{name}"' for name in quoted)
    query = f"SELECT {names}, step AS {SEQUENCE} FROM joined ORDER BY event_time, prediction_id"
    files: list[LogFile] = []
    for batch in connection.sql(query).to_arrow_reader(_FILE_ROWS):
        rows = pa.Table.from_batches([batch])
        for name in ("event_time", "label_time"):
            rows = rows.set_column(rows.schema.get_field_index(name), name, rows.column(name).cast(TIMESTAMP))
        files += [_write(folder, len(files), rows)] if rows.num_rows else []
    return files


def _write(folder: Path, number: int, rows: pa.Table) -> LogFile:
    path = folder / f"matched-{number:06d}.parquet"
    pq.write_table(rows, path, compression="lz4", row_group_size=65_536)

    def bounds(column: str) -> tuple[Any, Any]:
        found = pc.min_max(rows.column(column))
        return found["min"], found["max"]

    time = [value.cast(pa.int64()).as_py() for value in bounds("event_time")]
    sequence = [value.as_py() for value in bounds(SEQUENCE)]
    size = path.stat().st_size
    return LogFile(str(path), rows.num_rows, size, None, (sequence[0], sequence[1]), (time[0], time[1]), None)


def _schema(files: Sequence[LogFile]) -> pa.Schema | None:
    if not files:
        return None
    schema = pq.read_schema(files[0].uri)
    return pa.schema([field for field in schema if field.name != SEQUENCE])


def _past(connection: duckdb.DuckDBPyConnection, steps: Steps, pane_seconds: float, surplus: dict[int, int]) -> Past:
    label_step = _label_step(steps)
    event_step = f"greatest((event_time - {steps.origin}) // {steps.width} + 1, 1)"
    counted = connection.execute(f"SELECT {label_step}, count(*) FROM labels GROUP BY 1").fetchall()
    labels = {int(step): int(count) for step, count in counted}
    alone = connection.execute(
        f"""SELECT min({label_step}), prediction_id FROM labels
        WHERE prediction_id NOT IN (SELECT prediction_id FROM joined) GROUP BY 2"""
    ).fetchall()
    early = connection.execute(
        f"""SELECT min({label_step}), min({event_step}), prediction_id FROM joined
        GROUP BY prediction_id HAVING min({event_step}) > min({label_step})"""
    ).fetchall()
    waiting: dict[int, set[str]] = {}
    found_later: dict[int, set[str]] = {}
    for step, identifier in alone:
        waiting.setdefault(step, set()).add(identifier)
    for step, later, identifier in early:
        waiting.setdefault(step, set()).add(identifier)
        found_later.setdefault(later, set()).add(identifier)
    repeats = _past_repeats(connection, steps, pane_seconds)
    rows = connection.execute(f"SELECT DISTINCT {event_step} FROM predictions UNION SELECT DISTINCT step FROM joined")
    return Past(labels, surplus, waiting, found_later, repeats, frozenset(step for (step,) in rows.fetchall()))


def _past_repeats(connection: duckdb.DuckDBPyConnection, steps: Steps, pane_seconds: float) -> dict[int, Repeats]:
    reach = round(REPEAT_HORIZON_SECONDS * MICROSECONDS)
    found: dict[int, Repeats] = {}
    rows = connection.execute(
        """SELECT version, prediction_id, list(DISTINCT event_time ORDER BY event_time) FROM predictions
        GROUP BY 1, 2 HAVING min(event_time) < max(event_time)"""
    ).fetchall()
    for version, identifier, moments in rows:
        near = [moment for moment in moments if moment - moments[0] <= reach]
        for step in sorted({steps.of(moment) for moment in near}):
            panes = frozenset(pane_start(moment, pane_seconds) for moment in near if steps.of(moment) <= step)
            known = frozenset(pane_start(moment, pane_seconds) for moment in near if steps.of(moment) < step)
            if len(panes) > 1 and panes != known:
                found.setdefault(step, {})[version, identifier] = Repeat(near[0], panes, known)
    return found
