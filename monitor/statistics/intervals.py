"""Intervals around proportions, means, and statistics whose variance is known.

What lives here: formulas on counts and sums. What must not: knowledge of metrics.
"""

from __future__ import annotations

from math import sqrt

LEVEL = 0.95
_Z = 1.959963984540054  # two-sided 95 % of the standard normal
# Observations below which a normal approximation is not offered: the value then stands without an interval.
MINIMUM_N = 10


def wilson(successes: float, n: float) -> tuple[float, float]:
    """95 % interval of a proportion k/n (Wilson 1927); n > 0. Stays inside [0, 1], valid at k = 0 and k = n."""
    p, z2 = successes / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * sqrt(max(p * (1 - p), 0.0) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def mean_interval(total: float, squares: float, n: int) -> tuple[float, float]:
    """95 % interval of a mean from Σx, Σx² and n ≥ 2 by the normal approximation."""
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0) * n / (n - 1)
    return normal_interval(mean, variance / n)


def normal_interval(value: float, variance: float) -> tuple[float, float]:
    """value ± 1.96 √variance."""
    half = _Z * sqrt(variance)
    return value - half, value + half


def unit_interval(value: float, variance: float, typical: float) -> tuple[float, float]:
    """95 % interval of a statistic in [0, 1] with a known variance > 0: Wilson's, with the n that gives this variance.

    Like a proportion, such a statistic is skewed near 0 and 1, where value ± 1.96 √variance leaves [0, 1] and misses.
    `typical` in (0, 1) stands for the value where v(1 − v) is taken, so that 0 and 1 have an n as well.
    """
    effective = typical * (1 - typical) / variance
    return wilson(value * effective, effective)
