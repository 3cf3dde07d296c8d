"""A real Prometheus scrapes a rendered snapshot; every query of dashboard and rules answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from monitor.export.prometheus import Exposition
from monitor.export.series import label_value
from monitor.export.snapshot import Snapshot
from monitor.records import Task
from monitor.statistics.result import Estimate
from monitor.windows import MICROSECONDS, Window
from tests.export.snapshots import CHECKS, daemon, drift, full, model, window
from tests.prometheus_server import (
    RULES,
    PrometheusServer,
    applicable,
    dashboard_queries,
    program,
    prometheus_server,
    rule_expressions,
    selectors,
    served,
)

VARIABLES = {
    "job": "trueup",
    "model": "digits",
    "version": ".*",
    "window": "1h",
    "maturity": "provisional",
    "__rate_interval": "10s",
}
STRANGE = ('say "hi" {x="1"} \\ \\n', "line\nbreak", "\u202eright to left", "zero\x00byte", "x" * 65_536)


@dataclass
class Stage:
    """The daemon's side of the test: what is exposed, and the Prometheus that reads it."""

    exposition: Exposition
    server: PrometheusServer
    shown: Snapshot

    def show(self, snapshot: Snapshot) -> None:
        self.exposition.set(snapshot, time.time())


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    exposition = Exposition("0.1.0")
    shown = full(float(round(time.time())))
    strange = {name: {"population_stability_index": Estimate(0.01, 500)} for name in STRANGE}
    end = shown.models[0].windows[0].window.end
    odd = replace(window("odd", columns=strange), window=Window(end - 3_600 * MICROSECONDS, end, 3_600.0))
    healthy = {"last_attempt_timestamp_seconds": shown.rendered_at, "last_success_timestamp_seconds": shown.rendered_at}
    shown = replace(shown, models=(*shown.models, model("odd", windows=(odd,), **healthy)))
    exposition.set(shown, time.time())
    with (
        served(exposition) as target,
        prometheus_server(tmp_path_factory.mktemp("prometheus"), {"trueup": target}, rule_files=[RULES]) as server,
    ):
        server.wait_until_scraped(scrapes=3)
        yield Stage(exposition, server, shown)


@pytest.mark.parametrize(("name", "task"), [("digits", "classification"), ("angles", "regression")])
def test_every_query_of_the_dashboard_returns_data(stage: Stage, name: str, task: Task) -> None:
    checks = {check.metric for check in (*CHECKS.values, *CHECKS.columns)}
    queries = [query for query in dashboard_queries() if applicable(query, task, checks)]
    assert len(queries) > 80
    assert stage.server.without_data(queries, {**VARIABLES, "model": name}) == []


def test_every_selector_of_the_rules_returns_data(stage: Stage) -> None:
    found = {selector for expr in rule_expressions().values() for selector in selectors(expr)}
    assert len(found) > 20
    assert [selector for selector in sorted(found) if not stage.server.query(selector)] == []


def test_every_rule_is_evaluated_without_an_error(stage: Stage) -> None:
    def evaluated() -> bool:
        return all(rule["health"] != "unknown" for rule in stage.server.rules().values())

    stage.server.wait_until(evaluated, "an evaluation of every rule")
    rules = stage.server.rules()
    assert set(rules) == set(rule_expressions())
    assert {name: rule.get("lastError") for name, rule in rules.items() if rule["health"] != "ok"} == {}


def test_a_firing_alarm_fires_its_alert_and_a_healthy_monitor_no_other_critical_one_at_once(stage: Stage) -> None:
    expr = 'ALERTS{alertname="TrueupAlarmFiring", alertstate="firing", model="digits", check="accuracy"}'
    stage.server.wait_until(lambda: stage.server.value(expr) == 1.0, "the alert of the alarm")
    firing = stage.server.query('ALERTS{alertstate="firing"}')
    assert {item["metric"]["alertname"] for item in firing} == {"TrueupAlarmFiring"}


def test_values_arrive_as_they_were_rendered(stage: Stage) -> None:
    labels = '{model="digits", version="1", window="1h", maturity="provisional"}'
    assert stage.server.value(f"trueup_accuracy_ratio{labels}") == 0.91
    assert stage.server.value(f"trueup_accuracy_lower_ratio{labels}") == 0.88
    assert stage.server.value('trueup_predictions_total{version="1", model="digits"}') == 12_345.0


def test_strange_names_of_columns_arrive_whole(stage: Stage) -> None:
    found = stage.server.query('trueup_population_stability_index{model="odd"}')
    assert {item["metric"]["column"] for item in found} == {label_value(name) for name in STRANGE}


def test_a_column_that_is_gone_vanishes_and_the_others_stay(stage: Stage) -> None:
    # Last: it changes what the stage shows.
    now = time.time()
    healthy = {"last_attempt_timestamp_seconds": now, "last_success_timestamp_seconds": now}
    shown = daemon(model(windows=(window(columns=drift(1)),), **healthy), rendered_at=now)
    expr = 'count(trueup_population_stability_index{model="digits", maturity="provisional"})'
    assert stage.server.value(expr) == 3.0
    stage.show(shown)
    stage.server.wait_until(lambda: stage.server.value(expr) == 1.0, "two columns to vanish")
    assert stage.server.query('trueup_accuracy_ratio{model="angles"}') == []


def test_a_missing_program_is_named_with_the_script_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=r"promtool is missing.*scripts/install-debian-packages\.sh"):
        program("promtool")
