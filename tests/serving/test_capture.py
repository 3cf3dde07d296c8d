"""The capture: everything arrives, nothing blocks, what is lost is counted."""

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import OperatorError
from monitor.log.spool import SpoolSettings, SpoolWriter, sealed_segments
from serving.capture import Capture, Counters
from serving.record_batches import Privacy
from tests.serving.spooled import SHAPE, rows, settings, until


class HangingWriter(SpoolWriter):
    """A real spool whose disk does not answer until it is released."""

    def __init__(self, root: Path, released: threading.Event) -> None:
        super().__init__(root)
        self._released = released

    def append(self, batch: pa.RecordBatch) -> int:
        self._released.wait(30)
        return super().append(batch)


def test_everything_recorded_is_in_sealed_segments_after_a_flush(tmp_path: Path) -> None:
    capture = Capture(settings(tmp_path), SHAPE)
    before = datetime.now(UTC)
    for index in range(2_500):
        capture.record(f"id-{index}", "cat", probabilities=np.array([0.9, 0.1]), segments={"region": "eu"})
    assert capture.flush()
    assert capture.counters() == Counters(sent=2_500)
    assert len(list(sealed_segments(tmp_path))) >= 1
    found = rows(tmp_path)
    assert [row["prediction_id"] for row in found] == [f"id-{index}" for index in range(2_500)]
    assert all(before <= row["event_time"] <= datetime.now(UTC) for row in found)
    assert capture.close()


