"""Where hashes of the ids of a data file lie, and when they go.

What lives here: their place beside the tables of a model, removal of those whose file is gone. What must not: how they
are made and asked (`engines.hash_files`).
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from monitor.log.tables import LogFile, ModelLog, TableName

# Ends in a number for the way of hashing (`engines.identifiers.hashes`): hashes made another way would hide ids.
SUFFIX = ".hashes-1.npy"
# Hashes are written in less; what is older was interrupted.
_WRITTEN_SECONDS = 3_600.0


def hash_file(log: ModelLog, table: TableName, file: LogFile) -> Path | None:
    """Where hashes of the ids of a data file may be kept; None if the log is on another machine."""
    if not log.local:
        return None
    path = Path(file.uri).relative_to(log.uri(table))
    return _folder(log, table) / path.with_name(f"{path.name}{SUFFIX}")


def remove_stale_hashes(log: ModelLog, table: TableName) -> int:
    """Remove hashes of data files that are no more, and what an interrupted write left; returns how many went."""
    if not log.local:
        return 0
    base = _folder(log, table)
    removed = 0
    for path in [path for path in base.rglob("*") if not path.is_dir()]:
        file = Path(log.uri(table)) / path.relative_to(base)
        if file.with_name(file.name.removesuffix(SUFFIX)).is_file() or _is_being_written(path):
            continue
        path.unlink(missing_ok=True)
        removed += 1
        # Of a day that is gone nothing is left behind.
        with contextlib.suppress(OSError):
            path.parent.rmdir()
    return removed


def _folder(log: ModelLog, table: TableName) -> Path:
    return Path(log.uri(table)).parent / "_hashes" / table


def _is_being_written(path: Path) -> bool:
    try:
        return path.name.startswith(".") and path.stat().st_mtime > time.time() - _WRITTEN_SECONDS
    except FileNotFoundError:  # it has its own name now
        return True
