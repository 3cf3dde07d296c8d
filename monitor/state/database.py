"""Reaching the database of the state: engine, lock, migration, backup.

What lives here: what differs between SQLite and other databases, and what happens before the first transaction. What
must not: tables' contents.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from monitor.errors import OperatorError

# How long a SQLite state that another process has locked is waited for.
_LOCKED_SECONDS = 60.0
# Execution option of a transaction that will write.
WRITE = "trueup_write"
_LOCK_SUFFIX = ".lock"


def sqlite_path(url: str) -> Path | None:
    """The file of a SQLite state; None for another database."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


def make_engine(url: sa.URL, path: Path | None) -> Engine:
    """An engine whose transactions begin where they begin; `path` is the file of a SQLite state."""
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
        writes = connection.get_execution_options().get(WRITE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def lock_beside(path: Path) -> IO[str]:
    """The lock of a SQLite state, held until it is closed; raises OperatorError that names who holds it."""
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


def migrate(engine: Engine, path: Path | None, *, locked: bool) -> None:
    """Bring the tables to this version's, after a backup; `locked`: whether the caller holds the lock already."""
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
    lock = lock_beside(path) if path is not None and current is not None and not locked else None
    try:
        if current is not None and path is not None:
            _back_up(path, path.with_name(f"{path.name}.before-{script.get_current_head()}"))
        with engine.execution_options(**{WRITE: True}).begin() as connection:
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
