"""`trueup doctor`: the setting that follows from one's own panes, and figures that the disk confirms."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from typer.testing import CliRunner

from monitor.commands import doctor
from monitor.diagnosis import retention_finding, season_finding, series_of
from monitor.export.snapshot import AlarmSnapshot, ModelSnapshot, Snapshot, VersionInfo, check_limits
from monitor.export.snapshot_series import snapshot_series
from monitor.label_join import LabelSettings
from monitor.settings import ModelSettings
from monitor.statistics.independence import Advice, Independence
from monitor.statistics.seasons import ObservationSettings
from tests.alarm_bench import ACCURACY, OBSERVE_SECONDS, PSI, ROWS, AlarmBench, settings, traffic, truth
from tests.daemon_process import run_command

OBSERVATIONS = 24


def copied(number: int, copies: int) -> pa.RecordBatch:
    """Traffic in which every row comes in copies, as retries do, close to one another in time."""
    batch = traffic(number, rows=ROWS // copies)
    rows = batch.take(pa.array([place for place in range(batch.num_rows) for _ in range(copies)]))
    names = [f"{number}-{place}" for place in range(rows.num_rows)]
    return rows.set_column(
        rows.schema.get_field_index("prediction_id"), rows.schema.field("prediction_id"), pa.array(names)
    )


def examined(root: Path, batches: list[pa.RecordBatch], season: Any) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON of the doctor, after one cycle over these batches."""
    bench = AlarmBench(root, settings(root, PSI))
    bench.send(*batches, truth(batches[0], 0.1))
    bench.run(OBSERVATIONS)
    bench.state.close()
    config = root / "trueup.yaml"
    model = {
        "reference": "reference.trueup",
        "panes": f"{OBSERVE_SECONDS // 2}s",
        "windows": [f"{OBSERVE_SECONDS}s"],
        "season": season,
        "labels": {"horizon": "1d"},
    }
    content = {
        "log": {"url": "log", "retention": "10d"},
        "state": {"url": "sqlite:///state.db"},
        "models": {"pets": model},
    }
    config.write_text(yaml.safe_dump(content))
    done = CliRunner().invoke(doctor.app, ["--config", str(config), "--json"])
    assert done.exit_code in (0, 1), done.output
    [found] = json.loads(done.stdout)["models"]
    return done.exit_code, found


def independence(found: dict[str, Any]) -> dict[str, Any]:
    return next(finding for finding in found["findings"] if finding["topic"].startswith("independence"))


def test_independent_panes_may_be_observed_hourly_and_the_figures_are_those_of_the_disk(tmp_path: Path) -> None:
    code, found = examined(tmp_path, [traffic(number) for number in range(OBSERVATIONS)], "1d")
    assert code == 0
    assert (found["panes"], found["advice"], found["design_effect"]) == (2 * OBSERVATIONS, "independent", 1.0)
    assert independence(found)["level"] == "note"
    assert independence(found)["setting"] == "season: {length: off}"
    rows = OBSERVATIONS * ROWS
    size = sum(path.stat().st_size for path in (tmp_path / "log").rglob("*.parquet"))
    assert found["bytes_per_prediction"] == pytest.approx(size / rows)
    seconds = OBSERVATIONS * OBSERVE_SECONDS
    assert found["predictions_per_second"] == pytest.approx(rows / seconds, rel=0.01)
    assert found["gigabytes_per_month"] == pytest.approx(size / seconds * 30 * 86_400 / 1e9, rel=0.01)
    text = run_command("doctor", "--config", tmp_path / "trueup.yaml").stdout
    for shown in ("bytes per prediction", "3 checks share 1 per 90d", "retention: 10d hold every late label"):
        assert shown in text


def test_rows_in_copies_are_found_and_the_setting_that_repairs_it_is_said(tmp_path: Path) -> None:
    batches = [copied(number, 5) for number in range(OBSERVATIONS)]
    code, found = examined(tmp_path, batches, "off")
    assert code == 1
    assert found["design_effect"] == pytest.approx(5, rel=0.25)
    assert independence(found)["level"] == "problem"
    assert "The false-alarm budget does not hold as configured." in independence(found)["text"]
    said = yaml.safe_load(independence(found)["setting"])["season"]
    assert said["design_effect"] == pytest.approx(5, rel=0.25)


