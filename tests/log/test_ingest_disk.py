"""A disk that is full or broken under the log loses nothing: it is reported, the spool keeps, the next run recovers."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.log import tables
from monitor.log.ingest import Progress, ingest
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog
from tests.log.test_ingest import FAR, SetAside, spooled
from tests.records_samples import EPOCH, predictions
from tests.serving.disks import SmallDisk, small_disk


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as made:
        yield made


def run(spool: Path, log: Path, aside: SetAside) -> Progress:
    return ingest([spool], str(log), future_limit=lambda _: FAR, set_aside=aside)


def captured(spool: Path, moment: int) -> None:
    """Say that the segments were written at this moment (µs)."""
    for path in spool.glob("*/*.segment"):
        os.utime(path, ns=(moment * 1_000, moment * 1_000))


def test_a_full_disk_is_reported_and_everything_arrives_once_there_is_room(tmp_path: Path, disk: SmallDisk) -> None:
    spool, log, aside = tmp_path / "spool", disk.folder / "log", SetAside()
    spooled(spool, predictions(["a"]), writer="first")
    assert run(spool, log, aside).errors == []
    names = [f"id-{place}" for place in range(500)]
    spooled(spool, predictions([*names, "2099"], events=[*range(FAR - 500, FAR), FAR + 1]), writer="second")
    disk.fill()
    for _ in range(3):
        [error] = run(spool, log, aside).errors
        assert error.startswith("model pets: predictions cannot be written")
        assert "o space" in error or "too large" in error
    assert aside.kept == []  # what a run refused that did not succeed would otherwise be kept once for every try
    assert list(spool.glob("second/*.segment"))
    disk.free()
    progress = run(spool, log, aside)
    assert progress.errors == []
    rows = ModelLog(str(log), "pets").read("predictions", ["prediction_id"])
    assert rows is not None
    assert sorted(rows.column("prediction_id").to_pylist()) == sorted(["a", *names])
    assert [kept[2] for kept in aside.kept] == ["future_event_time"] == [reason for _, reason in progress.rejected]
    assert list(spool.iterdir()) == []


def test_a_disk_that_fails_after_the_commit_is_synced_before_the_spool_lets_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, log, aside = tmp_path / "spool", tmp_path / "log", SetAside()
    spooled(spool, predictions(["a"]))
    synced: list[Path] = []

    def broken(_: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "_fsync", broken)
        [error] = run(spool, log, aside).errors
    assert "Input/output error" in error
    assert list(spool.glob("w/*.segment"))
    monkeypatch.setattr(tables, "_fsync", synced.append)
    progress = run(spool, log, aside)
    assert (progress.errors, progress.rows) == ([], {})
    assert any(path.suffix == ".parquet" for path in synced)
    assert list(spool.iterdir()) == []
    rows = ModelLog(str(log), "pets").read("predictions", ["prediction_id"])
    assert rows is not None
    assert rows.column("prediction_id").to_pylist() == ["a"]


def test_dead_letters_that_cannot_be_written_keep_their_segment(tmp_path: Path) -> None:
    spool, log = tmp_path / "spool", tmp_path / "log"
    spooled(spool, predictions(["a", "2099"], events=[FAR, FAR + 1]))
    captured(spool, FAR)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    progress = ingest([spool], str(log), future_limit=lambda _: FAR, set_aside=full)
    assert "cannot be finished" in progress.errors[0]
    assert progress.rejected == {}
    aside = SetAside()
    progress = run(spool, log, aside)
    assert [kept[3].column("prediction_id").to_pylist() for kept in aside.kept] == [["2099"]]
    rows = ModelLog(str(log), "pets").read("predictions", ["prediction_id"])
    assert rows is not None
    assert rows.num_rows == 1


def test_what_was_in_the_future_when_its_segment_was_committed_is_kept_aside_however_late_that_succeeds(
    tmp_path: Path,
) -> None:
    spool, log = tmp_path / "spool", tmp_path / "log"
    spooled(spool, predictions(["a", "early"], events=[EPOCH, EPOCH + 400_000_000]))
    captured(spool, EPOCH)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    progress = ingest([spool], str(log), future_limit=lambda _: EPOCH + 300_000_000, set_aside=full)
    assert "cannot be finished" in progress.errors[0]
    aside = SetAside()
    assert run(spool, log, aside).errors == []
    rows = ModelLog(str(log), "pets").read("predictions", ["prediction_id"])
    assert rows is not None
    assert rows.column("prediction_id").to_pylist() == ["a"]
    assert [(kept[2], kept[3].column("prediction_id").to_pylist()) for kept in aside.kept] == [
        ("future_event_time", ["early"])
    ]


def test_a_writer_goes_on_with_later_segments_only_after_the_one_that_failed(tmp_path: Path, disk: SmallDisk) -> None:
    spool, log, aside = tmp_path / "spool", disk.folder / "log", SetAside()
    writer = SpoolWriter(spool, writer="w")
    for name in ("a", "b"):
        writer.append(predictions([name]))
        writer.seal()
    disk.fill()
    assert run(spool, log, aside).errors
    disk.free()
    writer.append(predictions(["c"]))
    writer.close()
    assert run(spool, log, aside).errors == []
    rows = ModelLog(str(log), "pets").read("predictions", ["prediction_id"])
    assert rows is not None
    assert sorted(rows.column("prediction_id").to_pylist()) == ["a", "b", "c"]
