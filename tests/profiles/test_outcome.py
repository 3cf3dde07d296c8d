"""Outcome profiles: the laws of merging, what scikit-learn computes of the same rows, edges, and the encoding."""

from __future__ import annotations

import itertools
from dataclasses import fields

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss

from monitor.errors import DefectError, OperatorError
from monitor.profiles.codec import (
    decode_outcome,
    decode_profile,
    decode_reference,
    encode_outcome,
    encode_profile,
    encode_reference,
    load_reference,
)
from monitor.profiles.model_profile import (
    Profile,
    Reference,
    build_reference,
    empty_outcome,
    profile_inputs,
    profile_outcomes,
)
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile, RegressionSums
from monitor.statistics.result import Estimate
from monitor.statistics.summary import estimated_statistics, outcome_statistics
from tests.golden import make as golden
from tests.profiles.outcome_samples import REGRESSION, classified, probabilities, regressed, schema_of

CLASSES = 4
ROWS = 3_000
REFERENCES = {
    "classification": build_reference(schema_of(CLASSES), classified(2_000, CLASSES, 0)),
    "regression": build_reference(REGRESSION, regressed(2_000, 0)),
}
TABLES = {"classification": classified(ROWS, CLASSES, 1), "regression": regressed(ROWS, 1)}
each_task = pytest.mark.parametrize("task", ["classification", "regression"])


