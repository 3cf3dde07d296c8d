"""`config check|show|schema` and the exported files."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from tests.daemon_process import free_port, run_command, write_config


def test_a_good_configuration_shows_what_is_watched(tmp_path: Path) -> None:
    done = run_command("config", "check", "--config", write_config(tmp_path, free_port()))
    assert done.returncode == 0
    assert "pets" in done.stdout
    assert "1 per 90d" in done.stdout


def test_every_fault_is_listed_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "trueup.yaml"
    config.write_text("http: {port: 9464}\nevaluate: {every: soon}\nmodels:\n  pets: {classes: [cat, dog], panes: 7}\n")
    done = run_command("config", "check", "--config", config)
    assert done.returncode == 2
    assert "3 faults" in done.stderr
    assert "line 1: http.port: unknown key" in done.stderr
    assert "line 2: evaluate.every:" in done.stderr
    assert "line 4: models.pets.panes:" in done.stderr


def test_what_is_shown_is_a_configuration_that_is_shown_the_same(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    shown = run_command("config", "show", "--config", config).stdout
    again = tmp_path / "again.yaml"
    again.write_text(shown)
    assert run_command("config", "show", "--config", again).stdout == shown
    assert yaml.safe_load(shown)["models"]["pets"]["windows"] == ["10s", "1m"]


def test_the_schema_is_json_schema() -> None:
    schema = json.loads(run_command("config", "schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "models" in schema["properties"]


def test_exported_rules_are_good_for_prometheus(tmp_path: Path) -> None:
    done = run_command("rules", "export", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    subprocess.run(["promtool", "check", "rules", tmp_path / "trueup-rules.yaml"], check=True, capture_output=True)


def test_exported_dashboards_are_the_packaged_ones(tmp_path: Path) -> None:
    said = json.loads(run_command("dashboards", "export", "--out", tmp_path, "--json").stdout)
    assert {Path(name).name for name in said["written"]} >= {"trueup-model.json", "dashboards.yaml"}
    assert json.loads((tmp_path / "dashboards" / "trueup-model.json").read_text())["uid"]
