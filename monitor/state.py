"""The durable state: panes, windows and their revisions, cursors, counters, pending labels, the lease.

What lives here: the tables, their migrations, and one transaction type that commits evidence together with the offset
it consumed. What must not: decisions; what is written is decided in the core.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from monitor.errors import OperatorError
from monitor.windows import SourceProgress

PaneKind = Literal["inputs", "outcomes"]
HEAD = "0005"
# How long a SQLite state that another process has locked is waited for.
_LOCKED_SECONDS = 60.0
# Execution option of a transaction that will write.
_WRITE = "trueup_write"
_LOCK_SUFFIX = ".lock"


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


_LEASE = _table("lease", "name", "holder", "epoch", "renewed_at")
_CURSORS = _table("cursors", "model", "name", "value")
_SOURCES = _table("sources", "model", "source", "newest_event_time", "last_seen")
_COUNTERS = _table("counters", "model", "name", "key", "value")
_PANES = _table("panes", "model", "version", "kind", "start", "end", "reference", "rows", "digest", "profile")
_WINDOWS = _table(
    "windows",
    "model",
    "version",
    "seconds",
    "start",
    "revision",
    "end",
    "maturity",
    "evaluated_at",
    "fingerprint",
    "result",
)
_PENDING = _table("pending_labels", "model", "prediction_id", "first_seen")
_SUPERSEDED = _table("superseded", "model", "version", "prediction_id", "event_time")
_VERSIONS = _table("versions", "model", "version", "reference", "first_seen")
_EVALUATIONS = _table(
    "evaluations", "model", "last_attempt", "last_success", "error", "duration_seconds", "attempts", "failures"
)


@dataclass(frozen=True)
class StoredPane:
    """The encoded profile of one pane: `kind` inputs (drift) or outcomes (performance); times in µs."""

    version: str
    kind: PaneKind
    start: int
    end: int
    reference: str
    rows: int
    profile: bytes


class PaneDigest(NamedTuple):
    """What a pane holds without its profile: its start (µs), a digest of the encoded profile, its rows."""

    start: int
    digest: str
    rows: int


@dataclass(frozen=True)
class StoredWindow:
    """One revision of one tumbling window; `result` is the JSON of its values, `fingerprint` what it was made of."""

    version: str
    seconds: float
    start: int
    end: int
    revision: int
    maturity: str
    evaluated_at: int
    fingerprint: str
    result: str


@dataclass(frozen=True)
class EvaluationRecord:
    """How the evaluations of one model went; times in µs."""

    last_attempt: int
    last_success: int | None
    error: str | None
    duration_seconds: float | None
    attempts: int
    failures: int


class State:
    """The state database. `open_state` makes one; `transaction` is the only way to read or write."""

    def __init__(self, engine: Engine, lock: IO[str] | None) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{_WRITE: True})
        self._lock = lock
        self.epoch = 0

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[Transaction]:
        """One atomic unit; a writing one checks that this process still holds the lease.

        A writing one waits for its turn before it reads anything: one that had read already could not wait, since what
        it read would be old. A reading one sees one state throughout and waits for nobody.
        Raises OperatorError where another daemon took over, or where the database stays locked for too long; nothing
        is written then.
        """
        try:
            with (self._writing if write else self._engine).begin() as connection:
                if write and self.epoch:
                    self._check_lease(connection)
                yield Transaction(connection)
        except sa.exc.OperationalError as error:
            if getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise OperatorError(
                    "the state is locked by another process",
                    where=str(self._engine.url),
                    hint="Is a backup or a database browser open on it?",
                ) from error
            raise

    def _check_lease(self, connection: Connection) -> None:
        held = connection.execute(sa.select(_LEASE.c.holder, _LEASE.c.epoch).where(_LEASE.c.name == "daemon")).first()
        if held is None or held.epoch != self.epoch:
            raise OperatorError(
                "another daemon took over this state",
                where=str(self._engine.url),
                expected=f"epoch {self.epoch}",
                got="no lease" if held is None else f"epoch {held.epoch}, held by {held.holder}",
            )

    def acquire(self, now: int) -> None:
        """Take the lease with a new fencing epoch; what an older holder still tries to commit is refused."""
        holder = f"{socket.gethostname()} process {os.getpid()}"
        with self._writing.begin() as connection:
            epoch = connection.execute(sa.select(_LEASE.c.epoch).where(_LEASE.c.name == "daemon")).scalar()
            if epoch is None:
                connection.execute(sa.insert(_LEASE).values(name="daemon", holder=holder, epoch=1, renewed_at=now))
            else:
                connection.execute(
                    sa.update(_LEASE)
                    .where(_LEASE.c.name == "daemon")
                    .values(holder=holder, epoch=epoch + 1, renewed_at=now)
                )
            self.epoch = int(epoch or 0) + 1

    def close(self) -> None:
        """Let go of the database and of the lock."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()


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
        query = sa.select(_CURSORS.c.value).where(_CURSORS.c.model == model, _CURSORS.c.name == name)
        return int(self._connection.execute(query).scalar() or 0)

    def set_cursor(self, model: str, name: str, value: int) -> None:
        """Remember how far `name` has been consumed."""
        self.upsert(_CURSORS, {"model": model, "name": name}, {"value": value})

    def add(self, model: str, name: str, key: str, amount: int) -> None:
        """Add to a counter that never falls."""
        query = sa.select(_COUNTERS.c.value).where(
            _COUNTERS.c.model == model, _COUNTERS.c.name == name, _COUNTERS.c.key == key
        )
        old = self._connection.execute(query).scalar() or 0
        self.upsert(_COUNTERS, {"model": model, "name": name, "key": key}, {"value": old + amount})

    def counters(self, model: str, name: str) -> dict[str, int]:
        """Counter values by key."""
        query = sa.select(_COUNTERS.c.key, _COUNTERS.c.value).where(
            _COUNTERS.c.model == model, _COUNTERS.c.name == name
        )
        return {row.key: int(row.value) for row in self._connection.execute(query)}

    def note_source(self, model: str, source: str, newest_event_time: int, now: int) -> None:
        """Remember that `source` sent predictions up to `newest_event_time`."""
        query = sa.select(_SOURCES.c.newest_event_time).where(_SOURCES.c.model == model, _SOURCES.c.source == source)
        old = self._connection.execute(query).scalar()
        newest = newest_event_time if old is None else max(int(old), newest_event_time)
        values = {"newest_event_time": newest, "last_seen": now}
        self.upsert(_SOURCES, {"model": model, "source": source}, values)

    def bring_sources_back(self, model: str, now: int) -> None:
        """Let no source have spoken in the future."""
        self._connection.execute(
            sa.update(_SOURCES).where(_SOURCES.c.model == model, _SOURCES.c.last_seen > now).values(last_seen=now)
        )

    def sources(self, model: str) -> list[SourceProgress]:
        """Progress of every source of the model's predictions."""
        query = sa.select(_SOURCES.c.newest_event_time, _SOURCES.c.last_seen).where(_SOURCES.c.model == model)
        return [SourceProgress(int(row[0]), int(row[1])) for row in self._connection.execute(query)]

    def put_panes(self, model: str, panes: Iterable[StoredPane]) -> None:
        """Store panes, replacing earlier ones of the same identity; a pane without rows is removed."""
        for pane in panes:
            key = {"model": model, "version": pane.version, "kind": pane.kind, "start": pane.start}
            if pane.rows == 0:
                self._connection.execute(sa.delete(_PANES).where(*_matches(_PANES, key)))
                continue
            values = {
                "end": pane.end,
                "reference": pane.reference,
                "rows": pane.rows,
                "digest": hashlib.blake2b(pane.profile, digest_size=16).hexdigest(),
                "profile": pane.profile,
            }
            self.upsert(_PANES, key, values)

    def replace_panes(self, model: str, pane: StoredPane) -> None:
        """Store a pane in the place of all that begin within it."""
        self._connection.execute(
            sa.delete(_PANES).where(
                _PANES.c.model == model,
                _PANES.c.version == pane.version,
                _PANES.c.kind == pane.kind,
                _PANES.c.start >= pane.start,
                _PANES.c.start < pane.end,
            )
        )
        self.put_panes(model, [pane])

    def panes(self, model: str, version: str, kind: PaneKind, start: int, end: int) -> list[StoredPane]:
        """Panes of [start, end) in order."""
        query = (
            sa.select(_PANES)
            .where(
                _PANES.c.model == model,
                _PANES.c.version == version,
                _PANES.c.kind == kind,
                _PANES.c.start >= start,
                _PANES.c.start < end,
            )
            .order_by(_PANES.c.start)
        )
        return [
            StoredPane(row.version, row.kind, row.start, row.end, row.reference, row.rows, row.profile)
            for row in self._connection.execute(query)
        ]

    def newest_pane(self, model: str, version: str) -> int | None:
        """Start of the newest pane with predictions."""
        query = sa.select(sa.func.max(_PANES.c.start)).where(
            _PANES.c.model == model, _PANES.c.version == version, _PANES.c.kind == "inputs"
        )
        value = self._connection.execute(query).scalar()
        return None if value is None else int(value)

    def oldest_pane(self, model: str, version: str) -> int | None:
        """Start of the oldest pane with predictions."""
        query = sa.select(sa.func.min(_PANES.c.start)).where(
            _PANES.c.model == model, _PANES.c.version == version, _PANES.c.kind == "inputs"
        )
        value = self._connection.execute(query).scalar()
        return None if value is None else int(value)

    def pane_starts(self, model: str, version: str, start: int, end: int) -> list[int]:
        """Starts of the panes with predictions in [start, end), in order."""
        query = (
            sa.select(_PANES.c.start)
            .where(
                _PANES.c.model == model,
                _PANES.c.version == version,
                _PANES.c.kind == "inputs",
                _PANES.c.start >= start,
                _PANES.c.start < end,
            )
            .order_by(_PANES.c.start)
        )
        return [int(row[0]) for row in self._connection.execute(query)]

    def drop_panes(self, model: str, version: str, reference: str) -> int:
        """Remove panes of this version that were profiled against another reference; returns how many."""
        result = self._connection.execute(
            sa.delete(_PANES).where(
                _PANES.c.model == model, _PANES.c.version == version, _PANES.c.reference != reference
            )
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
            "result": window.result,
        }
        self.upsert(_WINDOWS, key, values)

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
        query = sa.select(_WINDOWS).where(_WINDOWS.c.model == model)
        for column, value in (("version", version), ("seconds", seconds), ("maturity", maturity)):
            if value is not None:
                query = query.where(_WINDOWS.c[column] == value)
        if start is not None:
            query = query.where(_WINDOWS.c.start >= start)
        if end is not None:
            query = query.where(_WINDOWS.c.start < end)
        query = query.order_by(_WINDOWS.c.end.desc(), _WINDOWS.c.revision.desc())
        if newest is not None:
            query = query.limit(newest)
        rows = self._connection.execute(query).mappings().all()
        return [_window(row) for row in reversed(rows)]

    def unfinished_windows(self, model: str) -> list[StoredWindow]:
        """Windows that have no final revision yet."""
        later = _WINDOWS.alias("later")
        query = sa.select(_WINDOWS).where(
            _WINDOWS.c.model == model,
            _WINDOWS.c.maturity == "provisional",
            ~sa.exists().where(
                later.c.model == _WINDOWS.c.model,
                later.c.version == _WINDOWS.c.version,
                later.c.seconds == _WINDOWS.c.seconds,
                later.c.start == _WINDOWS.c.start,
                later.c.revision > _WINDOWS.c.revision,
            ),
        )
        return [_window(row) for row in self._connection.execute(query).mappings()]

    def pane_digests(self, model: str, version: str, kind: PaneKind, start: int, end: int) -> list[PaneDigest]:
        """What the panes of [start, end) hold, in order."""
        query = (
            sa.select(_PANES.c.start, _PANES.c.digest, _PANES.c.rows)
            .where(
                _PANES.c.model == model,
                _PANES.c.version == version,
                _PANES.c.kind == kind,
                _PANES.c.start >= start,
                _PANES.c.start < end,
            )
            .order_by(_PANES.c.start)
        )
        return [PaneDigest(int(row[0]), str(row[1]), int(row[2])) for row in self._connection.execute(query)]

    def put_pending(self, model: str, identifiers: Iterable[str], now: int) -> None:
        """Note labels that wait for their prediction; one that waits already keeps its age."""
        rows = [{"model": model, "prediction_id": name, "first_seen": now} for name in identifiers]
        if not rows:
            return
        if self._connection.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgresql_insert

            self._connection.execute(postgresql_insert(_PENDING).on_conflict_do_nothing(), rows)
        else:
            from sqlalchemy.dialects.sqlite import insert as sqlite_insert

            self._connection.execute(sqlite_insert(_PENDING).on_conflict_do_nothing(), rows)

    def pending(self, model: str) -> list[str]:
        """Ids of labels that wait for their prediction."""
        query = sa.select(_PENDING.c.prediction_id).where(_PENDING.c.model == model)
        return [str(name) for name in self._connection.execute(query).scalars()]

    def remove_pending(self, model: str, identifiers: Iterable[str]) -> int:
        """These labels found their prediction; returns how many were waiting."""
        removed = 0
        for part in _parts(identifiers):
            result = self._connection.execute(
                sa.delete(_PENDING).where(_PENDING.c.model == model, _PENDING.c.prediction_id.in_(part))
            )
            removed += int(result.rowcount)
        return removed

    def forget_identifiers(self, model: str, identifiers: Iterable[str]) -> None:
        """Remove what is kept by prediction id."""
        for part in _parts(identifiers):
            for table in (_PENDING, _SUPERSEDED):
                self._connection.execute(
                    sa.delete(table).where(table.c.model == model, table.c.prediction_id.in_(part))
                )

    def expire_pending(self, model: str, before: int) -> int:
        """Forget labels that wait since before this; returns how many became orphans."""
        result = self._connection.execute(
            sa.delete(_PENDING).where(_PENDING.c.model == model, _PENDING.c.first_seen < before)
        )
        return int(result.rowcount)

    def pending_count(self, model: str) -> int:
        """How many labels wait for their prediction."""
        query = sa.select(sa.func.count()).select_from(_PENDING).where(_PENDING.c.model == model)
        return int(self._connection.execute(query).scalar() or 0)

    def put_superseded(self, model: str, winners: Mapping[tuple[str, str], int]) -> None:
        """Remember the event time of the winner among repeats that lie in different panes, by (version, id)."""
        for (version, identifier), event_time in winners.items():
            key = {"model": model, "version": version, "prediction_id": identifier}
            self.upsert(_SUPERSEDED, key, {"event_time": event_time})

    def superseded(self, model: str, version: str) -> dict[str, int]:
        """Winning event time (µs) of every repeated prediction of this version whose repeats cross panes."""
        query = sa.select(_SUPERSEDED.c.prediction_id, _SUPERSEDED.c.event_time).where(
            _SUPERSEDED.c.model == model, _SUPERSEDED.c.version == version
        )
        return {str(row[0]): int(row[1]) for row in self._connection.execute(query)}

    def put_version(self, model: str, version: str, reference: str | None, now: int) -> None:
        """Remember a version and the reference its panes are profiled against."""
        updated = self._connection.execute(
            sa.update(_VERSIONS)
            .where(_VERSIONS.c.model == model, _VERSIONS.c.version == version)
            .values(reference=reference)
        )
        if updated.rowcount == 0:
            values = {"model": model, "version": version, "reference": reference, "first_seen": now}
            self._connection.execute(sa.insert(_VERSIONS).values(**values))

    def versions(self, model: str) -> dict[str, str | None]:
        """Identity of the reference by version, None for one without; oldest version first."""
        query = (
            sa.select(_VERSIONS.c.version, _VERSIONS.c.reference)
            .where(_VERSIONS.c.model == model)
            .order_by(_VERSIONS.c.first_seen, _VERSIONS.c.version)
        )
        return {str(row[0]): row[1] for row in self._connection.execute(query)}

    def note_evaluation(self, model: str, record: EvaluationRecord) -> None:
        """Remember how the latest evaluation went."""
        self.upsert(_EVALUATIONS, {"model": model}, vars(record))

    def evaluation(self, model: str) -> EvaluationRecord:
        """How the latest evaluation went; zeros before the first."""
        row = self._connection.execute(sa.select(_EVALUATIONS).where(_EVALUATIONS.c.model == model)).mappings().first()
        if row is None:
            return EvaluationRecord(0, None, None, None, 0, 0)
        return EvaluationRecord(**{name: row[name] for name in EvaluationRecord.__dataclass_fields__})

    def upsert(self, table: sa.TableClause, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        """Set the values of the row with this key, which may not be there yet."""
        # Update first: repeated keys are the rule, and one writer holds the lease.
        result = self._connection.execute(sa.update(table).where(*_matches(table, key)).values(**values))
        if result.rowcount == 0:
            self._connection.execute(sa.insert(table).values(**key, **values))


def open_state(url: str, *, exclusive: bool = False) -> State:
    """Open (and create or migrate) the state at a SQLAlchemy URL.

    `exclusive` is for the daemon: a second one on the same SQLite file is refused and told who holds it. An existing
    older state is copied beside itself before it is migrated, which also needs that no daemon runs on it; a newer one
    is refused. A SQLite database that is locked is waited for: 60 s, or what the URL says (`?timeout=5`).
    """
    parsed = sa.make_url(url)
    path = sqlite_path(url)
    lock = None
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _lock_beside(path) if exclusive else None
    try:
        engine = _engine(parsed, path)
        try:
            _migrate(engine, path, locked=exclusive)
        except BaseException:
            engine.dispose()
            raise
    except BaseException as error:
        if lock is not None:
            lock.close()
        if isinstance(error, sa.exc.DBAPIError):
            raise OperatorError("the state cannot be opened", where=str(parsed), got=str(error.orig)) from error
        raise
    return State(engine, lock)


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite state; None for another database."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def _engine(url: sa.URL, path: Path | None) -> Engine:
    if path is None:
        return sa.create_engine(url)
    timeout = float(str(url.query.get("timeout", _LOCKED_SECONDS)))
    engine = sa.create_engine(url.difference_update_query(["timeout"]), connect_args={"timeout": timeout})

    # The driver would begin a transaction at the first write only: reads before it, the lease's epoch among them,
    # would stand outside, and statements of a migration would commit one by one.
    @sa.event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "secure_delete=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(_WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _lock_beside(path: Path) -> IO[str]:
    name = path.with_name(path.name + _LOCK_SUFFIX)
    file = name.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "an unknown process"
        file.close()
        raise OperatorError(
            "this state is in use by another daemon",
            where=str(path),
            got=holder,
            hint="Stop it, or give this one its own state.url",
        ) from None
    file.truncate(0)
    file.write(f"{socket.gethostname()} process {os.getpid()}")
    file.flush()
    return file


def holder_pid(url: str) -> int | None:
    """Process that holds the SQLite state at `url` as its daemon; None where there is none or for other databases."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    name = Path(parsed.database + _LOCK_SUFFIX)
    try:
        with name.open("r", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(file.read().rpartition(" ")[2])
    except (FileNotFoundError, ValueError):
        return None
    return None


def _migrate(engine: Engine, path: Path | None, *, locked: bool) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(resources.files("monitor") / "migrations"))
    script = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == script.get_current_head():
        return
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise OperatorError(
            "the state was written by a newer trueup",
            where=str(engine.url),
            expected=f"schema {script.get_current_head()} or older",
            got=f"schema {current}",
            hint="Upgrade trueup, or restore the backup made before that upgrade",
        )
    # Not below a daemon of the older version that runs on it.
    lock = _lock_beside(path) if path is not None and current is not None and not locked else None
    try:
        if current is not None and path is not None:
            _back_up(path, path.with_name(f"{path.name}.before-{script.get_current_head()}"))
        with engine.execution_options(**{_WRITE: True}).begin() as connection:
            # Somebody else may have done it while this waited for the lock.
            if MigrationContext.configure(connection).get_current_revision() == current:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
    finally:
        if lock is not None:
            lock.close()


def _back_up(path: Path, target: Path) -> None:
    """A whole copy, what stands in the write-ahead log included; complete or not there."""
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(partial)) as copy:
        source.backup(copy)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.rename(target)


def _matches(table: sa.TableClause, key: Mapping[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in key.items()]


def _parts(identifiers: Iterable[str], size: int = 500) -> Iterator[list[str]]:
    """Databases bound the number of parameters of one statement."""
    wanted = list(identifiers)
    for position in range(0, len(wanted), size):
        yield wanted[position : position + size]


def _window(row: Any) -> StoredWindow:
    return StoredWindow(**{name: row[name] for name in StoredWindow.__dataclass_fields__})
