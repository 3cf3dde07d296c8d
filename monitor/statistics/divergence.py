"""How far a column moved from its reference: distances on cells that the reference fixed.

What lives here: cell probabilities and the distances between them, each with the bound of what the cells leave open.
What must not: evidence over time, verdicts, reading of rows.

A numeric column is compared between the deciles of its reference (`partition`). An independent computation takes the
deciles of the raw values (`np.quantile`), counts both samples between them, equal deciles once, a value that is two or
more of them by itself, infinities outermost; adds a cell for missing values; leaves out cells that are empty on both
sides; and must agree: counts between deciles are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.numeric import NumericProfile
from monitor.statistics.atoms import Atoms
from monitor.statistics.partition import decile_cuts
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.tails import chi_square_tail, kolmogorov_tail, normal_tails

Floats = npt.NDArray[np.float64]

# Below this many rows on either side no distance is stated: PSI's null expectation alone is then 0.6.
MINIMUM_ROWS = 30
# Pseudo-count that every cell gets in PSI, so that an empty cell is finite and small samples are not overstated.
PSEUDO_COUNT = 0.5
# Sums of rows in whatever order are this close to exact, as a share of the sum of absolute values.
SUM_ERROR = 1e-12
# Below this expected count χ² is not the distribution of Pearson's statistic.
EXPECTED_COUNT = 5.0


@dataclass(frozen=True, eq=False)
class CellCounts:
    """Counts of reference and current in the same cells, float64 [B]; no cell is empty on both sides."""

    reference: Floats
    current: Floats

    @cached_property
    def n(self) -> float:
        """Rows now."""
        return float(self.current.sum())

    @cached_property
    def m(self) -> float:
        """Rows of the reference."""
        return float(self.reference.sum())

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Shares of current and reference, float64 [B] each; both have rows."""
        return self.current / self.n, self.reference / self.m

    @classmethod
    def of(cls, reference: npt.NDArray[np.number], current: npt.NDArray[np.number]) -> CellCounts:
        """From counts in all cells [≥ B]."""
        used = (reference > 0) | (current > 0)
        return cls(reference[used].astype(np.float64), current[used].astype(np.float64))


def decile_cells(reference: NumericProfile, current: NumericProfile) -> CellCounts:
    """Both profiles counted between the reference's deciles, missing values as one more cell; exact."""
    cuts = decile_cuts(reference.standardisation)
    r, c = (np.append(cuts.count(profile), profile.missing) for profile in (reference, current))
    return CellCounts.of(r, c)


def category_cells(reference: CategoricalProfile, current: CategoricalProfile) -> CellCounts:
    """Counts per category of the reference, then other, then null.

    A category with one row in the reference is one that it nearly missed, and says how many rows are of categories that
    it did miss: as many as there are such ones (Good 1953). So many of the reference's rows count as other, taken from
    all categories alike. Without that, a column with a long tail would be called drifted for the names it always has.
    """
    r, c = (np.append(profile.counts, [profile.other, profile.null]) for profile in (reference, current))
    once, known = np.count_nonzero(reference.counts == 1), int(reference.counts.sum())
    if not once:
        return CellCounts.of(r, c)
    expected = np.append(reference.counts * (1 - once / known), [reference.other + once, reference.null])
    return CellCounts.of(expected, c)


def cells_of(
    reference: NumericProfile | CategoricalProfile,
    current: NumericProfile | CategoricalProfile,
    *,
    missing: bool = True,
) -> CellCounts:
    """Both profiles of a column in the cells of their kind, with or without that of missing values."""
    if isinstance(reference, NumericProfile) and isinstance(current, NumericProfile):
        cells = decile_cells(reference, current)
    else:
        assert isinstance(reference, CategoricalProfile)
        assert isinstance(current, CategoricalProfile)
        cells = category_cells(reference, current)
    # The cell of missing values is the last one, and there only if either side has any.
    last = cells.reference.size - (not missing and bool(reference.missing or current.missing))
    return CellCounts(cells.reference[:last], cells.current[:last])


def population_stability_index(cells: CellCounts) -> Result:
    """PSI = Σ (c − r) ln(c / r) over cell probabilities with a pseudo-count of 0.5 a cell; 0 to ∞.

    p-value of no drift from PSI / (1/n + 1/m) ~ χ² with B − 1 degrees of freedom. Absent below 30 rows a side.
    """
    absent = _too_few(cells)
    if absent is not None:
        return absent
    n, m, size = cells.n, cells.m, cells.current.size
    c, r = _smoothed(cells.current, n), _smoothed(cells.reference, m)
    value = float(np.sum((c - r) * np.log(c / r)))
    p_value = chi_square_tail(value / (1 / n + 1 / m), size - 1)
    return Estimate(value, int(n), p_value=p_value, error_bound=0.0)


