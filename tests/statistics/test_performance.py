"""Realised performance: what scikit-learn computes of the same rows, intervals that cover, and typed absence."""

from __future__ import annotations

from math import isclose

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest
from sklearn import metrics

from monitor.profiles.model_profile import build_reference, profile_inputs, profile_outcomes
from monitor.profiles.outcome import ClassificationSums, ErrorCells, RegressionSums
from monitor.profiles.scores import ScoreCells
from monitor.statistics import summary
from monitor.statistics.intervals import unit_interval, wilson
from monitor.statistics.macro import class_statistics
from monitor.statistics.performance import (
    CLASSIFICATION,
    REGRESSION,
    classification_statistics,
    delay_statistics,
    regression_statistics,
)
from monitor.statistics.result import Absent, Estimate, Reason, Result
from tests.profiles.outcome_samples import REGRESSION as REGRESSION_SCHEMA
from tests.profiles.outcome_samples import classified, probabilities, regressed, schema_of


def realised(table: pa.Table, classes: int) -> dict[str, Result]:
    sums = profile_outcomes(build_reference(schema_of(classes), table.slice(0, 50)), table).sums
    assert isinstance(sums, ClassificationSums)
    return classification_statistics(sums)


def value(results: dict[str, Result], name: str) -> float:
    found = results[name]
    assert isinstance(found, Estimate), found
    return found.value


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_classification_statistics_are_those_of_scikit_learn(classes: int) -> None:
    table = classified(4_000, classes, 1, shares=(np.arange(classes, 0, -1) / (classes * (classes + 1) / 2)).tolist())
    results = realised(table, classes)
    label, predicted = np.array(table.column("label")), np.array(table.column("prediction"))
    p, names = probabilities(table, classes), list(schema_of(classes).classes)
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(label, predicted),
        "balanced_accuracy": metrics.balanced_accuracy_score(label, predicted),
        "precision": metrics.precision_score(label, predicted, **macro),
        "recall": metrics.recall_score(label, predicted, **macro),
        "f1": metrics.f1_score(label, predicted, **macro),
        "cross_entropy": metrics.log_loss(label, p, labels=names),
        "brier_score": metrics.brier_score_loss(label, p, labels=names, scale_by_half=False),
    }
    for name, exact in expected.items():
        assert value(results, name) == pytest.approx(exact, abs=1e-12), name
    hit = label == predicted
    cell = np.minimum((p.max(axis=1) * 20).astype(int), 19)
    gaps = [abs(p.max(axis=1)[cell == c].sum() - hit[cell == c].sum()) for c in range(20)]
    assert value(results, "expected_calibration_error") == pytest.approx(sum(gaps) / 4_000, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3, 10, 30])
@pytest.mark.parametrize("skill", [0.5, 1.5, 3.0])
def test_the_area_under_the_curve_is_that_of_scikit_learn_within_its_error_bound(classes: int, skill: float) -> None:
    table = classified(3_000, classes, 2, skill=skill)
    found = realised(table, classes)["auroc"]
    assert isinstance(found, Estimate)
    label, p = np.array(table.column("label")), probabilities(table, classes)
    # One against the rest, the second of two: what multi_class="ovr" averages, for names in any order.
    used = [1] if classes == 2 else range(classes)
    exact = np.mean([metrics.roc_auc_score(label == f"c{k}", p[:, k]) for k in used])
    assert found.error_bound is not None
    assert abs(found.value - exact) <= found.error_bound + 1e-12
    assert found.error_bound < 0.04
    # The bound is of the worst case; ties within a cell are right on average.
    assert abs(found.value - exact) < 5e-4


def test_equal_scores_count_one_half_and_the_bound_says_so() -> None:
    table = classified(1_000, 2, 3)
    constant = table
    for k in range(2):
        position = constant.column_names.index(f"p_c{k}")
        constant = constant.set_column(position, f"p_c{k}", pa.array(np.full(1_000, 0.5)))
    found = realised(constant, 2)["auroc"]
    assert isinstance(found, Estimate)
    assert (found.value, found.error_bound) == (0.5, 0.5)


