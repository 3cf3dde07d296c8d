"""Killed anywhere: what was acknowledged is there, nothing is there twice, the final numbers are the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from monitor.fault_points import FAULT_POINTS
from monitor.log.ingest import ingest
from monitor.log.tables import ModelLog
from tests.daemon_process import REPOSITORY, environment
from tests.integration.capture_kills import POINTS, prediction_of
from tests.integration.daemon_kills import kill_daemons


def test_twenty_kills_of_the_daemon_at_every_fault_point_and_by_chance(tmp_path: Path) -> None:
    died = kill_daemons(tmp_path, 20)
    assert died.keys() == {*FAULT_POINTS, "random"}


def test_a_hundred_kills_of_capturing_processes(tmp_path: Path) -> None:
    check_captures(tmp_path, 100)


def check_captures(folder: Path, kills: int, seed: int = 0) -> dict[str, int]:
    """Kill so many capturing processes and hold the log against what they had acknowledged."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.capture_kills", str(folder), str(kills), str(seed)],
        env=environment(),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    died: dict[str, int] = json.loads(done.stdout)
    assert sum(died.values()) == kills
    assert kills < 100 or all(died[point] for point in (*POINTS, "random"))
    progress = ingest([folder / "spool"], str(folder / "log"), future_limit=lambda _: 2**62, set_aside=lambda *_: None)
    rows = ModelLog(str(folder / "log"), "pets").read("predictions")
    assert rows is not None
    recovered = rows.column("prediction_id").to_pylist()
    assert len(recovered) == len(set(recovered))
    acknowledged, attempted = (
        {name for path in folder.glob(f"*.{kind}") for name in path.read_text().split()}
        for kind in ("acknowledged", "attempted")
    )
    assert len(acknowledged) > kills
    assert acknowledged <= set(recovered) <= attempted
    # A torn last frame is what a kill in the middle of a write leaves; nothing else may be wrong.
    assert all("torn" in error for error in progress.errors), progress.errors
    for row in rows.select(["prediction_id", "prediction", "p_cat", "p_dog"]).to_pylist():
        predicted, p = prediction_of(row["prediction_id"])
        assert (row["prediction"], [row["p_cat"], row["p_dog"]]) == (predicted, p)
    return died
