"""Brings labels and predictions together: every label to every version that answered, in whichever order they come.

What lives here: the two directions of the search and what it yields. What must not: panes, profiles, windows.

A label looks for its prediction when it comes; a prediction looks for its label when it comes. Whatever is found goes
to the `matched` table once more with what the outcome needs (label, event time, output), so that an outcome is rebuilt
from one day's partition. Repeats among matched rows are harmless, panes take one winner per id: a run that was killed
is simply done again, with whatever has come meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from monitor.engines.local import event_times, find
from monitor.label_join import LabelSettings
from monitor.log.tables import ModelLog
from monitor.records import PROBABILITY_PREFIX
from monitor.windows import MICROSECONDS

# Labels and predictions are looked up this many at a time: bounds memory, and amortises reading the id column.
CHUNK_ROWS = 500_000
# Repeats of one id are recognised when their event times are at most this far apart.
REPEAT_HORIZON_SECONDS = 86_400.0


@dataclass(frozen=True)
class Matching:
    """What one run found: labels taken in, ids whose label found a prediction, ids that wait for theirs."""

    labels: int
    matched: frozenset[str]
    waiting: frozenset[str]


def match_labels(log: ModelLog, *, after: int, until: int) -> Matching:
    """Match the labels of ingest sequences (after, until] and append what is found to `matched`."""
    count = 0
    matched: set[str] = set()
    waiting: set[str] = set()
    for labels in _chunks(log, "labels", after, until):
        count += labels.num_rows
        ids = pc.unique(labels.column("prediction_id").combine_chunks())
        predictions = find(log, "predictions", ids, _outputs(log), **_known_range(labels))
        hits: set[str] = set()
        if predictions is not None:
            hits = set(predictions.column("prediction_id").to_pylist())
            log.append("matched", _joined(predictions, labels), {})
        matched |= hits
        waiting |= set(ids.to_pylist()) - hits
    return Matching(count, frozenset(matched), frozenset(waiting - matched))


def match_predictions(log: ModelLog, settings: LabelSettings, *, after: int, until: int, labels_until: int) -> Matching:
    """Match the predictions of (after, until] with labels that came before them (label sequence ≤ labels_until)."""
    matched: set[str] = set()
    for predictions in _chunks(log, "predictions", after, until):
        ids = pc.unique(predictions.column("prediction_id").combine_chunks())
        earliest = int(event_times(predictions).min()) - round(settings.horizon_seconds * MICROSECONDS)
        columns = ["prediction_id", "label", "label_time", "source"]
        labels = find(log, "labels", ids, columns, start=earliest, until=labels_until)
        if labels is None:
            continue
        log.append("matched", _joined(predictions, labels), {})
        matched |= set(labels.column("prediction_id").to_pylist())
    return Matching(0, frozenset(matched), frozenset())


def repeats_across_panes(
    log: ModelLog, *, after: int, until: int
) -> dict[tuple[str, str], tuple[int, tuple[int, ...]]]:
    """(version, id) of new predictions that the log also holds at other event times: the earliest, and all of them."""
    found: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {}
    reach = round(REPEAT_HORIZON_SECONDS * MICROSECONDS)
    for new in _chunks(log, "predictions", after, until, ["prediction_id", "version", "event_time"]):
        times = event_times(new)
        ids = pc.unique(new.column("prediction_id").combine_chunks())
        rows = find(
            log,
            "predictions",
            ids,
            ["version", "event_time"],
            start=int(times.min()) - reach,
            end=int(times.max()) + reach + 1,
        )
        if rows is None:
            continue
        groups = rows.group_by(["version", "prediction_id"]).aggregate(
            [("event_time", "min"), ("event_time", "max"), ("event_time", "distinct")]
        )
        differing = groups.filter(pc.not_equal(groups.column("event_time_min"), groups.column("event_time_max")))
        for row in differing.select(["version", "prediction_id"]).to_pylist():
            mine = rows.filter(
                pc.and_(
                    pc.equal(rows.column("prediction_id"), row["prediction_id"]),
                    pc.equal(rows.column("version"), row["version"]),
                )
            )
            moments = tuple(sorted(set(event_times(mine).tolist())))
            found[row["version"], row["prediction_id"]] = (moments[0], moments)
    return found


def _outputs(log: ModelLog) -> list[str]:
    schema = log.schema("predictions")
    names = schema.names if schema is not None else []
    return [
        "prediction_id",
        "version",
        "event_time",
        "prediction",
        *(name for name in names if name.startswith(PROBABILITY_PREFIX)),
    ]


def _joined(predictions: pa.Table, labels: pa.Table) -> pa.Table:
    truth = labels.select(["prediction_id", "label", "label_time", "source"])
    return predictions.join(truth, keys="prediction_id", join_type="inner")


def _known_range(labels: pa.Table) -> dict[str, int]:
    column = labels.column("event_time") if "event_time" in labels.column_names else None
    if column is None or column.null_count:
        return {}
    times = event_times(labels)
    return {"start": int(times.min()), "end": int(times.max()) + 1}


def _chunks(log: ModelLog, table: str, after: int, until: int, columns: list[str] | None = None) -> Iterator[pa.Table]:
    names = columns or (_outputs(log) if table == "predictions" else None)
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
