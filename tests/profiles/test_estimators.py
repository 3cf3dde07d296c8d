"""The frozen estimators: the isotonic fit of scikit-learn, kept where it helps, and losses told from columns."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.isotonic import IsotonicRegression

from monitor.profiles.calibrators import Calibrators
from monitor.profiles.loss_model import LossModel
from monitor.profiles.outcome_builder import fit_estimators
from monitor.profiles.scores import ScoreCells
from tests.profiles.outcome_samples import REGRESSION, classified, probabilities, regressed, schema_of


def fitted(table: pa.Table, classes: int) -> tuple[Calibrators | None, np.ndarray, np.ndarray]:
    """Calibrators, probabilities [K, n] and labels."""
    names = {name: k for k, name in enumerate(schema_of(classes).classes)}
    label = np.array([names[name] for name in table.column("label").to_pylist()])
    p = np.ascontiguousarray(probabilities(table, classes).T)
    return Calibrators.fit(label, p.argmax(axis=0), p), p, label


def test_the_fit_is_the_isotonic_regression_of_scikit_learn_to_the_width_of_a_cell() -> None:
    calibrators, p, label = fitted(classified(5_000, 3, 1, sharpness=2.5), 3)
    assert calibrators is not None
    assert calibrators.kept.all()
    cells = ScoreCells.of(3)
    for k in range(3):
        # Cells as scores: the same regression exactly.
        code = cells.cells(p[k])
        exact = IsotonicRegression(out_of_bounds="clip").fit(code, label == k).predict(code)
        np.testing.assert_allclose(calibrators.steps[k][code], exact, atol=1e-9)
        # Scores as they are: the same to within what a cell hides.
        smooth = IsotonicRegression(out_of_bounds="clip").fit(p[k], label == k).predict(p[k])
        assert np.abs(calibrators.steps[k][code] - smooth).mean() < 0.01
        # The same of the rows predicted so.
        rows = p.argmax(axis=0) == k
        exact = IsotonicRegression(out_of_bounds="clip").fit(code[rows], label[rows] == k).predict(code[rows])
        assert calibrators.top_kept[k]
        np.testing.assert_allclose(calibrators.top_steps[k][code[rows]], exact, atol=1e-9)


def test_calibrated_probabilities_add_up_to_one_and_have_the_shares_of_labels_and_of_hits() -> None:
    calibrators, p, label = fitted(classified(5_000, 3, 2, sharpness=2.5), 3)
    assert calibrators is not None
    predicted = p.argmax(axis=0)
    calibrated = calibrators.apply(predicted, p, ScoreCells.of(3).cells(p))
    assert calibrated.sum(axis=0) == pytest.approx(1.0)
    assert calibrated.mean(axis=1) == pytest.approx(np.bincount(label) / label.size, abs=0.01)
    for k in range(3):
        rows = predicted == k
        assert calibrated[k, rows].sum() == pytest.approx((label[rows] == k).sum(), rel=1e-9)


def test_the_hits_are_right_where_the_scores_tell_nothing_of_them() -> None:
    # Nine in ten predictions are right whatever their confidence: one-against-the-rest calibrators cannot see that.
    rng = np.random.default_rng(3)
    p = np.ascontiguousarray(rng.dirichlet(np.ones(3), 4_000).T)
    predicted = p.argmax(axis=0)
    label = np.where(rng.random(4_000) < 0.9, predicted, (predicted + rng.integers(1, 3, 4_000)) % 3)
    calibrators = Calibrators.fit(label, predicted, p)
    assert calibrators is not None
    fresh = np.ascontiguousarray(rng.dirichlet(np.full(3, 0.7), 4_000).T)
    calibrated = calibrators.apply(fresh.argmax(axis=0), fresh, ScoreCells.of(3).cells(fresh))
    assert calibrated.max(axis=0).mean() == pytest.approx(0.9, abs=0.02)


def test_an_overconfident_model_is_calibrated_and_a_calibrated_one_is_left_alone() -> None:
    overconfident, _, _ = fitted(classified(6_000, 4, 3, sharpness=3.0), 4)
    assert overconfident is not None
    assert overconfident.kept.all()
    assert overconfident.top_kept.all()
    kept = top_kept = 0
    for seed in range(20):
        honest, _, _ = fitted(classified(2_000, 2, seed, sharpness=1.0), 2)
        assert honest is not None
        kept += int(honest.kept.sum())
        top_kept += int(honest.top_kept.sum())
    # Where nothing is to be mended a fit on two thirds seldom does better on the last.
    assert kept <= 12
    assert top_kept <= 12


def test_a_probability_that_is_not_calibrated_stands_to_the_last_bit() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(3), 100).T.copy()
    cells = ScoreCells.of(3)
    steps = np.tile(cells.middles, (3, 1))
    raw = Calibrators(np.zeros(3, bool), steps, np.zeros(3, bool), steps)
    np.testing.assert_allclose(raw.apply(p.argmax(axis=0), p, cells.cells(p)), p, rtol=1e-15)


def test_the_order_of_the_reference_changes_no_calibrator() -> None:
    table = classified(3_000, 3, 4, sharpness=2.0)
    shuffled = table.take(pa.array(np.random.default_rng(5).permutation(3_000)))
    first, again = fitted(table, 3)[0], fitted(shuffled, 3)[0]
    assert first is not None
    assert again is not None
    assert np.array_equal(first.kept, again.kept)
    assert np.array_equal(first.top_kept, again.top_kept)
    assert np.array_equal(first.steps, again.steps)
    assert np.array_equal(first.top_steps, again.top_steps)


def test_few_rows_have_no_calibrator_and_a_rare_class_none_of_its_own() -> None:
    assert fitted(classified(299, 3, 1), 3)[0] is None
    rare, _, label = fitted(classified(2_000, 3, 6, sharpness=3.0, shares=[0.6, 0.39, 0.01]), 3)
    assert (label == 2).sum() < 30
    assert rare is not None
    assert rare.kept.tolist() == [True, True, False]


def test_rows_that_every_calibrator_calls_impossible_keep_their_probabilities() -> None:
    cells = ScoreCells.of(2)
    zeros = np.zeros((2, cells.size))
    never = Calibrators(np.ones(2, bool), zeros, np.zeros(2, bool), zeros)
    p = np.array([[0.3, 0.0], [0.7, 0.0]])
    calibrated = never.apply(np.array([1, 1]), p, cells.cells(p))
    assert calibrated[:, 0].tolist() == [0.3, 0.7]
    assert calibrated[:, 1].tolist() == [0.0, 0.0]


def test_what_the_predicted_class_leaves_is_shared_by_the_others_even_if_they_were_called_impossible() -> None:
    cells = ScoreCells.of(3)
    steps, top_steps = np.zeros((3, cells.size)), np.full((3, cells.size), 0.8)
    steps[0] = 0.5
    certain = Calibrators(np.ones(3, bool), steps, np.array([True, True, False]), top_steps)
    p = np.array([[0.6, 0.1, 0.2, 0.2], [0.3, 0.7, 0.2, 0.2], [0.1, 0.2, 0.6, 0.6]])
    # Predicted 0: the others were called impossible. 1: only 0 was not. 2: no top-label calibrator. 3: unknown.
    calibrated = certain.apply(np.array([0, 1, 2, 3]), p, cells.cells(p))
    np.testing.assert_allclose(calibrated[:, 0], [0.8, 0.1, 0.1])
    np.testing.assert_allclose(calibrated[:, 1], [0.2, 0.8, 0.0])
    np.testing.assert_allclose(calibrated[:, 2], [1.0, 0.0, 0.0])
    np.testing.assert_allclose(calibrated[:, 3], [1.0, 0.0, 0.0])


def errors(table: pa.Table) -> np.ndarray:
    return table.column("prediction").to_numpy() - table.column("label").to_numpy()


def test_losses_are_told_from_the_column_that_makes_them_large() -> None:
    table = regressed(4_000, 1)
    model = LossModel.fit(table, ["f_noise", "f_hard", "prediction"], errors(table))
    assert model is not None
    assert "f_hard" in [column.name for column in model.columns]
    fresh = regressed(4_000, 2, hard=0.5)
    absolute, squared = model.apply(fresh)
    hard = np.array(fresh.column("f_hard")) == "yes"
    # E|N(0, s)| = s √(2/π), E N(0, s)² = s².
    for rows, s in ((hard, 3.0), (~hard, 1.0)):
        assert absolute[rows].mean() == pytest.approx(s * (2 / np.pi) ** 0.5, rel=0.12)
        assert squared[rows].mean() == pytest.approx(s**2, rel=0.25, abs=0.2)


def test_numbers_missing_values_and_unknown_categories_have_cells() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(0, 1, 4_000)
    missing = rng.random(4_000) < 0.2
    error = rng.normal(0, 1, 4_000) * np.where(missing, 4.0, 1.0 + np.abs(x))
    table = pa.table({"f_x": pa.array(x, mask=missing)})
    model = LossModel.fit(table, ["f_x"], error)
    assert model is not None
    probe = pa.table({"f_x": pa.array([None, float("nan"), 0.0, 2.5, float("inf"), -float("inf")], pa.float64())})
    absolute, _ = model.apply(probe)
    assert absolute[0] == absolute[1] == pytest.approx(4 * (2 / np.pi) ** 0.5, rel=0.1)
    assert absolute[3] > 1.5 * absolute[2]
    assert np.isfinite(absolute).all()
    # Without the column there is the effect of missing it.
    assert model.apply(pa.table({"f_y": [1.0]}))[0][0] == absolute[0]


def test_integers_and_categories_that_the_reference_lacks_are_told_too() -> None:
    rng = np.random.default_rng(4)
    count = rng.integers(0, 5, 3_000)
    table = pa.table({"f_count": count, "f_flag": count > 3})
    model = LossModel.fit(table, ["f_count", "f_flag"], rng.normal(0, 1, 3_000) * (1 + count))
    assert model is not None
    absolute, squared = model.apply(pa.table({"f_count": [0, 4, 9], "f_flag": [False, True, None]}))
    assert absolute[1] > 3 * absolute[0]
    assert np.isfinite(absolute).all()
    assert (squared >= 0).all()


def test_columns_that_tell_nothing_make_no_model() -> None:
    rng = np.random.default_rng(5)
    kept = 0
    for _ in range(20):
        table = pa.table({f"f_{i}": rng.normal(0, 1, 1_000) for i in range(5)})
        kept += LossModel.fit(table, table.column_names, rng.normal(0, 1, 1_000)) is not None
    assert kept <= 3


@pytest.mark.parametrize(
    "error", [np.zeros(1_000), np.full(1_000, 1e200), np.ones(299)], ids=["no error", "overflow", "few rows"]
)
def test_errors_that_cannot_be_modelled_make_no_model(error: np.ndarray) -> None:
    table = pa.table({"f_x": np.arange(float(error.size))})
    assert LossModel.fit(table, ["f_x"], error) is None


def test_the_order_of_the_reference_changes_no_loss_model() -> None:
    table = regressed(2_000, 6)
    shuffled = table.take(pa.array(np.random.default_rng(7).permutation(2_000)))
    columns = ("f_hard", "f_noise", "prediction")
    first, again = (fit_estimators(REGRESSION, item, columns).losses for item in (table, shuffled))
    assert first is not None
    assert again is not None
    for a, b in zip(first.apply(table), again.apply(table), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
