"""The alert rules are valid, tested, explained in the runbook, and made of metrics that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.export.catalogue import CATALOGUE
from monitor.export.prometheus import render
from tests.export.snapshots import full
from tests.prometheus_server import DASHBOARD, METRIC, ROOT, RULES, dashboard_queries, promtool, rule_expressions

FOLDER = RULES.parent
CASES = sorted((FOLDER / "tests").glob("*.yaml"))
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text("utf-8")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def cases() -> list[dict[str, Any]]:
    return [
        case for path in CASES for test in yaml.safe_load(path.read_text())["tests"] for case in test["alert_rule_test"]
    ]


each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


def test_promtool_finds_no_fault_in_the_rules() -> None:
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert result.returncode == 0, result.stdout.decode()


def test_promtool_finds_no_fault_in_the_configuration_and_its_rule_file() -> None:
    result = promtool("check", "config", FOLDER / "prometheus.yml")
    assert result.returncode == 0, result.stdout.decode()
    assert b"trueup-rules.yaml" in result.stdout


def test_promtool_finds_no_fault_in_the_metrics() -> None:
    result = promtool("check", "metrics", stdin=render(full()))
    assert (result.returncode, result.stdout) == (0, b"")


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_fire_when_they_should_and_only_then(path: Path) -> None:
    result = promtool("test", "rules", path)
    assert result.returncode == 0, result.stdout.decode()


@each_alert
def test_every_alert_is_tested_both_firing_and_silent(alert: dict[str, Any]) -> None:
    own = [case for case in cases() if case["alertname"] == alert["alert"]]
    assert any(case["exp_alerts"] for case in own)
    assert any(not case["exp_alerts"] for case in own)


@each_alert
def test_every_alert_has_its_name_severity_and_words(alert: dict[str, Any]) -> None:
    assert re.fullmatch(r"Trueup([A-Z][a-z]+)+", alert["alert"])
    assert alert["labels"]["severity"] in ("critical", "warning", "info")
    assert "{{" not in alert["annotations"]["summary"]
    assert alert["annotations"]["description"].endswith(".")


@each_alert
def test_every_alert_has_a_section_in_the_runbook_with_meaning_and_advice(alert: dict[str, Any]) -> None:
    page, anchor = alert["annotations"]["runbook_url"].split("#")
    assert (ROOT / page).is_file()
    assert anchor == alert["alert"].lower()
    section = re.search(rf"^## {alert['alert']}$(.*?)(?=^## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert section
    for part in ("**Meaning.**", "**Look at.**", "**Do.**"):
        assert part in section.group(1)


def test_the_runbook_has_no_section_for_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == {alert["alert"] for alert in alerts()}


@each_alert
def test_an_alert_on_a_value_that_may_vanish_outlives_it(alert: dict[str, Any]) -> None:
    # Of the metrics that vanish with a failed evaluation each is read over a range, or the alert would resolve then.
    vanishing = {name for name, metric in CATALOGUE.items() if metric.group in ("window", "drift", "alarm")}
    for name in set(METRIC.findall(alert["expr"])) & vanishing:
        for use in re.findall(rf"\b{name}\b(?:\{{[^}}]*\}})?(\[\w+\])?", alert["expr"]):
            assert use, f"{name} is read at one instant"
        assert "keep_firing_for" in alert


@each_alert
def test_every_metric_of_a_rule_is_in_the_catalogue_with_the_labels_it_selects(alert: dict[str, Any]) -> None:
    used = re.findall(r"\b(trueup_\w+)(?:\{([^}]*)\})?", alert["expr"])
    for name, matchers in used:
        assert name in CATALOGUE
        assert set(re.findall(r"(\w+)\s*[!=]", matchers)) <= {*CATALOGUE[name].labels, "job"}


def test_every_metric_of_the_catalogue_is_on_the_dashboard_or_in_a_rule() -> None:
    shown = {name for query in dashboard_queries(DASHBOARD) for name in query.metrics}
    ruled = {name for expr in rule_expressions().values() for name in METRIC.findall(expr)}
    assert set(CATALOGUE) - shown - ruled == set()


def test_the_scrape_job_has_the_name_that_the_rules_expect() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]] == ["trueup"]
    assert 'up{job="trueup"}' in rule_expressions()["TrueupMonitorDown"]
