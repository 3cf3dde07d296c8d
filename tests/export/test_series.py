"""What a snapshot shows: absences by reason, what vanishes when, and what is cut to keep the budget."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from monitor.export.catalogue import CATALOGUE, SELF_METRICS
from monitor.export.series import LONGEST_LABEL, Series, label_value
from monitor.export.snapshot import CheckLimit, Snapshot, check_limits
from monitor.export.snapshot_series import self_series, snapshot_series
from monitor.statistics.result import Absent, Estimate, Reason
from monitor.statistics.segments import SegmentStatistics
from monitor.verdict import Verdict
from tests.export.snapshots import (
    CHECKS,
    CLASSIFICATION,
    NOW,
    REFERENCE,
    daemon,
    drift,
    full,
    model,
    told_apart,
    window,
)


def shown(snapshot: Snapshot, name: str, budget: int = 2_000, **labels: str) -> list[Series]:
    return [
        item
        for item in snapshot_series(snapshot, budget)
        if item.name == name and labels.items() <= dict(item.labels).items()
    ]


def value(snapshot: Snapshot, name: str, **labels: str) -> float:
    (item,) = shown(snapshot, name, **labels)
    return item.value


def one_window(**changes: object) -> Snapshot:
    return daemon(model(windows=(window(**changes),)))  # type: ignore[arg-type]


def columns_shown(snapshot: Snapshot, budget: int) -> set[str]:
    return {item.labels["column"] for item in shown(snapshot, "trueup_population_stability_index", budget)}


def test_every_metric_of_the_catalogue_can_occur_and_has_exactly_its_labels() -> None:
    seen = {}
    for item in snapshot_series(full()):
        assert set(item.labels) == set(CATALOGUE[item.name].labels), item
        seen[item.name] = True
    assert set(seen) == set(CATALOGUE)


def test_no_series_occurs_twice() -> None:
    counts = Counter((item.name, tuple(sorted(item.labels.items()))) for item in snapshot_series(full()))
    assert set(counts.values()) == {1}


def test_a_value_comes_with_its_interval() -> None:
    snapshot = one_window(values={"accuracy": Estimate(0.91, 500, 0.88, 0.93, 0.95)})
    assert value(snapshot, "trueup_accuracy_ratio") == 0.91
    assert value(snapshot, "trueup_accuracy_lower_ratio") == 0.88
    assert value(snapshot, "trueup_accuracy_upper_ratio") == 0.93


def test_a_value_without_an_interval_has_no_bounds() -> None:
    snapshot = one_window(values={"accuracy": Estimate(0.91, 500)})
    assert shown(snapshot, "trueup_accuracy_lower_ratio") == []


def test_an_absent_value_has_no_series_but_its_reason() -> None:
    snapshot = one_window(values={"accuracy": Absent(Reason.NO_LABELS)})
    assert shown(snapshot, "trueup_accuracy_ratio") == []
    (reason,) = shown(snapshot, "trueup_absent_info", statistic="accuracy")
    assert (reason.labels["reason"], reason.labels["column"], reason.value) == ("no_labels", "", 1.0)


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_not_finite_is_an_overflow(broken: float) -> None:
    snapshot = one_window(
        values={"cross_entropy": Estimate(broken, 500)},
        columns={"age": {"population_stability_index": Estimate(broken, 500), "mean_shift": Estimate(1.0, 500)}},
    )
    reasons = {item.labels["statistic"]: item.labels["reason"] for item in shown(snapshot, "trueup_absent_info")}
    assert reasons == {"cross_entropy": "overflow", "population_stability_index": "overflow"}
    assert shown(snapshot, "trueup_drift_maximum_population_stability_index") == []
    assert value(snapshot, "trueup_compared_columns") == 0.0
    assert value(snapshot, "trueup_mean_shift_standard_deviations", column="age") == 1.0


@pytest.mark.parametrize("broken", [float("nan"), float("inf"), float("-inf")])
def test_bounds_and_health_values_that_are_not_finite_are_left_out(broken: float) -> None:
    bounded = window(values={"accuracy": Estimate(0.9, 500, broken, broken, 0.95)})
    snapshot = daemon(model(windows=(bounded,), watermark_timestamp_seconds=broken), state_bytes=broken)
    assert all(item.value - item.value == 0 for item in snapshot_series(snapshot))
    assert shown(snapshot, "trueup_watermark_timestamp_seconds") == []


def test_a_statistic_that_does_not_apply_to_a_column_is_no_absence() -> None:
    snapshot = one_window(columns={"city": {"mean_shift": Absent(Reason.NOT_APPLICABLE)}})
    assert shown(snapshot, "trueup_absent_info") == []


def test_a_column_that_is_missing_is_shown_as_such() -> None:
    snapshot = one_window(columns={"age": {"population_stability_index": Absent(Reason.COLUMN_MISSING)}})
    (reason,) = shown(snapshot, "trueup_absent_info")
    assert (reason.labels["column"], reason.labels["reason"]) == ("age", "column_missing")


def test_a_statistic_without_a_metric_is_left_out_and_counted() -> None:
    snapshot = one_window(
        values={"accuracy": Estimate(0.9, 500), "vibes": Estimate(1.0, 500)},
        columns={"age": {"vibes": Estimate(1.0, 500), "feeling": Estimate(1.0, 500)}},
    )
    assert value(snapshot, "trueup_statistics_unknown") == 2.0
    assert value(snapshot, "trueup_accuracy_ratio") == 0.9


def test_a_failed_evaluation_takes_the_values_and_leaves_the_timestamps_and_the_alarm_state() -> None:
    snapshot = daemon(model(success=False), model("other"))
    names = {item.name for item in snapshot_series(snapshot) if item.labels.get("model") == "digits"}
    assert {"trueup_accuracy_ratio", "trueup_verdict_state", "trueup_alarm_effect"} & names == set()
    assert {
        "trueup_evaluation_last_attempt_timestamp_seconds",
        "trueup_evaluation_last_success_timestamp_seconds",
        "trueup_alarm_state",
        "trueup_predictions_total",
    } <= names
    assert value(snapshot, "trueup_evaluation_success", model="digits") == 0.0
    assert shown(snapshot, "trueup_accuracy_ratio", model="other") != []


def test_values_of_a_model_that_is_stuck_vanish_after_three_intervals_though_others_commit() -> None:
    def at(age: float) -> Snapshot:
        return daemon(model(last_success_timestamp_seconds=NOW - age), model("other"))

    assert shown(at(180.0), "trueup_accuracy_ratio", model="digits") != []
    assert shown(at(180.1), "trueup_accuracy_ratio", model="digits") == []
    assert shown(at(180.1), "trueup_accuracy_ratio", model="other") != []


def test_a_long_evaluation_is_given_three_times_its_own_duration() -> None:
    snapshot = daemon(model(last_success_timestamp_seconds=NOW - 299.0, evaluation_duration_seconds=100.0))
    assert shown(snapshot, "trueup_accuracy_ratio") != []


def test_a_model_that_never_succeeded_shows_no_values() -> None:
    snapshot = daemon(model(last_success_timestamp_seconds=None))
    assert shown(snapshot, "trueup_accuracy_ratio") == []
    assert shown(snapshot, "trueup_evaluation_last_success_timestamp_seconds") == []


def test_the_expired_exposition_holds_the_self_metrics_and_nothing_else() -> None:
    names = {item.name for item in self_series(full(), fresh=False)}
    assert names == set(SELF_METRICS)


def test_of_two_windows_with_the_same_labels_the_newest_revision_of_the_newest_is_shown() -> None:
    versions = (
        window(maturity="final", revision=2),
        window(maturity="final", revision=1),
        window(maturity="final", revision=9, end=NOW - 3_600),
    )
    snapshot = daemon(model(windows=versions))
    assert value(snapshot, "trueup_window_revision") == 2.0


def test_a_verdict_is_one_for_its_state_and_zero_for_the_others() -> None:
    snapshot = one_window(verdicts={"accuracy": Verdict("critical")})
    states = {item.labels["state"]: item.value for item in shown(snapshot, "trueup_verdict_state")}
    assert states == {"ok": 0.0, "warning": 0.0, "critical": 1.0, "insufficient": 0.0}


def test_a_check_is_about_performance_drift_or_labels() -> None:
    checks = ("accuracy", "mean_squared_error", "kolmogorov_smirnov_statistic", "label_coverage", "label_delay_seconds")
    snapshot = one_window(verdicts={check: Verdict("ok") for check in checks})
    subjects = {item.labels["check"]: item.labels["subject"] for item in shown(snapshot, "trueup_verdict_state")}
    assert subjects == {
        "accuracy": "performance",
        "mean_squared_error": "performance",
        "kolmogorov_smirnov_statistic": "drift",
        "label_coverage": "labels",
        "label_delay_seconds": "labels",
    }


def test_the_share_of_drifted_columns_uses_the_lowest_limit_of_the_version() -> None:
    columns = {f"c{i}": {"population_stability_index": Estimate(psi, 500)} for i, psi in enumerate((0.05, 0.15, 0.3))}
    limits = (CheckLimit("1", "population_stability_index", "critical", 0.25),)
    by_limit = daemon(model(windows=(window(columns=columns),), limits=limits))
    by_custom = daemon(model(windows=(window(columns=columns),), limits=(replace(limits[0], version="2"),)))
    assert value(by_limit, "trueup_drifted_columns_ratio") == pytest.approx(1 / 3)
    assert value(by_custom, "trueup_drifted_columns_ratio") == pytest.approx(2 / 3)


def test_relative_limits_become_absolute_and_vanish_without_a_reference() -> None:
    limits = {(limit.check, limit.severity): limit.value for limit in check_limits("1", CHECKS, REFERENCE)}
    assert limits["cross_entropy", "warning"] == pytest.approx(0.11)
    assert limits["accuracy", "critical"] == 0.9
    assert limits["population_stability_index", "critical"] == 0.25
    assert ("cross_entropy", "warning") not in {(item.check, item.severity) for item in check_limits("1", CHECKS, {})}


def test_the_budget_keeps_the_columns_that_drifted_most() -> None:
    snapshot = daemon(model(windows=(window(columns=drift(100)),)))
    kept = columns_shown(snapshot, budget=200)
    assert 0 < len(kept) < 100
    assert kept == {f"feature_{i:04d}" for i in range(100 - len(kept), 100)}


def test_the_budget_keeps_the_embedding_before_any_other_column() -> None:
    embedding = {"maximum_mean_discrepancy": Estimate(0.01, 1_000, p_value=0.2)}
    snapshot = daemon(model(windows=(window(columns=drift(100) | {"embedding": embedding}),)))
    assert len(columns_shown(snapshot, budget=200)) < 100
    (kept,) = shown(snapshot, "trueup_maximum_mean_discrepancy", 200, column="embedding")
    assert kept.value == 0.01


@pytest.mark.parametrize("budget", [100, 200, 500, 2_000])
def test_a_model_never_has_more_series_than_its_budget(budget: int) -> None:
    windows = tuple(window(columns=drift(100), seconds=seconds) for seconds in (3_600.0, 86_400.0))
    without = sum(1 for _ in snapshot_series(daemon(model(windows=()))))
    total = sum(1 for _ in snapshot_series(daemon(model(windows=windows)), budget))
    assert total - without <= budget
    everything = sum(1 for _ in snapshot_series(daemon(model(windows=windows)), 10**6)) - without
    dropped = shown(daemon(model(windows=windows)), "trueup_series_dropped", budget)[0].value
    cuts = len(shown(daemon(model(windows=windows)), "trueup_absent_info", budget, reason="series_budget"))
    assert total - without - cuts + dropped == everything


def test_a_column_is_shown_in_all_windows_or_in_none() -> None:
    calm, wild = drift(50, worst=0.01), drift(50)
    windows = (window(columns=calm), window(columns=wild, seconds=86_400.0))
    snapshot = daemon(model(windows=windows))
    by_window: dict[str, set[str]] = {}
    for item in shown(snapshot, "trueup_population_stability_index", 400):
        by_window.setdefault(item.labels["window"], set()).add(item.labels["column"])
    assert by_window["1h"] == by_window["1d"] != set()


def test_the_maximum_over_columns_does_not_depend_on_the_budget() -> None:
    snapshot = daemon(model(windows=(window(columns=drift(100, worst=0.7)),)))
    for budget in (60, 10**6):
        (largest,) = shown(snapshot, "trueup_drift_maximum_population_stability_index", budget)
        assert largest.value == pytest.approx(0.7)


def test_the_budget_keeps_the_worst_values_of_segments_for_a_quarter_of_the_room() -> None:
    segments = told_apart(CLASSIFICATION, 200)
    windows = tuple(window(columns=drift(100), segments=segments, seconds=seconds) for seconds in (3_600.0, 86_400.0))
    snapshot = daemon(model(windows=windows))
    everything = len(shown(snapshot, "trueup_segment_predictions", 10**6))
    kept = {item.labels["segment_value"] for item in shown(snapshot, "trueup_segment_predictions", 1_000)}
    assert everything == 400
    assert 5 < len(kept) < 50
    assert kept == {f"r{place}" for place in range(200 - len(kept), 200)}
    names = [item.name for item in snapshot_series(snapshot, 1_000) if item.name.startswith("trueup_segment_")]
    assert len(names) <= 250
    assert columns_shown(snapshot, budget=1_000)


def test_a_value_of_a_segment_without_a_number_has_no_series_of_it() -> None:
    few = {**CLASSIFICATION, "accuracy": Absent(Reason.TOO_FEW_LABELS, 3), "f1": Absent(Reason.TOO_FEW_LABELS, 3)}
    segments = {"region": {"eu": SegmentStatistics(40, 3, few)}}
    snapshot = daemon(model(windows=(window(segments=segments),)))
    (labels,) = shown(snapshot, "trueup_segment_labels", segment="region", segment_value="eu")
    assert labels.value == 3
    assert shown(snapshot, "trueup_segment_accuracy_ratio") == []
    assert shown(snapshot, "trueup_segment_excess_errors") == []


def test_a_cut_is_told_in_every_window_it_was_made_in() -> None:
    snapshot = daemon(model(windows=(window(columns=drift(100)),)))
    assert len(shown(snapshot, "trueup_absent_info", 200, reason="series_budget")) == 1
    assert shown(snapshot, "trueup_absent_info", 10**6, reason="series_budget") == []


def test_of_very_many_versions_the_newest_windows_stay() -> None:
    windows = tuple(window(version=str(i), end=NOW - i * 3_600.0, columns={}) for i in range(50))
    snapshot = daemon(model(windows=windows))
    kept = [item.labels["version"] for item in shown(snapshot, "trueup_window_revision", 300)]
    assert kept == [str(i) for i in range(len(kept))]
    assert 1 < len(kept) < 50


def test_control_characters_and_lone_surrogates_become_escapes_in_labels() -> None:
    assert label_value("a\x00b\nc\x7f\ud800") == "a\\x00b\\nc\\x7f\\ud800"
    assert label_value('say "hi" \\ {x} \u202e é') == 'say "hi" \\ {x} \u202e é'


def test_long_labels_are_cut_and_stay_different() -> None:
    first, second = label_value("x" * 65_536 + "a"), label_value("x" * 65_536 + "b")
    assert len(first) == len(second) == LONGEST_LABEL
    assert first != second
