"""Tail probabilities of three distributions, without the second that importing SciPy takes a short command.

What lives here: closed forms, held to SciPy by tests. What must not: statistics.
"""

from __future__ import annotations

import math


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
    while a < degrees / 2:
        total += math.exp(a * math.log(x) - x - math.lgamma(a + 1))
        a += 1
    return min(total, 1.0)


def kolmogorov_tail(x: float) -> float:
    """P(K ≥ x) of Kolmogorov's distribution: 2 Σ_{k ≥ 1} (−1)^(k−1) exp(−2 k² x²); near 0 by Jacobi's identity."""
    if x <= 0:
        return 1.0
    if x < 1:
        # The series above converges slowly here, and this one at once.
        terms = (math.exp(-((2 * k - 1) ** 2) * math.pi**2 / (8 * x * x)) for k in range(1, 8))
        return max(1 - math.sqrt(2 * math.pi) / x * sum(terms), 0.0)
    return min(2 * sum(math.exp(-2 * (k * x) ** 2) * (1 if k % 2 else -1) for k in range(1, 8)), 1.0)