def test_a_class_that_is_never_predicted_has_precision_and_f1_of_zero() -> None:
    label = np.array(["c0", "c0", "c1", "c2"])
    table = classified(4, 3, 1)
    table = table.set_column(0, "prediction", pa.array(["c0", "c1", "c1", "c0"]))
    table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    results = realised(table, 3)
    assert value(results, "precision") == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)
    assert value(results, "recall") == pytest.approx((1 / 2 + 1 + 0) / 3)
    assert value(results, "f1") == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)


def test_wilson_is_the_interval_of_scipy() -> None:
    for hits, n in ((0, 10), (10, 10), (7, 20), (950, 1_000)):
        expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
        assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_statistic_with_the_variance_of_a_proportion_has_its_interval() -> None:
    assert unit_interval(0.9, 0.9 * 0.1 / 250, 0.9) == pytest.approx(wilson(225, 250))
    low, high = unit_interval(1.0, 1e-4, 0.99)
    assert 0.9 < low < 1.0
    assert isclose(high, 1.0)


def drawn(rng: np.random.Generator, n: int, shares: list[float], skill: float) -> ClassificationSums:
    """Sums of n rows of an overconfident classifier."""
    classes = len(shares)
    label = rng.choice(classes, n, p=shares)
    z = rng.normal(0, 1, (n, classes)) + skill * np.eye(classes)[label]
    p = np.exp(1.6 * skill * (z - z.max(axis=1, keepdims=True)))
    p = np.ascontiguousarray((p / p.sum(axis=1, keepdims=True)).T)
    return ClassificationSums.build(label, p.argmax(axis=0), p, ScoreCells.of(classes).cells(p))


@pytest.mark.parametrize(
    ("shares", "n", "skill"),
    [([0.9, 0.1], 300, 1.5), ([0.7, 0.25, 0.05], 300, 1.5), ([0.1] * 10, 500, 1.5), ([0.34, 0.33, 0.33], 200, 2.5)],
)
def test_intervals_of_classification_cover_the_truth_at_their_level(shares: list[float], n: int, skill: float) -> None:
    # 400 samples of n rows: a true coverage of 95 % is seen as 92.8 to 97.2 % (2 sd). Bounds that are conservative by
    # construction (AUROC, ECE) may cover more, none may cover less than 91 %.
    rng = np.random.default_rng(7)
    truth = classification_statistics(drawn(rng, 300_000, shares, skill))
    covered = dict.fromkeys(CLASSIFICATION, 0)
    for _ in range(400):
        for name, found in classification_statistics(drawn(rng, n, shares, skill)).items():
            assert isinstance(found, Estimate)
            assert found.lower is not None
            assert found.upper is not None
            covered[name] += found.lower <= value(truth, name) <= found.upper
    assert min(covered.values()) >= 0.91 * 400, covered
    for name in ("accuracy", "precision", "recall", "f1", "balanced_accuracy", "cross_entropy", "brier_score"):
        assert covered[name] <= 0.985 * 400, (name, covered[name])


def test_every_class_has_the_numbers_that_scikit_learn_gives_it() -> None:
    classes, shares = 4, [0.6, 0.3, 0.1, 0.0]
    table = classified(2_000, classes, 9, shares=shares)
    sums = profile_outcomes(build_reference(schema_of(classes), table), table).sums
    assert isinstance(sums, ClassificationSums)
    names = list(schema_of(classes).classes)
    found = class_statistics(sums, names)
    label, predicted = np.array(table.column("label")), np.array(table.column("prediction"))
    scores = metrics.precision_recall_fscore_support(label, predicted, labels=names, zero_division=0)
    for k, name in enumerate(names[:3]):
        for statistic, exact in zip(("precision", "recall", "f1"), scores, strict=False):
            assert value(found[name], statistic) == pytest.approx(exact[k], abs=1e-12)
        area = found[name]["auroc"]
        assert isinstance(area, Estimate)
        assert area.error_bound is not None
        exact_area = metrics.roc_auc_score(label == name, probabilities(table, classes)[:, k])
        assert abs(area.value - exact_area) <= area.error_bound
    assert found["c3"]["recall"] == Absent(Reason.NO_LABELS)
    assert found["c3"]["auroc"] == Absent(Reason.ONE_CLASS)
    macro = classification_statistics(sums)["f1"]
    assert value({"f1": macro}, "f1") == pytest.approx(np.mean([value(found[name], "f1") for name in names]))


