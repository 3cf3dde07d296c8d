"""Performance without labels: sums of scikit-learn's calibration, right where the assumption holds, and reconciled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from sklearn.isotonic import IsotonicRegression

from monitor.profiles.model_profile import Reference, build_reference, profile_inputs, profile_outcomes
from monitor.profiles.outcome_builder import Estimators
from monitor.statistics.estimation import CBPE, CLASSIFICATION, DLE, DOC, REGRESSION, SAMPLING_LEVEL
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.summary import estimated_statistics, outcome_statistics, reference_values
from tests.profiles.outcome_samples import REGRESSION as REGRESSION_SCHEMA
from tests.profiles.outcome_samples import classified, probabilities, regressed, schema_of

# A covariate shift that leaves P(label | scores) as it was: of the same rows, the hard ones more often.
LABELLED = 20_000


def hardened(rows: int, classes: int, seed: int, **options: object) -> pa.Table:
    """Rows of `classified`, those with a low confidence four times as often: accuracy falls, calibration stays."""
    table = classified(8 * rows, classes, seed, **options)  # type: ignore[arg-type]
    confidence = probabilities(table, classes).max(axis=1)
    weight = np.where(confidence < np.quantile(confidence, 0.4), 4.0, 1.0)
    chosen = np.random.default_rng(seed + 1).choice(8 * rows, rows, replace=False, p=weight / weight.sum())
    return table.take(pa.array(np.sort(chosen)))


def both(reference: Reference, table: pa.Table) -> dict[str, Result]:
    """Estimates from the predictions alone, and what their labels say."""
    unlabelled = table.drop_columns(["label", "label_time"])
    estimated = estimated_statistics(reference, profile_inputs(reference, unlabelled))
    return outcome_statistics(reference, profile_outcomes(reference, table)) | estimated


def value(results: dict[str, Result], name: str) -> float:
    found = results[name]
    assert isinstance(found, Estimate), (name, found)
    return found.value


@pytest.mark.parametrize("classes", [2, 4])
def test_the_estimates_are_sums_of_the_calibrated_probabilities_of_scikit_learn(classes: int) -> None:
    table, current = classified(LABELLED, classes, 1, sharpness=2.5), hardened(5_000, classes, 2, sharpness=2.5)
    reference = build_reference(schema_of(classes), table)
    assert reference.estimators.calibrators is not None
    assert reference.estimators.calibrators.kept.all()
    names = np.array(schema_of(classes).classes)
    before, p = probabilities(table, classes), probabilities(current, classes)
    label = np.array(table.column("label"))
    assert reference.estimators.calibrators.top_kept.all()
    predicted, c, own = p.argmax(axis=1), np.empty_like(p), np.empty(5_000)
    for k in range(classes):
        fit = IsotonicRegression(out_of_bounds="clip").fit
        c[:, k] = fit(before[:, k], label == names[k]).predict(p[:, k])
        rows = before.argmax(axis=1) == k
        own[predicted == k] = fit(before[rows, k], label[rows] == names[k]).predict(p[predicted == k, k])
    c[np.arange(5_000), predicted] = 0
    # The others share what is left; equally, where each of them was called impossible.
    c[c.sum(axis=1) == 0] = 1.0
    c[np.arange(5_000), predicted] = 0
    c *= ((1 - own) / c.sum(axis=1))[:, None]
    c[np.arange(5_000), predicted] = own
    hits = np.array([c[predicted == k, k].sum() for k in range(classes)])
    f1 = 2 * hits / (c.sum(axis=0) + np.bincount(predicted, minlength=classes))
    results = both(reference, current)
    assert value(results, "estimated_accuracy") == pytest.approx(hits.sum() / 5_000, abs=2e-3)
    assert value(results, "estimated_f1") == pytest.approx(f1.mean(), abs=3e-3)
    cross_entropy = -(c * np.log(np.maximum(p, 1e-15))).sum(axis=1).mean()
    assert value(results, "estimated_cross_entropy") == pytest.approx(cross_entropy, rel=0.02)


def test_the_estimated_area_counts_every_row_as_a_fraction_of_a_positive() -> None:
    reference = build_reference(schema_of(2), classified(LABELLED, 2, 3, sharpness=2.0))
    current = hardened(800, 2, 4, sharpness=2.0)
    calibrators = reference.estimators.calibrators
    assert calibrators is not None
    from monitor.profiles.scores import ScoreCells

    cell = ScoreCells.of(2).cells(probabilities(current, 2)[:, 1])
    c = calibrators.steps[1][cell]
    # Every pair of rows, one as the positive and one as the negative, in the order of their cells.
    pairs = np.outer(c, 1 - c)
    order = np.sign(cell[:, None] - cell[None, :])
    exact = (pairs * (0.5 + 0.5 * order)).sum() / pairs.sum()
    assert value(both(reference, current), "estimated_auroc") == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("classes", [2, 5])
def test_under_a_shift_of_the_inputs_the_estimates_are_within_their_sampling_error(classes: int) -> None:
    reference = build_reference(schema_of(classes), classified(LABELLED, classes, 5, sharpness=2.5))
    results = both(reference, hardened(4_000, classes, 6, sharpness=2.5))
    before = reference_values(reference)
    # The shift is real: it is several sampling errors away from the reference.
    assert before["accuracy"] - value(results, "accuracy") > 0.04
    for name in CLASSIFICATION:
        found = results[f"estimated_{name}"]
        assert isinstance(found, Estimate)
        assert found.lower is not None
        assert found.upper is not None
        assert (found.level, found.detail) == (SAMPLING_LEVEL, CBPE)
        assert found.lower <= value(results, name) <= found.upper, name


def test_the_sampling_error_is_three_deviations_of_the_reference_for_its_rows_and_the_windows() -> None:
    reference = build_reference(schema_of(3), classified(LABELLED, 3, 7))
    found = estimated_statistics(reference, profile_inputs(reference, classified(1_000, 3, 8)))["estimated_accuracy"]
    accuracy = reference_values(reference)["accuracy"]
    assert isinstance(found, Estimate)
    assert found.upper is not None
    assert found.upper - found.value == pytest.approx(
        3 * (accuracy * (1 - accuracy) * (1 / 1_000 + 1 / LABELLED)) ** 0.5
    )


def test_small_references_and_windows_realise_what_was_expected_within_the_interval() -> None:
    # Forty references of 600 rows, each with a window of 600: 99.73 % promised, at most two misses of forty seen.
    missed = dict.fromkeys(CLASSIFICATION, 0)
    for seed in range(40):
        reference = build_reference(schema_of(3), classified(600, 3, 1_000 + seed, sharpness=2.5))
        results = both(reference, classified(600, 3, 2_000 + seed, sharpness=2.5))
        for name in CLASSIFICATION:
            found = results[f"estimated_{name}"]
            assert isinstance(found, Estimate)
            assert found.lower is not None
            assert found.upper is not None
            missed[name] += not found.lower <= value(results, name) <= found.upper
    assert max(missed.values()) <= 2, missed


def test_where_nothing_changed_the_errors_of_the_estimates_are_around_zero() -> None:
    reference = build_reference(schema_of(3), classified(LABELLED, 3, 9, sharpness=2.5))
    covered = {"accuracy": 0, "cross_entropy": 0}
    for seed in range(60):
        results = both(reference, classified(1_000, 3, 100 + seed, sharpness=2.5))
        for name in covered:
            found = results[f"estimated_{name}_error"]
            assert isinstance(found, Estimate)
            assert found.lower is not None
            assert found.upper is not None
            covered[name] += found.lower <= 0 <= found.upper
    # The reference's own sampling error adds to that of the window: a little less than 95 % is right.
    assert min(covered.values()) >= 52, covered


def test_the_error_is_the_estimate_of_the_same_rows_less_what_was_realised() -> None:
    reference = build_reference(schema_of(3), classified(5_000, 3, 10, sharpness=2.0))
    results = both(reference, classified(3_000, 3, 11, sharpness=2.0))
    for name in CLASSIFICATION:
        difference = value(results, f"estimated_{name}") - value(results, name)
        assert value(results, f"estimated_{name}_error") == pytest.approx(difference, abs=1e-9)


def test_errors_are_of_the_labelled_rows_whatever_else_is_in_the_window() -> None:
    reference = build_reference(schema_of(3), classified(5_000, 3, 12, sharpness=2.0))
    current = hardened(3_000, 3, 13, sharpness=2.0)
    labelled = current.slice(0, 500)
    of_part = outcome_statistics(reference, profile_outcomes(reference, labelled))
    assert value(of_part, "estimated_accuracy_error") == pytest.approx(
        value(both(reference, labelled), "estimated_accuracy") - value(of_part, "accuracy")
    )


def test_a_concept_drift_is_invisible_to_the_estimate_and_plain_in_its_error() -> None:
    reference = build_reference(schema_of(3), classified(LABELLED, 3, 14))
    current = classified(3_000, 3, 15)
    # The inputs stay, what is true for them does not: a quarter of the labels is another one.
    labels = np.array(current.column("label"))
    changed = np.random.default_rng(16).random(3_000) < 0.25
    labels[changed] = np.array(["c1", "c2", "c0"])[[int(name[1]) for name in labels[changed]]]
    drifted = current.set_column(current.column_names.index("label"), "label", pa.array(labels))
    results = both(reference, drifted)
    assert value(results, "estimated_accuracy") == pytest.approx(reference_values(reference)["accuracy"], abs=0.03)
    assert value(results, "estimated_accuracy") - value(results, "accuracy") > 0.1
    for name in ("accuracy", "cross_entropy"):
        found = results[f"estimated_{name}_error"]
        assert isinstance(found, Estimate)
        assert found.lower is not None
        assert found.upper is not None
        assert not found.lower <= 0 <= found.upper


def test_a_reference_with_few_labels_estimates_the_accuracy_by_the_difference_of_confidences() -> None:
    table = classified(4_000, 3, 17)
    labels = pa.array([name if i < 250 else None for i, name in enumerate(table.column("label").to_pylist())])
    reference = build_reference(schema_of(3), table.set_column(table.column_names.index("label"), "label", labels))
    current = hardened(2_000, 3, 18)
    results = both(reference, current)
    found = results["estimated_accuracy"]
    assert isinstance(found, Estimate)
    confidence = [probabilities(item, 3).max(axis=1).mean() for item in (table, current)]
    expected = reference_values(reference)["accuracy"] + confidence[1] - confidence[0]
    assert found.value == pytest.approx(expected, abs=1e-9)
    assert found.detail == DOC
    for name in CLASSIFICATION[1:]:
        missing = results[f"estimated_{name}"]
        assert isinstance(missing, Absent)
        assert missing.reason is Reason.CALIBRATION_MISSING
    error = results["estimated_accuracy_error"]
    assert isinstance(error, Estimate)
    assert error.value == pytest.approx(found.value - value(results, "accuracy"), abs=1e-9)


def test_a_reference_without_labels_estimates_nothing_and_says_why() -> None:
    reference = build_reference(schema_of(3), classified(2_000, 3, 19).drop_columns(["label"]))
    results = both(reference, classified(500, 3, 20))
    found = results["estimated_accuracy"]
    assert isinstance(found, Absent)
    assert (found.reason, found.detail) == (Reason.NO_REFERENCE, "the reference has no labels")
    error = results["estimated_accuracy_error"]
    assert isinstance(error, Absent)
    assert error.reason is Reason.CALIBRATION_MISSING


def test_without_rows_or_outputs_or_labels_the_reason_is_given() -> None:
    table = classified(2_000, 3, 21)
    reference = build_reference(schema_of(3), table)
    reasons = {
        Reason.NO_ROWS: table.slice(0, 0),
        Reason.COLUMN_MISSING: table.drop_columns(["p_c1"]),
    }
    for reason, rows in reasons.items():
        for name in CLASSIFICATION:
            found = estimated_statistics(reference, profile_inputs(reference, rows))[f"estimated_{name}"]
            assert isinstance(found, Absent)
            assert found.reason is reason
            none = outcome_statistics(reference, profile_outcomes(reference, table.slice(0, 0)))
            assert none[f"estimated_{name}_error"] == Absent(Reason.NO_LABELS)


def test_a_regressions_losses_are_estimated_where_hard_rows_come_more_often() -> None:
    reference = build_reference(REGRESSION_SCHEMA, regressed(LABELLED, 1))
    results = both(reference, regressed(4_000, 2, hard=0.5))
    before = reference_values(reference)
    assert value(results, "mean_absolute_error") > 1.3 * before["mean_absolute_error"]
    for name in REGRESSION:
        found = results[f"estimated_{name}"]
        assert isinstance(found, Estimate)
        assert found.lower is not None
        assert found.upper is not None
        assert (found.level, found.detail) == (SAMPLING_LEVEL, DLE)
        assert found.lower <= value(results, name) <= found.upper, name
    for name in REGRESSION[:2]:
        error = results[f"estimated_{name}_error"]
        assert isinstance(error, Estimate)
        assert error.value == pytest.approx(value(results, f"estimated_{name}") - value(results, name), abs=1e-9)


def test_a_regression_whose_columns_tell_nothing_has_no_estimate() -> None:
    rng = np.random.default_rng(3)
    table = pa.table({"prediction": np.ones(1_000), "label": 1 + rng.normal(0, 1, 1_000)})
    reference = build_reference(REGRESSION_SCHEMA, table)
    results = both(reference, table.append_column("label_time", pa.nulls(1_000)))
    for name in REGRESSION:
        found = results[f"estimated_{name}"]
        assert isinstance(found, Absent)
        assert found.reason is Reason.CALIBRATION_MISSING


def test_labelled_rows_without_the_columns_of_the_loss_model_are_not_reconciled() -> None:
    reference = build_reference(REGRESSION_SCHEMA, regressed(5_000, 4))
    outcome = profile_outcomes(reference, regressed(500, 5).drop_columns(["f_hard"]))
    found = outcome_statistics(reference, outcome)["estimated_mean_absolute_error_error"]
    assert isinstance(found, Absent)
    assert (found.reason, found.n) == (Reason.CALIBRATION_MISSING, 500)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_number_is_a_plain_one_that_json_and_the_state_take(task: str) -> None:
    schema, table = (
        (schema_of(3), classified(900, 3, 27)) if task == "classification" else (REGRESSION_SCHEMA, regressed(900, 6))
    )
    for found in both(build_reference(schema, table), table).values():
        assert isinstance(found, Estimate)
        numbers = (found.value, found.lower, found.upper, found.level, found.p_value, found.error_bound)
        assert {type(number) for number in numbers} <= {float, type(None)}
        assert type(found.n) is int


def test_the_reference_value_of_an_estimate_is_what_was_realised_on_the_reference() -> None:
    values = reference_values(build_reference(schema_of(3), classified(2_000, 3, 22)))
    for name in CLASSIFICATION:
        assert values[f"estimated_{name}"] == values[name]


def test_more_than_a_hundred_classes_have_every_estimate_but_the_area() -> None:
    reference = build_reference(schema_of(101), classified(6_000, 101, 23))
    results = both(reference, classified(2_000, 101, 24))
    assert value(results, "estimated_accuracy") == pytest.approx(value(results, "accuracy"), abs=0.05)
    assert results["estimated_auroc"] == Absent(Reason.NOT_APPLICABLE, 2_000, "more than 100 classes")
    assert isinstance(results["estimated_auroc_error"], Absent)


def test_estimators_of_one_reference_are_not_asked_about_another() -> None:
    reference = build_reference(schema_of(3), classified(2_000, 3, 25))
    bare = replace(reference, estimators=Estimators())
    found = estimated_statistics(bare, profile_inputs(bare, classified(500, 3, 26)))["estimated_f1"]
    assert isinstance(found, Absent)
    assert found.reason is Reason.CALIBRATION_MISSING
