"""Brings labels and predictions together: every label to every version that answered, in whichever order they come.

What lives here: the two directions of the search and what it yields. What must not: panes, profiles, windows.

A label looks for its prediction when it comes; a prediction looks for its label when it comes. Whatever is found goes
to the `matched` table once more with what the outcome needs (label, event time, output, segments; of a regression the
features too, from which its losses are estimated), so that an outcome is rebuilt from one day's partition. Repeats
among matched rows are harmless, panes take one winner per id: a run that was killed is simply done again, with whatever
has come meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.hash_join import join_labels
from monitor.engines.identifiers import one_array
from monitor.engines.local import event_times, find
from monitor.engines.winners import crowded_labels
from monitor.label_join import LabelSettings
from monitor.log.tables import SEQUENCE, ModelLog
from monitor.records import FEATURE_PREFIX, PROBABILITY_PREFIX, SEGMENT_PREFIX
from monitor.windows import MICROSECONDS, pane_start

# Labels and predictions are looked up this many at a time: bounds memory, and amortises reading the id column.
CHUNK_ROWS = 500_000
# Repeats of one id are recognised when their event times are at most this far apart.
REPEAT_HORIZON_SECONDS = 86_400.0


# From this many labels on, one join of all files is cheaper than a search in each (docs/label_search.md).
MANY_LABELS = 50_000


@dataclass(frozen=True)
class Matching:
    """What one run found: labels taken in, ids that waited and wait no more, ids that wait for their prediction.

    `surplus` labels were too many of their ids.
    """

    labels: int
    resolved: frozenset[str]
    waiting: frozenset[str]
    surplus: int = 0


def match_labels(
    log: ModelLog, settings: LabelSettings, *, after: int, until: int, predictions_until: int, pending: pa.Array
) -> Matching:
    """Match the labels of ingest sequences (after, until] with the predictions up to `predictions_until`.

    What is found is appended to `matched`. A newer prediction finds its label itself, when it is its turn. `pending`:
    the ids that wait already.
    """
    new = sum(file.rows for file in log.files("labels", after=after))
    if new >= MANY_LABELS and log.local and log.schema("predictions") is not None:
        return _match_many(log, settings, after, until, predictions_until, pending)
    count = surplus = 0
    resolved: set[str] = set()
    waiting: set[str] = set()
    for new_labels in _chunks(log, "labels", after, until):
        count += new_labels.num_rows
        labels, others = _not_crowded(new_labels)
        surplus += others
        ids = _ids(labels)
        predictions = find(
            log, "predictions", ids, output_columns(log), until=predictions_until, **_known_range(labels)
        )
        hits = pa.array([], pa.string())
        if predictions is not None:
            joined = _joined(predictions, labels, settings)
            hits = _ids(joined)
            if joined.num_rows:
                log.append("matched", joined, {})
        resolved |= _among(pending, hits)
        waiting |= set(ids.filter(pc.invert(pc.is_in(ids, value_set=hits))).to_pylist())
    return Matching(count, frozenset(resolved), frozenset(waiting), surplus)


def _match_many(
    log: ModelLog, settings: LabelSettings, after: int, until: int, predictions_until: int, pending: pa.Array
) -> Matching:
    horizon = round(settings.horizon_seconds * MICROSECONDS)
    surplus = 0
    resolved: set[str] = set()
    waiting: set[str] = set()
    for part in join_labels(
        log, output_columns(log), after=after, until=until, predictions_until=predictions_until, horizon=horizon
    ):
        surplus += part.surplus
        waiting |= set(part.missing.to_pylist())
        if part.rows.num_rows:
            resolved |= _among(pending, part.rows.column("prediction_id"))
            log.append("matched", part.rows, {})
    count = sum(batch.num_rows for batch in log.scan("labels", ["label_time"], after=after, until=until))
    return Matching(count, frozenset(resolved), frozenset(waiting), surplus)


def match_predictions(
    log: ModelLog, settings: LabelSettings, *, after: int, until: int, labels_until: int, pending: pa.Array
) -> Matching:
    """Match the predictions of (after, until] with labels that came before them (label sequence ≤ labels_until)."""
    resolved: set[str] = set()
    for predictions in _chunks(log, "predictions", after, until):
        ids = _ids(predictions)
        earliest = int(event_times(predictions).min()) - round(settings.horizon_seconds * MICROSECONDS)
        columns = ["prediction_id", "label", "label_time", "source"]
        labels = find(log, "labels", ids, columns, start=earliest, until=labels_until)
        if labels is None:
            continue
        joined = _joined(predictions, _not_crowded(labels)[0], settings)
        if joined.num_rows:
            log.append("matched", joined, {})
        resolved |= _among(pending, _ids(joined))
    return Matching(0, frozenset(resolved), frozenset())


def _among(pending: pa.Array, identifiers: pa.Array | pa.ChunkedArray) -> set[str]:
    """Those of few ids that are among many."""
    if not len(pending):
        return set()
    return set(pending.filter(pc.is_in(pending, value_set=identifiers)).to_pylist())


@dataclass(frozen=True)
class Repeat:
    """One prediction that lies in several panes: its earliest event time (µs), the panes, those known before."""

    earliest: int
    panes: frozenset[int]
    known_panes: frozenset[int]


# By (version, prediction id).
Repeats = dict[tuple[str, str], Repeat]


def repeats_across_panes(log: ModelLog, pane_seconds: float, *, after: int, until: int) -> Repeats:
    """Predictions of (after, until] that the log also holds in other panes."""
    found: Repeats = {}
    reach = round(REPEAT_HORIZON_SECONDS * MICROSECONDS)
    for new in _chunks(log, "predictions", after, until, ["prediction_id", "version", "event_time"]):
        times = event_times(new)
        ids = _ids(new)
        rows = find(
            log,
            "predictions",
            ids,
            ["version", "event_time", SEQUENCE],
            start=int(times.min()) - reach,
            end=int(times.max()) + reach + 1,
            until=until,
        )
        if rows is None:
            continue
        groups = rows.group_by(["version", "prediction_id"]).aggregate([("event_time", "min"), ("event_time", "max")])
        several = groups.filter(pc.not_equal(groups.column("event_time_min"), groups.column("event_time_max")))
        if several.num_rows:
            mine = rows.filter(pc.is_in(rows.column("prediction_id"), value_set=_ids(several)))
            found |= _repeats(mine, pane_seconds, after)
    return found


class Join(Protocol):
    """How a cycle brings labels and predictions together."""

    def labels(
        self,
        log: ModelLog,
        settings: LabelSettings,
        /,
        *,
        after: int,
        until: int,
        predictions_until: int,
        pending: pa.Array,
    ) -> Matching:
        """As `match_labels`."""

    def predictions(
        self, log: ModelLog, settings: LabelSettings, /, *, after: int, until: int, labels_until: int, pending: pa.Array
    ) -> Matching:
        """As `match_predictions`."""

    def repeats(self, log: ModelLog, pane_seconds: float, /, *, after: int, until: int) -> Repeats:
        """As `repeats_across_panes`."""


class LogJoin:
    """The live join: whatever is new is looked up in the log, and what is found is appended to `matched`."""

    labels = staticmethod(match_labels)
    predictions = staticmethod(match_predictions)
    repeats = staticmethod(repeats_across_panes)


def _repeats(rows: pa.Table, pane_seconds: float, after: int) -> Repeats:
    moments: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    columns = (rows.column(name).to_pylist() for name in ("version", "prediction_id", SEQUENCE))
    for version, identifier, sequence, moment in zip(*columns, event_times(rows).tolist(), strict=True):
        moments.setdefault((version, identifier), []).append((moment, sequence <= after))
    found: Repeats = {}
    for key, seen in moments.items():
        panes = frozenset(pane_start(moment, pane_seconds) for moment, _ in seen)
        if len(panes) > 1:
            known = frozenset(pane_start(moment, pane_seconds) for moment, before in seen if before)
            found[key] = Repeat(min(moment for moment, _ in seen), panes, known)
    return found


def _ids(rows: pa.Table) -> pa.Array:
    return pc.unique(rows.column("prediction_id")).cast(pa.string())


def output_columns(log: ModelLog) -> list[str]:
    """The columns of predictions that an outcome is made of."""
    schema = log.schema("predictions")
    if schema is None:
        return ["prediction_id", "version", "event_time", "prediction"]
    is_regression = "prediction" in schema.names and pa.types.is_floating(schema.field("prediction").type)
    needed = FEATURE_PREFIX if is_regression else PROBABILITY_PREFIX
    return [
        "prediction_id",
        "version",
        "event_time",
        "prediction",
        *(name for name in schema.names if name.startswith((needed, SEGMENT_PREFIX))),
    ]


def _joined(predictions: pa.Table, labels: pa.Table, settings: LabelSettings) -> pa.Table:
    truth = labels.select(["prediction_id", "label", "label_time", "source"])
    joined = predictions.join(truth, keys="prediction_id", join_type="inner")
    # The same rule in both directions, however the files are cut: what was known a horizon before is another thing's.
    age = np.asarray(event_times(joined) - event_times(joined, "label_time"))
    return joined.filter(pa.array(age <= round(settings.horizon_seconds * MICROSECONDS)))


def _not_crowded(labels: pa.Table) -> tuple[pa.Table, int]:
    """(the labels that count where an id has very many, how many others there are)."""
    crowded = crowded_labels(
        one_array(labels.column("prediction_id")), labels.column("label"), event_times(labels, "label_time")
    )
    return (labels, 0) if crowded is None else (labels.filter(pa.array(crowded[0])), crowded[1])


def _known_range(labels: pa.Table) -> dict[str, int]:
    column = labels.column("event_time") if "event_time" in labels.column_names else None
    if column is None or column.null_count:
        return {}
    times = event_times(labels)
    return {"start": int(times.min()), "end": int(times.max()) + 1}


def _chunks(log: ModelLog, table: str, after: int, until: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    names = columns or (output_columns(log) if table == "predictions" else None)
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in log.scan(table, names, after=after, until=until):  # type: ignore[arg-type]  # both are table names
        if not batch.num_rows:
            continue
        batches.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK_ROWS:
            yield pa.Table.from_batches(batches)
            batches, rows = [], 0
    if batches:
        yield pa.Table.from_batches(batches)
