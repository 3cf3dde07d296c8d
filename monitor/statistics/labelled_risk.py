"""Evidence that a labelled risk rose: errors, or losses above the reference's own loss quantiles, as k of n.

What lives here: the two detectors on integer counts that evidence batches feed. What must not: how labels are joined,
tolerances of effects, alarms.

A prediction's first label enters once, in the order of arrival; a correction never does. One observation is opened at
most once per evidence interval, however many batches come within it, so a promised run length counts intervals.

Assumption of both detectors: whether and when a label arrives does not depend on the loss. Where it does (fraud, churn:
the bad ones are found first) no guarantee holds, and whoever shows the number must say so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv, gammaln, xlogy

from monitor.errors import DefectError
from monitor.profiles.losses import LossLimits, count_above, loss_limits
from monitor.statistics.evidence_counts import CellReference, Counts, EvidenceCounts, Floats
from monitor.statistics.sequential import Evidence, shiryaev_roberts

__all__ = [
    "count_above",
    "loss_reference",
    "loss_risks",
    "risk_changed",
    "risk_counts",
    "risk_exceeds",
    "risk_reference",
    "upper_bound",
]

# Odds of the risk under the alternatives, against its odds under the null.
_ODDS = (1.1, 1.2, 1.35, 1.6, 2.2, 4.0, 10.0)


def risk_reference(names: Sequence[str], above: Sequence[int], rows: Sequence[int]) -> CellReference:
    """Cells (happened, did not) of risks: `above[j]` of `rows[j]` labelled reference rows had risk j.

    One risk for errors; for a loss one per quantile in `LOSS_QUANTILES`. Raises DefectError for counts that cannot be.
    """
    counts = risk_counts(above, rows)
    return CellReference(tuple(names), (2,) * len(names), (0,) * len(names), counts)


def risk_counts(above: Sequence[int], rows: Sequence[int]) -> Counts:
    """Counts of an evidence batch as the detectors take them, int64 [2 J]: happened and not, risk by risk."""
    happened, total = np.asarray(above, dtype=np.int64), np.asarray(rows, dtype=np.int64)
    if happened.shape != total.shape or (happened < 0).any() or (happened > total).any():
        raise DefectError("risks that cannot be", expected="0 <= above <= rows", got=f"{above} of {rows}")
    return np.stack((happened, total - happened), axis=1).ravel()


def loss_risks(limits: LossLimits, prefix: str = "loss") -> CellReference:
    """Cells of the risks 'above the reference's own quantile', one per limit, as the reference itself filled them."""
    names = [f"{prefix} above its {quantile:.0%} quantile" for quantile in limits.quantiles]
    return risk_reference(names, limits.above, [limits.rows] * len(names))


def loss_reference(losses: Floats, prefix: str = "loss") -> tuple[tuple[float, ...], CellReference]:
    """Limits at the reference's own `LOSS_QUANTILES` of a loss, and how many of its losses were above each.

    The limits (and the counts) are stored with the reference: live losses are counted above the same ones. Raises
    DefectError without finite losses.
    """
    limits = loss_limits(losses)
    return limits.limits, loss_risks(limits, prefix)


def risk_changed(state: EvidenceCounts, reference: CellReference, design_effect: float = 1.0) -> Evidence:
    """Evidence against 'the risk since the start is what it was before', towards a higher one (Beta-predictive).

    e = Σ_odds w · p^k (1−p)^(n−k) / [B(a+k, b+n−k) / B(a, b)], a and b the counts above and below of the reference and
    of the stream before the start, + ½; p at the raised odds of a/(a+b). Null: exchangeability with all that came
    before, the rate one draw from the Beta(½, ½) prior. Guarantee: the run length holds on average over references and
    streams (a single unlucky reference may alarm more often, in proportion to how far it is off). It answers 'the risk
    changed', and absorbs a rise that stays: it decides that an alarm begins, never that one is over. Assumption: see
    the module. Source: predictive likelihood ratios summed as in Shin, Ramdas, Rinaldo (arXiv 2203.03532).
    """
    weighed = _pairs(state.since, design_effect)
    before = _pairs(reference.counts + state.total - state.since, design_effect) + 0.5
    a, b = before[..., 0], before[..., 1]
    null = _log_beta(a + weighed[..., 0], b + weighed[..., 1]) - _log_beta(a, b)
    return shiryaev_roberts(_raised(weighed, a / (a + b)) - null, state, reference)


def risk_exceeds(
    state: EvidenceCounts,
    reference: CellReference,
    tolerance: float = 0.01,
    confidence: float = 0.95,
    design_effect: float = 1.0,
) -> Evidence:
    """Evidence against 'the risk is at most the reference's upper bound plus the tolerance': 'worse than accepted'.

    p0 = Clopper–Pearson upper end at `confidence` (shared over the risks) + `tolerance` (absolute, 0–1);
    e = Σ_odds w · (p/p0)^k ((1−p)/(1−p0))^(n−k), p > p0. Null: every rate, even differing by batch, is at most p0.
    Guarantee: the run length holds for the user's own reference, in a share `confidence` of references. Assumption: see
    the module. Source: Podkopaev, Ramdas, 'Tracking the risk of a deployed model', arXiv 2110.06177, with the
    e-detector in place of its confidence sequence.
    """
    weighed = _pairs(state.since, design_effect)
    limit = np.minimum(upper_bound(reference, 1.0 - confidence, design_effect) + tolerance, 1.0 - 1e-9)
    null = xlogy(weighed[..., 0], limit) + xlogy(weighed[..., 1], 1.0 - limit)
    return shiryaev_roberts(_raised(weighed, limit) - null, state, reference)


def upper_bound(reference: CellReference, miss: float, design_effect: float = 1.0) -> Floats:
    """Clopper–Pearson upper bounds of the reference's risks, together right with probability 1 − `miss`, [J]."""
    known = _pairs(reference.counts[None], design_effect)[0]
    bound = betaincinv(known[:, 0] + 1.0, np.maximum(known[:, 1], 1e-12), 1.0 - miss / len(reference.names))
    return np.where(known[:, 1] == 0, 1.0, bound)


def _pairs(counts: Counts, design_effect: float) -> Floats:
    """Counts [S, 2 J] as [S, J, 2] over the design effect."""
    return np.asarray(counts.reshape(counts.shape[0], counts.shape[1] // 2, 2) / design_effect)


def _raised(weighed: Floats, base: Floats) -> Floats:
    """ln of the mixture over raised odds of p^k (1−p)^(n−k); `base` [J] or [S, J], result float64 [S, J]."""
    odds = np.asarray(_ODDS)[:, None, None] * np.atleast_2d(base / (1.0 - base))
    p = odds / (1.0 + odds)
    terms = xlogy(weighed[None, ..., 0], p) + xlogy(weighed[None, ..., 1], 1.0 - p)
    return np.asarray(np.logaddexp.reduce(terms, axis=0) - math.log(len(_ODDS)))


def _log_beta(a: Floats, b: Floats) -> Floats:
    return np.asarray(gammaln(a) + gammaln(b) - gammaln(a + b))
