"""Which values of a segment are told apart where neither a reference nor the configuration says it.

What lives here: learning them from the log, and keeping them in the state. What must not: what is counted per value.

They are learnt once, from the first thousand predictions that have the segment, and then stay: windows of different
months must tell the same values apart, and so must a replay, which takes them from the state. Until then the segment is
left out; afterwards all panes are rebuilt with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import cast

import orjson
import sqlalchemy as sa

from monitor.log.tables import ModelLog
from monitor.profiles.categorical import category_counts
from monitor.profiles.segments import kept_values
from monitor.records import SEGMENT_PREFIX
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import State, Transaction

# Predictions with a value from which on the most frequent ones are known well enough: one in a hundred is seen tenfold.
LEARN_ROWS = 1_000

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
            new = count_values(log, name, after=after, until=until)
            found[name] = _added(open_counts.get(name, {}), new)
    if not found:
        return
    with state.transaction() as transaction:
        for name, counts in found.items():
            frozen = sum(counts.values()) >= LEARN_ROWS
            kept = {value: counts[value] for value in kept_values(counts)} if frozen else counts
            text = orjson.dumps(dict(sorted(kept.items()))).decode()
            transaction.upsert(_VALUES, {"model": model, "segment": name}, {"frozen": frozen, "counts": text})
            transaction.set_cursor(model, _cursor(name), until)
        references.learnt = {**references.learnt, **learnt_values(transaction, model)}


def count_values(log: ModelLog, name: str, *, after: int | None = None, until: int | None = None) -> dict[str, int]:
    """Predictions of the ingest sequences (after, until] by their value of a segment; none where it is null."""
    column, known = SEGMENT_PREFIX + name, log.schema("predictions")
    if known is None or column not in known.names:
        return {}
    found: dict[str, int] = {}
    for batch in log.scan("predictions", [column], after=after, until=until):
        found = _added(found, category_counts(batch.column(column)))
    return found


def whole_log_values(log: ModelLog, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The values that all of a log's predictions tell apart: for a replay of what no daemon has seen."""
    counted = {name: count_values(log, name) for name in names}
    return {name: kept_values(counts) for name, counts in counted.items() if counts}


def _open_counts(state: Transaction, model: str) -> dict[str, dict[str, int]]:
    query = sa.select(_VALUES.c.segment, _VALUES.c.counts).where(_VALUES.c.model == model, ~_VALUES.c.frozen)
    return {str(name): _counts(text) for name, text in state.connection.execute(query)}


def _added(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return a | {name: count + a.get(name, 0) for name, count in b.items()}


def _counts(text: str) -> dict[str, int]:
    return cast("dict[str, int]", orjson.loads(text))


def _cursor(name: str) -> str:
    return f"segment {name}"
