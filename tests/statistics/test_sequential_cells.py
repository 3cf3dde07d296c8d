"""The counts that evidence is weighed on, taken from profiles: fixed by the reference, complete, and additive."""

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import DefectError
from monitor.profiles.model_profile import build_reference, profile_inputs, profile_outcomes
from monitor.records import ModelSchema
from monitor.statistics.drift_model import drift_model
from monitor.statistics.evidence_cells import cell_counts, cell_layout, error_counts
from monitor.statistics.evidence_counts import no_evidence, observe
from monitor.statistics.sequential import composite_evidence

SCHEMA = ModelSchema("m", "classification", ("no", "yes"))


def table(seed: int, rows: int, shift: float = 0.0, labelled: bool = False) -> pa.Table:
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, rows)
    p = 1 / (1 + np.exp(-x))
    columns = {
        "prediction": pa.array(np.where(p > 0.5, "yes", "no")),
        "p_no": 1 - p,
        "p_yes": p,
        "f_x": pa.array(x, mask=rng.random(rows) < 0.02),
        "f_count": rng.poisson(2, rows),
        "f_city": pa.array(rng.choice([f"city{i:02d}" for i in range(30)], rows, p=np.arange(30, 0, -1) / 465)),
    }
    if labelled:
        columns["label"] = pa.array(np.where(rng.random(rows) < 0.1, "no", "yes"))
    return pa.table(columns)


REFERENCE = build_reference(SCHEMA, table(0, 5000))
LAYOUT = cell_layout(REFERENCE)


def column(counts: np.ndarray, name: str) -> np.ndarray:
    index = LAYOUT.reference.names.index(name)
    offset = LAYOUT.reference.offsets[index]
    return counts[offset : offset + LAYOUT.reference.sizes[index]]


def test_a_continuous_column_has_ten_nearly_equal_cells_and_one_of_nulls() -> None:
    cells = column(LAYOUT.reference.counts, "x")
    assert cells.size == 11
    assert cells[:-1].min() > 0.09 * 5000
    assert cells[:-1].max() < 0.11 * 5000
    assert cells[-1] == REFERENCE.profile.columns["f_x"].missing > 0
    assert LAYOUT.cell_names["x"][-1] == "missing"


def test_the_most_frequent_categories_have_cells_of_their_own_and_the_rest_are_other() -> None:
    names = LAYOUT.cell_names["city"]
    assert len(names) == 22
    assert names[-2:] == ("other", "missing")
    assert "city00" in names
    assert "city29" not in names
    assert column(LAYOUT.reference.counts, "city").sum() == 5000


def test_cells_of_probabilities_are_named_in_probabilities() -> None:
    edges = [name.split()[-1] for name in LAYOUT.cell_names["p_yes"][:-1]]
    assert all(0 < float(edge) < 1 for edge in edges)


def test_counts_equal_a_plain_count_of_the_rows() -> None:
    rows = table(1, 1000)
    counts = cell_counts(LAYOUT, profile_inputs(REFERENCE, rows))
    cities = np.asarray(rows.column("f_city"))
    for name, found in zip(LAYOUT.cell_names["city"][:-2], column(counts, "city")[:-2], strict=True):
        assert found == np.count_nonzero(cities == name)
    values = np.asarray(rows.column("f_count"))
    # Integers lie in lattice cells of their own, so the cells' names are exact bounds there.
    assert column(counts, "count")[0] == np.count_nonzero(values <= 0)
    assert column(counts, "count").sum() == 1000


def test_a_small_move_off_a_value_that_most_rows_have_is_seen() -> None:
    rng = np.random.default_rng(7)
    rows = pa.table({"f_visibility": np.where(rng.random(4000) < 0.95, 10.0, 3.0)})
    reference = build_reference(ModelSchema("v", "regression"), rows)
    layout = cell_layout(reference)
    moved = cell_counts(layout, profile_inputs(reference, pa.table({"f_visibility": np.full(200, 10.5)})))
    assert layout.reference.counts.max() > 3700
    assert moved.tolist().index(200) != layout.reference.counts.argmax()


def test_every_row_is_in_one_cell_whatever_it_holds() -> None:
    odd = pa.table(
        {
            "prediction": pa.array(["yes", None, "maybe"]),
            "p_no": [0.0, float("nan"), 1.0],
            "p_yes": [1.0, 0.5, 0.0],
            "f_x": pa.array([float("inf"), float("-inf"), None]),
            "f_count": [10**9, -(10**9), 2],
            "f_city": pa.array([None, "elsewhere", "city00"]),
        }
    )
    counts = cell_counts(LAYOUT, profile_inputs(REFERENCE, odd))
    assert all(column(counts, name).sum() == 3 for name in LAYOUT.reference.names)
    assert column(counts, "x")[[0, -2, -1]].tolist() == [1, 1, 1]
    assert column(counts, "prediction").tolist() == [0, 1, 1, 1]


def test_counts_of_merged_profiles_are_the_sum_of_counts() -> None:
    parts = [profile_inputs(REFERENCE, table(seed, 300, shift=0.3 * seed)) for seed in range(4)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    total = np.sum([cell_counts(LAYOUT, part) for part in parts], axis=0)
    assert cell_counts(LAYOUT, merged).tolist() == total.tolist()


def test_a_column_that_did_not_come_counts_nothing_and_evidence_goes_on() -> None:
    counts = cell_counts(LAYOUT, profile_inputs(REFERENCE, table(2, 500).drop_columns(["f_x"])))
    assert column(counts, "x").sum() == 0
    state = observe(no_evidence(LAYOUT.reference), counts)
    assert np.isfinite(composite_evidence(state, drift_model(LAYOUT.reference)).log_evidence)


def test_profiles_of_the_same_traffic_are_quiet_and_of_another_are_not() -> None:
    model, quiet, loud = drift_model(LAYOUT.reference), no_evidence(LAYOUT.reference), no_evidence(LAYOUT.reference)
    for seed in range(10, 30):
        quiet = observe(quiet, cell_counts(LAYOUT, profile_inputs(REFERENCE, table(seed, 500))))
    for seed in range(30, 33):
        loud = observe(loud, cell_counts(LAYOUT, profile_inputs(REFERENCE, table(seed, 500, shift=0.5))))
    assert composite_evidence(quiet, model).log_evidence < np.log(500)
    found = composite_evidence(loud, model)
    assert found.log_evidence > np.log(500)
    assert found.columns["city"] < np.log(500)


def test_columns_can_be_left_out_and_another_references_profile_is_refused() -> None:
    assert "x" not in cell_layout(REFERENCE, exclude=["x"]).reference.names
    other = build_reference(SCHEMA, table(5, 100))
    with pytest.raises(DefectError, match="counts of another reference"):
        cell_counts(LAYOUT, profile_inputs(other, table(1, 10)))
    with pytest.raises(DefectError, match="no column to watch"):
        cell_layout(REFERENCE, exclude=LAYOUT.reference.names)


def test_errors_are_counted_from_the_confusion() -> None:
    rows = table(3, 400, labelled=True)
    wrong = np.count_nonzero(np.asarray(rows.column("prediction")) != np.asarray(rows.column("label")))
    assert error_counts(profile_outcomes(REFERENCE, rows)) == (wrong, 400)
    regression = build_reference(
        ModelSchema("r", "regression"), pa.table({"prediction": [1.0, 2.0], "label": [1.0, 3.0]})
    )
    assert regression.outcome is not None
    with pytest.raises(DefectError, match="errors are counted of classes"):
        error_counts(regression.outcome)
