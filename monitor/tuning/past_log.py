"""Reads a version's past from the log: whole observations, one row per prediction, at most so many rows of each.

What lives here: which rows are read, and sampling them. What must not: profiles, evidence; the random generator is an
argument.

Where an observation holds more rows than are asked for, a random sample of its predictions is taken, with their labels.
Evidence of a sample is weaker than that of all rows, so delays found on one are longer than they will be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.winners import unique_outcomes, unique_predictions
from monitor.errors import OperatorError
from monitor.log.tables import BOOKKEEPING, ModelLog, TableName
from monitor.records import ModelSchema
from monitor.settings import ModelSettings
from monitor.statistics.seasons import ObservationSettings
from monitor.tuning.stream import Observation, Past, event_times, in_order, whole_windows
from monitor.windows import Window, tumbling_window

# Rows of one observation, and of the whole past, that are kept in memory.
OBSERVATION_ROWS = 5_000
TOTAL_ROWS = 1_000_000
# With fewer rows than these an observation says too little; older observations are left out instead.
_LEAST_ROWS = 1_000
# Event time that is read at once, where observations are shorter.
_STRETCH_SECONDS = 86_400.0
_NOT_NEEDED = frozenset({"embedding", "latency_seconds", "request_id"})


def versions_in(log: ModelLog) -> list[str]:
    """Versions that the log holds predictions of, the one with the newest prediction last."""
    newest: dict[str, int] = {}
    for batch in log.scan("predictions", ["version", "event_time"]):
        for version in pc.unique(batch.column("version")).to_pylist():
            mine = batch.filter(pc.equal(batch.column("version"), version))
            newest[version] = max(newest.get(version, 0), int(event_times(pa.Table.from_batches([mine])).max()))
    return sorted(newest, key=lambda version: (newest[version], version))


def read_past(
    log: ModelLog,
    settings: ModelSettings,
    schema: ModelSchema,
    version: str,
    random: np.random.Generator,
    *,
    rows: int = OBSERVATION_ROWS,
    span: tuple[int | None, int | None] = (None, None),
    advance: Callable[[], None] = lambda: None,
) -> Past:
    """The past of one version; raises OperatorError where the log has no prediction of it.

    `rows`: at most so many of one observation. `span`: event times from and to (µs), where not all are wanted.
    `advance` is called once for every stretch that was read.
    """
    observed = settings.observations
    first, last = _covered(log, version, span)
    windows = list(whole_windows(first, last, observed))
    most = min(rows, max(_LEAST_ROWS, TOTAL_ROWS // max(len(windows), 1)))
    windows = windows[-max(TOTAL_ROWS // most, 1) :]
    whole = bool(windows)
    if not whole:
        windows = [_fullest(first, last, observed)]
    observations: list[Observation] = []
    for group in _groups(windows, observed):
        stretch = (max(group[0].start, first), min(group[-1].end, last))
        observations += _read_group(log, schema, version, group, stretch, most, random)
        advance()
    return Past(version, tuple(observations), observed, first, last, whole=whole)


def _covered(log: ModelLog, version: str, span: tuple[int | None, int | None]) -> tuple[int, int]:
    """Event time of the version's first prediction, and just after its last; where a span ends the past does too."""
    low, high = None, None
    for batch in log.scan("predictions", ["event_time"], start=span[0], end=span[1], versions=[version]):
        if batch.num_rows:
            times = event_times(pa.Table.from_batches([batch]))
            low = int(times.min()) if low is None else min(low, int(times.min()))
            high = int(times.max()) if high is None else max(high, int(times.max()))
    if low is None or high is None:
        raise OperatorError("the log has no prediction", where=f"model {log.model}, version {version}")
    return low, high + 1


def _fullest(first: int, last: int, observed: ObservationSettings) -> Window:
    """The observation that shares most time with a stretch that holds none as a whole."""
    early = tumbling_window(first, observed.length_seconds)
    return early if early.end - first >= last - early.end else tumbling_window(last - 1, observed.length_seconds)


def _groups(windows: Sequence[Window], observed: ObservationSettings) -> Iterator[Sequence[Window]]:
    size = max(1, int(_STRETCH_SECONDS // observed.length_seconds))
    for start in range(0, len(windows), size):
        yield windows[start : start + size]


def _read_group(
    log: ModelLog,
    schema: ModelSchema,
    version: str,
    windows: Sequence[Window],
    span: tuple[int, int],
    most: int,
    random: np.random.Generator,
) -> list[Observation]:
    """Neighbouring observations, read together, from and to these event times."""
    ids = _read(log, "predictions", version, span, None, ["prediction_id", "event_time"])
    chosen: list[pa.Array] = []
    seen: list[int] = []
    for window in windows:
        own = pc.unique(_within(ids, window).column("prediction_id").combine_chunks())
        seen.append(len(own))
        if len(own) > most:
            own = own.take(pa.array(np.sort(random.permutation(len(own))[:most])))
        chosen.append(own)
    sampled = any(len(own) < count for own, count in zip(chosen, seen, strict=True))
    only = pa.concat_arrays(chosen) if sampled else None
    rows = _read(log, "predictions", version, span, only, None)
    truth = _read(log, "matched", version, span, only, None)
    return [
        Observation(window, in_order(_joined(schema, _within(rows, window), _within(truth, window))), count)
        for window, count in zip(windows, seen, strict=True)
    ]


def _read(
    log: ModelLog,
    table: TableName,
    version: str,
    span: tuple[int, int],
    only: pa.Array | None,
    columns: Sequence[str] | None,
) -> pa.Table:
    """Rows of a stretch, of these predictions only; no more than that is in memory at once."""
    known = log.schema(table)
    if known is None:
        return pa.table(
            {"prediction_id": pa.array([], pa.string()), "event_time": pa.array([], pa.timestamp("us", "UTC"))}
        )
    wanted = columns or [name for name in known.names if name not in _NOT_NEEDED | BOOKKEEPING]
    batches = []
    for batch in log.scan(table, wanted, start=span[0], end=span[1], versions=[version]):
        kept = batch if only is None else batch.filter(pc.is_in(batch.column("prediction_id"), value_set=only))
        if kept.num_rows:
            batches.append(kept)
    if batches:
        return pa.Table.from_batches(batches)
    return pa.schema([known.field(name) for name in wanted]).empty_table()


def _within(rows: pa.Table, window: Window) -> pa.Table:
    times = event_times(rows)
    return rows.filter(pa.array((times >= window.start) & (times < window.end)))


def _joined(schema: ModelSchema, rows: pa.Table, truth: pa.Table) -> pa.Table:
    """One row per prediction with its newest label, null where it has none."""
    rows = unique_predictions(rows)
    if not truth.num_rows:
        empty = pa.nulls(rows.num_rows, schema.output_type)
        times = pa.nulls(rows.num_rows, pa.timestamp("us", "UTC"))
        return rows.append_column("label", empty).append_column("label_time", times)
    labels = unique_outcomes(truth).select(["prediction_id", "label", "label_time"])
    # Of a prediction that was repeated in another observation the label may be here and the row there.
    place = pc.index_in(rows.column("prediction_id"), value_set=labels.column("prediction_id").combine_chunks())
    return rows.append_column("label", labels.column("label").take(place)).append_column(
        "label_time", labels.column("label_time").take(place)
    )
