"""What a failing disk does to the log, and that it does nothing to the answers. The disks are real."""

import logging
import time
from pathlib import Path

import pytest

from monitor.log.spool import SpoolSettings
from serving.capture import Capture, Counters
from tests.serving.disks import small_disk
from tests.serving.spooled import SHAPE, rows, settings, until


def record(capture: Capture, *ids: str) -> float:
    """Longest time in seconds that one record took."""
    longest = 0.0
    for name in ids:
        started = time.perf_counter()
        capture.record(name, "cat", segments={"region": "eu"})
        longest = max(longest, time.perf_counter() - started)
    return longest


def test_a_full_disk_costs_records_and_no_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk") as disk, caplog.at_level(logging.WARNING):
        capture = Capture(settings(disk.folder / "spool", retry_seconds=0.0), SHAPE)
        record(capture, "before")
        assert capture.flush()
        disk.fill()
        assert record(capture, *(f"full-{index}" for index in range(100))) < 0.5
        until(lambda: capture.counters().failed == 100)
        disk.free()
        record(capture, "after")
        assert capture.close()
        assert capture.counters() == Counters(sent=2, failed=100)
        assert [row["prediction_id"] for row in rows(disk.folder / "spool")] == ["before", "after"]
    # once, though every batch failed: a full disk must not fill the log too
    assert [message.count("capture.fault") for message in caplog.messages] == [1]
    assert "Errno" in caplog.text


def test_a_disk_that_is_freed_in_time_costs_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        capture = Capture(settings(disk.folder / "spool", retry_seconds=30.0), SHAPE)
        record(capture, "before")
        assert capture.flush()
        disk.fill()
        record(capture, *(f"full-{index}" for index in range(100)))
        until(lambda: capture.counters().waiting == 100)
        assert not capture.flush(0.2)
        disk.free()
        assert capture.close(10.0)
        assert capture.counters() == Counters(sent=101)
        found = [row["prediction_id"] for row in rows(disk.folder / "spool")]
        assert found == ["before", *(f"full-{index}" for index in range(100))]


def test_closing_gives_up_on_a_full_disk_at_its_deadline(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        capture = Capture(settings(disk.folder / "spool", retry_seconds=60.0), SHAPE)
        disk.fill()
        record(capture, "lost")
        started = time.monotonic()
        capture.close(1.0)
        assert time.monotonic() - started < 3.0
        until(lambda: capture.counters() == Counters(failed=1))


def test_a_spool_that_cannot_be_made_is_tried_again_later(tmp_path: Path) -> None:
    blocked = tmp_path / "spool"
    blocked.write_text("a file where the folder should be")
    capture = Capture(settings(blocked, retry_seconds=30.0), SHAPE)
    record(capture, "a")
    until(lambda: capture.counters().waiting == 1)
    blocked.unlink()
    assert capture.close(10.0)
    assert [row["prediction_id"] for row in rows(blocked)] == ["a"]


def test_a_spool_at_its_bound_refuses_and_takes_again_once_it_was_emptied(tmp_path: Path) -> None:
    bounded = SpoolSettings(maximum_bytes=20_000, segment_bytes=10_000)
    capture = Capture(settings(tmp_path, batch_records=1, segments=bounded, retry_seconds=0.0), SHAPE)
    record(capture, *(str(index) for index in range(40)))
    until(lambda: capture.counters().waiting == 0)
    full = capture.counters()
    assert full.failed > 0
    assert full.sent == len(rows(tmp_path))
    for segment in tmp_path.glob("*/*.segment"):
        segment.unlink()
    record(capture, "after")
    assert capture.close()
    assert capture.counters() == Counters(sent=full.sent + 1, failed=full.failed)
    assert "after" in [row["prediction_id"] for row in rows(tmp_path)]
