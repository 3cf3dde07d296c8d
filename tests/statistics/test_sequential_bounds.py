"""Confidence sequences against published constants, and their coverage when they are looked at all the time."""

import math

import numpy as np
import pytest

from monitor.errors import DefectError
from monitor.statistics.confidence_sequences import (
    MeanEvidence,
    bernoulli_sequence,
    best_rho,
    best_rho_one_sided,
    beta_binomial_bound,
    beta_binomial_log_mixture,
    gamma_exponential_bound,
    gamma_exponential_log_mixture,
    mean_sequence,
    normal_bound,
    normal_log_mixture,
    observe_mean,
    one_sided_normal_bound,
    one_sided_normal_log_mixture,
    poly_stitching_bound,
    rate_sequence,
)
from monitor.statistics.result import Absent, Estimate, Reason

V, ALPHA = 100.0, 0.05
RHO = best_rho(V, ALPHA)
RHO_ONE_SIDED = best_rho_one_sided(V, ALPHA)
R = RHO - 0.2 * 0.8


@pytest.mark.parametrize(
    ("ours", "published"),
    [
        (RHO, 12.60056),
        (normal_log_mixture(10, V, RHO), -0.6510052),
        (normal_bound(V, ALPHA, RHO), 30.35209),
        (one_sided_normal_bound(V, ALPHA, RHO_ONE_SIDED), 27.66071),
        (gamma_exponential_bound(V, ALPHA, RHO_ONE_SIDED, 2.0), 33.02017),
        (beta_binomial_log_mixture(10, V, R, 0.2, 0.8), -0.6941012),
        (beta_binomial_bound(V, ALPHA, R, 0.2, 0.8), 31.4308),
        (poly_stitching_bound(V, ALPHA, 10.0, c=3.0), 64.48755),
    ],
)
def test_every_boundary_has_its_published_value(ours: float, published: float) -> None:
    assert ours == pytest.approx(published, abs=1e-5)


@pytest.mark.parametrize(
    ("successes", "n", "alpha", "t_optimal", "lower", "upper"),
    [
        (700, 1000, 0.05, 100, 0.651629, 0.745949),
        (15, 50, 0.05, 50, 0.129556, 0.511896),
        (5, 50, 0.05, 50, 0.013021, 0.269264),
        (1, 50, 0.05, 50, 0.0, 0.13489),
        (100, 200, 0.05, 1, 0.328923, 0.671076),
    ],
)
def test_the_sequence_of_a_rate_has_its_published_values(
    successes: int, n: int, alpha: float, t_optimal: float, lower: float, upper: float
) -> None:
    assert bernoulli_sequence(successes, n, alpha, t_optimal) == pytest.approx((lower, upper), abs=1e-5)


@pytest.mark.parametrize(
    ("mixture", "bound"),
    [
        (lambda s: normal_log_mixture(s, 40.0, 3.0), normal_bound(40.0, 0.01, 3.0)),
        (lambda s: one_sided_normal_log_mixture(s, 40.0, 3.0), one_sided_normal_bound(40.0, 0.01, 3.0)),
        (lambda s: gamma_exponential_log_mixture(s, 40.0, 3.0, 0.7), gamma_exponential_bound(40.0, 0.01, 3.0, 0.7)),
        (
            lambda s: beta_binomial_log_mixture(s, 40.0, 3.0, 0.1, 0.9, one_sided=True),
            beta_binomial_bound(40.0, 0.01, 3.0, 0.1, 0.9, one_sided=True),
        ),
    ],
)
def test_a_boundary_is_where_its_mixture_reaches_the_level(mixture, bound: float) -> None:
    assert mixture(bound) == pytest.approx(math.log(100), abs=1e-6)
    assert mixture(bound * 0.99) < math.log(100) < mixture(bound * 1.01)


def test_a_mixture_of_coin_flips_has_mean_one_over_all_outcomes() -> None:
    n, p = 12, 0.3
    mean = sum(
        math.comb(n, k)
        * p**k
        * (1 - p) ** (n - k)
        * math.exp(beta_binomial_log_mixture(k - n * p, n * p * (1 - p), 2.0, p, 1 - p))
        for k in range(n + 1)
    )
    assert mean == pytest.approx(1.0, abs=1e-9)


def test_a_rate_of_none_or_all_keeps_a_finite_interval() -> None:
    lower, upper = bernoulli_sequence(0, 100, 0.05, 100)
    assert lower == 0.0
    assert 0.0 < upper < 0.15
    lower, upper = bernoulli_sequence(100, 100, 0.05, 100)
    assert upper == 1.0
    assert 0.85 < lower < 1.0
    assert bernoulli_sequence(0, 0, 0.05, 100) == (0.0, 1.0)


def test_counts_that_cannot_be_are_refused() -> None:
    with pytest.raises(DefectError, match=r"counts that cannot be .*got 3 of 2"):
        bernoulli_sequence(3, 2, 0.05, 100)
    with pytest.raises(DefectError, match="rho needs a time and a level"):
        best_rho(0.0, 0.05)


def test_a_rate_looked_at_all_the_time_stays_inside_its_sequence() -> None:
    """A fixed-sample 95 % interval loses the truth in about 40 % of such runs; the sequence may in 5 %."""
    rng, n, runs, p = np.random.default_rng(7), 2000, 150, 0.1
    checked = np.unique(np.geomspace(20, n, 40).astype(int))
    lost = naive = 0
    for _ in range(runs):
        successes = np.cumsum(rng.random(n) < p)
        outside = False
        wald = False
        for t in map(int, checked):
            k = int(successes[t - 1])
            variance = t * p * (1 - p)
            r = best_rho(200 * p * (1 - p), 0.05) - p * (1 - p)
            outside |= beta_binomial_log_mixture(k - t * p, variance, r, p, 1 - p) >= math.log(20)
            wald |= abs(k - t * p) > 1.96 * math.sqrt(variance)
        lost, naive = lost + outside, naive + wald
    assert lost / runs <= 0.05
    assert naive / runs >= 0.2


def test_a_mean_looked_at_all_the_time_stays_inside_its_sequence_and_the_sequence_narrows() -> None:
    rng, runs, lost, widths = np.random.default_rng(11), 60, 0, []
    for _ in range(runs):
        state = MeanEvidence(guess=0.5, variance_guess=0.05)
        outside = False
        for _ in range(60):
            batch = rng.beta(2, 3, size=50)
            state = observe_mean(state, batch.size, float(batch.sum()), float(batch @ batch))
            result = mean_sequence(state, width=1.0)
            assert isinstance(result, Estimate)
            assert result.lower is not None
            assert result.upper is not None
            outside |= not result.lower <= 0.4 <= result.upper
        lost += outside
        widths.append(result.upper - result.lower)
    assert lost / runs <= 0.05
    assert max(widths) < 0.05


def test_the_variance_of_a_mean_is_taken_about_what_was_known_before() -> None:
    state = observe_mean(MeanEvidence(guess=1.0, variance_guess=1.0), 2, 4.0, 10.0)
    assert state.variance == pytest.approx((1 - 1) ** 2 + (3 - 1) ** 2)
    assert state.predicted == pytest.approx((1 + 1 + 3) / 3)


def test_without_labels_the_sequences_are_absent_for_a_reason() -> None:
    assert rate_sequence(0, 0) == Absent(Reason.NO_LABELS)
    assert rate_sequence(1, 5, minimum=10) == Absent(Reason.TOO_FEW_LABELS, 5)
    assert mean_sequence(MeanEvidence(0.5, 0.1), 1.0) == Absent(Reason.NO_LABELS)
