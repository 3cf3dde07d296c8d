"""The durable state: panes, windows and their revisions, cursors, counters, pending labels, the lease.

What lives here: opening it, and the one type of transaction that commits evidence together with the offset it
consumed. What must not: decisions; what is written is decided in the core.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from monitor.errors import OperatorError
from monitor.state.database import WRITE, holder_pid, lock_beside, make_engine, migrate, sqlite_path
from monitor.state.schema import (
    HEAD,
    LEASE,
    EvaluationRecord,
    PaneDigest,
    PaneKind,
    StoredPane,
    StoredWindow,
    WindowHead,
)
from monitor.state.transaction import Transaction

__all__ = [
    "HEAD",
    "EvaluationRecord",
    "PaneDigest",
    "PaneKind",
    "State",
    "StoredPane",
    "StoredWindow",
    "Transaction",
    "WindowHead",
    "holder_pid",
    "open_state",
    "sqlite_path",
]


class State:
    """The state database. `open_state` makes one; `transaction` is the only way to read or write."""

    def __init__(self, engine: Engine, lock: IO[str] | None) -> None:
        self._engine = engine
        self._writing = engine.execution_options(**{WRITE: True})
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
        held = connection.execute(sa.select(LEASE.c.holder, LEASE.c.epoch).where(LEASE.c.name == "daemon")).first()
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
            epoch = connection.execute(sa.select(LEASE.c.epoch).where(LEASE.c.name == "daemon")).scalar()
            if epoch is None:
                connection.execute(sa.insert(LEASE).values(name="daemon", holder=holder, epoch=1, renewed_at=now))
            else:
                connection.execute(
                    sa.update(LEASE)
                    .where(LEASE.c.name == "daemon")
                    .values(holder=holder, epoch=epoch + 1, renewed_at=now)
                )
            self.epoch = int(epoch or 0) + 1

    def close(self) -> None:
        """Let go of the database and of the lock."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.close()


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
        lock = lock_beside(path) if exclusive else None
    try:
        engine = make_engine(parsed, path)
        try:
            migrate(engine, path, locked=exclusive)
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
