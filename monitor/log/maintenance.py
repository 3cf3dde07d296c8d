"""What keeps a log small and fast for years: merging of small files, retention, removal of bytes nobody refers to.

What lives here: the regular step of one model's log, and the removal for good that `forget` needs. What must not: which
rows are to be forgotten, schedules, the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from monitor.log.delta import CommitFailedError
from monitor.log.hash_places import remove_stale_hashes
from monitor.log.tables import DATE_COLUMN, KEPT, TABLES, ModelLog, TableName

# Files that a commit replaced stay this long for those who read them; what a failed commit left goes then too.
READERS_HOURS = 1
# Beyond this many files in a partition (a day), opening them costs more than reading them.
SMALL_FILES = 32
_NO_HISTORY = dict.fromkeys(KEPT, "interval 0 seconds")


@dataclass(frozen=True)
class Maintenance:
    """What one step did to a log: files merged away, rows over the retention, files deleted from the disk."""

    merged_files: int
    expired_rows: int
    deleted_files: int


def maintain(
    log: ModelLog, now: int, *, retention_seconds: float | None = None, minimum_files: int = SMALL_FILES
) -> Maintenance:
    """Merge small files, drop whole days that are older than the retention, delete what nobody refers to any more.

    `now` in µs. Predictions and matched rows go by their event date, labels by their label date; panes and windows
    stay. Safe beside an ingester and readers: one that loses the race for a commit tries again the next time.
    """
    merged = expired = deleted = 0
    oldest = None
    if retention_seconds is not None:
        oldest = datetime.fromtimestamp(now / 1e6, UTC) - timedelta(seconds=retention_seconds)
    for table in TABLES:
        if oldest is not None and any(
            file.partition is not None and file.partition < oldest.date() for file in log.files(table)
        ):
            expired += log.delete(table, f"{DATE_COLUMN[table]} < '{oldest.date().isoformat()}'")
        try:
            merged += log.compact(table, minimum_files=minimum_files)
        except CommitFailedError:
            continue
        deleted += _vacuum(log, table, READERS_HOURS)
    return Maintenance(merged, expired, deleted)


def erase_history(log: ModelLog) -> int:
    """Make what was deleted unrecoverable: old files, and the log entries that name the rows in them.

    Nothing else may write to the log meanwhile. Returns how many data files went.
    """
    deleted = 0
    for table in TABLES:
        if log.open(table) is None:
            continue
        deleted += _vacuum(log, table, 0)
        # The statistics of a file in the table's own log hold its smallest and largest id: history has to go with it.
        _set_properties(log, table, _NO_HISTORY)
        handle = log.open(table)
        assert handle is not None
        handle.create_checkpoint()
        handle.cleanup_metadata()
        _set_properties(log, table, KEPT)
    return deleted


def _vacuum(log: ModelLog, table: TableName, hours: int) -> int:
    handle = log.open(table)
    if handle is None:
        return 0
    # Asked first, since a vacuum that finds nothing would still be two commits.
    found = handle.vacuum(retention_hours=hours, dry_run=True, enforce_retention_duration=False, full=True)
    if found:
        handle.vacuum(retention_hours=hours, dry_run=False, enforce_retention_duration=False, full=True)
    remove_stale_hashes(log, table)
    return len(found)


def _set_properties(log: ModelLog, table: TableName, properties: dict[str, str]) -> None:
    handle = log.open(table)
    assert handle is not None
    handle.alter.set_table_properties(properties)