def leaves(value: object, name: str = "") -> dict[str, np.ndarray]:
    """Every number of a profile by its path."""
    if value is None or isinstance(value, str):
        return {name: np.array(str(value))}
    if isinstance(value, int | float | np.ndarray):
        return {name: np.asarray(value)}
    if isinstance(value, tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        items = list(value.items())
    else:
        items = [(item.name, getattr(value, item.name)) for item in fields(value)]  # type: ignore[arg-type]
    return {path: leaf for key, item in items for path, leaf in leaves(item, f"{name}.{key}").items()}


def equal(a: object, b: object, absolute: dict[str, float] | None = None) -> None:
    """Integers exactly, float sums within 1e-12 of the sum of the absolute values of their terms."""
    mine, its = leaves(a), leaves(b)
    assert mine.keys() == its.keys()
    for path, leaf in mine.items():
        if leaf.dtype.kind == "f":
            # Without signs a sum is the sum of its absolute values.
            scale = (absolute or {}).get(path, float(np.abs(leaf).max(initial=0.0)))
            np.testing.assert_allclose(leaf, its[path], rtol=0, atol=1e-12 * scale, err_msg=path)
        else:
            assert np.array_equal(leaf, its[path]), path


def absolute_sums(table: pa.Table, reference: Reference, profile: OutcomeProfile) -> dict[str, float]:
    """Σ|term| of the sums whose terms differ in sign, taken from the rows."""
    delays = profile.delays
    known = {".delays.total": delays.absolute}
    if isinstance(profile.sums, RegressionSums):
        error = np.abs(table.column("prediction").to_numpy() - table.column("label").to_numpy())
        distance = np.abs(table.column("label").to_numpy() - reference.estimators.errors.label_centre)
        known |= {
            ".sums.error": error.sum(),
            ".sums.label": distance.sum(),
            ".sums.label_cubes": (distance**3).sum(),
            ".sums.mixed": (error**2 * distance).sum(),
            ".sums.residuals.total": profile.sums.residuals.absolute,
        }
    return known


@each_task
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_split_and_order_of_the_rows_gives_the_same_outcome(task: str, seed: int) -> None:
    reference, table = REFERENCES[task], TABLES[task]
    rng = np.random.default_rng(seed)
    whole = profile_outcomes(reference, table)
    shuffled = table.take(pa.array(rng.permutation(ROWS)))
    cuts = [0, *sorted(rng.integers(0, ROWS, 6).tolist()), ROWS]
    parts = [profile_outcomes(reference, shuffled.slice(a, b - a)) for a, b in itertools.pairwise(cuts)]
    rng.shuffle(parts)  # type: ignore[arg-type]
    merged = empty_outcome(reference)
    for part in parts:
        merged = merged.merge(part)
    equal(whole, merged, absolute_sums(table, reference, whole))


@each_task
def test_merging_is_associative_and_commutative_and_has_an_identity(task: str) -> None:
    reference, table = REFERENCES[task], TABLES[task]
    a, b, c = (profile_outcomes(reference, table.slice(start, 900)) for start in (0, 900, 1800))
    absolute = absolute_sums(table, reference, profile_outcomes(reference, table))
    equal(a.merge(b).merge(c), a.merge(b.merge(c)), absolute)
    equal(a.merge(b), b.merge(a))
    equal(a.merge(empty_outcome(reference)), a)
    equal(empty_outcome(reference).merge(a), a)


@each_task
def test_estimates_of_predictions_merge_as_the_rows_do(task: str) -> None:
    reference, table = REFERENCES[task], TABLES[task]
    whole = profile_inputs(reference, table).estimated
    parts = [profile_inputs(reference, table.slice(start, 750)) for start in range(0, ROWS, 750)]
    merged = Profile.empty(reference)
    for part in reversed(parts):
        merged = merged.merge(part)
    assert whole is not None
    equal(whole, merged.estimated)


@each_task
def test_outcomes_estimates_and_references_come_back_from_their_bytes_bit_for_bit(task: str) -> None:
    reference, table = REFERENCES[task], TABLES[task]
    outcome = profile_outcomes(reference, table)
    assert leaves(decode_outcome(encode_outcome(outcome), reference)).keys() == leaves(outcome).keys()
    for path, leaf in leaves(decode_outcome(encode_outcome(outcome), reference)).items():
        assert np.array_equal(leaf, leaves(outcome)[path]), path
    inputs = profile_inputs(reference, table)
    read = decode_profile(encode_profile(inputs), reference)
    for path, leaf in leaves(read.estimated).items():
        assert np.array_equal(leaf, leaves(inputs.estimated)[path]), path
    again = decode_reference(encode_reference(reference))
    assert again.estimators.digest() == reference.estimators.digest()
    assert encode_outcome(profile_outcomes(again, table)) == encode_outcome(outcome)
    assert encode_profile(profile_inputs(again, table)) == encode_profile(inputs)


@each_task
def test_outcomes_of_another_reference_are_refused(task: str) -> None:
    reference, table = REFERENCES[task], TABLES[task]
    outcome = profile_outcomes(reference, table)
    other = build_reference(reference.schema, table)
    with pytest.raises(DefectError, match="different references cannot be merged"):
        outcome.merge(profile_outcomes(other, table))
    with pytest.raises(OperatorError, match="belongs to another reference"):
        decode_outcome(encode_outcome(outcome), other)


@each_task
def test_other_labels_make_another_reference(task: str) -> None:
    table = TABLES[task]
    labels = table.column("label").combine_chunks()
    changed = table.set_column(table.column_names.index("label"), "label", labels[::-1])
    schema = REFERENCES[task].schema
    assert build_reference(schema, table).identity != build_reference(schema, changed).identity


def test_the_sums_are_those_that_scikit_learn_computes() -> None:
    table = TABLES["classification"]
    sums = profile_outcomes(REFERENCES["classification"], table).sums
    assert isinstance(sums, ClassificationSums)
    label, predicted = table.column("label").to_pylist(), table.column("prediction").to_pylist()
    p = probabilities(table, CLASSES)
    names = list(schema_of(CLASSES).classes)
    assert np.array_equal(sums.confusion[:, :CLASSES], confusion_matrix(label, predicted, labels=names))
    assert np.array_equal(sums.classes[0], [*sums.confusion.sum(axis=1), 0])
    assert np.array_equal(sums.classes[1], sums.confusion.sum(axis=0))
    assert np.array_equal(sums.classes[2], [*np.diagonal(sums.confusion), 0])
    assert sums.log_loss / ROWS == pytest.approx(log_loss(label, p, labels=names), abs=1e-12)
    assert sums.brier / ROWS == pytest.approx(brier_score_loss(label, p, labels=names, scale_by_half=False), abs=1e-12)


def test_histograms_hold_every_row_once_per_class_and_its_label_apart() -> None:
    sums = profile_outcomes(REFERENCES["classification"], TABLES["classification"]).sums
    assert isinstance(sums, ClassificationSums)
    assert np.array_equal(sums.scores[0].sum(axis=1), sums.classes[0, :CLASSES])
    assert np.array_equal(sums.scores.sum(axis=(0, 2)), [ROWS] * CLASSES)


def test_rows_that_cannot_be_scored_are_counted_and_do_not_stop_the_others() -> None:
    reference = REFERENCES["classification"]
    good = TABLES["classification"].slice(0, 4)
    table = good.set_column(0, "prediction", pa.array(["c0", "c1", None, "unheard of"]))
    table = table.set_column(table.column_names.index("label"), "label", pa.array(["c0", "nowhere", "c2", "c3"]))
    hole = pa.array([None, *table.column("p_c1").to_pylist()[1:]], pa.float64())
    table = table.set_column(table.column_names.index("p_c1"), "p_c1", hole)
    outcome = profile_outcomes(reference, table)
    assert isinstance(outcome.sums, ClassificationSums)
    assert (outcome.rows, outcome.unusable, outcome.scored) == (4, 2, 2)
    assert outcome.sums.classes.tolist() == [[1, 0, 0, 1, 0], [1, 0, 0, 0, 1], [1, 0, 0, 0, 0]]
    assert outcome.sums.scored == 1
    assert outcome.reconciled is not None
    assert outcome.reconciled.estimated.rows == 1


def test_probabilities_that_are_missing_altogether_leave_the_counts() -> None:
    reference = REFERENCES["classification"]
    outcome = profile_outcomes(reference, TABLES["classification"].drop_columns(["p_c0"]))
    assert isinstance(outcome.sums, ClassificationSums)
    assert (outcome.sums.rows, outcome.sums.scored, outcome.sums.scores.sum()) == (ROWS, 0, 0)


def test_dictionary_columns_and_strings_give_the_same_outcome() -> None:
    reference, table = REFERENCES["classification"], TABLES["classification"]
    encoded = table
    for name in ("prediction", "label"):
        position = table.column_names.index(name)
        encoded = encoded.set_column(position, name, table.column(name).dictionary_encode())
    assert encode_outcome(profile_outcomes(reference, encoded)) == encode_outcome(profile_outcomes(reference, table))


@pytest.mark.parametrize("rows", [0, 1])
@each_task
def test_no_row_and_one_row_are_profiles_too(task: str, rows: int) -> None:
    reference = REFERENCES[task]
    outcome = profile_outcomes(reference, TABLES[task].slice(0, rows))
    assert (outcome.rows, outcome.unusable) == (rows, 0)
    equal(outcome.merge(empty_outcome(reference)), outcome)


def test_more_than_a_hundred_classes_are_counted_per_class_only() -> None:
    classes = 101
    table = classified(2_000, classes, 5)
    reference = build_reference(schema_of(classes), table)
    outcome = profile_outcomes(reference, table)
    assert isinstance(outcome.sums, ClassificationSums)
    assert outcome.sums.confusion.size == 0
    assert outcome.sums.scores.size == 0
    hit = np.array(table.column("label").to_pylist()) == np.array(table.column("prediction").to_pylist())
    assert (outcome.sums.rows, outcome.sums.hits) == (2_000, hit.sum())
    again = decode_outcome(encode_outcome(outcome), reference)
    equal(outcome, again)
    equal(outcome.merge(again), profile_outcomes(reference, pa.concat_tables([table, table])))


def test_labels_far_from_zero_keep_their_variance() -> None:
    table = regressed(2_000, 3, offset=1e9)
    reference = build_reference(REGRESSION, table)
    sums = profile_outcomes(reference, table).sums
    assert isinstance(sums, RegressionSums)
    spread = sums.label_squares - sums.label**2 / 2_000
    label = table.column("label").to_numpy()
    assert spread == pytest.approx(np.sum((label - label.mean()) ** 2), rel=1e-9)


def test_residuals_keep_the_quantiles_of_the_error() -> None:
    table = TABLES["regression"]
    sums = profile_outcomes(REFERENCES["regression"], table).sums
    assert isinstance(sums, RegressionSums)
    assert sums.residuals.finite == ROWS
    error = table.column("prediction").to_numpy() - table.column("label").to_numpy()
    assert (sums.residuals.minimum, sums.residuals.maximum) == (error.min(), error.max())


def test_an_error_that_overflows_is_profiled_and_warns_of_nothing() -> None:
    table = pa.table({"prediction": [1e300, -1e300, 1.0], "label": [-1e300, 1e300, 1.0], "f_hard": ["no"] * 3})
    outcome = profile_outcomes(REFERENCES["regression"], table)
    assert isinstance(outcome.sums, RegressionSums)
    assert outcome.sums.error_squares == np.inf
    assert outcome.sums.residuals.rows == 3


@pytest.mark.parametrize(
    ("prefix", "rows"),
    [("", golden.rows(200, 300)), ("regression_", golden.measured(200, 300))],
    ids=["classes", "errors"],
)
def test_outcomes_and_estimates_of_format_1_are_what_the_same_rows_make_today(prefix: str, rows: pa.Table) -> None:
    reference = load_reference(golden.FOLDER / f"{prefix}reference.trueup")
    stored = decode_outcome((golden.FOLDER / f"{prefix}outcome.bin").read_bytes(), reference)
    today = profile_outcomes(reference, rows)
    assert stored.reconciled is not None
    equal(stored, today, absolute_sums(rows, reference, today))
    inputs = decode_profile((golden.FOLDER / f"{prefix}profile.bin").read_bytes(), reference)
    equal(inputs.estimated, profile_inputs(reference, rows).estimated)
    estimated = estimated_statistics(reference, inputs)
    name = "estimated_mean_absolute_error" if prefix else "estimated_accuracy"
    found, realised = estimated[name], outcome_statistics(reference, stored)[name.removeprefix("estimated_")]
    assert isinstance(found, Estimate)
    assert isinstance(realised, Estimate)
    assert found.value == pytest.approx(realised.value, rel=0.05)
