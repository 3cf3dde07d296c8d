"""A log stays small for years: files merge, old days go, and neither readers nor exactly-once suffer by it."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.log.maintenance import maintain
from monitor.log.tables import ModelLog
from tests.records_samples import EPOCH, labels, predictions

DAY = 86_400_000_000


@pytest.fixture
def log(tmp_path: Path) -> ModelLog:
    return ModelLog(str(tmp_path / "log"), "pets")


def add(log: ModelLog, segment: int, *ids: str, day: int = 0) -> None:
    log.append("predictions", pa.Table.from_batches([predictions(list(ids), start=EPOCH + day * DAY)]), {"w": segment})


def ids(log: ModelLog, table: str = "predictions") -> list[str]:
    rows = log.read(table, ["prediction_id"])  # type: ignore[arg-type]
    return [] if rows is None else sorted(rows.column("prediction_id").to_pylist())


def data_files(log: ModelLog) -> set[Path]:
    return set(Path(log.uri("predictions")).rglob("*.parquet")) - set(Path(log.uri("predictions")).glob("_delta_log/*"))


def age(log: ModelLog, hours: float) -> None:
    """Make the files on the disk look older; the table's own log says when a file was replaced."""
    for path in Path(log.uri("predictions")).rglob("*.parquet"):
        moment = path.stat().st_mtime - hours * 3600
        os.utime(path, (moment, moment))


def test_small_files_merge_and_nothing_is_changed_by_it(log: ModelLog) -> None:
    for place in range(6):
        add(log, place + 1, f"id-{place}")
    before = log.read("predictions")
    assert before is not None
    done = maintain(log, EPOCH, minimum_files=4)
    assert (done.merged_files, done.expired_rows) == (5, 0)
    assert len(log.files("predictions")) == 1
    after = log.read("predictions")
    assert after is not None
    assert after.sort_by("prediction_id") == before.sort_by("prediction_id")
    assert log.committed("predictions", "w") == 6
    add(log, 6, "again")
    assert ids(log) == [f"id-{place}" for place in range(6)]


def test_few_files_are_left_alone(log: ModelLog) -> None:
    for place in range(3):
        add(log, place + 1, f"id-{place}")
    version = log.open("predictions").version()  # type: ignore[union-attr]
    assert maintain(log, EPOCH, minimum_files=4).merged_files == 0
    assert log.open("predictions").version() == version  # type: ignore[union-attr]


def test_who_reads_while_files_merge_reads_to_the_end(log: ModelLog) -> None:
    for place in range(4):
        add(log, place + 1, f"id-{place}")
    reading = log.scan("predictions", ["prediction_id"])
    first = next(reading)
    maintain(log, EPOCH, minimum_files=2)
    rest = [row for batch in reading for row in batch.column("prediction_id").to_pylist()]
    assert sorted([*first.column("prediction_id").to_pylist(), *rest]) == [f"id-{place}" for place in range(4)]


def test_what_a_failed_commit_left_on_the_disk_goes_once_nobody_can_be_writing_it(log: ModelLog) -> None:
    add(log, 1, "a")
    [file] = data_files(log)
    orphan = file.with_name("part-00000-orphan-c000.lz4raw.parquet")
    orphan.write_bytes(file.read_bytes())
    assert maintain(log, EPOCH).deleted_files == 0
    age(log, 2)
    assert maintain(log, EPOCH).deleted_files == 1
    assert data_files(log) == {file}
    assert ids(log) == ["a"]


def test_whole_days_older_than_the_retention_go_and_what_is_younger_stays(log: ModelLog) -> None:
    for day in range(4):
        add(log, day + 1, f"day-{day}", day=day)
    for day in range(4):
        batch = labels([f"day-{day}"], ["cat"], time=EPOCH + day * DAY)
        log.append("labels", pa.Table.from_batches([batch]), {"w": day + 1})
    now = EPOCH + 4 * DAY
    done = maintain(log, now, retention_seconds=2.0 * 86_400)
    assert done.expired_rows == 4
    assert ids(log) == ids(log, "labels") == ["day-2", "day-3"]
    oldest = datetime.fromtimestamp(EPOCH / 1e6, UTC).date().toordinal() + 2
    assert {file.partition.toordinal() >= oldest for file in log.files("predictions") if file.partition} == {True}
    assert maintain(log, now, retention_seconds=2.0 * 86_400).expired_rows == 0


def test_without_a_retention_nothing_is_ever_old(log: ModelLog) -> None:
    add(log, 1, "a")
    assert maintain(log, EPOCH + 10_000 * DAY).expired_rows == 0
    assert ids(log) == ["a"]


def test_a_sequence_is_not_used_again_after_the_newest_rows_went(log: ModelLog) -> None:
    add(log, 1, "old", day=0)
    add(log, 2, "new", day=1)
    newest = log.last_sequence("predictions")
    log.delete("predictions", "prediction_id = 'new'")
    assert log.append("predictions", pa.Table.from_batches([predictions(["next"])]), {"w": 3}) > newest  # type: ignore[operator]


def test_an_empty_log_needs_no_maintenance(log: ModelLog) -> None:
    assert maintain(log, EPOCH, retention_seconds=1.0).deleted_files == 0
