"""The catalogue follows the naming rules, covers every statistic, and is what the documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import DefectError
from monitor.export.catalogue import CATALOGUE, MAXIMUM_KEYS, SELF_METRICS, render_documentation
from monitor.export.statistic_metrics import COLUMN_BY_KEY, VALUE_BY_KEY, column_statistic, value_statistic
from monitor.profiles.model_profile import Reference, build_reference, profile_inputs, profile_outcomes
from monitor.records import EMBEDDING, TIMESTAMP, ModelSchema
from monitor.statistics import summary
from monitor.statistics.result import Estimate
from tests.records_samples import EPOCH, MODEL, predictions

DOCS = Path(__file__).parents[2] / "docs"
REGRESSION = ModelSchema("angles", "regression")


def evaluated(model: ModelSchema) -> tuple[Reference, pa.Table]:
    table = pa.Table.from_batches([predictions([str(i) for i in range(600)], model=model, seed=3)])
    random = np.random.default_rng(4)
    truth = random.choice(model.classes, 600).tolist() if model.classes else random.normal(0, 1, 600)
    table = table.append_column("label", pa.array(truth, model.output_type))
    times = pa.array(np.full(600, EPOCH + 3_600_000_000), pa.int64()).cast(TIMESTAMP)
    table = table.append_column("label_time", times)
    vectors = random.normal(0, 1, (600, 8)).astype("<f2")
    table = table.append_column(EMBEDDING, pa.array([row.tobytes() for row in vectors], pa.binary()))
    return build_reference(model, table), table


@pytest.fixture(scope="module", params=[MODEL, REGRESSION], ids=["classification", "regression"])
def parts(request: pytest.FixtureRequest) -> tuple[Reference, pa.Table]:
    return evaluated(request.param)


def value_keys(reference: Reference, table: pa.Table) -> set[str]:
    outcome = profile_outcomes(reference, table)
    values = summary.outcome_statistics(reference, outcome)
    return set(values | summary.estimated_statistics(reference, profile_inputs(reference, table)))


def test_every_statistic_of_a_window_has_a_metric(parts: tuple[Reference, pa.Table]) -> None:
    for key in value_keys(*parts):
        assert value_statistic(key).metric in CATALOGUE


def test_every_statistic_of_a_column_has_a_metric(parts: tuple[Reference, pa.Table]) -> None:
    reference, table = parts
    for results in summary.column_statistics(reference, profile_inputs(reference, table)).values():
        for key in results:
            assert column_statistic(key).metric in CATALOGUE
    assert set(summary.COLUMN_STATISTICS) <= set(COLUMN_BY_KEY)


def test_every_metric_of_a_statistic_has_a_statistic() -> None:
    values, columns = {"label_coverage"}, set()
    for model in (MODEL, REGRESSION):
        reference, table = evaluated(model)
        values |= value_keys(reference, table)
        for results in summary.column_statistics(reference, profile_inputs(reference, table)).values():
            columns |= set(results)
    assert values == set(VALUE_BY_KEY)
    assert columns == set(COLUMN_BY_KEY)


def test_the_statistics_with_an_interval_are_those_that_export_bounds() -> None:
    with_bounds = {}
    for model in (MODEL, REGRESSION):
        reference, table = evaluated(model)
        values = summary.outcome_statistics(reference, profile_outcomes(reference, table))
        values |= summary.estimated_statistics(reference, profile_inputs(reference, table))
        found = {key: item for key, item in values.items() if isinstance(item, Estimate) and item.lower is not None}
        with_bounds |= {key: f"{100 * (item.level or 0):g} %" for key, item in found.items()}
    # The documented level is that of the interval.
    assert with_bounds == {key: item.level for key, item in VALUE_BY_KEY.items() if item.interval}


@pytest.mark.parametrize("find", [value_statistic, column_statistic])
def test_a_statistic_without_a_metric_is_our_defect(find: object) -> None:
    with pytest.raises(DefectError, match="'vibes' has no metric") as raised:
        find("vibes")  # type: ignore[operator]
    assert raised.value.where == "monitor/export/statistic_metrics.py"


@pytest.mark.parametrize("metric", CATALOGUE.values(), ids=lambda metric: metric.name)
def test_names_follow_the_conventions(metric: object) -> None:
    name, kind, labels = metric.name, metric.kind, metric.labels  # type: ignore[attr-defined]
    assert re.fullmatch(r"trueup_[a-z][a-z0-9_]*", name)
    assert name.endswith("_total") == (kind == "counter")
    assert name.endswith("_info") == (kind == "info")
    assert not {"type", "service", "env", "job", "instance", "le", "quantile"} & set(labels)
    assert metric.unit != "seconds" or "_seconds" in name  # type: ignore[attr-defined]
    assert metric.unit != "ratio" or name.endswith("_ratio")  # type: ignore[attr-defined]
    assert metric.help  # type: ignore[attr-defined]
    assert not metric.help.endswith(".")  # type: ignore[attr-defined]


def test_the_documented_names_are_kept() -> None:
    assert {
        "trueup_accuracy_ratio",
        "trueup_cross_entropy_nats",
        "trueup_mean_squared_error",
        "trueup_population_stability_index",
        "trueup_jensen_shannon_distance",
        "trueup_kolmogorov_smirnov_statistic",
        "trueup_label_coverage_ratio",
        "trueup_predictions_total",
        "trueup_labels_total",
        "trueup_window_end_timestamp_seconds",
        "trueup_model_info",
    } <= set(CATALOGUE)


def test_selections_of_the_catalogue_are_in_it() -> None:
    assert set(SELF_METRICS) <= set(CATALOGUE)
    assert {COLUMN_BY_KEY[key].maximum for key in MAXIMUM_KEYS} <= set(CATALOGUE)


def test_the_page_of_metrics_is_current() -> None:
    written = (DOCS / "metrics.md").read_text()
    assert written == render_documentation(), "docs/metrics.md is old; run `make docs`"


def test_the_page_of_metrics_names_every_metric_once() -> None:
    rows = re.findall(r"^\| `(trueup_\w+)`", render_documentation(), re.MULTILINE)
    assert sorted(rows) == sorted(CATALOGUE)
