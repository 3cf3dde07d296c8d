"""Numeric profiles: exact between deciles, bounded elsewhere, the same however their rows were split and ordered."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest

from monitor.errors import DefectError
from monitor.profiles.lattice import Standardisation
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.standardise import standardise
from monitor.statistics.atoms import atoms
from monitor.statistics.partition import decile_cuts
from tests.profiles.numeric_samples import KINDS, partition_counts, sample

each_kind = pytest.mark.parametrize("kind", KINDS)


def same(a: NumericProfile, b: NumericProfile) -> None:
    for name in ("cells", "counts", "below", "equal"):
        assert np.array_equal(getattr(a, name), getattr(b, name)), name
    for name in ("null", "nan", "positive_infinity", "negative_infinity", "minimum", "maximum"):
        assert getattr(a, name) == getattr(b, name), name
    for name, scale in (("total", a.absolute), ("absolute", a.absolute), ("squares", a.squares)):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=0, abs=1e-12 * scale, nan_ok=True), name


@each_kind
def test_counts_between_deciles_and_at_marks_are_those_of_plain_comparison(kind: str) -> None:
    reference, values = sample(kind, 4_000, 1), sample(kind, 3_000, 2, shift=0.3)
    standardisation = standardise(reference)
    for rows in (reference, values):
        profile = NumericProfile.build(rows, standardisation)
        counts = decile_cuts(standardisation).count(profile)
        assert counts.tolist() == partition_counts(reference, rows).tolist()
        below, up_to = profile.counts_to_marks()
        for mark, less, at_most in zip(standardisation.marks, below, up_to, strict=True):
            assert (less, at_most) == ((rows < mark).sum(), (rows <= mark).sum())
        assert profile.finite == profile.rows == rows.size


@each_kind
def test_cells_hold_the_values_that_their_edges_say(kind: str) -> None:
    standardisation = standardise(sample(kind, 2_000, 3))
    values = np.sort(sample(kind, 2_000, 4, shift=0.5))
    cells = standardisation.cells(values)
    low, high = standardisation.edges(cells)
    position = standardisation.exact_positions(values)
    assert ((low <= position) & (position <= high)).all()
    assert (np.diff(standardisation.order(cells)) >= 0).all()
    profile = NumericProfile.build(values, standardisation)
    unique, counts = np.unique(cells, return_counts=True)
    assert profile.cells.tolist() == unique.tolist()
    assert profile.counts.tolist() == counts.tolist()


@each_kind
def test_any_split_and_order_of_the_rows_gives_the_same_profile(kind: str) -> None:
    standardisation = standardise(sample(kind, 1_000, 5))
    values = np.concatenate((sample(kind, 5_000, 6, shift=0.2), [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324]))
    whole = NumericProfile.build(values, standardisation, null=3)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        cuts = np.sort(rng.integers(0, values.size, 6))
        parts = [NumericProfile.build(part, standardisation) for part in np.split(rng.permutation(values), cuts)]
        parts.append(NumericProfile.build(values[:0], standardisation, null=3))
        same(whole, reduce(NumericProfile.merge, parts))
        same(whole, reduce(NumericProfile.merge, reversed(parts)))


def test_merging_is_associative_and_commutative_and_has_an_identity() -> None:
    standardisation = standardise(sample("normal", 1_000, 0))
    a, b, c = (NumericProfile.build(sample(kind, 500, 1), standardisation) for kind in ("normal", "integer", "huge"))
    same(a.merge(b).merge(c), a.merge(b.merge(c)))
    same(a.merge(b), b.merge(a))
    same(a.merge(NumericProfile.empty(standardisation)), a)
    same(NumericProfile.empty(standardisation).merge(a), a)


def test_a_profile_of_another_standardisation_is_refused() -> None:
    values = sample("normal", 1_000, 0)
    first, second = (NumericProfile.build(values, standardise(values[:rows])) for rows in (1_000, 999))
    with pytest.raises(DefectError, match="profiles of different references cannot be merged") as caught:
        first.merge(second)
    assert caught.value.expected != caught.value.got


def test_what_is_not_finite_is_counted_by_what_it_is() -> None:
    standardisation = standardise(sample("normal", 1_000, 0))
    values = np.array([np.nan, np.inf, np.inf, -np.inf, 0.5])
    profile = NumericProfile.build(values, standardisation, null=4)
    found = (profile.nan, profile.positive_infinity, profile.negative_infinity, profile.null, profile.finite)
    assert found == (1, 2, 1, 4, 1)
    assert (profile.missing, profile.rows) == (5, 9)


@pytest.mark.parametrize("values", [[], [np.nan, np.nan], [np.inf], [-np.inf, np.nan]], ids=str)
def test_a_reference_without_finite_values_still_counts_what_comes(values: list[float]) -> None:
    standardisation = standardise(np.array(values))
    profile = NumericProfile.build(np.array([1.0, 2.0, np.nan]), standardisation)
    assert (profile.finite, profile.nan, standardisation.marks) == (2, 1, ())
    assert decile_cuts(standardisation).count(profile).tolist() == [2]


def test_a_reference_of_one_value_tells_below_equal_and_above() -> None:
    standardisation = standardise(np.array([7.0]))
    profile = NumericProfile.build(np.array([6.999999, 7.0, 7.0, np.nextafter(7.0, 8.0)]), standardisation)
    assert decile_cuts(standardisation).count(profile).tolist() == [1, 2, 1]


def test_zero_has_one_sign() -> None:
    for zero in (0.0, -0.0):
        standardisation = standardise(np.full(10, zero))
        profile = NumericProfile.build(np.array([0.0, -0.0]), standardisation)
        assert (profile.cells.tolist(), profile.counts.tolist()) == ([0], [2])
        assert profile.equal.tolist() == [2]
    assert repr(standardise(np.array([0.0, -0.0]))) == repr(standardise(np.array([-0.0, 0.0])))


def test_sums_are_those_of_the_values() -> None:
    standardisation = standardise(sample("offset", 1_000, 0))
    values = sample("offset", 50_000, 1)
    profile = NumericProfile.build(values, standardisation)
    distance = values - standardisation.centre
    assert profile.total == pytest.approx(distance.sum(), abs=1e-12 * np.abs(distance).sum())
    assert profile.absolute == pytest.approx(np.abs(distance).sum(), rel=1e-12)
    assert profile.squares == pytest.approx((distance**2).sum(), rel=1e-12)
    assert (profile.minimum, profile.maximum) == (values.min(), values.max())


def test_integers_and_booleans_of_any_width_are_numbers() -> None:
    standardisation = standardise(np.arange(100, dtype=np.float64))
    for kind in (np.int8, np.uint16, np.int64, np.float32, np.bool_):
        values = np.array([0, 1, 1], dtype=kind)
        same(NumericProfile.build(values, standardisation), NumericProfile.build([0.0, 1.0, 1.0], standardisation))


def test_probabilities_are_told_apart_near_zero_and_one() -> None:
    rng = np.random.default_rng(0)
    p = 1 / (1 + np.exp(-6 * rng.normal(0, 1, 5_000)))
    standardisation = standardise(p, "logit")
    values = np.array([0.0, 1e-6, 1e-5, 1 - 1e-5, 1 - 1e-6, 1.0])
    assert np.unique(standardisation.cells(values)).size == 6
    profile = NumericProfile.build(p, standardisation)
    assert decile_cuts(standardisation).count(profile).tolist() == partition_counts(p, p).tolist()
    odd = NumericProfile.build(np.array([-0.5, 1.5, np.nan]), standardisation)
    assert (odd.finite, odd.nan) == (2, 1)


def test_a_tight_cluster_far_from_the_centre_keeps_its_shape() -> None:
    reference = sample("clustered", 20_000, 1)
    standardisation = standardise(reference)
    assert standardisation.refined
    profile = NumericProfile.build(reference, standardisation)
    both = atoms(profile, profile)
    assert both.reference.sum() == reference.size
    assert both.reference[~both.is_point].max() <= 0.006 * reference.size


def test_refined_cells_are_split_only_where_the_reference_is_dense() -> None:
    standardisation = standardise(sample("bimodal", 20_000, 1))
    profile = NumericProfile.build(np.linspace(-5, 5, 1_000), standardisation)
    whole = Standardisation(standardisation.centre, standardisation.scale)
    plain = NumericProfile.build(np.linspace(-5, 5, 1_000), whole)
    assert plain.cells.size <= profile.cells.size
    assert profile.finite == plain.finite == 1_000