def test_a_cycle_needs_a_season(tmp_path: Path) -> None:
    batches = [traffic(number, shift=0.6 * math.sin(2 * math.pi * number / 12)) for number in range(OBSERVATIONS)]
    code, found = examined(tmp_path, batches, {"length": "off", "observe": f"{OBSERVE_SECONDS}s"})
    assert (code, found["advice"]) == (1, "seasonal")
    assert independence(found)["setting"] == "season: {length: 1d}"


def test_before_any_traffic_there_are_still_series_and_a_budget(tmp_path: Path) -> None:
    bench = AlarmBench(tmp_path, settings(tmp_path, PSI))
    bench.state.close()
    config = tmp_path / "trueup.yaml"
    config.write_text("models: {pets: {reference: reference.trueup}}\n")
    done = CliRunner().invoke(doctor.app, ["--config", str(config), "--json"])
    assert done.exit_code == 0, done.output
    [found] = json.loads(done.stdout)["models"]
    assert found["bytes_per_prediction"] is None
    assert found["series"] > 100
    assert not (tmp_path / "trueup-data").exists()


def test_a_model_without_a_reference_is_a_problem(tmp_path: Path) -> None:
    config = tmp_path / "trueup.yaml"
    config.write_text("models: {pets: {task: regression}}\n")
    done = run_command("doctor", "--config", config)
    assert done.returncode == 1
    assert "problem: reference: no version has one" in done.stdout


@pytest.mark.parametrize("segments", [(), ("region",)])
def test_the_series_are_those_that_a_model_of_this_configuration_exports(
    tmp_path: Path, segments: tuple[str, ...]
) -> None:
    """Counted on the reference as its own traffic, and again on a real cycle over real traffic."""
    bench = AlarmBench(tmp_path, settings(tmp_path, PSI, ACCURACY, segments=segments))
    batch = traffic(0)
    bench.send(batch, truth(batch, 0.1))
    bench.run(1)
    report = bench.run(2)
    bench.state.close()
    reference = bench.cycle.references.get("1")
    assert reference is not None
    counted, dropped = series_of(bench.settings, reference)
    alarms = tuple(
        AlarmSnapshot("1", item.check, "inactive", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0) for item in report.alarms
    )
    own = {"accuracy": 0.9}
    model = ModelSnapshot(
        "pets",
        "classification",
        versions=(VersionInfo("1", "ok"),),
        windows=(*report.rolling, *report.final),
        success=True,
        last_success_timestamp_seconds=0.0,
        limits=check_limits("1", bench.settings.checks, own),
        alarms=alarms,
    )
    real = list(snapshot_series(Snapshot("", 0.0, 60.0, (model,))))
    assert dropped == 0
    assert counted == pytest.approx(len(real), abs=6)  # delays of labels, which a reference has none of


@pytest.mark.parametrize(("retention", "level"), [(None, "note"), (86_400.0, "problem"), (40 * 86_400.0, "good")])
def test_retention_is_held_against_late_labels_and_the_longest_window(retention: float | None, level: str) -> None:
    model = ModelSettings("m", labels=LabelSettings(horizon_seconds=14 * 86_400))
    found = retention_finding(model, retention, 2.0)
    assert found.level == level
    if retention is None:
        assert "2 GB a month" in found.text


@pytest.mark.parametrize(
    ("advice", "effect", "observed", "level"),
    [
        (Advice.UNKNOWN, 1.0, ObservationSettings(None), "note"),
        (Advice.SEASONAL, 1.0, ObservationSettings(), "good"),
        (Advice.SEASONAL, 5.0, ObservationSettings(), "problem"),
        (Advice.SEASONAL, 5.0, ObservationSettings(design_effect=5.0), "good"),
        (Advice.SEASONAL, 1.0, ObservationSettings(None), "problem"),
        (Advice.INDEPENDENT, 1.0, ObservationSettings(None), "good"),
        (Advice.INDEPENDENT, 1.0, ObservationSettings(), "note"),
        (Advice.CLUSTERED, 3.0, ObservationSettings(None, design_effect=3.0), "good"),
    ],
)
def test_a_setting_is_a_problem_only_where_the_budget_does_not_hold(
    advice: Advice, effect: float, observed: ObservationSettings, level: str
) -> None:
    judged = Independence(advice, 100, (effect,), {1: effect}, "Told.")
    assert season_finding(observed, judged, effect).level == level
