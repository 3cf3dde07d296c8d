"""A running daemon on days when something is wrong: damaged segments, records from the future, a locked state."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from monitor.log.dead_letters import read_dead_letters
from monitor.log.spool import SpoolWriter, sealed_segments
from tests.daemon_process import DaemonProcess, free_port, running_daemon, wait_until, write_config
from tests.records_samples import predictions

ROWS = 40


def now_micros() -> int:
    return int(time.time()) * 1_000_000


def segment(root: Path, writer: str) -> Path:
    """Three frames of a few predictions each, sealed, that no daemon looks for yet."""
    spool = SpoolWriter(root, writer=writer)
    for frame in range(3):
        spool.append(predictions([f"{writer}-{frame}-{row}" for row in range(ROWS)], start=now_micros() - 20_000_000))
    spool.close()
    [path] = [path for name, _, path in sealed_segments(root) if name == writer]
    return path


def damage(path: Path, what: str) -> None:
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    if what == "torn":
        content = content[: 2 * third + third // 2]
    elif what == "flipped":
        content[third + third // 2] ^= 0xFF
    elif what == "length":
        content[8:12] = (2**31).to_bytes(4, "little")
    elif what == "magic":
        content[:8] = b"NOTASPOO"
    path.write_bytes(bytes(content))


def total(daemon: DaemonProcess) -> float:
    return daemon.value("trueup_predictions_total", model="pets") or 0.0


def test_damaged_segments_give_what_comes_before_the_damage_and_are_counted(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    root = tmp_path / "trueup-data" / "spool"
    frames = {"whole": 3, "torn": 2, "flipped": 1, "length": 0, "magic": 0}
    for what in frames:
        damage(segment(root, what), what)
    with running_daemon(config, port) as daemon:
        wait_until(lambda: total(daemon) == ROWS * sum(frames.values()), "every frame before a damage is there")
        assert (daemon.value("trueup_spool_damaged_bytes_total") or 0) > 0
        # What cannot be read keeps nothing else from being taken in.
        httpx.post(
            f"{daemon.url}/v1/predictions",
            json={
                "prediction_id": "after",
                "version": "1",
                "event_time": datetime.now(UTC).isoformat(),
                "prediction": "cat",
            },
            timeout=30,
        )
        wait_until(lambda: total(daemon) == ROWS * sum(frames.values()) + 1, "what comes later is taken in")
        assert daemon.stop() == 0


def test_a_record_of_2099_is_kept_aside_and_moves_no_window(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    with running_daemon(config, port) as daemon:
        records = [
            {"prediction_id": name, "version": "1", "event_time": moment, "prediction": "cat"}
            for name, moment in (
                ("today", datetime.now(UTC).isoformat()),
                ("far", "2099-01-01T00:00:00Z"),
                ("soon", (datetime.now(UTC) + timedelta(minutes=1)).isoformat()),
            )
        ]
        assert httpx.post(f"{daemon.url}/v1/predictions", json=records, timeout=30).status_code == 202
        wait_until(lambda: total(daemon) == 2, "today's and the one within the guard are there")
        rejected = daemon.value("trueup_records_rejected_total", model="pets", reason="future_event_time")
        assert rejected == 1
        mark = daemon.value("trueup_watermark_timestamp_seconds", model="pets")
        assert mark is not None
        assert mark < time.time() + 120
        letters = list(read_dead_letters(tmp_path / "trueup-data" / "dead-letters"))
        assert [letter.reason for letter in letters] == ["future_event_time"]
        assert b"far" in letters[0].original
        assert daemon.stop() == 0


def test_a_locked_state_hides_the_values_until_it_is_free_and_loses_nothing(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    database = tmp_path / "trueup-data" / "state.db"
    config.write_text(config.read_text() + f"state: {{url: 'sqlite:///{database}?timeout=0.3'}}\n")
    with running_daemon(config, port) as daemon:
        with closing(sqlite3.connect(database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = httpx.post(
                f"{daemon.url}/v1/predictions",
                json={
                    "prediction_id": "meanwhile",
                    "version": "1",
                    "event_time": datetime.now(UTC).isoformat(),
                    "prediction": "cat",
                },
                timeout=30,
            )
            assert answer.status_code == 202
            wait_until(
                lambda: (
                    daemon.value("trueup_evaluation_success", model="pets") in (0.0, None)
                    and not daemon.metrics().get("trueup_window_predictions")
                ),
                "a failed evaluation shows no values",
            )
            assert "the state is locked by another process" in daemon.output.read_text()
            other.execute("ROLLBACK")
        wait_until(lambda: total(daemon) == 1, "what came meanwhile is there")
        wait_until(lambda: daemon.value("trueup_evaluation_success", model="pets") == 1.0, "it evaluates again")
        assert daemon.stop() == 0
