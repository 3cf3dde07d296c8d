"""Kills a daemon again and again while records come in, and holds what it ends with against what was acknowledged."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from monitor.config import load_config
from monitor.cycle import ModelCycle
from monitor.fault_points import FAULT_POINTS, VARIABLE
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog
from monitor.references import ReferenceStore
from monitor.state import open_state
from monitor.statistics.result import Estimate
from monitor.verdict import WindowResult
from monitor.window_codec import decode_window
from tests.daemon_process import command, environment, free_port, running_daemon, wait_until, write_config
from tests.records_samples import CLASSES, EPOCH, labels, predictions

ROWS = 20
SECOND = 1_000_000
# A minute's windows in the past: the daemon publishes them as soon as it has them.
START = EPOCH // (60 * SECOND) * 60 * SECOND
_DEADLINE_SECONDS = 120.0
# Requests to one daemon before it dies: what is sent on and on while a cycle works would be the next cycle's backlog.
_REQUESTS = 40


@dataclass
class Traffic:
    """Predictions and labels that were sent, and which of them were acknowledged."""

    sent: dict[str, int] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    labelled: dict[str, str] = field(default_factory=dict)
    labels_acknowledged: set[str] = field(default_factory=set)
    number: int = 0

    def next(self) -> tuple[list[str], int]:
        """New ids, and the seed of their predictions."""
        self.number += 1
        names = [f"k{self.number:04d}-{place:02d}" for place in range(ROWS)]
        self.sent |= dict.fromkeys(names, self.number)
        return names, self.number

    def rows(self, number: int, names: list[str]) -> list[dict[str, object]]:
        """The batch as records of a request."""
        batch = predictions(names, start=START + number * SECOND, step=SECOND // ROWS, seed=number).to_pylist()
        return [
            {
                "prediction_id": row["prediction_id"],
                "version": "1",
                "event_time": row["event_time"].isoformat(),
                "probabilities": {name: row[f"p_{name}"] for name in CLASSES},
                "age": row["f_age"],
                "city": row["f_city"],
                "region": row["s_region"],
            }
            for row in batch
        ]

    def truth(self, names: list[str]) -> list[str]:
        """A label for each id, always the same."""
        return [CLASSES[sum(map(ord, name)) % 3] for name in names]

    def capture(self, spool: Path) -> None:
        """Predictions and labels by a process beside the daemon: in a spool, sealed."""
        names, number = self.next()
        writer = SpoolWriter(spool)
        writer.append(predictions(names, start=START + number * SECOND, step=SECOND // ROWS, seed=number))
        writer.append(labels(names, self.truth(names), time=START + 3_600 * SECOND))
        writer.close()
        self.acknowledged |= set(names)
        self.labelled |= dict(zip(names, self.truth(names), strict=True))
        self.labels_acknowledged |= set(names)

    def post(self, url: str, client: httpx.Client) -> None:
        """Predictions and labels over HTTP; acknowledged is what was answered with 202."""
        names, number = self.next()
        if client.post(f"{url}/v1/predictions", json=self.rows(number, names)).status_code == 202:
            self.acknowledged |= set(names)
        self.labelled |= dict(zip(names, self.truth(names), strict=True))
        known = [
            {"prediction_id": name, "label": label, "label_time": "2026-10-01T00:00:00Z"}
            for name, label in zip(names, self.truth(names), strict=True)
        ]
        if client.post(f"{url}/v1/labels", json=known).status_code == 202:
            self.labels_acknowledged |= set(names)


def kill_daemons(
    folder: Path, kills: int, seed: int = 0, go_on: Callable[[int], bool] = lambda _: True
) -> Counter[str]:
    """Kill that many daemons, at fault points in turn or by chance; how many died where. Asserts what must hold.

    `go_on` is asked after each, and told how many are dead; what must hold is asserted of fewer, too.
    """
    chance = random.Random(seed)
    port = free_port()
    config = write_config(folder, port, windows=["1m", "5m"], labels={"minimum": 5, "horizon": "365d"})
    settings = load_config(config)
    traffic, died = Traffic(), Counter[str]()
    for number in range(kills):
        # A third of the kills by chance, spread between those at the fault points.
        point = None if number % 3 == 2 else FAULT_POINTS[(number - number // 3) % len(FAULT_POINTS)]
        traffic.capture(settings.spools[0])
        _run_until_killed(config, port, traffic, point, chance)
        died[point or "random"] += 1
        if not go_on(number + 1):
            break
    with running_daemon(config, port) as daemon:
        in_log = len(_rows(settings.log_url, "predictions"))
        wait_until(
            lambda: _seen(daemon.value("trueup_predictions_total", model="pets", version="1"), in_log), "all seen"
        )
        wait_until(lambda: daemon.value("trueup_labels_pending", model="pets") is not None, "labels are joined")
        assert daemon.stop() == 0
    _check(folder, traffic)
    return died


def _seen(value: float | None, least: int) -> bool:
    return value is not None and value >= least


def _run_until_killed(config: Path, port: int, traffic: Traffic, point: str | None, chance: random.Random) -> None:
    url = f"http://127.0.0.1:{port}"
    variables = environment() | ({VARIABLE: point} if point else {})
    output = config.with_suffix(".log")
    with output.open("ab") as stream, httpx.Client(timeout=30) as client:
        process = subprocess.Popen(
            command("monitor", "--config", config), stdout=stream, stderr=stream, env=variables, cwd=config.parent
        )
        try:
            deadline = time.monotonic() + _DEADLINE_SECONDS
            kill_at, sent = None, 0
            while process.poll() is None:
                assert time.monotonic() < deadline, f"nothing reached {point}: {output.read_text()[-2_000:]}"
                try:
                    client.get(f"{url}/healthz")  # before it answers nothing is sent, and no event time used up
                    if sent < _REQUESTS:
                        traffic.post(url, client)
                        sent += 1
                    else:
                        time.sleep(0.02)
                except httpx.TransportError:
                    time.sleep(0.02)
                    continue
                # It answers: from now on a kill by chance may come at any moment.
                kill_at = time.monotonic() + chance.random() * 0.6 if kill_at is None else kill_at
                if point is None and time.monotonic() >= kill_at:
                    os.kill(process.pid, signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL, output.read_text()[-2_000:]
        finally:
            process.kill()
            process.wait()


def _rows(log_url: str, table: str) -> list[dict[str, object]]:
    found = ModelLog(log_url, "pets").read(table)  # type: ignore[arg-type]
    return [] if found is None else found.to_pylist()


def _check(folder: Path, traffic: Traffic) -> None:
    settings = load_config(folder / "trueup.yaml")
    rows = _rows(settings.log_url, "predictions")
    recovered = Counter(str(row["prediction_id"]) for row in rows)
    assert traffic.acknowledged <= recovered.keys() <= traffic.sent.keys()
    assert max(recovered.values()) == 1
    known = Counter(str(row["prediction_id"]) for row in _rows(settings.log_url, "labels"))
    assert traffic.labels_acknowledged <= known.keys() <= traffic.labelled.keys()
    assert max(known.values()) == 1
    killed = _finished(folder, settings.state_url)
    assert_equal_to_uninterrupted(folder, killed)
    for (seconds, start), window in killed.items():
        inside = [row for row in rows if start <= _micros(row) < start + seconds * SECOND]
        assert window.predictions == len(inside)
        labelled = [row for row in inside if row["prediction_id"] in known]
        assert window.labels == len(labelled)
        truth = [traffic.labelled[str(row["prediction_id"])] for row in labelled]
        p = np.array([[row[f"p_{name}"] for name in CLASSES] for row in labelled])
        _same(window, "accuracy", accuracy_score(truth, [row["prediction"] for row in labelled]))
        _same(window, "cross_entropy", log_loss(truth, p, labels=list(CLASSES)))


def assert_equal_to_uninterrupted(folder: Path, killed: dict[tuple[float, int], WindowResult]) -> None:
    """A new state that nobody interrupts comes to the same windows out of the same log."""
    uninterrupted = _finished(folder, f"sqlite:///{folder / 'fresh.db'}")
    assert killed.keys() == uninterrupted.keys()
    for key, window in uninterrupted.items():
        mine = killed[key]
        assert (mine.predictions, mine.labels, mine.maturity) == (window.predictions, window.labels, window.maturity)
        for name, result in window.values.items():
            if isinstance(result, Estimate):
                _same(mine, name, result.value)


def _finished(folder: Path, url: str) -> dict[tuple[float, int], WindowResult]:
    """The windows of a state after a cycle tomorrow, when every source has been silent for long."""
    settings = load_config(folder / "trueup.yaml")
    model = settings.models[0]
    state = open_state(url)
    try:
        cycle = ModelCycle(model, ModelLog(settings.log_url, model.name), state, ReferenceStore(model))
        cycle.run(round(time.time() * SECOND) + 86_400 * SECOND)
    finally:
        state.close()
    return _windows(url)


def _same(window: WindowResult, name: str, value: float) -> None:
    found = window.values[name]
    assert isinstance(found, Estimate), (name, found)
    assert found.value == pytest.approx(value, rel=1e-9, abs=1e-9), name


def _windows(url: str) -> dict[tuple[float, int], WindowResult]:
    state = open_state(url)
    try:
        with state.transaction(write=False) as transaction:
            results = [decode_window(item.result) for item in transaction.windows("pets")]
    finally:
        state.close()
    return {(window.window.seconds, window.window.start): window for window in results}


def _micros(row: dict[str, object]) -> int:
    return round(row["event_time"].timestamp() * SECOND)  # type: ignore[attr-defined]
