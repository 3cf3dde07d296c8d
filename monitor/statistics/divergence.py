"""How far a column moved from its reference: distances on cells that the reference fixed.

What lives here: cell probabilities and the distances between them, each with the bound of what the cells leave open.
What must not: evidence over time, verdicts, reading of rows.

A numeric column is compared on the reference's deciles. An independent computation takes the deciles of the raw values
of the reference (`np.quantile`), counts both samples between them (equal edges dropped; infinities outermost), adds a
cell for missing values if either has any, and must agree within `error_bound`: the deciles are known to a lattice
cell only, so the rows in that cell may belong to either side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.numeric import NumericProfile
from monitor.statistics.result import Absent, Estimate, Reason, Result

Floats = npt.NDArray[np.float64]

# Below this many rows on either side no distance is stated: PSI's null expectation alone is then 0.6.
MINIMUM_ROWS = 30
DECILES = 10
# Pseudo-count that every cell gets in PSI, so that an empty cell is finite and small samples are not overstated.
PSEUDO_COUNT = 0.5

_Term = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True, eq=False)
class CellCounts:
    """Counts of reference and current in the same cells, float64 [B], and how many of each may lie one cell further."""

    reference: Floats
    current: Floats
    reference_slack: Floats
    current_slack: Floats


def decile_cells(reference: NumericProfile, current: NumericProfile) -> CellCounts:
    """Both profiles counted between the reference's deciles, missing values as one more cell if there are any."""
    cells = np.union1d(reference.cells, current.cells).astype(np.uint32)
    order = np.argsort(reference.standardisation.order(cells), kind="stable")
    r = _aligned(cells, reference)[order]
    c = _aligned(cells, current)[order]
    cumulative = np.cumsum(r)
    # Order statistics k and k+1 (from 1) enclose each decile of np.quantile's default definition.
    position = np.arange(1, DECILES) / DECILES * (reference.finite - 1)
    low = np.searchsorted(cumulative, np.floor(position) + 1)
    high = np.searchsorted(cumulative, np.minimum(np.floor(position) + 2, reference.finite))
    low, first = np.unique(low, return_index=True)
    high = high[first]
    # An edge at the very last cell cuts nothing off.
    keep = low < cells.size - 1
    low, high = low[keep], high[keep]
    bins = np.searchsorted(low, np.arange(cells.size), side="left")
    count = low.size + 1
    rows: list[Floats] = [np.bincount(bins, weights=w, minlength=count).astype(np.float64) for w in (r, c)]
    slack: list[Floats] = []
    for weights in (r, c):
        total = np.concatenate(([0.0], np.cumsum(weights)))
        edge = total[high + 1] - total[low]
        both = np.zeros(count)
        both[:-1] += edge
        both[1:] += edge
        slack.append(both)
    for row, profile in zip(rows, (reference, current), strict=True):
        row[0] += profile.negative_infinity
        row[-1] += profile.positive_infinity
    if reference.missing or current.missing:
        rows = [np.append(row, profile.missing) for row, profile in zip(rows, (reference, current), strict=True)]
        slack = [np.append(item, 0.0) for item in slack]
    return CellCounts(rows[0], rows[1], slack[0], slack[1])


def category_cells(reference: CategoricalProfile, current: CategoricalProfile) -> CellCounts:
    """Counts per category of the reference, then other, then null; a cell empty on both sides is left out."""
    r = np.concatenate([reference.counts, [reference.other, reference.null]]).astype(np.float64)
    c = np.concatenate([current.counts, [current.other, current.null]]).astype(np.float64)
    used = (r > 0) | (c > 0)
    nothing = np.zeros(int(used.sum()))
    return CellCounts(r[used], c[used], nothing, nothing)


def population_stability_index(cells: CellCounts) -> Result:
    """PSI = Σ (c − r) ln(c / r) over cell probabilities with a pseudo-count of 0.5 a cell; 0 to ∞.

    p-value of no drift from PSI / (1/n + 1/m) ~ χ² with B − 1 degrees of freedom. Absent below 30 rows a side.
    """
    absent = _too_few(cells)
    if absent is not None:
        return absent
    value, bound = _bounded(cells, _psi_term, PSEUDO_COUNT)
    n, m = float(cells.current.sum()), float(cells.reference.sum())
    return Estimate(
        value, int(n), p_value=_chi_square_tail(value / (1 / n + 1 / m), cells.current.size - 1), error_bound=bound
    )


