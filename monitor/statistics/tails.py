"""Tail probabilities of four distributions, without the second that importing SciPy takes a short command.

What lives here: closed forms, held to SciPy by tests. What must not: statistics.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

# Terms from here on are summed as arrays: below, that costs more than it spares.
_MANY = 64


def normal_tails(z: float) -> float:
    """P(|Z| ≥ |z|) of a standard normal Z."""
    return math.erfc(abs(z) / math.sqrt(2))


def chi_square_tail(value: float, degrees: int) -> float | None:
    """P(X ≥ value) of X ~ χ² with `degrees` of freedom; None for 0 degrees.

    With x = value / 2 it is Q(degrees / 2, x), and Q(a + 1, x) = Q(a, x) + xᵃ e⁻ˣ / Γ(a + 1) from Q(1, x) = e⁻ˣ or
    Q(1/2, x) = erfc(√x) (Abramowitz and Stegun 6.5.21).
    """
    if degrees <= 0:
        return None
    x = max(value, 0.0) / 2
    if x == 0 or math.isinf(x):
        return 1.0 if x == 0 else 0.0
    a = 1.0 if degrees % 2 == 0 else 0.5
    total = math.exp(-x) if a == 1 else math.erfc(math.sqrt(x))
    if degrees > _MANY:
        return min(total + _many_terms(x, np.arange(a, degrees / 2)), 1.0)
    while a < degrees / 2:
        total += math.exp(a * math.log(x) - x - math.lgamma(a + 1))
        a += 1
    return min(total, 1.0)


def _many_terms(x: float, a: npt.NDArray[np.float64]) -> float:
    """Σ xᵃ e⁻ˣ / Γ(a + 1): the largest term, and from there each next one by a factor, x / a upwards."""
    top = min(max(int(x - a[0]), 0), a.size - 1)
    largest = math.exp(a[top] * math.log(x) - x - math.lgamma(a[top] + 1))
    up, down = np.cumprod(x / a[top + 1 :]), np.cumprod(a[1 : top + 1][::-1] / x)
    return largest * (1 + float(up.sum()) + float(down.sum()))


def kolmogorov_tail(x: float) -> float:
    """P(K ≥ x) of Kolmogorov's distribution: 2 Σ_{k ≥ 1} (−1)^(k−1) exp(−2 k² x²); near 0 by Jacobi's identity."""
    if x <= 0:
        return 1.0
    if x < 1:
        # The series above converges slowly here, and this one at once.
        terms = (math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 8))
        return max(1 - math.sqrt(2 * math.pi) / x * sum(terms), 0.0)
    return min(2 * sum(math.exp(-2 * (k * x) ** 2) * (1 if k % 2 else -1) for k in range(1, 8)), 1.0)


def outside_tail(outside: int, rows: int, reference_rows: int) -> float:
    """P(K ≥ outside), K how many of `rows` values lie outside the range of `reference_rows` of the same distribution.

    Values without ties; with ties it is an upper bound. The two outermost of the gaps between the reference's values
    hold as many as its lowest two: K reaches k where of the k + 1 lowest of all values at most one is the reference's,

        (C(n, k + 1) + m C(n, k)) / C(n + m, k + 1),

    which is the tail of a beta-binomial distribution (n; 2, m − 1). 1 for a reference without values.
    """
    k, n, m = outside, rows, reference_rows
    if k <= 0 or m < 1:
        return 1.0
    if k > n:
        return 0.0
    every = _log_choose(n + m, k + 1)
    of_new = math.exp(_log_choose(n, k + 1) - every) if k < n else 0.0
    return min(of_new + math.exp(math.log(m) + _log_choose(n, k) - every), 1.0)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
