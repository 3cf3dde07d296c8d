"""Evidence of drift that survives being looked at for ever: e-detectors on counts in the reference's cells.

What lives here: the composite-null detector, which decides alarms, and the stream-predictive one, which warns early;
pure functions of the counts in `evidence_counts`. What must not: thresholds and budgets (`multiplicity`), alarms, any
reading of profiles.

Both sum Shiryaev–Roberts evidence over the live starts of each column, R_c = Σ_s e_s, and average R_c over the columns.
If each e_s is at most a likelihood ratio, R_c minus the number of observations opened is a supermartingale for every
column whatever the columns have to do with each other, and so is their mean: the expected number of observations to the
first time that it reaches T is at least T. Source: Shin, Ramdas, Rinaldo, 'E-detectors: a nonparametric framework for
sequential change detection', arXiv 2203.03532; the composite null after Wasserman, Ramdas, Balakrishnan, 'Universal
inference', PNAS 117 (2020).

Assumption of both: given the past, the rows of an observation (divided by the design effect) are drawn independently.
Real traffic breathes and repeats itself, which is why one observation is a whole season by default (`seasons`), and why
`independence` measures a design effect. Where the assumption fails no promised run length holds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln, logsumexp, ndtri, xlogy
from scipy.stats import chi2

from monitor.errors import DefectError
from monitor.statistics.evidence_counts import CellReference, EvidenceCounts, Floats

# What drift may look like: the numerator is a mixture of these. Any choice keeps the guarantee; these cost about 2 nats
# and save 2 to 10 on shifts of 0.1 to 0.5 standard deviations, against Dirichlet mixtures alone.
_SHIFTS = (-0.5, -0.25, -0.12, 0.12, 0.25, 0.5)
_MISSING_LOG_ODDS = 1.8
_SHIFT_WEIGHT, _MISSING_WEIGHT = 0.5, 0.1
_CONCENTRATIONS = (30.0, 100.0, 400.0)
_NEWTON_STEPS = 12


@dataclass(frozen=True, eq=False)
class DriftModel:
    """A reference with what is tolerated around it, and the alternatives evidence is weighed for. Built once.

    `radius` float64 [C]: the null of column c is {p : KL(reference ‖ p) ≤ radius}, in nats. `design_effect` [C], ≥ 1.
    `share` [K]: the reference's frequencies. `prior` [K]: the same with half a row more in every cell. `tilts` [J, K]:
    ln q of directed alternatives; `tilt_weights` [J, C] and `mixture_weights` [A, C]: natural logs, −inf where unused.
    """

    reference: CellReference
    radius: Floats
    design_effect: Floats
    share: Floats
    prior: Floats
    tilts: Floats
    tilt_weights: Floats
    mixture_weights: Floats


@dataclass(frozen=True)
class Evidence:
    """Evidence after some observations, in nats.

    `log_evidence`: ln of the mean over columns of R_c; compare with ln of the run length in observations. `columns`:
    ln R_c by column. `since`: the observation (from 1) at which the start with most evidence lies, by column.
    """

    observations: int
    log_evidence: float
    columns: dict[str, float]
    since: dict[str, int]


def drift_model(
    reference: CellReference,
    tolerance: float | Sequence[float] = 0.0,
    design_effect: float | Sequence[float] = 1.0,
    miss: float = 0.01,
) -> DriftModel:
    """The composite null of a reference that is itself a sample, and the alternatives to it.

    radius = max(tolerance, design effect · χ²_{k−1}(1 − miss/C) / (2 n0)): the true distribution behind the reference
    is inside for all columns at once in a share 1 − miss of references (Wilks). `tolerance` is in nats of
    KL(reference ‖ p); `psi_radius` turns a PSI into it. Both may be given by column [C]. Raises DefectError for a
    negative tolerance or a design effect below 1.
    """
    columns = len(reference.names)
    allowed = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), (columns,))
    effect = np.broadcast_to(np.asarray(design_effect, dtype=np.float64), (columns,))
    if not ((allowed >= 0).all() and (effect >= 1).all()):
        raise DefectError("a null that cannot be", expected="tolerance >= 0, design effect >= 1")
    sizes, rows, counts = np.asarray(reference.sizes), reference.rows, reference.counts
    sampling = effect * chi2.isf(miss / columns, sizes - 1) / (2.0 * rows)
    share = counts / np.repeat(rows, sizes)
    prior = (counts + 0.5) / np.repeat(rows + sizes / 2.0, sizes)
    tilts, tilt_weights = _tilts(reference, prior)
    used = np.exp(tilt_weights).sum(axis=0)
    mixtures = np.log((1.0 - used) / len(_CONCENTRATIONS)) * np.ones((len(_CONCENTRATIONS), 1))
    return DriftModel(
        reference, np.maximum(allowed, sampling), effect.copy(), share, prior, tilts, tilt_weights, mixtures
    )


def psi_radius(psi: float) -> float:
    """The radius in nats that stands for a tolerated population stability index: half of it.

    PSI = KL(r ‖ p) + KL(p ‖ r), and the two are equal to second order. A column's PSI on the same cells may exceed the
    tolerance a little while KL is inside, and the reverse; the effect side of the alarm judges PSI itself.
    """
    return psi / 2.0


def composite_evidence(state: EvidenceCounts, model: DriftModel) -> Evidence:
    """Evidence against 'no column has drifted further than its radius'; decides alarms.

    Null: KL(reference_c ‖ p_c) ≤ radius_c for every column c, the same or differing p at every observation. Per start,
    with C the rows since then over the design effect: e = Q(C) / max over the ball of Mult(C; p), Q the mixture of
    alternatives. Guarantee: mean observations to the first false alarm at a limit of ln T are at least T, for the
    user's own reference, in 99 % of references (all, where the tolerance exceeds the sampling radius). Assumption: see
    the module. Source: see the module; construction and figures in docs/alarm_quality.
    """
    weighed = state.since / _per_cell(model.design_effect, model)
    log_e = _alternatives(weighed, model) - _largest_null_likelihood(weighed, model)
    return shiryaev_roberts(log_e, state, model.reference)


def early_warning(state: EvidenceCounts, model: DriftModel) -> Evidence:
    """Evidence against 'the rows since the start come from what made the reference and the stream before it'.

    Null: exchangeability with all that came before, with p drawn from the Dirichlet(½) prior: e = Q(C) / DirMult(C;
    reference + stream before + ½). Guarantee: the run length holds on average over references and streams, not for each
    one; it absorbs a drift that stays, and then falls silent. So it may warn, never decide that an alarm begins or
    is over. Assumption: see the module. It needs no tolerance, and knows none: a drift that is tolerated warns too.
    """
    effect = _per_cell(model.design_effect, model)
    before = (model.reference.counts + state.total - state.since) / effect + 0.5
    weighed = state.since / effect
    log_e = _alternatives(weighed, model) - _dirichlet_multinomial(weighed, before, model)
    return shiryaev_roberts(log_e, state, model.reference)


def shiryaev_roberts(log_e: Floats, state: EvidenceCounts, reference: CellReference) -> Evidence:
    """Sum over starts, mean over columns, of ln e [S, C] of the state's starts.

    Raises DefectError where the state belongs to another reference, or where an e-value is not a number.
    """
    names = reference.names
    if state.reference != reference.identity:
        raise DefectError("evidence of another reference", expected=reference.identity, got=state.reference)
    if not state.starts:
        return Evidence(0, -math.inf, dict.fromkeys(names, -math.inf), dict.fromkeys(names, 0))
    if np.isnan(log_e).any():
        # NaN compares as 'no alarm' for ever: a detector must rather stop than go silent.
        raise DefectError("evidence is not a number", where=", ".join(np.asarray(names)[np.isnan(log_e).any(axis=0)]))
    columns = logsumexp(log_e, axis=0)
    best = np.argmax(log_e, axis=0)
    return Evidence(
        state.observations,
        float(logsumexp(columns) - math.log(len(names))),
        {name: float(value) for name, value in zip(names, columns, strict=True)},
        {name: state.starts[index] for name, index in zip(names, best, strict=True)},
    )


def combine_phases(phases: Sequence[Evidence]) -> Evidence:
    """Evidence of detectors of the same columns, one per phase of the season (`match: phase`), as one.

    R_c = Σ over phases of R_{c,phase}: each grows by at most one per observation of its own phase, so the sum grows by
    at most one per observation of any, and the same run length holds. `since` is of the phase with most evidence,
    counted in observations of all phases from the first season on.
    """
    if not phases:
        raise DefectError("no phases to combine", expected="at least one")
    names = list(phases[0].columns)
    columns = {name: float(logsumexp([phase.columns[name] for phase in phases])) for name in names}
    since = {}
    for name in names:
        index = int(np.argmax([phase.columns[name] for phase in phases]))
        since[name] = max(phases[index].since[name] - 1, 0) * len(phases) + index + 1
    mean = float(logsumexp(list(columns.values())) - math.log(len(names)))
    return Evidence(sum(phase.observations for phase in phases), mean, columns, since)


def _largest_null_likelihood(weighed: Floats, model: DriftModel) -> Floats:
    """ln max over KL(share ‖ p) ≤ radius of Π p^C, float64 [S, C]; never below the maximum.

    The maximiser is p = (1−w)·C/N + w·share: w = 0 where the observed frequencies are inside, else the root of
    KL(share ‖ p(w)) = radius, convex and falling in w. A Newton step on a convex function lands on the outer side of
    the root, where the likelihood is no smaller: stopping early makes e smaller, never invalid.
    """
    offsets, sizes = model.reference.offsets, model.reference.sizes
    total = np.add.reduceat(weighed, offsets, axis=1)
    observed = weighed / np.repeat(np.maximum(total, 1e-300), sizes, axis=1)
    inside = model.share > 0
    entropy = np.add.reduceat(xlogy(model.share, model.share), offsets)
    difference = model.share * (model.share - observed)
    weight = np.full_like(total, 0.5)
    for step in range(_NEWTON_STEPS):
        wide = np.repeat(weight, sizes, axis=1)
        p = np.where(inside, (1.0 - wide) * observed + wide * model.share, 1.0)
        excess = entropy - np.add.reduceat(model.share * np.log(p), offsets, axis=1) - model.radius
        slope = np.add.reduceat(difference / p, offsets, axis=1)
        # Where observed == share the slope is 0 and the excess negative: straight to w = 0.
        root = np.where(slope > 1e-300, weight + excess / np.maximum(slope, 1e-300), 0.0)
        moved = np.abs(root - weight).max(initial=0.0)
        last = step == _NEWTON_STEPS - 1 or moved < 1e-12
        weight = np.minimum(np.where(root > 0.0, root, 0.0 if last else weight / 8.0), 1.0)
        if last:
            break
    wide = np.repeat(weight, sizes, axis=1)
    return np.add.reduceat(xlogy(weighed, (1.0 - wide) * observed + wide * model.share), offsets, axis=1)


def _alternatives(weighed: Floats, model: DriftModel) -> Floats:
    """ln Q(C): the mixture of directed tilts of the reference and Dirichlet-multinomials around it, float64 [S, C]."""
    offsets = model.reference.offsets
    tilted = np.add.reduceat(weighed[None] * model.tilts[:, None], offsets, axis=2) + model.tilt_weights[:, None]
    spread = [
        _dirichlet_multinomial(weighed, concentration * model.prior, model) + weight
        for concentration, weight in zip(_CONCENTRATIONS, model.mixture_weights, strict=True)
    ]
    return np.asarray(np.logaddexp.reduce(np.concatenate((tilted, np.stack(spread))), axis=0))


def _dirichlet_multinomial(weighed: Floats, alpha: Floats, model: DriftModel) -> Floats:
    """ln of the probability of a sequence with these counts, ordered rows, [S, C]; `alpha` [K] or [S, K], > 0."""
    offsets = model.reference.offsets
    whole = np.add.reduceat(alpha, offsets, axis=-1)
    rows = np.add.reduceat(weighed, offsets, axis=1)
    cells = np.add.reduceat(gammaln(alpha + weighed) - gammaln(alpha), offsets, axis=1)
    return np.asarray(gammaln(whole) - gammaln(whole + rows) + cells)


def _tilts(reference: CellReference, prior: Floats) -> tuple[Floats, Floats]:
    """Directed alternatives, ln q [J, K], and ln of their weights [J, C].

    For ordered cells the reference tilted along its normal scores, q ∝ prior · exp(θ z): what a shift of θ standard
    deviations does to a normal variable seen in quantile cells. For every column its last cell (null) made likelier.
    """
    count = len(_SHIFTS) + 1
    tilts = np.tile(np.log(prior), (count, 1))
    weights = np.full((count, len(reference.names)), -np.inf)
    for column, (offset, size, ordered) in enumerate(
        zip(reference.offsets, reference.sizes, reference.ordered, strict=True)
    ):
        cells = slice(offset, offset + size)
        if ordered >= 3:
            scores = np.zeros(size)
            scores[:ordered] = _normal_scores(prior[offset : offset + ordered])
            tilts[:-1, cells] = [_normalised(np.log(prior[cells]) + shift * scores) for shift in _SHIFTS]
            weights[:-1, column] = math.log(_SHIFT_WEIGHT / len(_SHIFTS))
        last = np.zeros(size)
        last[-1] = _MISSING_LOG_ODDS
        tilts[-1, cells] = _normalised(np.log(prior[cells]) + last)
        weights[-1, column] = math.log(_MISSING_WEIGHT)
    return tilts, weights


def _normal_scores(shares: Floats) -> Floats:
    """Normal quantiles of the middles of consecutive cells, standardised under the cells' shares."""
    p = shares / shares.sum()
    scores = ndtri(np.cumsum(p) - p / 2.0)
    centred = scores - (p * scores).sum()
    return np.asarray(centred / math.sqrt(max((p * centred**2).sum(), 1e-12)))


def _normalised(log_weights: Floats) -> Floats:
    return np.asarray(log_weights - logsumexp(log_weights))


def _per_cell(by_column: Floats, model: DriftModel) -> Floats:
    return np.repeat(by_column, model.reference.sizes)