def psi_excess(cells: CellCounts, index: Result | None = None) -> Result:
    """PSI less its expectation without drift, (B − 1)(1/n + 1/m); about 0 when nothing moved, may be negative.

    `index` is the population stability index of the same cells, where it is known already.
    """
    result = population_stability_index(cells) if index is None else index
    if isinstance(result, Absent):
        return result
    expected = (cells.current.size - 1) * (1 / cells.n + 1 / cells.m)
    return Estimate(result.value - expected, result.n, p_value=result.p_value, error_bound=result.error_bound)


def chi_square(cells: CellCounts) -> Result:
    """Pearson's statistic of homogeneity of two samples, Σ over cells and samples of (observed − expected)² / expected.

    Expected counts are row total × column total / all rows (a 2 × B table, without continuity correction), so that the
    reference counts as the sample that it is; 0 to n + m. p-value from χ² with B − 1 degrees of freedom. Cells with an
    expected count below 5 on either side are pooled, the rarest first (Cochran 1954). Absent below 30 rows a side, and
    not applicable with a single cell.
    """
    absent = _too_few(cells)
    if absent is not None:
        return absent
    r, c = _pooled(cells)
    n, m = c.sum(), r.sum()
    if r.size < 2:
        return Absent(Reason.NOT_APPLICABLE, int(n), "all rows are in one cell")
    # For two samples the sum has this short form.
    value = float(np.sum((c * np.sqrt(m / n) - r * np.sqrt(n / m)) ** 2 / (c + r)))
    return Estimate(value, int(n), p_value=chi_square_tail(value, r.size - 1), error_bound=0.0)


def jensen_shannon_distance(cells: CellCounts) -> Result:
    """√(Jensen–Shannon divergence, base 2) of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    c, r = cells.shares
    middle = (c + r) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log2(p / middle), 0.0) for p in (c, r)]
    divergence = float((terms[0] + terms[1]).sum()) / 2
    return Estimate(float(np.sqrt(min(max(divergence, 0.0), 1.0))), int(cells.n), error_bound=0.0)


def total_variation_distance(cells: CellCounts) -> Result:
    """½ Σ |c − r| of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    c, r = cells.shares
    return Estimate(float(np.abs(c - r).sum()) / 2, int(cells.n), error_bound=0.0)


