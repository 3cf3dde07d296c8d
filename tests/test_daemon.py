"""The daemon as a process: records in by HTTP and file, numbers out by /metrics, an orderly end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from tests.daemon_process import (
    DaemonProcess,
    free_port,
    run_command,
    running_daemon,
    wait_until,
    write_config,
)
from tests.records_samples import CLASSES

ROWS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("daemon")


@pytest.fixture(scope="module")
def daemon(folder: Path) -> Iterator[DaemonProcess]:
    port = free_port()
    with running_daemon(write_config(folder, port), port) as running:
        yield running


class Traffic:
    """Predictions of the last window of ten seconds, with their truth."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.probabilities = random.dirichlet(np.ones(3), ROWS)
        self.truth = [CLASSES[place] for place in random.integers(0, 3, ROWS)]
        # A whole window that ended some seconds ago.
        end = datetime.fromtimestamp(int(time.time()) // 10 * 10 - 10, UTC)
        self.times = [end - timedelta(seconds=10 * (place + 1) / (ROWS + 1)) for place in range(ROWS)]
        self.ids = [f"t{seed}-{place}" for place in range(ROWS)]

    def records(self) -> list[dict[str, object]]:
        return [
            {
                "prediction_id": self.ids[place],
                "version": "1",
                "event_time": self.times[place].isoformat(),
                "probabilities": dict(zip(CLASSES, map(float, self.probabilities[place]), strict=True)),
                "age": 40.0 + place % 7,
                "city": "Rome",
                "region": "north",
            }
            for place in range(ROWS)
        ]

    @property
    def predicted(self) -> list[str]:
        return [CLASSES[place] for place in self.probabilities.argmax(axis=1)]


def add_labels(folder: Path, traffic: Traffic) -> dict[str, object]:
    lines = [f"{name},{label}" for name, label in zip(traffic.ids, traffic.truth, strict=True)]
    file = folder / "labels.csv"
    file.write_text("\n".join(["prediction_id,label", *lines, "nobody,unicorn"]) + "\n")
    done = run_command("labels", "add", file, "--config", folder / "trueup.yaml", "--json")
    return dict(json.loads(done.stdout))


def test_predictions_by_http_and_labels_by_file_end_in_the_numbers_of_scikit_learn(
    folder: Path, daemon: DaemonProcess
) -> None:
    traffic = Traffic(1)
    answer = httpx.post(f"{daemon.url}/v1/predictions", json=traffic.records(), timeout=30)
    assert (answer.status_code, answer.json()["accepted"]) == (202, ROWS)
    where = {"model": "pets", "version": "1", "window": "1m", "maturity": "provisional"}
    wait_until(lambda: daemon.value("trueup_window_predictions", **where) == ROWS, "the predictions are seen")
    assert daemon.value("trueup_accuracy_ratio", **where) is None
    assert daemon.value("trueup_population_stability_index", **where, column="age") is not None

    said = add_labels(folder, traffic)
    assert (said["accepted"], said["rejected"], said["reasons"]) == (ROWS, 1, {"unknown_class": 1})
    wait_until(lambda: daemon.value("trueup_label_coverage_ratio", **where) == 1.0, "the labels are joined")
    assert daemon.value("trueup_accuracy_ratio", **where) == pytest.approx(
        accuracy_score(traffic.truth, traffic.predicted), abs=1e-12
    )
    assert daemon.value("trueup_cross_entropy_nats", **where) == pytest.approx(
        log_loss(traffic.truth, traffic.probabilities, labels=list(CLASSES)), abs=1e-9
    )
    assert daemon.value("trueup_labels_total", model="pets", state="matched") == ROWS
    final = wait_until(
        lambda: httpx.get(f"{daemon.url}/v1/models/pets/windows?window=10s&maturity=final").json()["windows"],
        "the window is final",
    )
    assert (final[0]["predictions"], final[0]["labels"], final[0]["revision"]) == (ROWS, ROWS, 1)


def test_the_daemon_says_how_it_is(folder: Path, daemon: DaemonProcess) -> None:
    assert httpx.get(f"{daemon.url}/healthz").json() == {"status": "ok", "reasons": []}
    done = run_command("status", "--config", folder / "trueup.yaml", "--json")
    said = json.loads(done.stdout)
    assert said["status"] == "ok"
    assert said["models"][0]["name"] == "pets"
    assert said["models"][0]["versions"] == {"1": "ok"}
    assert said["state_bytes"] > 0
    page = httpx.get(daemon.url).text
    assert "pets" in page


def test_a_second_daemon_on_the_same_state_is_refused_and_told_who_holds_it(
    folder: Path, daemon: DaemonProcess
) -> None:
    done = run_command("evaluate", "--config", folder / "trueup.yaml")
    assert done.returncode == 2
    assert "this state is in use by another daemon" in done.stderr
    assert f"process {daemon.process.pid}" in done.stderr


def test_a_port_in_use_is_named_and_nothing_is_left(folder: Path, daemon: DaemonProcess, tmp_path: Path) -> None:
    port = int(daemon.url.rpartition(":")[2])
    config = write_config(tmp_path, port)
    done = run_command("monitor", "--config", config)
    assert done.returncode == 2
    assert f"port {port} is in use" in done.stderr
    assert "Is another trueup monitor running?" in done.stderr


def test_sigterm_finishes_the_cycle_and_exits_0_and_what_was_acknowledged_is_there_after_a_restart(
    tmp_path: Path,
) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    traffic = Traffic(2)
    with running_daemon(config, port) as daemon:
        answer = httpx.post(f"{daemon.url}/v1/predictions", json=traffic.records(), timeout=30)
        assert answer.status_code == 202
        assert daemon.stop() == 0
    assert "stopped" in daemon.output.read_text()
    assert "Traceback" not in daemon.output.read_text()
    with running_daemon(config, port) as daemon:
        wait_until(
            lambda: daemon.value("trueup_predictions_total", model="pets", version="1") == ROWS, "all are there, once"
        )
        assert daemon.stop() == 0


def test_one_round_without_a_daemon_shows_the_windows(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    traffic = Traffic(3)
    file = tmp_path / "predictions.ndjson"
    file.write_text("\n".join(json.dumps(record) for record in traffic.records()) + "\n")
    added = run_command("predictions", "add", file, "--config", config)
    assert added.returncode == 0, added.stderr
    assert f"accepted │     {ROWS}" in added.stdout
    done = run_command("evaluate", "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    windows = json.loads(done.stdout)["windows"]
    assert [window["predictions"] for window in windows if window["window"] == "10s"] == [ROWS]
    assert windows[0]["values"]["accuracy"] == {"reason": "no_labels", "n": 0, "detail": ""}


def test_a_reload_takes_over_models_and_keeps_what_is_known(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    with running_daemon(config, port) as daemon:
        httpx.post(f"{daemon.url}/v1/predictions", json=Traffic(4).records(), timeout=30)
        wait_until(lambda: daemon.value("trueup_predictions_total", model="pets") == ROWS, "the predictions are seen")
        good = config.read_text()
        config.write_text(good.replace("models:", "modles:"))
        refused = run_command("reload", "--config", config)
        assert (refused.returncode, "did you mean 'models'?" in refused.stderr) == (2, True)

        config.write_text(good.replace("models:\n", "models:\n  price: {task: regression}\n").replace("1m", "20s"))
        assert run_command("reload", "--config", config).returncode == 0
        wait_until(
            lambda: daemon.value("trueup_evaluation_success", model="price") == 1.0, "the new model is evaluated"
        )
        wait_until(
            lambda: daemon.value("trueup_window_predictions", model="pets", window="20s") == ROWS,
            "the changed model has its new window, with what was known",
        )
        assert daemon.value("trueup_window_predictions", model="pets", window="1m") is None
        assert daemon.value("trueup_predictions_total", model="pets") == ROWS
        assert daemon.stop() == 0
    nobody = run_command("reload", "--config", config)
    assert "no daemon of this machine holds the state" in nobody.stderr


def test_the_first_predictions_of_a_model_are_shown_without_waiting_for_the_next_evaluation(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path, port)
    config.write_text(config.read_text().replace("every: 0.3s", "every: 1h"))
    with running_daemon(config, port) as daemon:
        httpx.post(f"{daemon.url}/v1/predictions", json=Traffic(5).records(), timeout=30)
        wait_until(lambda: daemon.value("trueup_predictions_total", model="pets") == ROWS, "the predictions are seen")
        assert daemon.value("trueup_evaluations_total", model="pets") == 2.0
