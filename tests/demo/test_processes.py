"""Nothing that the demo started outlives it, whatever the moment at which it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from demo.processes import Processes, python
from monitor.errors import OperatorError
from tests.daemon_process import environment, wait_until

MARK = "TRUEUP_DEMO_TEST"
# Programs that live until they are ended, longer than any test may take: it is their sleep, not that of a test. It has
# an end, so that nothing is left of a test run that was itself killed.
# A child that starts a grandchild in a session of its own, and leaves it behind.
ORPHAN = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
"""
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


def marked(mark: str) -> list[str]:
    """Command lines of the living processes that were started with this mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.fixture
def mark(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    name = str(uuid.uuid4())
    monkeypatch.setenv(MARK, name)
    yield name
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == name and process.pid != os.getpid():
                process.kill()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def run_script(tmp_path: Path, body: str) -> subprocess.CompletedProcess[str]:
    """A program that uses Processes, as a process of its own: it adopts orphans and ends all its descendants."""
    script = f"""
from pathlib import Path
import sys, time
from demo.processes import Processes, interrupt_once, Interrupted
logs = Path({str(tmp_path)!r})
{body}
"""
    return subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, text=True, check=False, timeout=60
    )


def test_a_grandchild_whose_parent_is_gone_ends_too(tmp_path: Path, mark: str) -> None:
    done = run_script(tmp_path, f"with Processes(logs) as p:\n    p.run('orphan', [sys.executable, '-c', {ORPHAN!r}])")
    assert done.returncode == 0, done.stderr
    assert marked(mark) == []


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path, mark: str) -> None:
    body = f"""
import demo.processes
demo.processes._END_SECONDS = 0.5
with Processes(logs) as p:
    child = p.start('stubborn', [sys.executable, '-c', {STUBBORN!r}])
    while b'ready' not in child.log.read_bytes():
        time.sleep(0.05)
"""
    done = run_script(tmp_path, body)
    assert done.returncode == 0, done.stderr
    assert marked(mark) == []


def test_a_command_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    script = "import sys; print('first', file=sys.stderr); print('no space left', file=sys.stderr); sys.exit(3)"
    with pytest.raises(OperatorError, match=r"archive failed with exit code 3 \(got no space left\)"):
        Processes(tmp_path).run("archive", [sys.executable, "-c", script])


def test_a_child_that_ends_early_is_named_with_its_log(tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    child = processes.start(
        "monitor", [sys.executable, "-c", "print('error: port 1 is in use'); print('bye'); raise SystemExit(2)"]
    )
    child.process.wait(30)
    with pytest.raises(OperatorError, match=r"monitor ended with exit code 2 \(got port 1 is in use\)") as error:
        processes.check()
    assert str(child.log) in str(error.value)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("$ trueup finetune", signal.SIGTERM),
        ("$ trueup monitor", signal.SIGINT),
        ("--- phase 1", signal.SIGINT),
    ],
)
def test_the_demo_ends_with_all_its_processes_at_any_moment(
    moment: str, number: signal.Signals, tmp_path: Path, mark: str
) -> None:
    output = tmp_path / "output"
    options = ["--once", "--epochs", "1", "--image-size", "32", "--phase-seconds", "9", "--out", tmp_path / "out"]
    with output.open("wb") as stream:
        process = subprocess.Popen(
            python("demo", *options), stdout=stream, stderr=stream, env=environment(), start_new_session=True
        )
    wait_until(lambda: moment in output.read_text() or process.poll() is not None, moment, 400)
    process.send_signal(number)
    assert process.wait(60) == 128 + number, output.read_text()
    assert f"stopped by {number.name}; everything that was started has ended" in output.read_text()
    assert marked(mark) == []
