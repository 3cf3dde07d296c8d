"""A quick look: what is called critical, why, in which order, and what machines read of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from monitor.comparison import Comparison, Limits, compare, record
from monitor.profiles.model_profile import Reference, build_reference, profile_inputs
from monitor.records import ModelSchema
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


def test_few_rows_and_no_rows_are_insufficient(reference: Reference) -> None:
    assert verdict(looked_at(reference, 100), "x") == Verdict(
        "insufficient", f"100 rows on one side, at least {Limits().minimum_rows} needed"
    )
    empty = compare(reference, profile_inputs(reference, pa.table(rows(0)).slice(0, 0)))
    assert {column.verdict.state for column in empty.columns} == {"insufficient"}


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
    assert called <= 10
