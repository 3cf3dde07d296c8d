"""Which values of a segment are told apart where neither a reference nor the configuration says it.

What lives here: learning them from the log, and keeping them in the state. What must not: what is counted per value.

They are learnt once, from the first thousand predictions that have the segment, and then stay: windows of different
months must tell the same values apart, and so must a replay, which takes them from the state. Until then the segment is
left out; afterwards all panes are rebuilt with it.

First are the rows of the earliest ingest sequences, and of the last sequence that is needed those that come first by
event time, id and value. That order is the rows' own: a daemon that was there from the beginning, one that starts on
the log a year later, and a replay of what no daemon has seen count the same rows, however the files were merged since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from monitor.log.tables import SEQUENCE, ModelLog
from monitor.profiles.categorical import category_counts
from monitor.profiles.segments import kept_values
from monitor.records import SEGMENT_PREFIX
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import State, Transaction

# Predictions with a value from which on the most frequent ones are known well enough: one in a hundred is seen tenfold.
LEARN_ROWS = 1_000

_ORDER = (SEQUENCE, "event_time", "prediction_id")

_VALUES = sa.table("segment_values", *(sa.column(name) for name in ("model", "segment", "frozen", "counts")))


def learnt_values(state: Transaction, model: str) -> dict[str, tuple[str, ...]]:
    """The values of every segment that has learnt its own."""
    query = sa.select(_VALUES.c.segment, _VALUES.c.counts).where(_VALUES.c.model == model, _VALUES.c.frozen)
    return {str(name): kept_values(_counts(text)) for name, text in state.connection.execute(query)}


def with_learnt_values(settings: ModelSettings, state: State) -> ModelSettings:
    """The settings with what was learnt beside what is configured, for whoever looks at the panes of a daemon."""
    if not settings.segments:
        return settings
    with state.transaction(write=False) as transaction:
        learnt = learnt_values(transaction, settings.name)
    return replace(settings, segment_values={**learnt, **settings.segment_values})


def learn_values(state: State, log: ModelLog, references: ReferenceStore, until: int) -> None:
    """Take in the predictions up to the ingest sequence `until`; what is known then is told to the references."""
    if not references.lacking():
        return
    model = references.settings.name
    with state.transaction(write=False) as transaction:
        references.learnt = {**references.learnt, **learnt_values(transaction, model)}
        open_counts = _open_counts(transaction, model)
        cursors = {name: transaction.cursor(model, _cursor(name)) for name in references.lacking()}
    found = {}
    for name, after in cursors.items():
        if after < until:
            found[name] = Counter(open_counts.get(name, {}))
            found[name].update(first_counts(log, name, LEARN_ROWS - found[name].total(), after=after, until=until))
    if not found:
        return
    with state.transaction() as transaction:
        for name, counts in found.items():
            frozen = counts.total() >= LEARN_ROWS
            kept = {value: counts[value] for value in kept_values(counts)} if frozen else counts
            text = orjson.dumps(dict(sorted(kept.items()))).decode()
            transaction.upsert(_VALUES, {"model": model, "segment": name}, {"frozen": frozen, "counts": text})
            transaction.set_cursor(model, _cursor(name), until)
        references.learnt = {**references.learnt, **learnt_values(transaction, model)}


def first_counts(log: ModelLog, name: str, most: int, *, after: int = 0, until: int) -> dict[str, int]:
    """The first `most` predictions of the ingest sequences (after, until] that have a segment, by its value.

    What the log holds of later predictions is neither kept nor, but for about as much again as was needed, read.
    """
    column, known = SEGMENT_PREFIX + name, log.schema("predictions")
    if known is None or column not in known.names:
        return {}
    first = pa.table({})
    # Files hold sequences in no order. Stretches that double find the first rows soon, wherever in the log they are.
    stretch = 1
    while after < until and first.num_rows < most:
        end = min(after + stretch, until)
        for batch in log.scan("predictions", [column, *_ORDER], after=after, until=end):
            first = _first(first, batch.filter(batch.column(column).is_valid()), most)
        after, stretch = end, 2 * stretch
    return category_counts(first.column(column)) if first.num_rows else {}


def first_values(log: ModelLog, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values that a daemon would have learnt from a log, or those of all its predictions where they are too few."""
    until = log.last_sequence("predictions")
    counted = {name: first_counts(log, name, LEARN_ROWS, until=until) for name in names}
    return {name: kept_values(counts) for name, counts in counted.items() if counts}


def _first(known: pa.Table, rows: pa.RecordBatch, most: int) -> pa.Table:
    """The first `most` of both sets of rows; the first column is the segment's."""
    if not rows.num_rows:
        return known
    both = pa.concat_tables([known, pa.Table.from_batches([rows])]) if known.num_rows else pa.Table.from_batches([rows])
    if both.num_rows <= most:
        return both
    keys = [(name, "ascending") for name in (*_ORDER, both.column_names[0])]
    return both.take(pc.select_k_unstable(both, most, sort_keys=keys))


def _open_counts(state: Transaction, model: str) -> dict[str, dict[str, int]]:
    query = sa.select(_VALUES.c.segment, _VALUES.c.counts).where(_VALUES.c.model == model, ~_VALUES.c.frozen)
    return {str(name): _counts(text) for name, text in state.connection.execute(query)}


def _counts(text: str) -> dict[str, int]:
    return cast("dict[str, int]", orjson.loads(text))


def _cursor(name: str) -> str:
    return f"segment {name}"
