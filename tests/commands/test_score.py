"""`trueup replay --score` and `--suggest` as processes: what people, machines and browsers get, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli import REFUSED
from monitor.commands.replay import app
from monitor.config import load_config
from monitor.errors import OperatorError
from tests.daemon_process import run_command
from tests.tuning.traffic import DAY, START, rows

CHECKS = {"accuracy": {"warning": "-5%"}, "drift": {"psi": {"warning": 0.2, "critical": 0.5}, "minimum_rows": 100}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten days of traffic of which the fourth is drifted, labels an hour later, a reference and a configuration."""
    root = tmp_path_factory.mktemp("score")
    random = np.random.default_rng(0)
    days = [rows(random, 300, start=START + day * DAY, shift=1.5 if day == 3 else 0.0) for day in range(10)]
    past = pa.concat_tables(days)
    write(past.drop_columns(["label", "label_time", "version"]), root / "predictions.parquet")
    write(past.select(["prediction_id", "label", "label_time"]), root / "labels.parquet")
    known = rows(np.random.default_rng(9), 3_000)
    write(known.drop_columns(["prediction_id", "version", "event_time", "label_time"]), root / "reference.parquet")
    model = {"task": "classification", "classes": ["good", "bad"], "windows": ["1d"], "labels": {"minimum": 100}}
    config = {"models": {"credit": {**model, "checks": CHECKS}}}
    (root / "trueup.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return root


def write(table: pa.Table, path: Path) -> None:
    pq.write_table(table.rename_columns([name.removeprefix("f_") for name in table.column_names]), path)


def arguments(folder: Path, *more: str | Path) -> list[str | Path]:
    files = [
        item for name in ("predictions", "labels", "reference") for item in (f"--{name}", folder / f"{name}.parquet")
    ]
    return ["replay", "--config", folder / "trueup.yaml", *files, "--horizon", "3", "--trials", "2", *more]


def test_the_score_of_files_is_json_for_machines(folder: Path) -> None:
    drifts = ("--drift", "mean_shift=1.5", "--drift", "concept_flip=0.3", "--column", "age", "--seed", "3")
    done = run_command(*arguments(folder, "--score", "--json", *drifts))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["version"], found["observations"], found["rows_per_observation"]) == (
        *("credit", "1", 9),
        300,
    )
    (alarm,) = found["quiet"][0]["alarms"]
    assert (alarm["check"], alarm["columns"], alarm["since"][:10]) == (
        "population_stability_index",
        ["income"],
        "2026-09-24",
    )
    assert found["quiet"][0]["alarms_per_quarter"] == pytest.approx(10)
    power = {(item["drift"], item["check"]): item for item in found["power"]}
    shift = power["mean_shift", "any"]
    assert (shift["found"], shift["median_delay_seconds"], shift["named_a_drifted_column"]) == (2, 86_400, 2)
    assert power["concept_flip", "accuracy"]["found"] == 2
    assert "configuration" not in found


def test_suggestions_are_a_table_a_fragment_that_loads_and_a_picture(folder: Path, tmp_path: Path) -> None:
    picture = tmp_path / "out.svg"
    done = run_command(*arguments(folder, "--suggest", "--drift", "mean_shift=0.7", "--picture", picture))
    assert done.returncode == 0, done.stderr
    for text in (
        "credit, version 1: 9 observations of 1d",
        "alarms of the past, checks as set: 10 in 90 days",
        "At most 1 per 90d is allowed. The budget holds where",
        "found, proposed",
        "mean_shift 0.7 sd",
        "in alarms left out",
    ):
        assert text in done.stdout
    fragment = yaml.safe_load(done.stdout[done.stdout.index("\nchecks:") : done.stdout.index("\npicture:")])
    config = yaml.safe_load((folder / "trueup.yaml").read_text())
    config["models"]["credit"] |= fragment
    path = tmp_path / "trueup.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    psi = load_config(path).models[0].checks.columns[0]
    assert psi.warning is not None
    assert psi.critical is not None
    assert 0.02 < psi.warning.value < 0.2
    assert psi.critical.value == pytest.approx(2.5 * psi.warning.value)
    assert ElementTree.parse(picture).getroot().tag.endswith("svg")


def test_a_past_that_is_too_short_is_refused_with_what_is_needed(folder: Path) -> None:
    done = run_command(*arguments(folder, "--score", "--horizon", "30"))
    assert done.returncode == REFUSED
    assert "the past is too short to put drifts into it (expected 31 whole observations of 1d" in done.stderr
    assert "--resample" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--drift", "heat"], "not a kind of drift"),
        (["--drift", "mean_shift=much"], "not sizes"),
        (["--drift", "missingness=3"], "expected 0 to 1, got 3"),
        (["--column", "height"], "no such column"),
        (["--version", "7"], "the log has no such version"),
        (["--picture", "out.png"], "a picture is an SVG file"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_what_is_expected(folder: Path, more: list[str], message: str) -> None:
    done = CliRunner().invoke(app, [str(item) for item in arguments(folder, "--score", *more)[1:]])
    assert isinstance(done.exception, OperatorError)
    assert message in str(done.exception)
