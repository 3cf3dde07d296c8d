"""`trueup replay` and `trueup history` as processes: files in, every revision out, against scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, log_loss

from monitor.cli import REFUSED
from monitor.commands.replay import replay
from tests.daemon_process import free_port, run_command, write_config
from tests.records_samples import CLASSES, labels, predictions

HOUR = 3_600_000_000
START = 1_790_002_800_000_000 // HOUR * HOUR
ROWS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of two hours, their labels some of them late and one corrected, and labelled rows for a reference."""
    root = tmp_path_factory.mktemp("replay")
    ids = [f"r{place:03d}" for place in range(ROWS)]
    batch = predictions(ids, start=START, step=2 * HOUR // ROWS)
    truth = [CLASSES[place] for place in np.random.default_rng(3).integers(0, 3, ROWS)]
    table = pa.Table.from_batches([batch]).drop_columns(["latency_seconds", "request_id", "version"])
    names = [name.removeprefix("f_").removeprefix("s_") for name in table.column_names]
    table = table.rename_columns(["request" if name == "prediction_id" else name for name in names])
    pq.write_table(table, root / "predictions.parquet")
    moments = [START + 3 * HOUR + place * 60_000_000 for place in range(ROWS)]
    known = pa.Table.from_batches([labels(ids, truth, time=moments)]).select(["prediction_id", "label", "label_time"])
    pyarrow.csv.write_csv(known, root / "labels.csv")
    reference = table.append_column("label", pa.array(truth)).drop_columns(["request", "event_time"])
    pq.write_table(reference, root / "reference.parquet")
    (root / "truth.json").write_text(json.dumps(truth))
    return root


def replayed(folder: Path, *arguments: str | Path) -> list[dict[str, object]]:
    done = run_command(
        "replay",
        *("--predictions", folder / "predictions.parquet", "--labels", folder / "labels.csv"),
        *("--reference", folder / "reference.parquet", "--map", "prediction_id=request", "--json", *arguments),
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content.keys() == {"windows", "alarms"}
    return list(content["windows"])


def test_files_are_replayed_as_if_in_time_and_end_in_the_numbers_of_scikit_learn(folder: Path) -> None:
    windows = [item for item in replayed(folder) if item["window"] == "1d"]
    [first, *_, last] = windows
    assert (first["maturity"], first["revision"]) == ("provisional", 0)
    assert (last["maturity"], last["predictions"], last["labels"], last["label_coverage"]) == ("final", ROWS, ROWS, 1.0)
    assert [item["revision"] for item in windows] == list(range(len(windows)))
    table = pq.read_table(folder / "predictions.parquet")
    truth = json.loads((folder / "truth.json").read_text())
    p = np.column_stack([table.column(f"p_{name}").to_numpy() for name in CLASSES])
    values = last["values"]
    assert isinstance(values, dict)
    assert values["accuracy"]["value"] == pytest.approx(accuracy_score(truth, table.column("prediction").to_pylist()))
    assert values["cross_entropy"]["value"] == pytest.approx(log_loss(truth, p, labels=list(CLASSES)), abs=1e-9)
    assert values["accuracy"]["n"] == ROWS
    assert values["accuracy"]["lower"] < values["accuracy"]["value"] < values["accuracy"]["upper"]


def test_the_rows_read_so_far_are_told_while_files_are_read_and_not_to_machines(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("monitor.commands.progress._SECONDS", 0.0)
    files = {name: folder / f"{name}.parquet" for name in ("predictions", "reference")}
    for machines in (False, True):
        replay(**files, labels=folder / "labels.csv", mapping=["prediction_id=request"], as_json=machines)
        told = [line for line in capsys.readouterr().err.splitlines() if "rows read" in line]
        assert told == ([] if machines else [f"{rows:,} rows read" for rows in (ROWS, 2 * ROWS, 3 * ROWS)])


def test_an_absent_value_carries_its_reason_and_no_value(folder: Path) -> None:
    first = replayed(folder)[0]
    assert {
        "model",
        "version",
        "window",
        "start",
        "end",
        "maturity",
        "revision",
        "predictions",
        "labels",
    } < first.keys()
    assert {"label_coverage", "values", "verdicts"} < first.keys()
    values = first["values"]
    assert isinstance(values, dict)
    assert values["accuracy"]["reason"] == "no_labels"
    assert "value" not in values["accuracy"]


def test_predictions_alone_are_replayed_for_their_drift(folder: Path) -> None:
    done = run_command(
        *("replay", "--predictions", folder / "predictions.parquet", "--reference", folder / "reference.parquet"),
        *("--map", "prediction_id=request", "--json"),
    )
    assert done.returncode == 0, done.stderr
    day = [item for item in json.loads(done.stdout)["windows"] if item["window"] == "1d"][-1]
    assert (day["predictions"], day["labels"], day["maturity"]) == (ROWS, 0, "final")
    assert day["values"]["accuracy"]["reason"] == "no_labels"
    assert day["columns"]["age"]["population_stability_index"]["n"] == ROWS


def test_predictions_are_needed_and_a_reference(folder: Path) -> None:
    done = run_command("replay", "--labels", folder / "labels.csv")
    assert (done.returncode, "a replay of files needs predictions" in done.stderr) == (REFUSED, True)
    files = ("--predictions", folder / "predictions.parquet", "--labels", folder / "labels.csv")
    done = run_command("replay", *files)
    assert done.returncode == REFUSED
    assert "a replay of files needs a reference" in done.stderr
    done = run_command("replay", *files, "--reference", folder / "reference.parquet")
    assert done.returncode == REFUSED
    assert "no column holds the prediction_id" in done.stderr


def test_the_log_is_replayed_and_the_history_is_what_the_daemon_published(tmp_path: Path, folder: Path) -> None:
    config = write_config(tmp_path, free_port(), windows=["1h", "2h"], panes="5m", labels={"minimum": 20})
    done = run_command("history", "--config", config)
    assert done.returncode == REFUSED
    assert "nothing was evaluated yet" in done.stderr
    version = ("--version", "1", "--map", "prediction_id=request")
    for arguments in (
        ("predictions", "add", folder / "predictions.parquet", *version),
        ("labels", "add", folder / "labels.csv"),
    ):
        done = run_command(*arguments, "--config", config)
        assert done.returncode == 0, done.stderr
    assert run_command("evaluate", "--config", config).returncode == 0
    history = json.loads(run_command("history", "--config", config, "--window", "1h", "--json").stdout)
    replay = json.loads(run_command("replay", "--config", config, "--model", "pets", "--json").stdout)
    last = {item["start"]: item for item in replay["windows"] if item["window"] == "1h"}
    assert history["model"] == "pets"
    published = {item["start"]: item for item in history["windows"]}
    # The second hour is not published yet: the source may still send more of it.
    assert len(published) == 1
    assert published.keys() < last.keys()
    for start, window in published.items():
        assert (window["predictions"], window["labels"]) == (last[start]["predictions"], last[start]["labels"])
        mine, other = window["values"]["accuracy"], last[start]["values"]["accuracy"]
        assert mine["value"] == pytest.approx(other["value"], abs=1e-12)
    shown = run_command("history", "--config", config, "--window", "1h")
    assert "published windows of pets" in shown.stdout
    assert shown.stdout.count("│ pets") == len(published)
