"""Outputs of plain files: classes that files call otherwise, probabilities that are none, columns of another kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss

from monitor.comparison import compare
from monitor.engines.file_profiles import profile_of_file, reference_of_file
from monitor.engines.plain_files import appeared_columns, open_plain
from monitor.profiles.model_profile import Reference
from monitor.profiles.outcome import ClassificationSums
from monitor.statistics import summary
from monitor.statistics.result import Absent, Estimate, Result
from tests.engines.plain_samples import save

ROWS = 600
Forms = dict[str, Callable[[pd.Series], pd.Series]]
# What files and data frames make of 0 and 1.
FORMS: Forms = {
    "whole": lambda column: column,
    "fraction": lambda column: column.astype(float),
    "with a gap": lambda column: column.astype(float).where(np.arange(len(column)) % 10 > 0),
    "truth": lambda column: column.astype(bool),
    "spreadsheet": lambda column: column.map({0: "FALSE", 1: "TRUE"}),
    "text": lambda column: column.astype(str),
}


def frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, ROWS)
    return pd.DataFrame({"prediction": np.where(rng.random(ROWS) < 0.85, label, 1 - label), "label": label})


def written(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        # As data frames write it, True and 1.0.
        table.to_csv(path, index=False)
        return path
    return save(pa.Table.from_pandas(table, preserve_index=False), path)


def performance(reference: Reference, path: Path) -> dict[str, Result]:
    _, outcome = profile_of_file(open_plain(path, reference), reference)
    assert outcome is not None
    return summary.outcome_statistics(reference, outcome)


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
@pytest.mark.parametrize("form", FORMS)
def test_predictions_and_labels_that_are_written_otherwise_are_of_the_same_classes(
    tmp_path: Path, ending: str, form: str
) -> None:
    for name, other in FORMS.items():
        table = frame(1)
        right = table.prediction == table.label
        table["label"] = other(table.label)
        there = table.label.notna()
        table["prediction"] = FORMS[form](table.prediction)
        there &= table.prediction.notna()
        outcome = reference_of_file(written(table, tmp_path / f"rows.{ending}")).outcome
        assert outcome is not None
        assert isinstance(outcome.sums, ClassificationSums), (form, name)
        assert (outcome.sums.hits, outcome.scored) == (right[there].sum(), there.sum()), (form, name)


@pytest.mark.parametrize("form", FORMS)
def test_a_reference_knows_its_classes_however_a_later_file_writes_them(tmp_path: Path, form: str) -> None:
    for name, other in FORMS.items():
        table = frame(1)
        table = table.assign(prediction=other(table.prediction), label=other(table.label))
        reference = reference_of_file(written(table, tmp_path / "reference.csv"))
        for ending in ("csv", "ndjson", "parquet"):
            now = frame(2)
            changed = now.assign(prediction=FORMS[form](now.prediction), label=FORMS[form](now.label))
            there = changed.label.notna() & changed.prediction.notna()
            accuracy = performance(reference, written(changed, tmp_path / f"now.{ending}"))["accuracy"]
            assert isinstance(accuracy, Estimate), (name, ending)
            assert accuracy.value == pytest.approx((now.prediction == now.label)[there].mean())


def probabilities(seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1.5, (ROWS, 3))
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    names = np.array(["cat", "dog", "owl"])
    label = names[[rng.choice(3, p=row) for row in p]]
    return pd.DataFrame({"prediction": names[p.argmax(axis=1)], "label": label}), p


def with_scores(table: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    return table.assign(**{f"p_{name}": scores[:, i] for i, name in enumerate(("cat", "dog", "owl"))})


@pytest.mark.parametrize(
    "change", [lambda p: 100 * p, np.log, lambda p: 1 / (1 + np.exp(-4 * p)), lambda p: p.round(1)]
)
def test_scores_that_do_not_add_up_to_one_are_features_and_no_probabilities(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    table, p = probabilities(1)
    reference = reference_of_file(written(with_scores(table, change(p)), tmp_path / "rows.parquet"))
    assert {spec.name for spec in reference.columns} == {"prediction", "f_p_cat", "f_p_dog", "f_p_owl"}
    found = performance(reference, tmp_path / "rows.parquet")
    accuracy = found["accuracy"]
    assert isinstance(accuracy, Estimate)
    assert accuracy.value == (table.prediction == table.label).mean()
    assert all(isinstance(found[name], Absent) for name in ("cross_entropy", "brier_score", "auroc"))


def test_scores_beside_a_reference_of_probabilities_give_no_loss(tmp_path: Path) -> None:
    table, p = probabilities(1)
    reference = reference_of_file(written(with_scores(table, p), tmp_path / "rows.parquet"))
    found = performance(reference, written(with_scores(table, 100 * p), tmp_path / "percent.parquet"))
    assert isinstance(found["accuracy"], Estimate)
    assert isinstance(found["cross_entropy"], Absent)


def test_probabilities_that_the_reference_lacks_are_scored(tmp_path: Path) -> None:
    table, p = probabilities(1)
    reference = reference_of_file(written(table, tmp_path / "reference.parquet"))
    now = written(with_scores(table, p), tmp_path / "now.parquet")
    found = performance(reference, now)["cross_entropy"]
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(log_loss(table.label, p))
    assert not appeared_columns(open_plain(now, reference), reference)


def test_scores_that_are_features_of_the_reference_stay_features(tmp_path: Path) -> None:
    table, p = probabilities(1)
    reference = reference_of_file(written(with_scores(table, 100 * p), tmp_path / "reference.parquet"))
    profile, _ = profile_of_file(open_plain(tmp_path / "reference.parquet", reference), reference)
    columns = compare(reference, profile).columns
    assert {column.name: column.verdict.state for column in columns} == {
        **dict.fromkeys(("feature:p_cat", "feature:p_dog", "feature:p_owl"), "ok"),
        "prediction": "ok",
    }


def test_probabilities_of_two_decimals_are_probabilities(tmp_path: Path) -> None:
    table, p = probabilities(1)
    path = written(with_scores(table, p.round(2)), tmp_path / "rows.csv")
    found = performance(reference_of_file(path), path)["cross_entropy"]
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(log_loss(table.label, p), abs=0.02)


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_without_a_prediction_it_is_the_likeliest_class(tmp_path: Path, ending: str) -> None:
    table, p = probabilities(1)
    p[::10] = np.nan
    path = written(with_scores(table.drop(columns="prediction"), p), tmp_path / f"rows.{ending}")
    reference = reference_of_file(path)
    accuracy = performance(reference, path)["accuracy"]
    known = ~np.isnan(p[:, 0])
    assert isinstance(accuracy, Estimate)
    assert (accuracy.value, accuracy.n) == ((table.prediction == table.label)[known].mean(), known.sum())
    assert reference.profile.columns["prediction"].missing == ROWS // 10


@pytest.mark.parametrize("ending", ["ndjson", "parquet"])
@pytest.mark.parametrize("column", ["x", "g", "prediction", "label"])
@pytest.mark.parametrize("values", [["text"] * ROWS, [[1.0]] * ROWS, [True] * ROWS, [None] * ROWS, list(range(ROWS))])
def test_a_column_of_another_kind_than_the_references_stops_no_regression(
    tmp_path: Path, ending: str, column: str, values: list[object]
) -> None:
    rng = np.random.default_rng(0)
    x, g = rng.normal(0, 1, ROWS), rng.choice(["a", "b"], ROWS)
    label = 3 * x + rng.normal(0, 1 + abs(x) + (g == "a"), ROWS)
    rows = {"x": pa.array(x), "g": pa.array(g), "prediction": pa.array(3 * x), "label": pa.array(label)}
    reference = reference_of_file(save(pa.table(rows), tmp_path / "reference.parquet"))
    assert reference.estimators.losses is not None
    assert {item.name for item in reference.estimators.losses.columns} >= {"f_x", "f_g"}
    now = save(pa.table({**rows, column: pa.array(values)}), tmp_path / f"now.{ending}")
    profile, outcome = profile_of_file(open_plain(now, reference), reference)
    assert compare(reference, profile, outcome).current_rows == ROWS


def test_a_reference_whose_losses_all_overflow_has_no_limits_of_them(tmp_path: Path) -> None:
    table = pa.table({"prediction": np.full(ROWS, 1e200), "label": np.arange(ROWS) * -1e200})
    assert reference_of_file(save(table, tmp_path / "rows.parquet")).losses is None


def test_segments_are_called_the_same_in_every_kind_of_file(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": range(ROWS), "member": [i % 2 == 0 for i in range(ROWS)], "store": np.arange(ROWS) % 5})
    table["store"] = table.store.astype(float).where(table.x > 20)
    for ending in ("csv", "ndjson", "parquet"):
        reference = reference_of_file(written(table, tmp_path / f"rows.{ending}"), segments=("member", "store"))
        assert {spec.name: spec.values for spec in reference.segments} == {
            "member": ("false", "true"),
            "store": ("0", "1", "2", "3", "4"),
        }
