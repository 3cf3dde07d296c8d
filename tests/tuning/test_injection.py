"""Drifts put into rows: each against plain NumPy, and what must stay as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from monitor.errors import OperatorError
from monitor.profiles.model_profile import build_reference
from monitor.records import TIMESTAMP, ModelSchema
from monitor.tuning.injection import SIZES, UNITS, Drawn, Injection, Kind, Scale, columns_for, drawn_from, inject
from tests.records_samples import MODEL, predictions

HOUR = 3_600_000_000
START = 12 * HOUR
DRAWN = Drawn(
    MODEL,
    {"f_age": Scale(40.0, 10.0)},
    {"f_city": ("Rome", "Oslo", "Bern"), "f_member": ("true", "false")},
    ("cat", "dog", "owl"),
)


def rows(n: int = 2_400, seed: int = 1) -> pa.Table:
    """A day of rows, one in five without an age, one in ten without a label."""
    random = np.random.default_rng(seed)
    events = np.arange(n) * (24 * HOUR // n)
    labels = random.choice(["cat", "dog", "owl"], n, p=[0.6, 0.3, 0.1])
    table = pa.table(
        {
            "event_time": pa.array(events).cast(TIMESTAMP),
            "prediction": labels.tolist(),
            "f_age": pa.array(random.normal(40, 10, n), mask=random.random(n) < 0.2),
            "f_city": random.choice(["Rome", "Oslo", "Bern"], n, p=[0.5, 0.3, 0.2]).tolist(),
            "f_member": (random.random(n) < 0.7).tolist(),
            "label": pa.array(labels.tolist(), pa.string(), mask=random.random(n) < 0.1),
            "label_time": pa.array(events + HOUR + np.arange(n)).cast(TIMESTAMP),
        }
    )
    # As the log has it: a column that is never null says so.
    return table.cast(table.schema.set(0, pa.field("event_time", TIMESTAMP, nullable=False)))


def drift(kind: Kind, size: float, *columns: str, length: float = 86_400.0) -> Injection:
    return Injection(kind, size, START, columns, length)


def put(table: pa.Table, injection: Injection, drawn: Drawn = DRAWN, seed: int = 7) -> pa.Table:
    return inject(table, injection, drawn, np.random.default_rng(seed))


def numbers(table: pa.Table, name: str = "f_age") -> npt.NDArray[np.float64]:
    return np.array([np.nan if value is None else value for value in table.column(name).to_pylist()])


def hours(table: pa.Table) -> npt.NDArray[np.float64]:
    return table.column("event_time").cast(pa.int64()).to_numpy() / HOUR


def shares(values: list[object]) -> dict[object, float]:
    return {value: values.count(value) / len(values) for value in set(values)}


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [
        (Kind.MEAN_SHIFT, 0.5, lambda x, _: x + 5.0),
        (Kind.SCALE, 2.0, lambda x, _: 40 + 2 * (x - 40)),
        (Kind.RAMP, 1.0, lambda x, t: x + 10 * np.minimum((t - 12) / 6, 1)),
        (Kind.DAILY_CYCLE, 0.25, lambda x, t: x + 2.5 * np.sin(2 * np.pi * t / 6)),
    ],
)
def test_numbers_move_as_the_formula_says_from_the_start_on(kind: Kind, size: float, expected: object) -> None:
    table = rows()
    changed = put(table, drift(kind, size, "f_age", length=6 * 3600.0))
    x, t = numbers(table), hours(table)
    oracle = np.where(t >= 12, expected(x, t), x)  # type: ignore[operator]
    assert np.allclose(numbers(changed), oracle, equal_nan=True, atol=1e-9)
    assert changed.column("f_age").null_count == table.column("f_age").null_count
    assert changed.drop_columns("f_age").equals(table.drop_columns("f_age"))


@pytest.mark.parametrize("kind", list(Kind))
def test_rows_before_the_start_stay_and_a_start_after_them_changes_nothing(kind: Kind) -> None:
    table = rows()
    column = {Kind.CATEGORY_SWAP: ["f_city"], Kind.LABEL_SHIFT: [], Kind.CONCEPT_FLIP: []}.get(kind, ["f_age"])
    changed = put(table, drift(kind, 0.5, *column))
    before = int((hours(table) < 12).sum())
    assert changed.schema == table.schema
    assert changed.num_rows == table.num_rows
    assert changed.slice(0, before).equals(table.slice(0, before))
    assert not changed.equals(table)
    assert put(table, replace(drift(kind, 0.5, *column), start=25 * HOUR)).equals(table)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_same_seed_gives_the_same_rows(kind: Kind) -> None:
    column = {Kind.CATEGORY_SWAP: ["f_city"], Kind.LABEL_SHIFT: [], Kind.CONCEPT_FLIP: []}.get(kind, ["f_age"])
    injection = drift(kind, 0.3, *column)
    assert put(rows(), injection).equals(put(rows(), injection))
    if kind in (Kind.CATEGORY_SWAP, Kind.MISSINGNESS, Kind.LABEL_SHIFT, Kind.CONCEPT_FLIP):
        assert not put(rows(), injection, seed=8).equals(put(rows(), injection))


@pytest.mark.parametrize(("column", "rarest"), [("f_city", "Bern"), ("f_member", False)])
def test_a_category_swap_has_exactly_its_total_variation(column: str, rarest: object) -> None:
    table = rows()
    changed = put(table, drift(Kind.CATEGORY_SWAP, 0.15, column))
    after = int((hours(table) >= 12).sum())
    was, now = (item.column(column).to_pylist()[-after:] for item in (table, changed))
    before, moved = shares(was), shares(now)
    assert sum(abs(moved[name] - before[name]) for name in before) / 2 == pytest.approx(0.15, abs=0.5 / after)
    assert moved[rarest] - before[rarest] == pytest.approx(0.15, abs=0.5 / after)


def test_a_swap_larger_than_the_first_category_goes_on_with_the_next() -> None:
    table = rows()
    changed = put(table, drift(Kind.CATEGORY_SWAP, 0.7, "f_city"))
    after = int((hours(table) >= 12).sum())
    found = shares(changed.column("f_city").to_pylist()[-after:])
    assert "Rome" not in found
    assert found["Bern"] == pytest.approx(0.9, abs=0.04)


def test_missingness_takes_its_share_of_the_values() -> None:
    table = rows(24_000)
    changed = put(table, drift(Kind.MISSINGNESS, 0.2, "f_age", "f_city"))
    late = hours(table) >= 12
    for name in ("f_age", "f_city"):
        was = table.column(name).is_valid().to_numpy() & late
        now = changed.column(name).is_valid().to_numpy() & late
        assert now.sum() / was.sum() == pytest.approx(0.8, abs=0.015)
        assert not (now & ~was).any()


def test_a_label_shift_moves_the_mix_of_classes_with_whole_rows() -> None:
    table = rows(24_000)
    changed = put(table, drift(Kind.LABEL_SHIFT, 0.2))
    late = changed.filter(pa.array(hours(table) >= 12))
    known, answers = late.column("label").to_pylist(), late.column("prediction").to_pylist()
    found = shares([label or answer for label, answer in zip(known, answers, strict=True)])
    assert found["cat"] == pytest.approx(0.4, abs=0.02)
    assert found["dog"] == pytest.approx(0.3, abs=0.02)
    assert found["owl"] == pytest.approx(0.3, abs=0.02)
    assert changed.column("event_time").equals(table.column("event_time"))
    # Every row is one of those that were there, answer, features and delay together.
    assert set(_contents(changed)) <= set(_contents(table))


def test_without_labels_the_answers_are_the_mix() -> None:
    table = rows(24_000).drop_columns(["label", "label_time"])
    found = shares(put(table, drift(Kind.LABEL_SHIFT, 0.2)).column("prediction").to_pylist()[12_000:])
    assert found["owl"] == pytest.approx(0.3, abs=0.02)


def test_a_concept_flip_replaces_its_share_of_labels_by_other_classes_equally_often() -> None:
    table = rows(24_000)
    changed = put(table, drift(Kind.CONCEPT_FLIP, 0.3))
    was, now = (item.column("label").to_pylist()[12_000:] for item in (table, changed))
    pairs = [(a, b) for a, b in zip(was, now, strict=True) if a is not None]
    flipped = [pair for pair in pairs if pair[0] != pair[1]]
    assert len(flipped) / len(pairs) == pytest.approx(0.3, abs=0.015)
    from_cat = shares([b for a, b in flipped if a == "cat"])
    assert from_cat == {"dog": pytest.approx(0.5, abs=0.03), "owl": pytest.approx(0.5, abs=0.03)}
    assert [b is None for b in now] == [a is None for a in was]
    assert changed.column("prediction").equals(table.column("prediction"))


def test_flipped_labels_of_a_regression_are_those_of_other_rows() -> None:
    schema = ModelSchema("price", "regression")
    table = rows().drop_columns(["label"]).append_column("label", pa.array(np.arange(2_400.0)))
    changed = put(table, drift(Kind.CONCEPT_FLIP, 0.3), Drawn(schema))
    now = changed.column("label").to_numpy()
    differs = now != np.arange(2_400)
    assert differs[1_200:].mean() == pytest.approx(0.3, abs=0.04)
    assert set(now[differs]) <= set(range(1_200, 2_400))


def test_the_units_of_a_drift_are_those_of_the_reference() -> None:
    batch = predictions([f"r{i}" for i in range(500)])
    table = pa.Table.from_batches([batch]).append_column("f_still", pa.array(np.ones(500)))
    drawn = drawn_from(build_reference(MODEL, table))
    ages = table.column("f_age").to_numpy()
    assert set(drawn.scales) == {"f_age"}
    assert drawn.scales["f_age"].mean == pytest.approx(ages.mean(), rel=1e-9)
    assert drawn.scales["f_age"].deviation == pytest.approx(ages.std(), rel=1e-9)
    cities = table.column("f_city").to_pylist()
    assert drawn.categories["f_city"] == tuple(sorted(("Rome", "Oslo"), key=lambda name: -cities.count(name)))
    answers = table.column("prediction").to_pylist()
    assert list(drawn.classes) == sorted(MODEL.classes, key=lambda name: -answers.count(name))


def test_a_drift_that_a_model_cannot_have_is_refused_with_its_reason() -> None:
    bare = Drawn(ModelSchema("price", "regression"))
    assert columns_for(Kind.MEAN_SHIFT, bare) == "the reference has no numeric feature that varies"
    assert columns_for(Kind.CATEGORY_SWAP, bare) == "the reference has no categorical feature"
    assert columns_for(Kind.MISSINGNESS, bare) == "the reference has no feature"
    assert columns_for(Kind.LABEL_SHIFT, bare) == "the model has no classes"
    assert columns_for(Kind.CONCEPT_FLIP, bare) == ()
    assert columns_for(Kind.MISSINGNESS, DRAWN) == ("f_age", "f_city", "f_member")
    with pytest.raises(OperatorError, match=r"column city: no drift of that kind .*expected age"):
        put(rows(), drift(Kind.MEAN_SHIFT, 1.0, "f_city"))
    with pytest.raises(OperatorError, match=r"not a size of a drift of kind missingness \(expected 0 to 1, got 1.5"):
        drift(Kind.MISSINGNESS, 1.5)


def test_columns_that_rows_lack_are_passed_over() -> None:
    table = rows().drop_columns(["f_age", "label", "label_time"])
    assert put(table, drift(Kind.MEAN_SHIFT, 1.0, "f_age")).equals(table)
    assert put(table, drift(Kind.CONCEPT_FLIP, 1.0)).equals(table)


def test_every_kind_has_ascending_sizes_and_a_unit() -> None:
    assert set(SIZES) == set(UNITS) == set(Kind)
    assert all(list(sizes) == sorted(sizes) for sizes in SIZES.values())


def _contents(table: pa.Table) -> list[tuple[object, ...]]:
    delays = (
        table.column("label_time").cast(pa.int64()).to_numpy() - table.column("event_time").cast(pa.int64()).to_numpy()
    )
    kept = [table.column(name).to_pylist() for name in ("prediction", "f_age", "f_city", "f_member", "label")]
    return list(zip(*kept, delays.tolist(), strict=True))
