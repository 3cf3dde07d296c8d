"""The whole loop with real processes, seen through a real Prometheus: a classifier and a regression, drift, recovery.

Fine-tuned on scikit-learn's digits, served by TorchServe, watched by the daemon, scraped by Prometheus.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from demo.comparison import Comparison
from demo.loop import Running, started
from demo.outcome import differing, summary
from demo.phases import tell
from demo.picture import draw
from demo.processes import Processes
from demo.settings import PHASES, DemoSettings
from monitor.records import Task
from tests.prometheus_server import (
    RULES,
    PrometheusServer,
    applicable,
    dashboard_queries,
    prometheus_server,
    rule_expressions,
    selectors,
    substituted,
)

MODELS: dict[str, Task] = {"digits": "classification", "digits-rotation": "regression"}
MAIN_METRIC = {"digits": "trueup_accuracy_ratio", "digits-rotation": "trueup_mean_squared_error"}
CHECKED = {
    "digits": {"accuracy", "cross_entropy", "population_stability_index"},
    "digits-rotation": {"mean_squared_error", "population_stability_index"},
}
UNKNOWN_CLASS = {"model": "digits", "prediction_id": "nobody", "label": "unicorn"}


@dataclass(frozen=True)
class Loop:
    """The loop after its three phases, still running, and the Prometheus that scraped it all the time."""

    running: Running
    prometheus: PrometheusServer
    began: float
    folder: Path

    def comparison(self, model: str, phase: str) -> Comparison:
        return next(item for item in self.running.story.comparisons if (item.model, item.phase) == (model, phase))

    def scraped(self, expr: str) -> list[tuple[float, float]]:
        """Times and values of the one series of an expression, second by second since the loop began."""
        # What was scraped within the last second lies behind the last of the seconds before now.
        end = time.time() + 1
        found = self.prometheus.get("query_range", query=expr, start=str(self.began), end=str(end), step="1")["result"]
        return [(float(at), float(value)) for series in found for at, value in series["values"]]

    def send_a_bad_label(self) -> None:
        """One of a class that the model does not have: refused, counted, and no harm to the others."""
        answer = httpx.post(f"{self.running.monitor_url}/v1/labels", json=[UNKNOWN_CLASS])
        assert answer.json()["rejected"] == 1

    def rejected(self) -> float | None:
        """How many of these Prometheus knows of."""
        return self.prometheus.value('trueup_records_rejected_total{model="digits",reason="unknown_class"}')

    def window(self, model: str, name: str, maturity: str) -> str:
        return f'{{model="{model}",window="{name}",maturity="{maturity}"}}'


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    folder = tmp_path_factory.mktemp("loop")
    settings = DemoSettings(
        folder=folder,
        models=tuple(MODELS),
        once=True,
        phase_seconds=18,
        label_delay_seconds=6.0,
        images=160,
        image_size=64,
        epochs=10,
    )
    with (
        Processes(settings.run_folder / "logs", alone=False) as processes,
        started(settings, processes, say=print) as (running, models, server),
        prometheus_server(
            folder / "prometheus", {"trueup": running.monitor_url.removeprefix("http://")}, rule_files=[RULES]
        ) as prometheus,
    ):
        made = Loop(running, prometheus, time.time(), folder)
        made.send_a_bad_label()
        tell(running.story, models, server, running.monitor_url, check=processes.check, show=lambda _: None)
        made.send_a_bad_label()
        prometheus.wait_until(lambda: made.rejected() == 2.0, "Prometheus has seen the end of the last phase")
        yield made


def test_every_number_of_every_phase_agrees_with_the_independent_one(loop: Loop) -> None:
    comparisons = loop.running.story.comparisons
    assert {(item.model, item.phase) for item in comparisons} == {(m, p.name) for m in MODELS for p in PHASES}
    assert differing(comparisons) == []
    assert {len(item.rows) for item in comparisons if item.model == "digits"} == {57}
    assert {len(item.rows) for item in comparisons if item.model == "digits-rotation"} == {20}


@pytest.mark.parametrize("model", MODELS)
def test_prometheus_has_the_numbers_of_every_phase(loop: Loop, model: str) -> None:
    where = loop.window(model, loop.running.story.settings.phase_window, "final")
    for metric in ("trueup_window_labels", MAIN_METRIC[model], "trueup_label_coverage_ratio"):
        seen = [value for _, value in loop.scraped(metric + where)]
        for phase in PHASES:
            expected = loop.comparison(model, phase.name).value(metric)
            assert any(abs(value - expected) <= 1e-6 for value in seen), (metric, phase.name, expected)


@pytest.mark.parametrize("model", MODELS)
def test_corruption_costs_performance_and_clean_images_bring_it_back(loop: Loop, model: str) -> None:
    clean, corrupted, recovered = (loop.comparison(model, phase.name).value(MAIN_METRIC[model]) for phase in PHASES)
    if MODELS[model] == "classification":
        assert clean > 0.8
        assert corrupted < clean - 0.1
    else:
        assert corrupted > 1.5 * clean
    # Not equal: a busy machine may not have the time to send every image in both phases.
    assert abs(recovered - clean) < abs(recovered - corrupted) / 3


@pytest.mark.parametrize("model", MODELS)
def test_drift_shows_before_the_labels_do(loop: Loop, model: str) -> None:
    settings = loop.running.story.settings
    changed = next(run.start for run in loop.running.story.runs if run.phase.corrupted)
    drift = "trueup_drift_maximum_population_stability_index" + loop.window(model, settings.short_window, "provisional")
    ends = "trueup_window_end_timestamp_seconds" + loop.window(model, settings.short_window, "final")
    drifted = next(at for at, value in loop.scraped(drift) if at >= changed and value > 0.5)
    labelled = next(at for at, value in loop.scraped(ends) if value > changed)
    assert changed <= drifted < labelled


def test_no_record_is_lost_and_none_counted_twice(loop: Loop) -> None:
    for model in MODELS:
        rows = [loop.comparison(model, phase.name) for phase in PHASES]
        sent = sum(item.value("trueup_window_predictions") for item in rows)
        labelled = sum(item.value("trueup_window_labels") for item in rows)
        assert loop.prometheus.value(f'sum(trueup_predictions_total{{model="{model}"}})') == sent
        assert loop.prometheus.value(f'trueup_labels_total{{model="{model}",state="matched"}}') == labelled
    assert loop.rejected() == 2.0


@pytest.mark.parametrize("maturity", ["provisional", "final"])
@pytest.mark.parametrize("model", MODELS)
def test_every_query_of_the_dashboard_returns_data(loop: Loop, model: str, maturity: str) -> None:
    variables = {
        "job": "trueup",
        "model": model,
        "version": ".*",
        "window": loop.running.story.settings.phase_window,
        "maturity": maturity,
        "__rate_interval": "10s",
    }
    queries = [
        query for query in dashboard_queries() if applicable(query, MODELS[model], CHECKED[model], segments=False)
    ]
    assert len(queries) > 80
    missing = [query for query in queries if not loop.scraped(substituted(query.expr, variables))]
    assert {f"{query.panel} {query.ref}" for query in missing} <= WITHOUT_DATA | WITHOUT_CATEGORIES[MODELS[model]]


# Queries of the dashboard that may find nothing when all is well: nothing of the window is absent, no labels are read
# out of a database, an estimate of the shift of the classes is refused where the classes cannot be told apart, and a
# Fréchet distance where there are few rows for every dimension of the embedding.
WITHOUT_DATA = {
    "Values that are absent, and why A",
    "Databases that were read A",
    "Lag of the sources B",
    "Shift of the classes A",
    "Frechet distance A",
}
# New categories and the chi-square test are of categorical columns, and the bad labels were those of the classifier.
WITHOUT_CATEGORIES = {
    "classification": set[str](),
    "regression": {"Worst columns J", "Worst columns L", "Records rejected A"},
}
# What the three phases and the bad labels set off: the expression has data at some moment of the run.
SET_OFF = {"TrueupAlarmFiring", "TrueupPerformanceCritical", "TrueupDriftCritical", "TrueupRecordsRejected"}
# Some hundred images may or may not be evidence enough, and a window that is in two phases may or may not stop between.
PERHAPS = {"TrueupDriftAlarmFiring", "TrueupDriftEarlyWarning", "TrueupPerformanceWarning", "TrueupDriftWarning"}
NOT_HERE = {
    "TrueupVersionWithoutReference": "every version has its reference",
    "TrueupEvaluationStale": "evaluations go on",
    "TrueupEvaluationFailing": "and succeed",
    "TrueupModelVanished": "no model goes away",
    "TrueupMonitorDown": "the monitor runs",
    "TrueupIngestStale": "ingest goes on",
    "TrueupLabelSourceFailing": "labels come over HTTP, not out of a database",
    "TrueupSpoolDamaged": "nobody damages the spool",
    "TrueupPredictionsStopped": "looks a day back",
    "TrueupLabelCoverageLow": "96 % of the labels come",
    "TrueupLabelsLate": "within seconds, of a horizon of minutes",
    "TrueupLabelsWithoutPrediction": "and for predictions that are there",
}
# Rules that stay quiet have series to look at none the less, but for a version without a reference and a database with
# labels, which there are not.
WITHOUT_SERIES = {'trueup_model_info{reference!="ok"}', "trueup_source_success"}


def test_every_rule_is_evaluated_and_those_of_the_drift_and_the_bad_labels_had_data(loop: Loop) -> None:
    loop.prometheus.wait_until(
        lambda: all(rule["health"] == "ok" for rule in loop.prometheus.rules().values()), "every rule is evaluated"
    )
    assert {name for name in SET_OFF if not loop.scraped(rule_expressions()[name])} == set()


def test_every_rule_is_said_to_be_set_off_here_or_not() -> None:
    assert SET_OFF | PERHAPS | set(NOT_HERE) == set(rule_expressions())


@pytest.mark.parametrize("name", NOT_HERE)
def test_no_rule_says_that_something_is_gone_late_or_damaged_while_all_is_well(loop: Loop, name: str) -> None:
    # Polled: on a busy machine a scrape or an evaluation may come late, for which these rules have their `for`.
    expr = rule_expressions()[name]
    loop.prometheus.wait_until(lambda: not loop.prometheus.query(expr), f"{name} has nothing to say")


def test_every_selector_of_the_rules_finds_series(loop: Loop) -> None:
    found = {selector for expr in rule_expressions().values() for selector in selectors(expr)}
    assert {selector for selector in found if not loop.scraped(selector)} == WITHOUT_SERIES


def test_the_outcome_is_written_for_people_and_machines(loop: Loop) -> None:
    story = loop.running.story
    content = summary(story, loop.running.versions, 1.0)
    assert content["agrees"] is True
    assert len(content["phases"]) == len(MODELS) * len(PHASES)
    for name, history in story.histories.items():
        picture = draw(story, history, loop.folder / f"{name}.png")
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert 10_000 < picture.stat().st_size < 300_000
