"""Confidence sequences: intervals that hold at every sample size at once, however often they are looked at.

What lives here: time-uniform boundaries for sums (normal mixture, beta-binomial mixture, gamma-exponential mixture,
polynomial stitching) and the sequences for a rate and for a bounded mean built on them; pure functions of sums. What
must not: state, decisions, tolerances.

Throughout s is a centred sum, v its intrinsic time (variance process), and a mixture is the logarithm of a
supermartingale that starts at 0: by Ville's inequality it ever exceeds ln(1/α) with probability at most α.

Source of all boundaries: Howard, Ramdas, McAuliffe, Sekhon, 'Time-uniform, nonparametric, nonasymptotic confidence
sequences', Annals of Statistics 49 (2021), and 'Time-uniform Chernoff bounds via nonnegative supermartingales',
Probability Surveys 17 (2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from scipy.optimize import brentq
from scipy.special import betainc, betaln, gammainc, gammaln, log_ndtr, zeta

from monitor.errors import DefectError
from monitor.statistics.result import Absent, Estimate, Reason, Result

_SMALLEST_PROBABILITY = 1e-9


def best_rho(v_optimal: float, alpha: float) -> float:
    """The mixing precision ρ that makes the two-sided normal mixture about tightest at intrinsic time `v_optimal`.

    ρ = v / (2 ln(1/α) + ln(1 + 2 ln(1/α))). Raises DefectError unless v_optimal > 0 and 0 < α < 1.
    """
    if not (v_optimal > 0 and 0 < alpha < 1):
        raise DefectError("rho needs a time and a level", expected="v > 0, 0 < alpha < 1", got=f"{v_optimal}, {alpha}")
    nats = math.log(1 / alpha)
    return v_optimal / (2 * nats + math.log1p(2 * nats))


def best_rho_one_sided(v_optimal: float, alpha: float) -> float:
    """ρ for the one-sided mixtures: that of the two-sided one at twice the level (α < 1/2)."""
    return best_rho(v_optimal, 2 * alpha)


def normal_log_mixture(s: float, v: float, rho: float) -> float:
    """Two-sided normal mixture, ½ ln(ρ/(v+ρ)) + s²/(2(v+ρ)), in nats.

    Null: s has mean 0. Assumption: s is sub-Gaussian with variance process v (bounded or normal increments).
    """
    return 0.5 * math.log(rho / (v + rho)) + s * s / (2 * (v + rho))


def normal_bound(v: float, alpha: float, rho: float) -> float:
    """Boundary of |s| at time v: sqrt((v+ρ)(ln((v+ρ)/ρ) + 2 ln(1/α))); crossed ever with probability at most α."""
    return math.sqrt((v + rho) * (math.log((v + rho) / rho) + 2 * math.log(1 / alpha)))


def one_sided_normal_log_mixture(s: float, v: float, rho: float) -> float:
    """One-sided normal mixture (half-normal prior), ½ ln(4ρ/(v+ρ)) + s²/(2(v+ρ)) + ln Φ(s/√(v+ρ)), in nats."""
    scale = v + rho
    tail = float(log_ndtr(s / math.sqrt(scale)))
    return 0.5 * math.log(4 * rho / scale) + s * s / (2 * scale) + tail


def one_sided_normal_bound(v: float, alpha: float, rho: float) -> float:
    """Boundary of s (upper side only) at time v under the one-sided normal mixture."""
    return _root_above(lambda s: one_sided_normal_log_mixture(s, v, rho), alpha, normal_bound(v, alpha, rho))


def gamma_exponential_log_mixture(s: float, v: float, rho: float, c: float) -> float:
    """One-sided gamma-exponential mixture, in nats, for sums that are sub-exponential with scale c.

    Null: E s ≤ 0. Assumption: exp(λs − v(−ln(1−cλ) − cλ)/c²) is a supermartingale for 0 ≤ λ < 1/c, which empirical
    Bernstein sums of increments bounded below by −c satisfy. Mixture over λ by a gamma prior truncated at 1/c.
    """
    shape, scaled_time, scaled_sum = rho / c**2, (v + rho) / c**2, (c * s + v + rho) / c**2
    prior = shape * math.log(shape) - gammaln(shape) - math.log(gammainc(shape, shape))
    if scaled_sum <= 0:
        return -math.inf
    below = gammainc(scaled_time, scaled_sum)
    if below <= 0:
        return -math.inf
    posterior = gammaln(scaled_time) + math.log(below) - scaled_time * math.log(scaled_sum)
    return float(prior + posterior + scaled_sum - shape)


def gamma_exponential_bound(v: float, alpha: float, rho: float, c: float) -> float:
    """Boundary of s at time v under the gamma-exponential mixture with scale c."""
    return _root_above(lambda s: gamma_exponential_log_mixture(s, v, rho, c), alpha, normal_bound(v, alpha, rho))


def beta_binomial_log_mixture(s: float, v: float, r: float, g: float, h: float, one_sided: bool = False) -> float:
    """Beta-binomial mixture, in nats, for sums of centred increments within [−g, h].

    For k successes among n with null rate p: g = p, h = 1 − p, s = k − np, v = np(1−p). `r` > 0 is the mixing
    precision; the source takes r = ρ − gh. Null: mean 0. Assumption: increments within [−g, h]; exact for Bernoulli.
    """
    total = g + h
    upper = h / total if one_sided else 1.0
    successes, failures = (v + h * s) / (h * total), (v - g * s) / (g * total)
    prior = _log_incomplete_beta(r / (g * total), r / (h * total), upper)
    posterior = _log_incomplete_beta((r + v - g * s) / (g * total), (r + v + h * s) / (h * total), upper)
    null = v / (g * h) * math.log(total) - successes * math.log(g) - failures * math.log(h)
    return null + posterior - prior


def beta_binomial_bound(v: float, alpha: float, r: float, g: float, h: float, one_sided: bool = False) -> float:
    """Boundary of s at time v under the beta-binomial mixture; at most v/g, the largest s there is."""
    largest = v / g

    def excess(s: float) -> float:
        return beta_binomial_log_mixture(s, v, r, g, h, one_sided) - math.log(1 / alpha)

    if excess(largest) <= 0:
        return largest
    return float(brentq(excess, 0.0, largest, xtol=1e-10))


def poly_stitching_bound(
    v: float, alpha: float, v_min: float, c: float = 0.0, s: float = 1.4, eta: float = 2.0
) -> float:
    """Polynomial stitched boundary at time v, of the order of the law of the iterated logarithm.

    sqrt(k1² v l + k2² c² l²) + k2 c l with l = s ln ln(ηv/v_min) + ln(ζ(s)/(α lnˢ η)), k1 = (η^¼+η^−¼)/√2,
    k2 = (√η+1)/2; v is taken as at least v_min. Assumption: sub-gamma sums with scale c (c = 0: sub-Gaussian).
    """
    time = max(v, v_min)
    k1, k2 = (eta**0.25 + eta**-0.25) / math.sqrt(2), (math.sqrt(eta) + 1) / 2
    level = s * math.log(math.log(eta * time / v_min)) + math.log(float(zeta(s)) / (alpha * math.log(eta) ** s))
    return math.sqrt(k1**2 * time * level + (k2 * c * level) ** 2) + k2 * c * level


def bernoulli_sequence(successes: int, n: int, alpha: float, t_optimal: float) -> tuple[float, float]:
    """Interval of a rate in [0, 1] from k of n: {p : beta-binomial mixture(k − np, np(1−p)) < ln(1/α)}.

    Guarantee: with probability at least 1 − α the rate is inside at every n at once. Assumption: the outcomes are
    Bernoulli given the past, with one rate. `t_optimal` is the n at which it is about tightest. (0, 1) for n = 0.
    Raises DefectError for counts that cannot be.
    """
    if not 0 <= successes <= n:
        raise DefectError("counts that cannot be", expected="0 <= successes <= n", got=f"{successes} of {n}")
    if n == 0:
        return 0.0, 1.0
    limit = math.log(1 / alpha)

    def excess(p: float) -> float:
        variance = p * (1 - p)
        r = best_rho(t_optimal * variance, alpha) - variance
        # t_optimal below about 7 leaves no positive precision; the least positive one is still a valid mixture.
        r = max(r, 1e-3 * variance)
        return beta_binomial_log_mixture(successes - n * p, n * variance, r, p, 1 - p) - limit

    rate, edge = successes / n, _SMALLEST_PROBABILITY
    inside = min(max(rate, edge), 1 - edge)
    lower = 0.0 if excess(edge) <= 0 or inside <= edge else float(brentq(excess, edge, inside, xtol=1e-12))
    upper = 1.0 if excess(1 - edge) <= 0 or inside >= 1 - edge else float(brentq(excess, inside, 1 - edge, xtol=1e-12))
    return lower, upper


def rate_sequence(successes: int, n: int, alpha: float = 0.05, t_optimal: float = 1000.0, minimum: int = 1) -> Result:
    """Accuracy (or any rate) with its confidence sequence, as a result; absent below `minimum` labels."""
    if n < max(minimum, 1):
        return Absent(Reason.TOO_FEW_LABELS if n else Reason.NO_LABELS, n)
    lower, upper = bernoulli_sequence(successes, n, alpha, t_optimal)
    return Estimate(successes / n, n, lower=lower, upper=upper, level=1 - alpha)


@dataclass(frozen=True, slots=True)
class MeanEvidence:
    """What the confidence sequence of a bounded mean remembers: n, Σx and Σ(x − x̂)² with x̂ the earlier batches' mean.

    `guess` is the mean expected before any data (the reference's), within the range, and `variance_guess` its variance:
    fixed in advance, since a boundary tuned on the data it bounds guarantees nothing.
    """

    guess: float
    variance_guess: float
    n: int = 0
    total: float = 0.0
    variance: float = 0.0

    @property
    def predicted(self) -> float:
        """The mean of what came before, with the guess as one observation: what the next batch is centred on."""
        return (self.guess + self.total) / (1 + self.n)


def observe_mean(state: MeanEvidence, n: int, total: float, squares: float) -> MeanEvidence:
    """State after a batch of n values with Σx = `total`, Σx² = `squares`, in order of arrival of batches."""
    centre = state.predicted
    spread = max(squares - 2 * centre * total + n * centre * centre, 0.0)
    return replace(state, n=state.n + n, total=state.total + total, variance=state.variance + spread)


def mean_sequence(state: MeanEvidence, width: float, alpha: float = 0.05, n_optimal: float = 1000.0) -> Result:
    """Mean of values within a range of `width`, with an empirical-Bernstein confidence sequence.

    mean ± bound(v)/n, bound of the gamma-exponential mixture at α/2 and scale c = width, v = Σ(x − x̂)². Guarantee: with
    probability 1 − α the average of the conditional means is inside at every n at once. Assumption: values lie in a
    range of `width` that was known in advance (for cross-entropy with clipped probabilities −ln 1e-15 ≈ 34.5), and
    which labels arrive does not depend on the loss. Absent while n = 0. Source: Howard et al. (2021), Theorem 4.
    """
    if state.n == 0:
        return Absent(Reason.NO_LABELS)
    rho = best_rho_one_sided(n_optimal * max(state.variance_guess, 1e-6 * width**2), alpha / 2)
    bound = gamma_exponential_bound(max(state.variance, 1e-12), alpha / 2, rho, width) / state.n
    mean = state.total / state.n
    return Estimate(mean, state.n, lower=mean - bound, upper=mean + bound, level=1 - alpha)


def _log_incomplete_beta(a: float, b: float, upper: float) -> float:
    """ln ∫₀^upper x^(a−1) (1−x)^(b−1) dx."""
    if upper >= 1.0:
        return float(betaln(a, b))
    return float(betaln(a, b)) + math.log(float(betainc(a, b, upper)))


def _root_above(log_mixture: Callable[[float], float], alpha: float, start: float) -> float:
    """The s > 0 where an increasing log-mixture reaches ln(1/α); doubles `start` until it is bracketed."""
    limit, high = math.log(1 / alpha), start
    while log_mixture(high) < limit:
        high *= 2
    return float(brentq(lambda s: log_mixture(s) - limit, 0.0, high, xtol=1e-10))