def test_the_f1_of_a_class_is_covered_and_never_certain() -> None:
    rng = np.random.default_rng(13)
    shares = [0.7, 0.25, 0.05]
    truth = class_statistics(drawn(rng, 300_000, shares, 2.0), "abc")
    covered = dict.fromkeys("abc", 0)
    for _ in range(300):
        for name, results in class_statistics(drawn(rng, 300, shares, 2.0), "abc").items():
            found = results["f1"]
            assert isinstance(found, Estimate)
            assert found.lower is not None
            assert found.upper is not None
            assert found.lower < found.upper
            covered[name] += found.lower <= value(truth[name], "f1") <= found.upper
    assert min(covered.values()) >= 0.91 * 300, covered


def test_a_perfect_sample_does_not_claim_to_be_certain() -> None:
    label = np.repeat(np.arange(3), 20)
    p = np.full((3, 60), 0.01)
    p[label, np.arange(60)] = 0.98
    results = classification_statistics(ClassificationSums.build(label, label, p, ScoreCells.of(3).cells(p)))
    for name in ("accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc"):
        found = results[name]
        assert isinstance(found, Estimate)
        assert found.value == 1.0
        assert found.lower is not None
        assert 0.8 < found.lower < 0.995, name


def test_more_than_a_hundred_classes_have_everything_but_the_area() -> None:
    table = classified(3_000, 101, 4)
    results = realised(table, 101)
    label, predicted = np.array(table.column("label")), np.array(table.column("prediction"))
    assert value(results, "f1") == pytest.approx(metrics.f1_score(label, predicted, average="macro"), abs=1e-12)
    assert isinstance(results["f1"], Estimate)
    assert results["f1"].lower is not None
    assert results["auroc"] == Absent(Reason.NOT_APPLICABLE, 3_000, "more than 100 classes")


def test_the_bound_without_a_confusion_matrix_is_wider_but_of_the_same_size() -> None:
    sums = drawn(np.random.default_rng(3), 2_000, [0.1] * 10, 1.5)
    fields = {name: item for name, item in vars(sums).items() if name != "confusion"}
    without = ClassificationSums(confusion=np.zeros((0, 0), np.int64), **fields)
    for name, factor in (("f1", 2**0.5), ("precision", 1.0 + 1e-9), ("recall", 1.0 + 1e-9)):
        exact, bound = (classification_statistics(item)[name] for item in (sums, without))
        assert isinstance(exact, Estimate)
        assert isinstance(bound, Estimate)
        widths = [item.upper - item.lower for item in (exact, bound)]  # type: ignore[operator]
        assert widths[0] <= widths[1] * (1 + 1e-9)
        assert widths[1] <= widths[0] * factor * 1.02, name


@pytest.mark.parametrize("n", [1, 9])
def test_few_rows_have_values_and_no_interval_but_that_of_the_accuracy(n: int) -> None:
    results = realised(classified(n, 3, 5), 3)
    for name, found in results.items():
        if isinstance(found, Estimate):
            assert (found.lower is None) == (name != "accuracy"), name
        else:
            assert (name, found.reason) == ("auroc", Reason.ONE_CLASS)


def test_without_labels_every_statistic_is_absent_with_its_reason() -> None:
    assert set(classification_statistics(ClassificationSums.empty(3)).values()) == {Absent(Reason.NO_LABELS)}
    empty = regression_statistics(RegressionSums.empty(ErrorCells()), 0)
    assert set(empty) == set(REGRESSION)
    assert set(empty.values()) == {Absent(Reason.NO_LABELS)}


def test_without_probabilities_there_are_counts_and_no_scores() -> None:
    table = classified(500, 3, 6).drop_columns(["p_c0", "p_c1", "p_c2"])
    results = realised(table, 3)
    assert value(results, "accuracy") > 0.5
    for name in ("auroc", "cross_entropy", "brier_score", "expected_calibration_error"):
        assert results[name] == Absent(Reason.COLUMN_MISSING, 500, "labelled rows without probabilities of the classes")