def psi_excess(cells: CellCounts) -> Result:
    """PSI less its expectation without drift, (B − 1)(1/n + 1/m); about 0 when nothing moved, may be negative."""
    result = population_stability_index(cells)
    if isinstance(result, Absent):
        return result
    n, m = float(cells.current.sum()), float(cells.reference.sum())
    expected = (cells.current.size - 1) * (1 / n + 1 / m)
    return Estimate(result.value - expected, result.n, p_value=result.p_value, error_bound=result.error_bound)


def jensen_shannon_distance(cells: CellCounts) -> Result:
    """√(Jensen–Shannon divergence, base 2) of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    divergence, bound = _bounded(cells, _js_term, 0.0)
    value = float(np.sqrt(max(divergence, 0.0)))
    upper = float(np.sqrt(divergence + bound)) - value
    lower = value - float(np.sqrt(max(divergence - bound, 0.0)))
    return Estimate(value, int(cells.current.sum()), error_bound=max(upper, lower))


def total_variation_distance(cells: CellCounts) -> Result:
    """½ Σ |c − r| of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    value, bound = _bounded(cells, lambda c, r: np.abs(c - r) / 2, 0.0)
    return Estimate(value, int(cells.current.sum()), error_bound=bound)


def hellinger_distance(cells: CellCounts) -> Result:
    """√(½ Σ (√c − √r)²) of the cell shares; 0 to 1. Absent below 30 rows a side."""
    absent = _too_few(cells)
    if absent is not None:
        return absent
    square, bound = _bounded(cells, lambda c, r: (np.sqrt(c) - np.sqrt(r)) ** 2 / 2, 0.0)
    value = float(np.sqrt(max(square, 0.0)))
    upper = float(np.sqrt(square + bound)) - value
    return Estimate(
        value, int(cells.current.sum()), error_bound=max(upper, value - float(np.sqrt(max(square - bound, 0))))
    )


def kolmogorov_smirnov(reference: NumericProfile, current: NumericProfile) -> Result:
    """D = sup |F − G| over finite values; 0 to 1. Read at the ends of cells: the exact D is at most `error_bound` more.

    p-value from the asymptotic distribution (Smirnov 1948). Absent below 30 finite values a side.
    """
    n, m = current.finite, reference.finite
    if min(n, m) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    r, c, _ = _distribution(reference, current)
    f, g = np.cumsum(c), np.cumsum(r)
    value = float(np.max(np.abs(f - g)))
    # Inside a cell one sample may come wholly before the other.
    before_f, before_g = f - c, g - r
    upper = float(max(np.max(f - before_g), np.max(g - before_f)))
    from scipy.special import kolmogorov

    p = float(kolmogorov(np.sqrt(n * m / (n + m)) * value))
    return Estimate(value, n, p_value=p, error_bound=max(min(upper, 1.0) - value, 0.0) + 1e-12)


def wasserstein_distance(reference: NumericProfile, current: NumericProfile) -> Result:
    """W₁ = ∫ |F − G| over finite values, in standard deviations of the reference; ≥ 0.

    Values are taken at the middle of their cells; `error_bound` is half the cells' width weighted by mass. Absent below
    30 finite values a side and for a constant reference.
    """
    n = current.finite
    if min(n, reference.finite) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    deviation = standard_deviation(reference)
    if deviation <= 0:
        return Absent(Reason.REFERENCE_CONSTANT, n)
    r, c, cells = _distribution(reference, current)
    low, high = reference.standardisation.edges(cells)
    floor = min(reference.minimum, current.minimum)
    ceiling = max(reference.maximum, current.maximum)
    low, high = np.clip(low, floor, ceiling), np.clip(high, floor, ceiling)
    middle = low / 2 + high / 2
    gaps = np.abs(np.cumsum(c) - np.cumsum(r))[:-1]
    value = float(np.dot(gaps, np.diff(middle))) / deviation
    bound = float(np.dot(r + c, (high - low) / 2)) / deviation
    if not np.isfinite(value) or not np.isfinite(bound):
        return Absent(Reason.OVERFLOW, n)
    return Estimate(value, n, error_bound=bound)


def mean_shift(reference: NumericProfile, current: NumericProfile) -> Result:
    """(mean of current − mean of reference) in standard deviations of the reference; any sign.

    Absent below 30 finite values a side and for a constant reference.
    """
    n = current.finite
    if min(n, reference.finite) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} finite values a side")
    deviation = standard_deviation(reference)
    if deviation <= 0:
        return Absent(Reason.REFERENCE_CONSTANT, n)
    value = (current.total / n - reference.total / reference.finite) / deviation
    return Estimate(value, n) if np.isfinite(value) else Absent(Reason.OVERFLOW, n)


