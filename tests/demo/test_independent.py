"""The demo's own numbers, on cases small enough to be worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demo.independent import Rows, between, categorical_drift, numbers, numeric_columns, numeric_drift

CLASSES = ("cat", "dog")
GREY = np.full((3, 2, 2), 51, np.uint8)
# Left half black, right half white.
SPLIT = np.repeat(np.array([[[0, 255], [0, 255]]], np.uint8), 3, axis=0)


def rows(p_cat: list[float], truth: list[str | None]) -> Rows:
    probabilities = np.array([[p, 1 - p] for p in p_cat])
    predicted = ["cat" if p > 0.5 else "dog" for p in p_cat]
    return Rows(CLASSES, predicted, probabilities, truth, [GREY] * len(p_cat))


def values(found: Rows, reference: Rows) -> dict[tuple[str, str | None], float]:
    return {(number.metric, number.column): number.value for number in numbers(found, reference)}


def test_performance_is_that_of_the_labelled_rows_alone() -> None:
    found = rows([0.9, 0.8, 0.4, 0.3], ["cat", "dog", None, "dog"])
    said = values(found, found)
    assert said["trueup_window_predictions", None] == 4
    assert said["trueup_window_labels", None] == 3
    assert said["trueup_label_coverage_ratio", None] == 0.75
    assert said["trueup_accuracy_ratio", None] == pytest.approx(2 / 3)
    assert said["trueup_cross_entropy_nats", None] == pytest.approx(
        -(math.log(0.9) + math.log(0.2) + math.log(0.7)) / 3
    )
    assert said["trueup_brier_score", None] == pytest.approx((2 * 0.1**2 + 2 * 0.8**2 + 2 * 0.3**2) / 3)


def test_a_label_that_was_given_no_probability_costs_the_documented_floor() -> None:
    found = rows([0.0, 1.0], ["cat", "cat"])
    assert values(found, found)["trueup_cross_entropy_nats", None] == pytest.approx(-math.log(1e-15) / 2)


def test_regression_errors_have_the_sign_of_prediction_less_label() -> None:
    found = Rows((), [1.0, 5.0, 3.0], None, [0.0, 3.0, None], [GREY] * 3)
    said = values(found, found)
    assert said["trueup_mean_squared_error", None] == 2.5
    assert said["trueup_root_mean_squared_error", None] == pytest.approx(math.sqrt(2.5))
    assert said["trueup_mean_absolute_error", None] == 1.5
    assert said["trueup_bias", None] == 1.5
    assert said["trueup_r_squared", None] == pytest.approx(1 - 5 / 4.5)


def test_predicted_classes_are_compared_by_their_counts_with_half_a_row_in_each() -> None:
    found, reference = rows([0.9, 0.9, 0.1, 0.9], [None] * 4), rows([0.9, 0.1], [None] * 2)
    p, q = np.array([3.5, 1.5]) / 5, np.array([1.5, 1.5]) / 3
    said = {(n.metric, n.column): n.value for n in categorical_drift(found, reference)}
    assert said["trueup_population_stability_index", "prediction"] == pytest.approx(
        float(((p - q) * np.log(p / q)).sum())
    )


def test_features_of_an_image_are_those_of_its_luma() -> None:
    columns = numeric_columns(Rows((), [0.0, 0.0], None, [None] * 2, [GREY, SPLIT]))
    assert columns["brightness"] == pytest.approx([0.2, 0.5])
    assert columns["contrast"] == pytest.approx([0.0, 0.5])
    # The Laplacian is +1 in the black half and -1 in the white one.
    assert columns["sharpness"] == pytest.approx([0.0, 1.0])


def test_entropy_of_a_sure_answer_is_nought_and_of_an_even_one_the_logarithm_of_two() -> None:
    columns = numeric_columns(rows([1.0, 0.5], [None] * 2))
    assert columns["p_cat"].tolist() == [1.0, 0.5]
    assert columns["entropy"] == pytest.approx([0.0, math.log(2)])
    assert columns["confidence"].tolist() == [1.0, 0.5]


def test_a_decile_belongs_to_the_cell_below_and_a_value_that_is_several_deciles_is_a_cell_by_itself() -> None:
    deciles = np.array([1.0, 2.0, 2.0, 3.0])
    values = np.array([0.0, 1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 4.0, 5.0])
    assert between(deciles, values).tolist() == [2.0, 1.0, 2.0, 2.0, 2.0]


def test_a_column_is_counted_between_the_deciles_of_the_reference() -> None:
    reference = np.arange(100.0)
    current = np.full(50, 1000.0)
    found = {number.statistic: number.value for number in numeric_drift("x", current, reference)}
    p, q = (np.array([0.0] * 9 + [50.0]) + 0.5) / 55, np.full(10, 10.5) / 105
    assert found["population_stability_index"] == pytest.approx(float(((p - q) * np.log(p / q)).sum()))
    assert found["kolmogorov_smirnov_statistic"] == 1.0
