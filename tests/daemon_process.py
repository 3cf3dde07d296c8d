"""A real daemon process on a configuration of a temporary folder, and a model with a reference to watch."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import yaml
from prometheus_client.parser import text_string_to_metric_families

from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference
from tests.records_samples import MODEL, predictions

DEADLINE_SECONDS = 60.0
REPOSITORY = Path(__file__).resolve().parent.parent


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE_SECONDS) -> Any:
    """The first true value of `condition`, asked again and again until the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.05)


def write_reference(path: Path, rows: int = 2_000) -> None:
    """A reference of the model `pets`: random probabilities, labels that the likeliest class hits more often."""
    batch = predictions([f"r{place}" for place in range(rows)], seed=7)
    table = pa.Table.from_batches([batch])
    random = np.random.default_rng(8)
    wrong = random.random(rows) < 0.3
    names = np.array(MODEL.classes)
    truth = np.where(
        wrong, names[random.integers(0, 3, rows)], table.column("prediction").to_numpy(zero_copy_only=False)
    )
    save_reference(build_reference(MODEL, table.append_column("label", pa.array(truth.tolist(), pa.string()))), path)


def write_config(folder: Path, port: int, **model: Any) -> Path:
    """A configuration whose daemon ticks quickly; `model` overrides keys of the model `pets`."""
    write_reference(folder / "pets.ref")
    content = {
        "http": {"listen": f"127.0.0.1:{port}"},
        "ingest": {"every": "0.2s"},
        "evaluate": {"every": "0.3s", "deadline": "60s"},
        "models": {
            "pets": {
                "reference": "pets.ref",
                "panes": "1s",
                "windows": ["10s", "1m"],
                "allowed_lateness": "1s",
                "idle_after": "1s",
                "labels": {"minimum": 20},
                **model,
            }
        },
    }
    path = folder / "trueup.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@dataclass
class DaemonProcess:
    """A running `trueup monitor`; what it wrote is in `output`."""

    process: subprocess.Popen[bytes]
    url: str
    output: Path

    def metrics(self) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Samples of /metrics by name."""
        text = httpx.get(f"{self.url}/metrics", timeout=10).text
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample of that name with these labels; None where there is none."""
        for given, value in self.metrics().get(name, []):
            if labels.items() <= given.items():
                return value
        return None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=DEADLINE_SECONDS)


def command(*arguments: str | Path) -> list[str]:
    """The command line of `trueup` in this environment."""
    return [sys.executable, "-m", "monitor.cli", *map(str, arguments)]


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `trueup` with these arguments printed, and its exit code."""
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, check=False, text=True)


def environment() -> dict[str, str]:
    """Where the code under test is found first."""
    return os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


@contextmanager
def running_daemon(config: Path, port: int) -> Iterator[DaemonProcess]:
    """The daemon of a configuration, ready; killed at the end if it still runs."""
    output = config.with_suffix(".log")
    with output.open("ab") as stream:
        process = subprocess.Popen(
            command("monitor", "--config", config), stdout=stream, stderr=stream, env=environment(), cwd=config.parent
        )
    daemon = DaemonProcess(process, f"http://127.0.0.1:{port}", output)
    try:
        wait_until(lambda: _answers(daemon), "the daemon answers")
        yield daemon
    finally:
        process.kill()
        process.wait(timeout=DEADLINE_SECONDS)


def _answers(daemon: DaemonProcess) -> bool:
    assert daemon.process.poll() is None, daemon.output.read_text()
    try:
        return httpx.get(f"{daemon.url}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False
