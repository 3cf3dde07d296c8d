"""Intervals around proportions and means.

What lives here: formulas on counts and sums. What must not: knowledge of metrics.
"""

from __future__ import annotations

from math import sqrt

LEVEL = 0.95
_Z = 1.959963984540054  # two-sided 95 % of the standard normal


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % interval of a proportion k/n (Wilson 1927); n ≥ 1. Stays inside [0, 1], valid at k = 0 and k = n."""
    p, z2 = successes / n, _Z * _Z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z * sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def mean_interval(total: float, squares: float, n: int) -> tuple[float, float]:
    """95 % interval of a mean from Σx, Σx² and n ≥ 2 by the normal approximation."""
    mean = total / n
    variance = max(squares / n - mean * mean, 0.0) * n / (n - 1)
    half = _Z * sqrt(variance / n)
    return mean - half, mean + half
