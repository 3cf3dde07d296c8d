"""A quick look: what is called critical, why, in which order, and what machines read of it."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from monitor.comparison import Comparison, compare, notes, record
from monitor.comparison_verdict import Limits
from monitor.profiles.model_profile import Reference, build_reference, profile_inputs
from monitor.records import ModelSchema
from monitor.statistics.result import Absent, Estimate, Reason
from monitor.verdict import Verdict

SCHEMA = ModelSchema("m", "regression")


def rows(seed: int, count: int = 2_000) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    return {
        "f_x": rng.normal(0, 1, count),
        "f_y": pa.array(rng.normal(0, 1, count), mask=rng.random(count) < 0.1),
        "f_kind": rng.choice(["a", "b"], count),
        "f_member": pa.array(rng.random(count) < 0.5),
    }


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(SCHEMA, pa.table(rows(0)))


def looked_at(reference: Reference, count: int = 2_000, **changes: object) -> Comparison:
    table = pa.table({**rows(1, count), **changes})
    return compare(reference, profile_inputs(reference, table))


def verdict(comparison: Comparison, name: str) -> Verdict:
    [column] = [column for column in comparison.columns if column.name == name]
    return column.verdict


def test_equal_distributions_are_ok(reference: Reference) -> None:
    comparison = looked_at(reference)
    assert {column.verdict.state for column in comparison.columns} == {"ok"}
    assert (comparison.reference_rows, comparison.current_rows) == (2_000, 2_000)


@pytest.mark.parametrize(("shift", "state"), [(0.1, "ok"), (0.4, "warning"), (0.8, "critical")])
def test_a_shift_is_judged_by_its_size(reference: Reference, shift: float, state: str) -> None:
    values = np.random.default_rng(2).normal(shift, 1, 2_000)
    found = verdict(looked_at(reference, f_x=values), "x")
    assert found.state == state
    assert ("distribution moved (PSI" in found.reason) == (state != "ok")


def test_the_worst_column_comes_first(reference: Reference) -> None:
    rng = np.random.default_rng(3)
    comparison = looked_at(reference, f_x=rng.normal(0.4, 1, 2_000), f_y=rng.normal(2, 1, 2_000))
    assert [column.name for column in comparison.columns][:2] == ["y", "x"]


def test_missing_values_new_categories_range_and_constants_have_their_own_reasons(reference: Reference) -> None:
    rng = np.random.default_rng(4)
    comparison = looked_at(
        reference,
        f_x=np.where(rng.random(2_000) < 0.03, 99.0, rng.normal(0, 1, 2_000)),
        f_y=pa.array(rng.normal(0, 1, 2_000), mask=rng.random(2_000) < 0.4),
        f_kind=rng.choice(["a", "b", "c"], 2_000, p=[0.48, 0.48, 0.04]),
        f_member=pa.array([True] * 2_000),
    )
    assert "of the values out of the reference's range" in verdict(comparison, "x").reason
    assert verdict(comparison, "x").state == "warning"
    assert "more values missing" in verdict(comparison, "y").reason
    assert verdict(comparison, "y").state == "critical"
    assert "in categories that the reference lacks" in verdict(comparison, "kind").reason
    assert "has become constant" in verdict(comparison, "member").reason


def test_what_the_reference_is_full_of_is_nothing_new() -> None:
    """Identifiers and infinities, the same on both sides: their rows were once all called new, or out of range."""

    def odd(seed: int) -> pa.Table:
        rng = np.random.default_rng(seed)
        endless = np.where(rng.random(2_000) < 0.1, np.inf, rng.normal(0, 1, 2_000))
        rare = [f"c{int(x)}" for x in rng.pareto(0.8, 2_000)]
        return pa.table({"f_id": [f"u{k}" for k in rng.integers(0, 10**9, 2_000)], "f_x": endless, "f_rare": rare})

    reference = build_reference(SCHEMA, odd(0))
    comparison = compare(reference, profile_inputs(reference, odd(1)))
    assert {column.name: column.verdict.state for column in comparison.columns} == dict.fromkeys(
        ("id", "x", "rare"), "ok"
    )
    changed = odd(1).set_column(1, "f_x", pa.array(np.full(2_000, -np.inf)))
    assert "out of the reference's range" in verdict(compare(reference, profile_inputs(reference, changed)), "x").reason


def test_a_value_that_is_rarely_another_is_not_constant_by_having_none_of_them() -> None:
    """Pixels of digits that are lit in one image of a thousand were once critical in every fortieth look."""

    def rare(lit: int, count: int) -> pa.Table:
        seldom = np.zeros(count)
        seldom[:lit] = 7.0
        words = np.where(seldom > 0, "yes", "no")
        return pa.table({"f_pixel": seldom, "f_word": words, "f_flag": pa.array(seldom > 0)})

    for lit, state in ((1, "ok"), (2, "ok"), (100, "critical")):
        reference = build_reference(SCHEMA, rare(lit, 1_000))
        comparison = compare(reference, profile_inputs(reference, rare(0, 400)))
        assert {column.verdict.state for column in comparison.columns} == {state}, lit
    other = compare(reference, profile_inputs(reference, pa.table({**rows(0, 400), "f_pixel": np.full(400, 3.0)})))
    assert "has become constant" in verdict(other, "pixel").reason


def test_a_distribution_that_only_lost_values_is_said_to_have_done_so(reference: Reference) -> None:
    rng = np.random.default_rng(6)
    lost = pa.array(rng.normal(0, 1, 2_000), mask=rng.random(2_000) < 0.4)
    reason = verdict(looked_at(reference, f_x=lost), "x").reason
    found = re.search(r"PSI ([-+.0-9e]+) beyond chance, ([-+.0-9e]+) without missing values", reason)
    assert found is not None
    assert float(found[1]) > 2
    assert float(found[2]) < 0.02
    moved = verdict(looked_at(reference, f_x=rng.normal(1, 1, 2_000)), "x").reason
    assert "without missing values" not in moved
    gone = verdict(looked_at(reference, f_x=pa.nulls(2_000, pa.float64())), "x").reason
    assert "all of it missing values" in gone


def test_what_estimates_assume_and_why_a_number_is_absent_is_told() -> None:
    performance = {
        "accuracy": Estimate(0.9, 100, 0.8, 0.95, 0.95),
        "estimated_accuracy": Estimate(0.9, 100, 0.7, 1.0, 0.9973, detail="assumes no concept drift"),
        "estimated_f1": Absent(Reason.CALIBRATION_MISSING, 0, "too few labelled rows"),
    }
    assert notes(performance) == [
        "from and to hold the value with 95 % (labelled rows) and 99.73 % (estimates without labels)",
        "estimated_accuracy: assumes no concept drift",
        "estimated_f1: absent (calibration missing, too few labelled rows)",
    ]


def test_classes_that_are_called_otherwise_than_labels_are_said_to_be_so() -> None:
    hint = "accuracy: no label is what was predicted: are classes called the same in both?"
    assert hint in notes({"accuracy": Estimate(0.0, 30)})
    assert hint not in notes({"accuracy": Estimate(0.0, 29)}) + notes({"accuracy": Estimate(0.01, 1_000)})


def test_categories_beyond_those_that_are_counted_are_nothing_new() -> None:
    schema = ModelSchema("m", "regression")
    for seed, names in enumerate((1_200, 2_000, 5_000)):
        rng = np.random.default_rng(seed)
        then, now = ([f"u{i}" for i in rng.integers(0, names, 3_000)] for _ in range(2))
        reference = build_reference(schema, pa.table({"f_user": then}))
        [column] = compare(reference, profile_inputs(reference, pa.table({"f_user": now}))).columns
        assert column.verdict.state == "ok", (names, column.verdict)
        other = pa.table({"f_user": [f"v{i}" if i % 3 == 0 else name for i, name in enumerate(now)]})
        [column] = compare(reference, profile_inputs(reference, other)).columns
        assert column.verdict.state in ("warning", "critical"), names


def test_few_rows_and_no_rows_are_insufficient(reference: Reference) -> None:
    assert verdict(looked_at(reference, 100), "x") == Verdict(
        "insufficient", f"100 rows in the current rows, at least {Limits().minimum_rows} needed"
    )
    empty = compare(reference, profile_inputs(reference, pa.table(rows(0)).slice(0, 0)))
    assert {column.verdict.state for column in empty.columns} == {"insufficient"}
    assert verdict(empty, "x").reason.startswith("no rows in the current rows")


def test_vanished_appeared_and_changed_columns_are_said_to_be_so(reference: Reference) -> None:
    table = pa.table(rows(1)).drop_columns(["f_x", "f_y"])
    comparison = compare(
        reference,
        profile_inputs(reference, table),
        appeared={"f_new": "numeric", "f_list": None},
        changed={"f_y": ("numeric", "categorical")},
    )
    assert verdict(comparison, "x") == Verdict("critical", "the column has vanished")
    assert verdict(comparison, "y") == Verdict("critical", "was numeric, is categorical")
    assert verdict(comparison, "new") == Verdict("warning", "is not in the reference")
    assert verdict(comparison, "list").state == "insufficient"


def test_machines_read_the_shape_that_is_documented(reference: Reference) -> None:
    content = record(looked_at(reference))
    assert set(content) == {"columns", "dataset", "performance"}
    assert content["dataset"]["ok"] == 4
    x = content["columns"]["x"]
    assert (x["kind"], x["verdict"]) == ("numeric", {"state": "ok", "reason": ""})
    for name in (
        "population_stability_index",
        "jensen_shannon_distance",
        "kolmogorov_smirnov",
        "wasserstein_distance",
        "missing_rate_difference",
    ):
        assert {"value", "p_value", "n", "error_bound", "reason"} <= set(x[name])
    few = record(looked_at(reference, 10))["columns"]["x"]["population_stability_index"]
    assert (few["value"], few["n"], few["reason"]) == (None, 10, "too_few_rows")


def test_pictures_hold_the_shares_of_both_sides(reference: Reference) -> None:
    for column in looked_at(reference).columns:
        assert column.shares is not None
        assert column.shares.reference.sum() == pytest.approx(1)
        assert column.shares.current.sum() == pytest.approx(1)


def test_over_many_quiet_looks_hardly_a_column_is_called_moved() -> None:
    """20 columns, 100 looks of 300 rows each: the limits' effect and significance together keep chance out."""
    rng = np.random.default_rng(5)
    names = [f"f_{i}" for i in range(20)]
    reference = build_reference(SCHEMA, pa.table({name: rng.normal(size=2_000) for name in names}))
    called = 0
    for _ in range(100):
        profile = profile_inputs(reference, pa.table({name: rng.normal(size=300) for name in names}))
        called += sum(column.verdict.state != "ok" for column in compare(reference, profile).columns)
    assert called <= 1


def test_halves_of_small_real_tables_are_called_the_same_however_many_columns_they_have() -> None:
    """30 and 10 columns, some 280 and 220 rows a half: 40 tables, each of which may be wrong once in a hundred."""
    called = 0
    for values in (load_breast_cancer().data, load_diabetes().data):
        for seed in range(20):
            order, half = np.random.default_rng(seed).permutation(len(values)), len(values) // 2
            old, new = (
                pa.table({f"f_{i}": values[part, i] for i in range(values.shape[1])})
                for part in (order[:half], order[half:])
            )
            reference = build_reference(SCHEMA, old)
            found = compare(reference, profile_inputs(reference, new)).columns
            called += any(column.verdict.state != "ok" for column in found)
    assert called <= 2
