"""Distances between a column and its reference: SciPy, closed forms and published values, their nulls and absences."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, norm, wasserstein_distance

from monitor.profiles.categorical import CategoricalProfile, reference_categories
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.standardise import standardise
from monitor.statistics import divergence
from monitor.statistics.atoms import atoms
from monitor.statistics.divergence import CellCounts
from monitor.statistics.result import Absent, Estimate, Reason, Result
from tests.profiles.numeric_samples import KINDS, Floats, partition_counts, sample

each_kind = pytest.mark.parametrize("kind", KINDS)
OVERFLOWS = {"huge", "float32_overflow"}


def estimate(result: Result) -> Estimate:
    assert isinstance(result, Estimate), result
    return result


def profiles(reference: Floats, current: Floats) -> tuple[NumericProfile, NumericProfile]:
    standardisation = standardise(reference)
    return NumericProfile.build(reference, standardisation), NumericProfile.build(current, standardisation)


def plain_psi(r: np.ndarray, c: np.ndarray) -> float:
    used = (r > 0) | (c > 0)
    r, c = r[used] + 0.5, c[used] + 0.5
    p, q = c / c.sum(), r / r.sum()
    return float(((p - q) * np.log(p / q)).sum())


@each_kind
def test_distances_between_deciles_are_those_of_the_raw_values(kind: str) -> None:
    reference, current = sample(kind, 6_000, 1), sample(kind, 4_000, 2, shift=0.3)
    cells = divergence.decile_cells(*profiles(reference, current))
    r, c = partition_counts(reference, reference), partition_counts(reference, current)
    psi = estimate(divergence.population_stability_index(cells))
    assert psi.value == pytest.approx(plain_psi(r, c), rel=1e-12)
    assert psi.error_bound == 0
    p, q = c / c.sum(), r / r.sum()
    assert estimate(divergence.jensen_shannon_distance(cells)).value == pytest.approx(jensenshannon(p, q, 2), abs=1e-9)
    assert estimate(divergence.total_variation_distance(cells)).value == pytest.approx(np.abs(p - q).sum() / 2)
    hellinger = np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2)
    assert estimate(divergence.hellinger_distance(cells)).value == pytest.approx(hellinger)


@each_kind
def test_kolmogorov_smirnov_is_within_its_bound_of_scipy(kind: str) -> None:
    reference, current = sample(kind, 6_000, 3), sample(kind, 4_000, 4, shift=0.2)
    old, new = profiles(reference, current)
    found = estimate(divergence.kolmogorov_smirnov(old, new, atoms(old, new)))
    exact = ks_2samp(reference, current, method="asymp")
    assert found.error_bound is not None
    assert -1e-12 <= exact.statistic - found.value <= found.error_bound + 1e-12
    assert found.error_bound < 0.012
    if found.error_bound == 0:
        # SciPy corrects the asymptotic distribution for the number of rows; ours is Smirnov's own.
        assert found.p_value == pytest.approx(exact.pvalue, abs=0.02)


@each_kind
def test_wasserstein_is_within_its_bound_of_scipy(kind: str) -> None:
    reference, current = sample(kind, 6_000, 5), sample(kind, 4_000, 6, shift=0.2)
    old, new = profiles(reference, current)
    result = divergence.wasserstein_distance(old, new, atoms(old, new))
    if kind == "constant" or kind in OVERFLOWS:
        assert isinstance(result, Absent)
        assert result.reason == (Reason.REFERENCE_CONSTANT if kind == "constant" else Reason.OVERFLOW)
        return
    with np.errstate(under="ignore"):
        # In units that keep denormals away from zero.
        unit = standardise(reference).scale
        plain = wasserstein_distance(reference / unit, current / unit) / np.std(reference / unit)
    if kind == "denormal":
        assert isinstance(result, Absent)
        return
    found = estimate(result)
    assert found.error_bound is not None
    assert abs(found.value - plain) <= found.error_bound + 1e-6 * plain


@pytest.mark.parametrize(
    ("shift", "ks", "psi", "js"),
    [
        (0.05, 0.01995, 0.00240, 0.02079),
        (0.1, 0.03988, 0.00959, 0.04156),
        (0.2, 0.07966, 0.03831, 0.08296),
        (0.5, 0.19741, 0.23775, 0.20468),
    ],
)
def test_shifts_of_the_normal_distribution_have_their_closed_forms(
    shift: float, ks: float, psi: float, js: float
) -> None:
    # Quantiles of the distributions instead of draws: no chance is left.
    quantiles = norm.ppf((np.arange(400_000) + 0.5) / 400_000)
    old, new = profiles(quantiles, quantiles + shift)
    cells, both = divergence.decile_cells(old, new), atoms(old, new)
    found = estimate(divergence.kolmogorov_smirnov(old, new, both))
    assert found.error_bound is not None
    assert found.value == pytest.approx(ks, abs=1e-5 + found.error_bound)
    assert estimate(divergence.population_stability_index(cells)).value == pytest.approx(psi, abs=2e-5)
    assert estimate(divergence.jensen_shannon_distance(cells)).value == pytest.approx(js, abs=2e-5)
    distance = estimate(divergence.wasserstein_distance(old, new, both))
    assert distance.value == pytest.approx(shift, abs=1e-4)
    assert estimate(divergence.mean_shift(old, new)).value == pytest.approx(shift, abs=1e-4)


def test_the_published_earth_movers_distance_comes_out() -> None:
    np.random.seed(31)
    reference = np.random.normal(1, 1, 100)
    np.random.seed(31)
    current = np.random.normal(5, 2, 100)
    old, new = profiles(reference, current)
    found = estimate(divergence.wasserstein_distance(old, new, atoms(old, new)))
    assert found.error_bound is not None
    deviation = divergence.standard_deviation(old)
    assert found.value * deviation == pytest.approx(3.85346006, abs=found.error_bound * deviation)


@pytest.mark.parametrize("sizes", [(1_000, 1_000), (500, 5_000)])
def test_without_drift_psi_keeps_its_level_and_its_excess_is_about_zero(sizes: tuple[int, int]) -> None:
    rng, p_values, excess = np.random.default_rng(0), [], []
    for _ in range(400):
        old, new = profiles(rng.normal(size=sizes[1]), rng.normal(size=sizes[0]))
        result = estimate(divergence.psi_excess(divergence.decile_cells(old, new)))
        p_values.append(result.p_value)
        excess.append(result.value)
    # 5 % with three standard errors of 400 runs.
    assert np.mean(np.array(p_values, dtype=float) < 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert abs(np.mean(excess)) < 0.002


def test_chi_square_takes_the_reference_as_a_sample_as_scipy_does() -> None:
    rng = np.random.default_rng(0)
    r, c = rng.multinomial(700, [0.5, 0.3, 0.2]), rng.multinomial(300, [0.45, 0.3, 0.25])
    exact = chi2_contingency([r, c], correction=False)
    found = estimate(divergence.chi_square(CellCounts.of(r, c)))
    assert (found.value, found.p_value) == pytest.approx((exact.statistic, exact.pvalue))


def test_rare_categories_are_pooled_until_chi_square_holds_its_level() -> None:
    rng = np.random.default_rng(1)
    shares = np.array([0.4, 0.3, 0.2, *([0.1 / 50] * 50)])
    draws = [(rng.multinomial(400, shares), rng.multinomial(300, shares)) for _ in range(400)]
    p_values = [estimate(divergence.chi_square(CellCounts.of(r, c))).p_value for r, c in draws]
    rejected = np.mean(np.array(p_values, dtype=float) < 0.05)
    assert 0.02 < rejected < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_chi_square_of_one_category_is_not_applicable() -> None:
    cells = CellCounts.of(np.array([100, 0]), np.array([100, 0]))
    result = divergence.chi_square(cells)
    assert isinstance(result, Absent)
    assert result.reason == Reason.NOT_APPLICABLE


def test_values_outside_the_references_range_are_counted_exactly() -> None:
    reference = sample("normal", 1_000, 0)
    current = np.concatenate((sample("normal", 1_000, 1, 0.5), [np.inf, -np.inf, np.nan]))
    old, new = profiles(reference, current)
    found = estimate(divergence.out_of_range_ratio(old, new))
    values = current[~np.isnan(current)]
    assert found.n == values.size
    assert found.value == ((values < reference.min()) | (values > reference.max())).mean()


@pytest.mark.parametrize("kind", ["normal", "offset", "student", "clustered", "large_integers"])
def test_the_mean_shift_is_within_its_bound_of_exact_sums(kind: str) -> None:
    reference, current = sample(kind, 20_000, 0), sample(kind, 50_000, 1, 0.2)
    old, new = profiles(reference, current)
    found = estimate(divergence.mean_shift(old, new))
    centre = float(np.median(reference))
    means = [math.fsum((values - centre).tolist()) / values.size for values in (current, reference)]
    assert found.error_bound is not None
    assert 0 < found.error_bound < 1e-11
    truth = (means[0] - means[1]) / float(np.std(reference - centre))
    assert abs(found.value - truth) <= found.error_bound + 1e-15


def test_an_infinity_is_outside_unless_the_reference_has_the_same() -> None:
    reference, current = np.append(np.arange(100.0), np.inf), np.array([5.0, 200.0, np.inf, np.inf, -np.inf])
    assert estimate(divergence.out_of_range_ratio(*profiles(reference, current))).value == 2 / 5
    assert estimate(divergence.out_of_range_ratio(*profiles(-reference, -current))).value == 2 / 5
    assert estimate(divergence.out_of_range_ratio(*profiles(np.arange(100.0), current))).value == 4 / 5


def test_values_too_small_to_be_squared_have_no_unit_and_are_not_called_constant() -> None:
    old, new = profiles(np.arange(100.0) * 5e-324, np.arange(50.0) * 5e-324)
    both = atoms(old, new)
    for result in (divergence.wasserstein_distance(old, new, both), divergence.mean_shift(old, new)):
        assert isinstance(result, Absent)
        assert result.reason == Reason.OVERFLOW
        assert "too small" in result.detail


def test_missing_rates_are_compared_with_their_p_value() -> None:
    standardisation = standardise(sample("normal", 100, 0))
    old = NumericProfile.build(np.zeros(900), standardisation, null=100)
    new = NumericProfile.build(np.append(np.zeros(850), np.full(50, np.nan)), standardisation, null=100)
    found = estimate(divergence.missing_rate_difference(old, new))
    assert found.value == pytest.approx(0.05)
    assert found.p_value == pytest.approx(chi2_contingency([[900, 100], [850, 150]], correction=False).pvalue)


@pytest.mark.parametrize(
    ("reference", "current", "reason"),
    [
        (40, 0, Reason.NO_ROWS),
        (0, 40, Reason.REFERENCE_EMPTY),
        (29, 40, Reason.TOO_FEW_ROWS),
        (40, 29, Reason.TOO_FEW_ROWS),
    ],
)
def test_too_few_rows_are_a_result_with_a_reason(reference: int, current: int, reason: Reason) -> None:
    old, new = profiles(np.arange(float(reference)), np.arange(float(current)))
    cells, both = divergence.decile_cells(old, new), atoms(old, new)
    on_cells = (
        "population_stability_index",
        "psi_excess",
        "jensen_shannon_distance",
        "hellinger_distance",
        "chi_square",
    )
    for name in (*on_cells, "total_variation_distance"):
        result = getattr(divergence, name)(cells)
        assert isinstance(result, Absent)
        assert result.reason == reason
    for statistic in (divergence.kolmogorov_smirnov, divergence.wasserstein_distance):
        assert isinstance(statistic(old, new, both), Absent)
    assert isinstance(divergence.mean_shift(old, new), Absent)


@pytest.mark.parametrize("values", [[], [None] * 50, [float("nan")] * 50, [float("inf")] * 50, [1.0] * 50], ids=str)
def test_empty_and_broken_columns_have_no_statistic_that_is_not_a_number(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    old, new = profiles(array, sample("normal", 100, 0))
    cells, both = divergence.decile_cells(old, new), atoms(old, new)
    results = [
        divergence.population_stability_index(cells),
        divergence.jensen_shannon_distance(cells),
        divergence.kolmogorov_smirnov(old, new, both),
        divergence.wasserstein_distance(old, new, both),
        divergence.mean_shift(old, new),
        divergence.out_of_range_ratio(old, new),
        divergence.missing_rate_difference(old, new),
    ]
    for result in results:
        assert isinstance(result, Absent) or np.isfinite(result.value)


def test_a_long_tail_of_categories_does_not_look_drifted() -> None:
    """Names with a tail of x^-1.8: without Good's estimate of the unseen share PSI would be about 0.6 with no drift."""
    excess, significant = [], 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        names = [pa.array([f"c{int(x)}" for x in rng.pareto(0.8, rows)]) for rows in (1_500, 2_000)]
        known = reference_categories(names[0])
        old, new = (CategoricalProfile.build(values, known) for values in names)
        found = estimate(divergence.psi_excess(divergence.category_cells(old, new)))
        excess.append(found.value)
        assert found.p_value is not None
        significant += found.p_value < 0.05
    assert abs(np.mean(excess)) < 0.1
    assert significant <= 5


