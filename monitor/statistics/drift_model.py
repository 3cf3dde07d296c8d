"""What counts as no drift around a reference that is itself a sample, and what drift may look like.

What lives here: the null region of every column and the alternatives that evidence is weighed for, built once per
reference. What must not: observed counts, evidence.

The null region of a column is the part of its cells' simplex where three things hold at once: the whole distribution is
within a likelihood ball of the reference, every single cell is within its Clopper–Pearson interval, and the mean normal
score is within its confidence interval. Each holds the truth behind the reference but for a share of the promised miss;
a small shift in one direction leaves the last two long before it leaves the ball, whose radius pays for all directions.
All three are widened to hold whatever is tolerated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import betaincinv, betaln, gammaln, logsumexp, ndtri
from scipy.stats import chi2

from monitor.errors import DefectError
from monitor.statistics.evidence_counts import CellReference, Floats

Flags = npt.NDArray[np.bool_]
Offsets = npt.NDArray[np.intp]

# What drift may look like: the numerator of evidence is a mixture of these. Any choice keeps the guarantee; directed
# ones cost about 2 nats and save 2 to 10 on shifts of 0.1 to 0.5 standard deviations, against Dirichlet mixtures alone.
SHIFTS = (-0.5, -0.25, -0.12, 0.12, 0.25, 0.5)
CELL_CONCENTRATION = 30.0
CONCENTRATIONS = (20.0, 200.0)
_SHIFT_WEIGHT, _CELL_WEIGHT = 0.5, 0.25
# How the miss of a column is shared by ball, cells and mean score; a column without scores shares it by the first two.
_BALL, _CELLS, _SCORE = 0.4, 0.3, 0.3


@dataclass(frozen=True, eq=False)
class DriftModel:
    """A reference with its null region, and the alternatives to it.

    Null, by column c [C] or cell k [K]: `radius` of {p : KL(share ‖ p) ≤ radius}, nats; `lower`, `upper` of every p_k;
    `score_low`, `score_high` of Σ scores·p (0 and 0 where `scored` is False). `share` [K]: the reference's
    frequencies. `design_effect` [C], ≥ 1. Alternatives: `prior` [K], the frequencies with half a row more in every
    cell; `tilts` [J, K], ln q, with `tilt_weights` [J, C]; one cell's share changed, to a Beta around it, with
    `cell_constants` [K]; Dirichlets `alphas` [A, K], with `alpha_weights` [A, C] and normalising `alpha_constants`
    [A, C]. Weights and constants are natural logs, −inf where unused.
    """

    reference: CellReference
    column_of_cell: Offsets
    design_effect: Floats
    share: Floats
    radius: Floats
    lower: Floats
    upper: Floats
    scores: Floats
    scored: Flags
    score_low: Floats
    score_high: Floats
    prior: Floats
    tilts: Floats
    tilt_weights: Floats
    cell_constants: Floats
    alphas: Floats
    alpha_weights: Floats
    alpha_constants: Floats


def drift_model(
    reference: CellReference,
    tolerance: float | Sequence[float] = 0.0,
    design_effect: float | Sequence[float] = 1.0,
    miss: float = 0.01,
) -> DriftModel:
    """The null region of a reference that is itself a sample, and the alternatives to it.

    The distribution behind the reference is in the region for all columns at once in a share 1 − `miss` of references,
    and so is all that has KL(reference ‖ p) ≤ `tolerance` (nats; `psi_radius` turns a PSI into it). Tolerance and
    design effect may be given by column [C]. Raises DefectError for a negative tolerance or a design effect below 1.
    """
    columns = len(reference.names)
    allowed = np.broadcast_to(np.asarray(tolerance, dtype=np.float64), (columns,))
    effect = np.broadcast_to(np.asarray(design_effect, dtype=np.float64), (columns,)).copy()
    if not ((allowed >= 0).all() and (effect >= 1).all()):
        raise DefectError("a null that cannot be", expected="tolerance >= 0, design effect >= 1")
    sizes, counts = np.asarray(reference.sizes), reference.counts
    column_of_cell = np.repeat(np.arange(columns, dtype=np.intp), sizes)
    rows = reference.rows / effect
    share = counts / reference.rows[column_of_cell]
    prior = (counts + 0.5) / (reference.rows + sizes / 2.0)[column_of_cell]
    scores, scored = _scores(reference, prior)
    ball = (miss / columns) * np.where(scored, _BALL, _BALL / (_BALL + _CELLS))
    cells = (miss / columns) * np.where(scored, _CELLS, _CELLS / (_BALL + _CELLS))
    radius = np.maximum(allowed, chi2.isf(ball, sizes - 1) / (2.0 * rows))
    lower, upper = _cell_bounds(share, rows[column_of_cell], (cells / sizes)[column_of_cell], allowed[column_of_cell])
    score_low, score_high = _score_bounds(reference, share, scores, scored, rows, miss / columns * _SCORE, allowed)
    tilts, tilt_weights = _tilts(reference, prior, scores, scored)
    alphas = np.asarray(CONCENTRATIONS)[:, None] * prior
    cell_weights = np.where(scored, _CELL_WEIGHT, 0.5)
    left = np.log(1.0 - np.exp(tilt_weights).sum(axis=0) - cell_weights) - math.log(len(CONCENTRATIONS))
    alpha_constants = np.asarray(CONCENTRATIONS)[:, None] * np.add.reduceat(prior, reference.offsets)
    alpha_constants = gammaln(alpha_constants) - np.add.reduceat(gammaln(alphas), reference.offsets, axis=1)
    return DriftModel(
        reference,
        column_of_cell,
        effect,
        share,
        radius,
        lower,
        upper,
        scores,
        scored,
        score_low,
        score_high,
        prior,
        tilts,
        tilt_weights,
        np.log(cell_weights / sizes)[column_of_cell]
        - betaln(CELL_CONCENTRATION * prior, CELL_CONCENTRATION * (1 - prior)),
        alphas,
        np.tile(left, (len(CONCENTRATIONS), 1)),
        alpha_constants,
    )


def psi_radius(psi: float) -> float:
    """The radius in nats that stands for a tolerated population stability index: half of it.

    PSI = KL(r ‖ p) + KL(p ‖ r), and the two are equal to second order. A column's PSI on the same cells may exceed the
    tolerance a little while KL is inside, and the reverse; the effect side of the alarm judges PSI itself.
    """
    return psi / 2.0


def _cell_bounds(share: Floats, rows: Floats, miss: Floats, allowed: Floats) -> tuple[Floats, Floats]:
    """Clopper–Pearson bounds of every cell, two-sided at `miss`, or how far the tolerance lets the cell go."""
    happened, rest = share * rows, (1.0 - share) * rows
    with np.errstate(invalid="ignore"):
        low = np.where(happened > 0, betaincinv(np.maximum(happened, 1e-9), rest + 1.0, miss / 2.0), 0.0)
        high = np.where(rest > 0, betaincinv(happened + 1.0, np.maximum(rest, 1e-9), 1.0 - miss / 2.0), 1.0)
    for k in np.flatnonzero(allowed > 0):
        low[k] = min(low[k], _furthest(share[k], allowed[k], 0.0))
        high[k] = max(high[k], _furthest(share[k], allowed[k], 1.0))
    return np.asarray(low), np.asarray(high)


def _furthest(share: float, allowed: float, end: float) -> float:
    """The p towards `end` at which the Bernoulli divergence KL(share ‖ p) reaches what is allowed."""

    def excess(p: float) -> float:
        return share * math.log(share / p) + (1 - share) * math.log((1 - share) / (1 - p)) - allowed

    if share in (0.0, 1.0):
        return end if share == end else _open(share, allowed)
    edge = abs(end - 1e-12)
    return float(brentq(excess, share, edge, xtol=1e-15)) if excess(edge) > 0 else end


def _open(share: float, allowed: float) -> float:
    """The same for an empty or a full cell, in closed form: −ln(1 − p) or −ln p is what is allowed."""
    return -math.expm1(-allowed) if share < 0.5 else math.exp(-allowed)


def _scores(reference: CellReference, prior: Floats) -> tuple[Floats, Flags]:
    """Normal quantiles of the middles of ordered cells [K], standardised by their shares; which columns have them."""
    scores = np.zeros(prior.size)
    scored = np.asarray([ordered >= 3 for ordered in reference.ordered])
    for offset, ordered, used in zip(reference.offsets, reference.ordered, scored, strict=True):
        if used:
            p = prior[offset : offset + ordered] / prior[offset : offset + ordered].sum()
            quantiles = ndtri(np.cumsum(p) - p / 2.0)
            centred = quantiles - (p * quantiles).sum()
            scores[offset : offset + ordered] = centred / math.sqrt((p * centred**2).sum())
    return scores, scored


def _score_bounds(
    reference: CellReference,
    share: Floats,
    scores: Floats,
    scored: Flags,
    rows: Floats,
    miss: float,
    allowed: Floats,
) -> tuple[Floats, Floats]:
    """Confidence interval of the mean score [C], or how far the tolerance lets it go."""
    offsets, width = reference.offsets, -float(ndtri(miss / 2.0))
    mean = np.add.reduceat(share * scores, offsets)
    spread = np.sqrt(np.maximum(np.add.reduceat(share * scores**2, offsets) - mean**2, 0.0) / rows)
    low, high = mean - width * spread, mean + width * spread
    for c in np.flatnonzero(scored & (allowed > 0)):
        cells = slice(offsets[c], offsets[c] + reference.sizes[c])
        high[c] = max(high[c], _largest_mean(share[cells], scores[cells], allowed[c]))
        low[c] = min(low[c], -_largest_mean(share[cells], -scores[cells], allowed[c]))
    return np.where(scored, low, 0.0), np.where(scored, high, 0.0)


def _largest_mean(share: Floats, scores: Floats, allowed: float) -> float:
    """max Σ scores·p over KL(share ‖ p) ≤ allowed: p ∝ share / (μ − scores), one root for μ; top score if unreached."""
    top = float(scores.max())

    def divergence(log_gap: float) -> float:
        gap = top - scores + math.exp(log_gap)
        return float((share * np.log(gap)).sum() + math.log((share / gap).sum())) - allowed

    if divergence(-30.0) <= 0:
        return top
    gap = top - scores + math.exp(float(brentq(divergence, -30.0, 30.0)))
    return float((scores * share / gap).sum() / (share / gap).sum())


def _tilts(reference: CellReference, prior: Floats, scores: Floats, scored: Flags) -> tuple[Floats, Floats]:
    """Directed alternatives, ln q [J, K], and ln of their weights [J, C].

    For ordered cells the reference tilted along its normal scores, q ∝ prior · exp(θ z): what a shift of θ standard
    deviations does to a normal variable seen in quantile cells.
    """
    weights = np.tile(np.where(scored, math.log(_SHIFT_WEIGHT / len(SHIFTS)), -np.inf), (len(SHIFTS), 1))
    tilts = np.stack([np.log(prior) + shift * scores for shift in SHIFTS])
    for offset, size in zip(reference.offsets, reference.sizes, strict=True):
        cells = slice(offset, offset + size)
        tilts[:, cells] -= logsumexp(tilts[:, cells], axis=1, keepdims=True)
    return tilts, weights
