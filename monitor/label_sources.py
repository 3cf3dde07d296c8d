"""Reads ground truth from the databases of the configuration into the daemon's own spool, again and again.

What lives here: when a source is due, the order of spool, dead letters and position, how it went. What must not: the
query (`log.sql_labels`), how a record is understood (`log.sources`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import sqlalchemy as sa

from monitor.errors import TrueupError
from monitor.log.rejection import Rejected
from monitor.log.roles import SourceRules
from monitor.log.sources import Body, convert_body, frames
from monitor.log.sql_labels import Delivered, encode_position, position_time, read_labels
from monitor.records import Kind
from monitor.settings import ModelSettings, SqlLabels
from monitor.state import State, Transaction
from monitor.windows import MICROSECONDS

SQL = "sql"
_SOURCES = sa.table(
    "label_sources",
    *(sa.column(name) for name in ("model", "source", "position", "newest", "last_attempt", "last_success", "error")),
)


@dataclass(frozen=True)
class SourceRecord:
    """How reading a source went; times in µs. `newest`: the newest cursor, where cursors are times."""

    position: str | None = None
    newest: int | None = None
    last_attempt: int = 0
    last_success: int | None = None
    error: str | None = None


class Store(Protocol):
    """Where what is read goes: durable on return, or an error."""

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Into the own spool."""

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        """Count, and keep as dead letters."""


def source_record(state: Transaction, model: str) -> SourceRecord | None:
    """How reading the model's database went; None before the first time."""
    query = sa.select(_SOURCES).where(_SOURCES.c.model == model, _SOURCES.c.source == SQL)
    row = state.connection.execute(query).mappings().first()
    return None if row is None else SourceRecord(**{name: row[name] for name in SourceRecord.__dataclass_fields__})


class LabelSources:
    """The label sources of all models; one thread calls `read_due`."""

    def __init__(self, state: State, store: Store, now: Callable[[], int]) -> None:
        self._state = state
        self._store = store
        self._now = now
        self._delivered: dict[str, tuple[SqlLabels, Delivered]] = {}

    def read_due(
        self, models: Sequence[ModelSettings], rules: Callable[[str], SourceRules | None]
    ) -> dict[str, int | str]:
        """Read every source that is due: by model how many labels were taken, or why none could be."""
        outcomes: dict[str, int | str] = {}
        for model in models:
            source = model.sql_labels
            if source is None:
                continue
            with self._state.transaction(write=False) as state:
                record = source_record(state, model.name) or SourceRecord()
            if self._now() - record.last_attempt >= round(source.every_seconds * MICROSECONDS):
                outcomes[model.name] = self._read(model.name, source, rules(model.name), record)
        return outcomes

    def _read(self, model: str, source: SqlLabels, rules: SourceRules | None, before: SourceRecord) -> int | str:
        attempt = self._now()
        position, newest, taken = before.position, before.newest, 0
        error = None
        try:
            if rules is None:
                raise LookupError("the model's task and classes are not known yet")
            for part in read_labels(source, before.position, self._known(model, source)):
                position, newest = encode_position(part.position), position_time(part.position)
                for parsed in convert_body(Body(part.rows, []), "label", lambda _: rules, now=attempt):
                    if parsed.batch is not None:
                        self._store.write(frames([parsed.batch]))
                    if parsed.rejected:
                        self._store.reject(parsed.rejected, source=SQL, model=model, kind="label")
                    taken += parsed.accepted
        except (TrueupError, LookupError, OSError) as fault:
            # The position stays: what was taken comes again, and the winner rule of labels makes it one.
            self._delivered.pop(model, None)
            position, newest, error = before.position, before.newest, str(fault)
        success = before.last_success if error else self._now()
        with self._state.transaction() as state:
            values = SourceRecord(position, newest, attempt, success, error)
            state.upsert(_SOURCES, {"model": model, "source": SQL}, vars(values))
        return error or taken

    def _known(self, model: str, source: SqlLabels) -> Delivered:
        known = self._delivered.get(model)
        if known is None or known[0] != source:
            known = self._delivered[model] = (source, Delivered())
        return known[1]
