"""Segments as a user meets them: a region in records in; metrics, HTTP, status, history and replay out."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.commands.windows_table import print_windows
from monitor.window_codec import decode_window
from tests.daemon_process import free_port, run_command, running_daemon, wait_until, write_config
from tests.records_samples import CLASSES, labels, predictions

MINUTE = 60_000_000
START = 1_790_002_800_000_000 // (60 * MINUTE) * 60 * MINUTE
ROWS = 400


def test_a_region_goes_from_a_file_to_metrics_http_status_history_and_replay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids = [f"r{place:03d}" for place in range(ROWS)]
    batch = predictions(ids, start=START, step=100_000)
    regions = np.array(batch.column("s_region").to_pylist())
    answers = np.array(batch.column("prediction").to_pylist())
    wrong = (regions == "south") & (np.arange(ROWS) % 2 == 0)
    truth = [CLASSES[(CLASSES.index(name) + bad) % 3] for name, bad in zip(answers, wrong, strict=True)]
    table = pa.Table.from_batches([batch]).drop_columns(["latency_seconds", "request_id"])
    table = table.rename_columns([name.removeprefix("f_").removeprefix("s_") for name in table.column_names])
    pq.write_table(table, tmp_path / "predictions.parquet")
    known = pa.Table.from_batches([labels(ids, truth, time=START + 2 * MINUTE)])
    pq.write_table(known.select(["prediction_id", "label", "label_time"]), tmp_path / "labels.parquet")
    port = free_port()
    config = write_config(tmp_path, port, segments=["region"], windows=["1m"])
    for kind in ("predictions", "labels"):
        done = run_command(kind, "add", tmp_path / f"{kind}.parquet", "--config", config)
        assert done.returncode == 0, done.stderr
    accuracy = 1 - wrong[regions == "south"].mean()
    with running_daemon(config, port) as daemon:
        one = {"segment": "region", "segment_value": "south", "maturity": "final"}
        found = wait_until(lambda: daemon.value("trueup_segment_accuracy_ratio", **one), "the accuracy of the south")
        assert abs(found - accuracy) < 1e-12
        assert daemon.value("trueup_segment_predictions", **one) == (regions == "south").sum()
        [window, *_] = httpx.get(f"{daemon.url}/v1/models/pets/windows?limit=1", timeout=30).json()["windows"]
        assert window["segments"]["region"]["south"]["labels"] == (regions == "south").sum()
        assert abs(window["segments"]["region"]["south"]["values"]["accuracy"]["value"] - accuracy) < 1e-12
        [model] = httpx.get(f"{daemon.url}/v1/models", timeout=30).json()["models"]
        assert model["worst_segment"].startswith("region=south accuracy 0.")
        status = run_command("status", "--config", config)
        assert "region=south accuracy" in " ".join(status.stdout.split())
        assert daemon.stop() == 0
    history = json.loads(run_command("history", "--config", config, "--json").stdout)["windows"]
    assert history[-1]["segments"].keys() == {"region"}
    # The table of history, replay and evaluate.
    print_windows("windows", [decode_window(json.dumps(history[-1]))])
    assert "region=south" in capsys.readouterr().out.replace("\n", "")
    replayed = json.loads(run_command("replay", "--config", config, "--json").stdout)["windows"]
    last = {window["start"]: window for window in replayed}[history[-1]["start"]]
    for value, own in history[-1]["segments"]["region"].items():
        same = last["segments"]["region"][value]
        assert (own["predictions"], own["labels"], own["columns"].keys()) == (
            same["predictions"],
            same["labels"],
            same["columns"].keys(),
        )
