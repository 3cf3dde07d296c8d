"""Reads and writes of one atomic unit of the state.

What lives here: one method per question and per fact. What must not: decisions; what is written is decided in the core.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from monitor.state import statements
from monitor.state.packing import packed, unpacked
from monitor.state.schema import (
    COUNTERS,
    CURSORS,
    EVALUATIONS,
    PANES,
    PENDING,
    SOURCES,
    SUPERSEDED,
    VERSIONS,
    WINDOWS,
    EvaluationRecord,
    PaneDigest,
    PaneKind,
    StoredPane,
    StoredWindow,
    WindowHead,
)
from monitor.windows import SourceProgress


class Transaction:
    """Reads and writes of one atomic unit."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def connection(self) -> Connection:
        """For the parts of the state that have a module of their own."""
        return self._connection

    def cursor(self, model: str, name: str) -> int:
        """How far `name` has been consumed; 0 at the start."""
        query = sa.select(CURSORS.c.value).where(CURSORS.c.model == model, CURSORS.c.name == name)
        return int(self._connection.execute(query).scalar() or 0)

    def set_cursor(self, model: str, name: str, value: int) -> None:
        """Remember how far `name` has been consumed."""
        self.upsert(CURSORS, {"model": model, "name": name}, {"value": value})

    def add(self, model: str, name: str, key: str, amount: int) -> None:
        """Add to a counter that never falls."""
        query = sa.select(COUNTERS.c.value).where(
            COUNTERS.c.model == model, COUNTERS.c.name == name, COUNTERS.c.key == key
        )
        old = self._connection.execute(query).scalar() or 0
        self.upsert(COUNTERS, {"model": model, "name": name, "key": key}, {"value": old + amount})

    def counters(self, model: str, name: str) -> dict[str, int]:
        """Counter values by key."""
        query = sa.select(COUNTERS.c.key, COUNTERS.c.value).where(COUNTERS.c.model == model, COUNTERS.c.name == name)
        return {row.key: int(row.value) for row in self._connection.execute(query)}

    def note_source(self, model: str, source: str, newest_event_time: int, now: int) -> None:
        """Remember that `source` sent predictions up to `newest_event_time`."""
        query = sa.select(SOURCES.c.newest_event_time).where(SOURCES.c.model == model, SOURCES.c.source == source)
        old = self._connection.execute(query).scalar()
        newest = newest_event_time if old is None else max(int(old), newest_event_time)
        values = {"newest_event_time": newest, "last_seen": now}
        self.upsert(SOURCES, {"model": model, "source": source}, values)

    def bring_sources_back(self, model: str, now: int) -> None:
        """Let no source have spoken in the future."""
        self._connection.execute(
            sa.update(SOURCES).where(SOURCES.c.model == model, SOURCES.c.last_seen > now).values(last_seen=now)
        )

    def sources(self, model: str) -> list[SourceProgress]:
        """Progress of every source of the model's predictions."""
        query = sa.select(SOURCES.c.newest_event_time, SOURCES.c.last_seen).where(SOURCES.c.model == model)
        return [SourceProgress(int(row[0]), int(row[1])) for row in self._connection.execute(query)]

    def put_panes(self, model: str, panes: Iterable[StoredPane]) -> None:
        """Store panes, replacing earlier ones of the same identity; a pane without rows is removed."""
        kept = []
        for pane in panes:
            key = {"model": model, "version": pane.version, "kind": pane.kind, "start": pane.start}
            if pane.rows == 0:
                self._connection.execute(sa.delete(PANES).where(*_matches(PANES, key)))
                continue
            digest = hashlib.blake2b(pane.profile, digest_size=16).hexdigest()
            kept.append({**vars(pane), "model": model, "digest": digest})
        if kept:
            self._connection.execute(statements.put_panes(self._connection.dialect.name), kept)

    def replace_panes(self, model: str, pane: StoredPane) -> None:
        """Store a pane in the place of all that begin within it."""
        self._connection.execute(
            sa.delete(PANES).where(
                PANES.c.model == model,
                PANES.c.version == pane.version,
                PANES.c.kind == pane.kind,
                PANES.c.start >= pane.start,
                PANES.c.start < pane.end,
            )
        )
        self.put_panes(model, [pane])

    def panes(self, model: str, version: str, kind: PaneKind, start: int, end: int) -> list[StoredPane]:
        """Panes of [start, end) in order."""
        query = (
            sa.select(PANES)
            .where(
                PANES.c.model == model,
                PANES.c.version == version,
                PANES.c.kind == kind,
                PANES.c.start >= start,
                PANES.c.start < end,
            )
            .order_by(PANES.c.start)
        )
        return [
            StoredPane(row.version, row.kind, row.start, row.end, row.reference, row.rows, row.profile)
            for row in self._connection.execute(query)
        ]

    def newest_pane(self, model: str, version: str) -> int | None:
        """Start of the newest pane with predictions."""
        query = sa.select(sa.func.max(PANES.c.start)).where(
            PANES.c.model == model, PANES.c.version == version, PANES.c.kind == "inputs"
        )
        value = self._connection.execute(query).scalar()
        return None if value is None else int(value)

    def oldest_pane(self, model: str, version: str) -> int | None:
        """Start of the oldest pane with predictions."""
        query = sa.select(sa.func.min(PANES.c.start)).where(
            PANES.c.model == model, PANES.c.version == version, PANES.c.kind == "inputs"
        )
        value = self._connection.execute(query).scalar()
        return None if value is None else int(value)

    def pane_starts(self, model: str, version: str, start: int, end: int) -> list[int]:
        """Starts of the panes with predictions in [start, end), in order."""
        query = (
            sa.select(PANES.c.start)
            .where(
                PANES.c.model == model,
                PANES.c.version == version,
                PANES.c.kind == "inputs",
                PANES.c.start >= start,
                PANES.c.start < end,
            )
            .order_by(PANES.c.start)
        )
        return [int(row[0]) for row in self._connection.execute(query)]

    def drop_panes(self, model: str, version: str, reference: str) -> int:
        """Remove panes of this version that were profiled against another reference; returns how many."""
        result = self._connection.execute(
            sa.delete(PANES).where(PANES.c.model == model, PANES.c.version == version, PANES.c.reference != reference)
        )
        return int(result.rowcount)

    def put_window(self, model: str, window: StoredWindow) -> None:
        """Store one revision."""
        key = {
            "model": model,
            "version": window.version,
            "seconds": window.seconds,
            "start": window.start,
            "revision": window.revision,
        }
        values = {
            "end": window.end,
            "maturity": window.maturity,
            "evaluated_at": window.evaluated_at,
            "fingerprint": window.fingerprint,
            "result": packed(window.result) if self._connection.dialect.name == "sqlite" else window.result,
        }
        self.upsert(WINDOWS, key, values)

    def drop_revision(self, model: str, version: str, seconds: float, start: int, revision: int) -> None:
        """Remove one revision of a window."""
        key = {"model": model, "version": version, "seconds": seconds, "start": start, "revision": revision}
        self._connection.execute(sa.delete(WINDOWS).where(*_matches(WINDOWS, key)))

    def windows(
        self,
        model: str,
        *,
        version: str | None = None,
        seconds: float | None = None,
        start: int | None = None,
        end: int | None = None,
        maturity: str | None = None,
        newest: int | None = None,
    ) -> list[StoredWindow]:
        """Stored revisions with start in [start, end), by (end, revision); `newest` keeps that many of the last."""
        query = sa.select(WINDOWS).where(WINDOWS.c.model == model)
        for column, value in (("version", version), ("seconds", seconds), ("maturity", maturity)):
            if value is not None:
                query = query.where(WINDOWS.c[column] == value)
        if start is not None:
            query = query.where(WINDOWS.c.start >= start)
        if end is not None:
            query = query.where(WINDOWS.c.start < end)
        query = query.order_by(WINDOWS.c.end.desc(), WINDOWS.c.revision.desc())
        if newest is not None:
            query = query.limit(newest)
        rows = self._connection.execute(query).mappings().all()
        return [_window(row) for row in reversed(rows)]

    def unfinished_windows(self, model: str) -> list[WindowHead]:
        """The latest revision of every window that has no final one yet."""
        return [WindowHead(*row) for row in self._connection.execute(statements.UNFINISHED, {"model": model})]

    def latest_revision(self, model: str, version: str, seconds: float, start: int) -> WindowHead | None:
        """The latest revision of one window, without its values; None where it was never published."""
        wanted = {"model": model, "version": version, "seconds": seconds, "start": start}
        row = self._connection.execute(statements.LATEST_REVISION, wanted).first()
        return None if row is None else WindowHead(*row)

    def pane_digests(self, model: str, version: str, start: int, end: int) -> dict[PaneKind, list[PaneDigest]]:
        """What the panes of [start, end) hold, by kind and in order."""
        wanted = {"model": model, "version": version, "start": start, "end": end}
        found: dict[PaneKind, list[PaneDigest]] = {"inputs": [], "outcomes": []}
        for kind, *digest in self._connection.execute(statements.PANE_DIGESTS, wanted):
            found[kind].append(PaneDigest(*digest))
        return found

    def put_pending(self, model: str, identifiers: Iterable[str], now: int) -> None:
        """Note labels that wait for their prediction; one that waits already keeps its age."""
        rows = [{"model": model, "prediction_id": name, "first_seen": now} for name in identifiers]
        if not rows:
            return
        if self._connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            self._connection.execute(postgresql_insert(PENDING).on_conflict_do_nothing(), rows)
        else:
            from sqlalchemy.dialects.sqlite import insert as sqlite_insert

            self._connection.execute(sqlite_insert(PENDING).on_conflict_do_nothing(), rows)

    def pending(self, model: str) -> list[str]:
        """Ids of labels that wait for their prediction."""
        query = sa.select(PENDING.c.prediction_id).where(PENDING.c.model == model)
        return [str(name) for name in self._connection.execute(query).scalars()]

    def remove_pending(self, model: str, identifiers: Iterable[str]) -> int:
        """These labels found their prediction; returns how many were waiting."""
        removed = 0
        for part in _parts(identifiers):
            result = self._connection.execute(
                sa.delete(PENDING).where(PENDING.c.model == model, PENDING.c.prediction_id.in_(part))
            )
            removed += int(result.rowcount)
        return removed

    def forget_identifiers(self, model: str, identifiers: Iterable[str]) -> None:
        """Remove what is kept by prediction id."""
        for part in _parts(identifiers):
            for table in (PENDING, SUPERSEDED):
                self._connection.execute(
                    sa.delete(table).where(table.c.model == model, table.c.prediction_id.in_(part))
                )

    def expire_pending(self, model: str, before: int) -> int:
        """Forget labels that wait since before this; returns how many became orphans."""
        result = self._connection.execute(
            sa.delete(PENDING).where(PENDING.c.model == model, PENDING.c.first_seen < before)
        )
        return int(result.rowcount)

    def pending_count(self, model: str) -> int:
        """How many labels wait for their prediction."""
        query = sa.select(sa.func.count()).select_from(PENDING).where(PENDING.c.model == model)
        return int(self._connection.execute(query).scalar() or 0)

    def put_superseded(self, model: str, winners: Mapping[tuple[str, str], int]) -> None:
        """Remember the event time of the winner among repeats that lie in different panes, by (version, id)."""
        for (version, identifier), event_time in winners.items():
            key = {"model": model, "version": version, "prediction_id": identifier}
            self.upsert(SUPERSEDED, key, {"event_time": event_time})

    def prune_superseded(self, model: str, before: int) -> int:
        """Forget winners of before this event time (µs); returns how many."""
        wanted = SUPERSEDED.c.model == model, SUPERSEDED.c.event_time < before
        return int(self._connection.execute(sa.delete(SUPERSEDED).where(*wanted)).rowcount)

    def superseded(self, model: str, version: str) -> dict[str, int]:
        """Winning event time (µs) of every repeated prediction of this version whose repeats cross panes."""
        query = sa.select(SUPERSEDED.c.prediction_id, SUPERSEDED.c.event_time).where(
            SUPERSEDED.c.model == model, SUPERSEDED.c.version == version
        )
        return {str(row[0]): int(row[1]) for row in self._connection.execute(query)}

    def put_version(self, model: str, version: str, reference: str | None, now: int) -> None:
        """Remember a version and the reference its panes are profiled against."""
        updated = self._connection.execute(
            sa.update(VERSIONS)
            .where(VERSIONS.c.model == model, VERSIONS.c.version == version)
            .values(reference=reference)
        )
        if updated.rowcount == 0:
            values = {"model": model, "version": version, "reference": reference, "first_seen": now}
            self._connection.execute(sa.insert(VERSIONS).values(**values))

    def versions(self, model: str) -> dict[str, str | None]:
        """Identity of the reference by version, None for one without; oldest version first."""
        query = (
            sa.select(VERSIONS.c.version, VERSIONS.c.reference)
            .where(VERSIONS.c.model == model)
            .order_by(VERSIONS.c.first_seen, VERSIONS.c.version)
        )
        return {str(row[0]): row[1] for row in self._connection.execute(query)}

    def note_evaluation(self, model: str, record: EvaluationRecord) -> None:
        """Remember how the latest evaluation went."""
        self.upsert(EVALUATIONS, {"model": model}, vars(record))

    def evaluation(self, model: str) -> EvaluationRecord:
        """How the latest evaluation went; zeros before the first."""
        row = self._connection.execute(sa.select(EVALUATIONS).where(EVALUATIONS.c.model == model)).mappings().first()
        if row is None:
            return EvaluationRecord(0, None, None, None, 0, 0)
        return EvaluationRecord(**{name: row[name] for name in EvaluationRecord.__dataclass_fields__})

    def upsert(self, table: sa.TableClause, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Set the values of the row with this key, which may not be there yet."""
        # Update first: repeated keys are the rule, and one writer holds the lease.
        update, insert = statements.upsert(table, tuple(key), tuple(values))
        parameters = statements.parameters(key, values)
        if self._connection.execute(update, parameters).rowcount == 0:
            self._connection.execute(insert, parameters)


def _matches(table: sa.TableClause, key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]


def _parts(identifiers: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    """Databases bound the number of parameters of one statement."""
    wanted = list(identifiers)
    for position in range(0, len(wanted), size):
        yield wanted[position : position + size]


def _window(row: Any) -> StoredWindow:
    values = {name: row[name] for name in StoredWindow.__dataclass_fields__}
    return StoredWindow(**values | {"result": unpacked(values["result"])})