def hellinger_distance(cells: CellCounts) -> Result:
    """√(½ Σ (√c − √r)²) of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    c, r = cells.shares
    square = float(((np.sqrt(c) - np.sqrt(r)) ** 2).sum()) / 2
    return Estimate(float(np.sqrt(square)), int(cells.n), error_bound=0.0)


def kolmogorov_smirnov(reference: NumericProfile, current: NumericProfile, both: Atoms) -> Result:
    """D = sup |F − G| over finite values; 0 to 1. Read at the ends of atoms: the exact D is at most `error_bound` more.

    p-value from the asymptotic distribution (Smirnov 1948). Absent below 30 finite values a side.
    """
    n, m = current.finite, reference.finite
    if min(n, m) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    (c, r), (f, g) = both.shares, both.cumulative
    value = float(np.max(np.abs(f - g)))
    # Inside a stretch the values of one sample may come wholly before those of the other.
    further = np.maximum(f - (g - r), g - (f - c))[~both.is_point]
    most = min(float(further.max(initial=value)), 1.0)
    p_value = kolmogorov_tail(float(np.sqrt(n * m / (n + m))) * value)
    return Estimate(value, n, p_value=p_value, error_bound=max(most - value, 0.0))


def wasserstein_distance(reference: NumericProfile, current: NumericProfile, both: Atoms) -> Result:
    """W₁ = ∫ |F − G| over finite values, in standard deviations of the reference; ≥ 0.

    Values are taken at the middle of their atoms; `error_bound` is half the atoms' width weighted by mass. Absent below
    30 finite values a side and for a constant reference.
    """
    n, m = current.finite, reference.finite
    if min(n, m) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    deviation = standard_deviation(reference)
    if deviation <= 0:
        return _without_deviation(reference, n)
    standardisation = reference.standardisation
    ends = np.array([min(reference.minimum, current.minimum), max(reference.maximum, current.maximum)])
    floor, ceiling = standardisation.exact_positions(ends)
    low, high = np.clip(both.low, floor, ceiling), np.clip(both.high, floor, ceiling)
    (c, r), (f, g) = both.shares, both.cumulative
    unit = standardisation.scale / deviation
    with np.errstate(over="ignore", invalid="ignore"):
        middle = low / 2 + high / 2
        gaps = np.abs(f - g)[:-1]
        value = float(np.dot(gaps, np.diff(middle))) * unit
        bound = float(np.dot(r + c, (high - low) / 2)) * unit
    if not (np.isfinite(deviation) and np.isfinite(value) and np.isfinite(bound)):
        return Absent(Reason.OVERFLOW, n)
    return Estimate(value, n, error_bound=bound)


def mean_shift(reference: NumericProfile, current: NumericProfile) -> Result:
    """(mean of current − mean of reference) in standard deviations of the reference; any sign.

    No cells: `error_bound` is what the rounding of the sums may add up to, 1e-12 of the mean distance from the centre.
    Absent below 30 finite values a side and for a constant reference.
    """
    n = current.finite
    if min(n, reference.finite) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    deviation = standard_deviation(reference)
    if deviation <= 0:
        return _without_deviation(reference, n)
    value = (current.total / n - reference.total / reference.finite) / deviation
    bound = SUM_ERROR * (current.absolute / n + reference.absolute / reference.finite) / deviation
    is_known = np.isfinite(deviation) and np.isfinite(value) and np.isfinite(bound)
    return Estimate(value, n, error_bound=bound) if is_known else Absent(Reason.OVERFLOW, n)


def out_of_range_ratio(reference: NumericProfile, current: NumericProfile) -> Result:
    """Share of values (null and NaN left out) below the reference's minimum or above its maximum; 0 to 1.

    An infinity is outside unless the reference has the same. Absent without values, and where the reference has no
    finite value.
    """
    values = current.rows - current.missing
    if not values:
        return Absent(Reason.NO_ROWS)
    if not reference.finite:
        return Absent(Reason.REFERENCE_EMPTY, values)
    below, up_to = current.counts_to_marks()
    inside = int(up_to[-1] - below[0])
    inside += current.positive_infinity if reference.positive_infinity else 0
    inside += current.negative_infinity if reference.negative_infinity else 0
    return Estimate((values - inside) / values, values, error_bound=0.0)


def missing_rate_difference(
    reference: NumericProfile | CategoricalProfile, current: NumericProfile | CategoricalProfile
) -> Result:
    """Share of missing values (null, NaN) now less that of the reference; −1 to 1. Absent without rows.

    p-value of equal rates from the score test of two proportions; None where neither has a missing value.
    """
    if not current.rows or not reference.rows:
        return Absent(Reason.NO_ROWS)
    n, m = current.rows, reference.rows
    difference = current.missing / n - reference.missing / m
    pooled = (current.missing + reference.missing) / (n + m)
    variance = pooled * (1 - pooled) * (1 / n + 1 / m)
    p_value = None if variance <= 0 else normal_tails(difference / float(np.sqrt(variance)))
    return Estimate(difference, n, p_value=p_value, error_bound=0.0)


def new_category_ratio(current: CategoricalProfile) -> Result:
    """Share of rows whose category has no count of its own in the reference; 0 to 1. Absent without rows."""
    return Estimate(current.other / current.rows, current.rows) if current.rows else Absent(Reason.NO_ROWS)


def _without_deviation(reference: NumericProfile, n: int) -> Absent:
    if reference.minimum == reference.maximum:
        return Absent(Reason.REFERENCE_CONSTANT, n)
    return Absent(Reason.OVERFLOW, n, "the squares of the reference's values are too small for float64")


def standard_deviation(profile: NumericProfile) -> float:
    """√(Σd²/n − (Σd/n)²) of the finite values; 0 for none, infinite where a square is beyond float64."""
    n = profile.finite
    if n == 0:
        return 0.0
    mean = profile.total / n
    variance = profile.squares / n - mean * mean
    return float(np.sqrt(max(variance, 0.0))) if np.isfinite(variance) else float("inf")


def _too_few(cells: CellCounts) -> Absent | None:
    n, m = int(cells.n), int(cells.m)
    if n == 0:
        return Absent(Reason.NO_ROWS)
    if m == 0:
        return Absent(Reason.REFERENCE_EMPTY, n)
    if min(n, m) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} rows a side")
    return None


def _smoothed(counts: Floats, total: float) -> Floats:
    return np.asarray((counts + PSEUDO_COUNT) / (total + PSEUDO_COUNT * counts.size))


def _pooled(cells: CellCounts) -> tuple[Floats, Floats]:
    """Reference and current counts with the rarest cells pooled until every expected count is 5 or more."""
    both = cells.reference + cells.current
    order = np.argsort(both, kind="stable")
    r, c = cells.reference[order], cells.current[order]
    share = min(c.sum(), r.sum()) / both.sum()
    small = int(np.searchsorted(both[order] * share, EXPECTED_COUNT))
    if small == 0:
        return r, c
    # The pool itself must be large enough; then one more cell joins it.
    while small < r.size and both[order][:small].sum() * share < EXPECTED_COUNT:
        small += 1
    return np.append(r[small:], r[:small].sum()), np.append(c[small:], c[:small].sum())