def missing_rate_difference(
    reference: NumericProfile | CategoricalProfile, current: NumericProfile | CategoricalProfile
) -> Result:
    """Share of missing values (null, NaN) now less that of the reference; −1 to 1. Absent without rows."""
    if not current.rows or not reference.rows:
        return Absent(Reason.NO_ROWS)
    return Estimate(current.missing / current.rows - reference.missing / reference.rows, current.rows)


def new_category_ratio(current: CategoricalProfile) -> Result:
    """Share of rows whose category has no count of its own in the reference; 0 to 1. Absent without rows."""
    return Estimate(current.other / current.rows, current.rows) if current.rows else Absent(Reason.NO_ROWS)


def standard_deviation(profile: NumericProfile) -> float:
    """√(Σd²/n − (Σd/n)²) of the finite values; 0 for none."""
    n = profile.finite
    if n == 0:
        return 0.0
    return float(np.sqrt(max(profile.squares / n - (profile.total / n) ** 2, 0.0)))


def _too_few(cells: CellCounts) -> Absent | None:
    n, m = int(cells.current.sum()), int(cells.reference.sum())
    if n == 0:
        return Absent(Reason.NO_ROWS)
    if m == 0:
        return Absent(Reason.REFERENCE_EMPTY, n)
    if min(n, m) < MINIMUM_ROWS:
        return Absent(Reason.TOO_FEW_ROWS, n, f"at least {MINIMUM_ROWS} rows a side")
    return None


def _bounded(cells: CellCounts, term: _Term, pseudo: float) -> tuple[float, float]:
    """Σ term(c, r) and how far it may be off, by the extremes of every cell's term over its slack.

    All terms used are jointly convex and 0 exactly where c = r: over a box the largest value is at a corner, the
    smallest is 0 where the intervals overlap and otherwise at the corner where they are nearest.
    """
    size = cells.current.size
    n, m = cells.current.sum() + pseudo * size, cells.reference.sum() + pseudo * size

    def shares(counts: Floats, total: float) -> Floats:
        return (np.maximum(counts, 0.0) + pseudo) / total

    c, r = shares(cells.current, n), shares(cells.reference, m)
    c_low, c_high = shares(cells.current - cells.current_slack, n), shares(cells.current + cells.current_slack, n)
    r_low = shares(cells.reference - cells.reference_slack, m)
    r_high = shares(cells.reference + cells.reference_slack, m)
    value = term(c, r)
    corners = np.stack([term(a, b) for a in (c_low, c_high) for b in (r_low, r_high)])
    overlap = (c_low <= r_high) & (r_low <= c_high)
    nearest = np.where(overlap, 0.0, np.minimum(term(c_low, r_high), term(c_high, r_low)))
    bound = float(np.sum(np.maximum(corners.max(axis=0) - value, value - nearest)))
    exact = not (cells.current_slack.any() or cells.reference_slack.any())
    return float(value.sum()), 0.0 if exact else bound + 1e-12


def _psi_term(c: Floats, r: Floats) -> Floats:
    return (c - r) * np.log(c / r)


def _js_term(c: Floats, r: Floats) -> Floats:
    middle = (c + r) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = [np.where(p > 0, p * np.log2(p / middle), 0.0) for p in (c, r)]
    return (terms[0] + terms[1]) / 2


def _chi_square_tail(value: float, degrees: int) -> float | None:
    from scipy.special import chdtrc

    return float(chdtrc(degrees, value)) if degrees > 0 else None


def _aligned(cells: npt.NDArray[np.uint32], profile: NumericProfile) -> Floats:
    counts = np.zeros(cells.size)
    counts[np.searchsorted(cells, profile.cells)] = profile.counts
    return counts


def _distribution(reference: NumericProfile, current: NumericProfile) -> tuple[Floats, Floats, npt.NDArray[np.uint32]]:
    """Shares of reference and current on their common cells in order of value, and these cells."""
    cells = np.union1d(reference.cells, current.cells).astype(np.uint32)
    order = np.argsort(reference.standardisation.order(cells), kind="stable")
    r = _aligned(cells, reference)[order] / reference.finite
    c = _aligned(cells, current)[order] / current.finite
    return r, c, cells[order]