@pytest.mark.parametrize("offset", [0.0, 50.0, 1e9])
def test_regression_statistics_are_those_of_scikit_learn(offset: float) -> None:
    table = regressed(3_000, 1, offset=offset)
    outcome = profile_outcomes(build_reference(REGRESSION_SCHEMA, regressed(500, 0, offset=offset)), table)
    assert isinstance(outcome.sums, RegressionSums)
    results = regression_statistics(outcome.sums, outcome.scored)
    label, predicted = table.column("label").to_numpy(), table.column("prediction").to_numpy()
    assert value(results, "mean_squared_error") == pytest.approx(
        metrics.mean_squared_error(label, predicted), rel=1e-12
    )
    assert value(results, "mean_absolute_error") == pytest.approx(
        metrics.mean_absolute_error(label, predicted), rel=1e-12
    )
    assert value(results, "root_mean_squared_error") == pytest.approx(
        metrics.root_mean_squared_error(label, predicted), rel=1e-12
    )
    assert value(results, "r_squared") == pytest.approx(metrics.r2_score(label, predicted), abs=1e-9)
    assert value(results, "bias") == pytest.approx((predicted - label).mean(), rel=1e-9)


def test_intervals_of_regression_cover_the_truth_at_their_level() -> None:
    rng, cells = np.random.default_rng(11), ErrorCells(label_centre=5.0)
    # label ~ N(5, 2²), error = 0.3 + N(0, 1) · (1 + 0.5 · standardised label): it depends on the label.
    spread = 1 + 0.25
    squared = 0.09 + spread
    truth = {"mean_squared_error": squared, "bias": 0.3, "r_squared": 1 - squared / 4}
    truth["root_mean_squared_error"] = squared**0.5
    covered = dict.fromkeys(truth, 0)
    for _ in range(400):
        z = rng.normal(0, 1, 400)
        label = 5 + 2 * z
        error = 0.3 + rng.normal(0, 1, 400) * (1 + 0.5 * z)
        results = regression_statistics(RegressionSums.build(label, label + error, cells), 400)
        for name, exact in truth.items():
            found = results[name]
            assert isinstance(found, Estimate)
            assert found.lower is not None
            assert found.upper is not None
            covered[name] += found.lower <= exact <= found.upper
    assert min(covered.values()) >= 0.91 * 400, covered
    assert max(covered.values()) <= 0.98 * 400, covered


def test_equal_labels_and_overflow_are_absent_with_their_reason() -> None:
    cells = ErrorCells()
    label = np.full(20, 3.0)
    results = regression_statistics(RegressionSums.build(label, label + 1, cells), 20)
    assert results["r_squared"] == Absent(Reason.REFERENCE_CONSTANT, 20, "all labels are equal")
    assert value(results, "mean_squared_error") == 1.0
    huge = np.array([1e200, -1e200] * 10)
    results = regression_statistics(RegressionSums.build(huge, -huge, cells), 20)
    for name in ("mean_squared_error", "root_mean_squared_error", "r_squared"):
        assert results[name] == Absent(Reason.OVERFLOW, 20)


def test_label_delays_have_mean_and_quantiles_in_seconds() -> None:
    table = classified(2_000, 3, 8)
    seconds = (
        table.column("label_time").cast(pa.int64()).to_numpy() - table.column("event_time").cast(pa.int64()).to_numpy()
    ) / 1e6
    outcome = profile_outcomes(build_reference(schema_of(3), table), table)
    results = delay_statistics(outcome.delays)
    assert value(results, "label_delay_seconds") == pytest.approx(seconds.mean(), rel=1e-12)
    for name, share in (("label_delay_p50_seconds", 0.5), ("label_delay_p95_seconds", 0.95)):
        assert value(results, name) == pytest.approx(np.quantile(seconds, share), rel=1 / 64)


def test_labels_without_probabilities_are_counted_and_what_needs_probabilities_says_so() -> None:
    table = classified(400, 2, 0)
    bare = table.drop_columns(list(schema_of(2).probability_columns))
    reference = build_reference(schema_of(2), bare)
    outcome = profile_outcomes(reference, bare)
    found = summary.outcome_statistics(reference, outcome)
    assert isinstance(found["accuracy"], Estimate)
    for name in ("auroc", "cross_entropy", "brier_score", "expected_calibration_error"):
        missing = found[name]
        assert isinstance(missing, Absent)
        assert (missing.reason, missing.n) == (Reason.COLUMN_MISSING, 400)
    estimated = summary.estimated_statistics(reference, profile_inputs(reference, bare))["estimated_accuracy"]
    assert isinstance(estimated, Absent)
    assert estimated.detail == "the reference has no probabilities of the classes"
