"""The dashboard is what the code makes, complete in its texts, and made of metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.build import DASHBOARDS, FOLDER, main, outdated, rendered, write
from grafana.model_dashboard import DATASOURCE_UID
from monitor.export.catalogue import CATALOGUE
from tests.prometheus_server import DASHBOARD, ROOT, PanelQuery, dashboard_queries, substituted

PROVISIONING = ROOT / "grafana" / "provisioning"
DOCUMENT = json.loads(DASHBOARD.read_text("utf-8"))
VARIABLES = {variable["name"] for variable in DOCUMENT["templating"]["list"]}


def panels() -> list[dict[str, Any]]:
    found = []
    for panel in DOCUMENT["panels"]:
        found += [item for item in (panel, *panel.get("panels", ())) if item["type"] != "row"]
    return found


each_panel = pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
each_query = pytest.mark.parametrize(
    "query", dashboard_queries(), ids=lambda query: f"{query.panel} {query.ref}" if query else ""
)


def test_the_committed_file_is_what_the_code_makes() -> None:
    assert outdated(FOLDER) == [], "run `make docs` and commit the result"


def test_the_code_makes_the_same_text_in_another_process() -> None:
    code = "import sys; from grafana.build import rendered; sys.stdout.write(rendered()['trueup-model.json'])"
    made = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=ROOT, env={"PYTHONHASHSEED": "7"}
    )
    assert made.stdout.decode() == rendered()["trueup-model.json"]


def test_a_file_that_was_edited_is_named_and_the_check_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--folder", str(tmp_path)]) == 0
    assert main(["--folder", str(tmp_path), "--check"]) == 0
    edited = tmp_path / "trueup-model.json"
    edited.write_text(edited.read_text("utf-8").replace("Largest drift", "Drift"), "utf-8")
    assert main(["--folder", str(tmp_path), "--check"]) == 1
    assert "trueup-model.json: not what the code makes. Run `make docs`" in capsys.readouterr().err


def test_files_that_are_missing_or_that_no_code_makes_are_out_of_date(tmp_path: Path) -> None:
    assert outdated(tmp_path) == list(DASHBOARDS)
    write(tmp_path)
    (tmp_path / "left-over.json").write_text("{}")
    assert outdated(tmp_path) == ["left-over.json"]


def test_the_schema_is_one_that_grafana_10_to_12_read() -> None:
    assert 36 <= DOCUMENT["schemaVersion"] <= 41
    assert DOCUMENT["uid"] == "trueup-model"
    assert "trueup" in DOCUMENT["tags"]


def test_the_variables_are_there_and_the_data_source_is_one_of_them() -> None:
    assert {"datasource", "job", "model", "version", "window"} <= VARIABLES
    variable = next(item for item in DOCUMENT["templating"]["list"] if item["name"] == "datasource")
    assert variable["type"] == "datasource"
    assert variable["current"]["value"] == DATASOURCE_UID


def test_other_dashboards_are_linked_with_time_and_variables() -> None:
    (link,) = DOCUMENT["links"]
    assert (link["type"], link["tags"], link["keepTime"], link["includeVars"]) == ("dashboards", ["trueup"], True, True)


def test_ids_are_distinct_and_panels_do_not_overlap() -> None:
    ids = [panel["id"] for panel in panels()]
    assert len(set(ids)) == len(ids)
    cells: set[tuple[int, int]] = set()
    for panel in DOCUMENT["panels"]:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not own & cells, panel["title"]
        cells |= own


@each_panel
def test_every_panel_has_title_description_unit_and_own_thresholds(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert defaults["unit"]
    steps = defaults["thresholds"]["steps"]
    assert steps[0]["value"] is None
    assert not any(step["value"] == 80 for step in steps)


@each_panel
def test_every_panel_asks_the_data_source_of_the_variable(panel: dict[str, Any]) -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    assert panel["datasource"] == chosen
    assert panel["targets"]
    assert all(target["datasource"] == chosen for target in panel["targets"])


@each_panel
def test_reference_ids_are_distinct_and_overrides_refer_to_them(panel: dict[str, Any]) -> None:
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)
    for override in panel["fieldConfig"].get("overrides", ()):
        if override["matcher"]["id"] == "byFrameRefID":
            assert override["matcher"]["options"] in refs


@each_query
def test_every_metric_of_a_query_is_in_the_catalogue_with_the_labels_it_selects(query: PanelQuery) -> None:
    used = re.findall(r"\b(trueup_\w+)\{([^}]*)\}", query.expr)
    assert {name for name, _ in used} == query.metrics
    for name, matchers in used:
        assert name in CATALOGUE
        assert set(re.findall(r"(\w+)=", matchers)) <= {*CATALOGUE[name].labels, "job"}


@each_query
def test_every_query_selects_job_and_every_counter_is_a_rate(query: PanelQuery) -> None:
    for name, matchers in re.findall(r"\b(trueup_\w+)\{([^}]*)\}", query.expr):
        assert 'job="$job"' in matchers
        if CATALOGUE[name].kind == "counter":
            assert re.search(rf"(rate|increase)\({name}\{{[^}}]*\}}\[(\$__rate_interval|1d)\]", query.expr)


@each_query
def test_every_variable_of_a_query_exists(query: PanelQuery) -> None:
    substituted(query.expr, dict.fromkeys(VARIABLES | {"__rate_interval"}, "x"))


@each_panel
def test_units_fit_the_metrics(panel: dict[str, Any]) -> None:
    names = {name for target in panel["targets"] for name in re.findall(r"\btrueup_\w+", target["expr"])}
    unit = panel["fieldConfig"]["defaults"]["unit"]
    units = {CATALOGUE[name].unit for name in names} - {""}
    if panel["type"] == "timeseries" and units == {"ratio"}:
        assert unit == "percentunit"
    if panel["type"] == "timeseries" and units == {"seconds"}:
        assert unit == "s"
    if units == {"bytes"}:
        assert unit == "bytes"


def test_every_statistic_with_an_interval_is_drawn_with_it_and_with_its_limits() -> None:
    for name in ("accuracy", "cross_entropy", "mean_squared_error"):
        shown = [query.expr for query in dashboard_queries() if f'check="{name}"' in query.expr]
        assert shown
        panel = next(query.panel for query in dashboard_queries() if f'check="{name}"' in query.expr)
        metrics = {metric for query in dashboard_queries() if query.panel == panel for metric in query.metrics}
        assert any("_lower" in metric for metric in metrics)
        assert any("_upper" in metric for metric in metrics)


def test_the_worst_columns_are_chosen_by_topk() -> None:
    (panel,) = [item for item in panels() if item["title"] == "Worst columns"]
    assert panel["type"] == "table"
    assert all("topk(" in target["expr"] and target["instant"] for target in panel["targets"])


def test_the_provisioned_data_source_has_the_uid_that_the_variable_names() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources.yaml").read_text())["datasources"]
    assert (source["uid"], source["type"]) == (DATASOURCE_UID, "prometheus")
    scrape = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scrape["scrape_interval"]


def test_the_provider_reads_files_and_keeps_edits_out() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards.yaml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["allowUiUpdates"] is False