def test_the_share_of_unseen_categories_is_goods_estimate() -> None:
    old = CategoricalProfile.build(pa.array(["a"] * 60 + ["b"] * 36 + ["c", "d", "e", "f"]), tuple("abcdef"))
    new = CategoricalProfile.build(pa.array(["a"] * 60 + ["b"] * 36 + ["x"] * 4), tuple("abcdef"))
    cells = divergence.category_cells(old, new)
    # 4 of 100 rows are of names seen once: 4 % of the next rows are expected to be of names never seen.
    assert cells.reference.tolist() == pytest.approx([57.6, 34.56, 0.96, 0.96, 0.96, 0.96, 4.0])
    assert cells.current.tolist() == [60, 36, 0, 0, 0, 0, 4]
    unique = CategoricalProfile.build(pa.array([f"u{i}" for i in range(90)]), tuple(f"u{i}" for i in range(90)))
    others = CategoricalProfile.build(pa.array([f"v{i}" for i in range(90)]), unique.categories)
    assert estimate(divergence.population_stability_index(divergence.category_cells(unique, others))).value == 0


def test_new_and_missing_categories_are_cells_of_their_own() -> None:
    old = CategoricalProfile.build(pa.array(["a"] * 50 + ["b"] * 50), ("a", "b"))
    new = CategoricalProfile.build(pa.array(["a"] * 50 + ["c"] * 30 + [None] * 20), ("a", "b"))
    cells = divergence.category_cells(old, new)
    assert cells.reference.tolist() == [50, 50, 0, 0]
    assert cells.current.tolist() == [50, 0, 30, 20]
    assert estimate(divergence.new_category_ratio(new)).value == 0.3
    psi = estimate(divergence.population_stability_index(cells))
    assert psi.value == pytest.approx(plain_psi(cells.reference, cells.current))