def test_a_batch_holds_at_most_its_number_of_records(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Watched(SpoolWriter):
        def append(self, batch: pa.RecordBatch) -> int:
            sizes.append(batch.num_rows)
            return super().append(batch)

    capture = Capture(settings(tmp_path, batch_records=100), SHAPE, open_writer=lambda: Watched(tmp_path))
    for index in range(950):
        capture.record(str(index), "cat")
    assert capture.close()
    assert sum(sizes) == 950
    assert max(sizes) <= 100


def test_a_record_reaches_the_disk_soon_without_more_traffic(tmp_path: Path) -> None:
    capture = Capture(settings(tmp_path, batch_seconds=0.2), SHAPE)
    started = time.monotonic()
    capture.record("alone", "cat")
    assert until(lambda: rows(tmp_path))[0]["prediction_id"] == "alone"
    assert time.monotonic() - started < 5.0
    assert capture.close()


def test_an_idle_capture_seals_its_segment_by_time(tmp_path: Path) -> None:
    capture = Capture(settings(tmp_path, segments=SpoolSettings(segment_seconds=0.1)), SHAPE)
    capture.record("alone", "cat")
    until(lambda: list(sealed_segments(tmp_path)))
    assert capture.close()


def test_a_full_queue_drops_counts_and_never_waits(tmp_path: Path) -> None:
    released = threading.Event()
    capture = Capture(
        settings(tmp_path, queue_records=500, batch_records=100),
        SHAPE,
        open_writer=lambda: HangingWriter(tmp_path, released),
    )
    started = time.monotonic()
    for index in range(20_000):
        capture.record(str(index), "cat")
    assert time.monotonic() - started < 5.0
    stuck = capture.counters()
    assert stuck.sent == 0
    assert stuck.dropped >= 20_000 - 500 - 100
    assert stuck.dropped + stuck.waiting == 20_000
    assert not capture.flush(0.05)
    released.set()
    assert capture.close()
    done = capture.counters()
    assert done == Counters(sent=20_000 - stuck.dropped, dropped=stuck.dropped)
    assert len(rows(tmp_path)) == done.sent


def test_a_disk_that_hangs_holds_up_closing_only_until_its_deadline(tmp_path: Path) -> None:
    released = threading.Event()
    capture = Capture(settings(tmp_path), SHAPE, open_writer=lambda: HangingWriter(tmp_path, released))
    capture.record("a", "cat")
    started = time.monotonic()
    assert not capture.close(0.1)
    assert time.monotonic() - started < 2.0
    capture.record("b", "cat")
    assert capture.counters().dropped == 1
    released.set()
    assert capture.close()
    assert capture.counters() == Counters(sent=1, dropped=1)


def test_records_of_many_threads_are_all_counted(tmp_path: Path) -> None:
    capture = Capture(settings(tmp_path, queue_records=300, sample=0.8), SHAPE)
    names = [[f"{worker}-{index}" for index in range(2_000)] for worker in range(8)]

    def work(ids: list[str]) -> None:
        for name in ids:
            capture.record(name, "cat")

    threads = [threading.Thread(target=work, args=(ids,)) for ids in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert capture.close()
    counters = capture.counters()
    assert counters.sent + counters.dropped + counters.unsampled == 16_000
    assert counters.waiting == counters.failed == 0
    assert len({row["prediction_id"] for row in rows(tmp_path)}) == counters.sent


def test_a_sample_keeps_the_same_ids_everywhere_and_about_its_fraction(tmp_path: Path) -> None:
    kept = []
    for process in ("one", "two"):
        capture = Capture(settings(tmp_path / process, sample=0.1), SHAPE)
        for index in range(10_000):
            capture.record(f"image-{index}", "cat")
        assert capture.close()
        kept.append([row["prediction_id"] for row in rows(tmp_path / process)])
        counters = capture.counters()
        assert counters.sent + counters.unsampled == 10_000
    assert kept[0] == kept[1]
    assert 900 < len(kept[0]) < 1_100  # 3.3 standard deviations


def test_bad_values_are_counted_and_never_raised(tmp_path: Path) -> None:
    capture = Capture(settings(tmp_path, sample=0.999999), SHAPE)
    capture.record("good", "cat")
    capture.record(None, "cat")  # type: ignore[arg-type]
    capture.record("odd", "cat", probabilities=object())  # type: ignore[arg-type]
    capture.record("naive", "cat", event_time=datetime(2026, 1, 1))  # noqa: DTZ001  # the point of the test
    assert capture.close()
    assert capture.counters() == Counters(sent=1, failed=3)
    assert [row["prediction_id"] for row in rows(tmp_path)] == ["good"]


def test_privacy_rules_apply_before_the_spool(tmp_path: Path) -> None:
    privacy = Privacy(exclude=("camera",), hashed=("region",), key=b"0123456789abcdef")
    capture = Capture(settings(tmp_path, privacy=privacy), SHAPE)
    capture.record("a", "cat", features={"camera": "canary-feature"}, segments={"region": "canary-segment"})
    assert capture.close()
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert len(rows(tmp_path)) == 1
    assert b"canary" not in written


def test_a_privacy_rule_that_names_nothing_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="got costumer"):
        Capture(settings(tmp_path, privacy=Privacy(exclude=("costumer",))), SHAPE)


def test_the_observer_sees_the_counters_and_may_fail(tmp_path: Path) -> None:
    seen: list[Counters] = []

    def observe(counters: Counters) -> None:
        seen.append(counters)
        raise RuntimeError("the metrics are down")

    capture = Capture(settings(tmp_path), SHAPE, observe=observe)
    capture.record("a", "cat")
    until(lambda: seen)
    capture.record("b", "cat")
    until(lambda: len(seen) > 1)
    assert capture.close()
    assert seen[-1] == Counters(sent=2)


def test_nothing_exists_before_the_first_record(tmp_path: Path) -> None:
    threads = threading.active_count()
    capture = Capture(settings(tmp_path / "spool"), SHAPE)
    assert threading.active_count() == threads
    assert capture.flush()
    assert capture.close()
    assert not (tmp_path / "spool").exists()


_SCRIPT = """
import os, sys, time
from pathlib import Path
from serving.capture import Capture, Counters
from tests.serving.spooled import SHAPE, settings
capture = Capture(settings(Path(sys.argv[1]), batch_seconds=0.2), SHAPE)
"""


def _run(code: str, spool: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT + code, str(spool)], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_records_survive_an_exit_right_after_them(tmp_path: Path) -> None:
    _run("for i in range(50): capture.record(str(i), 'cat')", tmp_path)
    assert [row["prediction_id"] for row in rows(tmp_path)] == [str(index) for index in range(50)]


def test_a_forked_child_writes_a_log_of_its_own_and_none_of_its_parents(tmp_path: Path) -> None:
    code = """
capture.record("before", "cat")
capture.flush()
capture.record("parent waiting", "cat")
child = os.fork()
capture.record("child" if child == 0 else "parent", "cat")
if child == 0:
    assert capture.close()
    assert capture.counters() == Counters(sent=1), capture.counters()
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0
"""
    _run(code, tmp_path)
    by_writer = {path.name: sorted(row["prediction_id"] for row in rows_of(path)) for path in tmp_path.iterdir()}
    assert sorted(by_writer.values()) == [["before", "parent", "parent waiting"], ["child"]]


def rows_of(writer: Path) -> list[dict[str, object]]:
    return [row for row in rows(writer.parent) if row["prediction_id"] in _ids(writer)]


def _ids(writer: Path) -> set[str]:
    from monitor.log.spool import read_segment

    batches = [batch for path in writer.glob("*.segment") for batch in read_segment(path).batches]
    return {name for batch in batches for name in batch.column("prediction_id").to_pylist()}
