"""How likely observed counts can be without drift: the denominator of the composite e-value.

What lives here: upper bounds on the largest likelihood of counts over a column's null region. What must not: the region
itself (`drift_model`), alternatives, evidence.

Over an intersection of sets the maximum is at most the least of the maxima over each set. Every bound below is computed
so that stopping early leaves it too large: evidence gets smaller then, never invalid.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

from monitor.statistics.drift_model import DriftModel
from monitor.statistics.evidence_counts import Floats

_BALL_STEPS = 14
_SCORE_STEPS = 3
_CLOSE = 1e-4


def largest_null_likelihood(weighed: Floats, model: DriftModel) -> Floats:
    """An upper bound of ln max over the null region of Π p^C, float64 [S, C]; `weighed` counts float64 [S, K].

    It is the largest likelihood of all, Σ C ln(C/N), less the most that one of ball, cells and mean score takes from
    it. 0 where a column has no rows. Never NaN: counts of 0 add 0 whatever their probability.
    """
    offsets, column = model.reference.offsets, model.column_of_cell
    total = np.add.reduceat(weighed, offsets, axis=1)
    observed = weighed / np.maximum(total, 1e-300)[:, column]
    free = np.add.reduceat(xlogy(weighed, observed), offsets, axis=1)
    taken = np.maximum(
        free - ball_likelihood(weighed, observed, model), _taken_by_cells(weighed, observed, total, model)
    )
    return free - np.maximum(taken, _taken_by_score(weighed, observed, model))


def ball_likelihood(weighed: Floats, observed: Floats, model: DriftModel) -> Floats:
    """ln max of Π p^C over KL(share ‖ p) ≤ radius, [S, C]; never below the maximum.

    The maximiser is p = (1−w)·C/N + w·share: w = 0 where the observed frequencies are inside, else the root of
    KL(share ‖ p(w)) = radius, convex and falling in w. A Newton step on a convex function lands on the outer side of
    the root, where the likelihood is no smaller.
    """
    offsets, column, share = model.reference.offsets, model.column_of_cell, model.share
    inside = share > 0
    entropy = np.add.reduceat(xlogy(share, share), offsets)
    difference = share * (share - observed)

    def p_of(weight: Floats) -> Floats:
        wide = weight[:, column]
        return observed + wide * (share - observed)

    def divergence(p: Floats) -> Floats:
        return entropy - np.add.reduceat(share * np.log(np.where(inside, p, 1.0)), offsets, axis=1)

    empty = np.logical_or.reduceat(inside & (observed == 0), offsets, axis=1)
    free = ~empty & (divergence(np.where(observed > 0, observed, 1.0)) <= model.radius)
    half = np.full((len(weighed), offsets.size), 0.5)
    # Close to the reference the divergence grows as (1 − w)²: a first step from what it is halfway.
    weight = 1.0 - 0.5 * np.sqrt(model.radius / np.maximum(divergence(p_of(half)), 1e-300))
    weight = np.clip(weight, 1e-6, 1.0)
    for number in range(_BALL_STEPS):
        p = np.where(inside, p_of(weight), 1.0)
        slope = np.add.reduceat(difference / p, offsets, axis=1)
        # Where the observed are the reference's own shares there is no slope: w = 0.
        root = np.where(slope > 1e-300, weight + (divergence(p) - model.radius) / np.maximum(slope, 1e-300), 0.0)
        last = number == _BALL_STEPS - 1 or bool(((np.abs(root - weight) < _CLOSE * weight) | free).all())
        weight = np.where(root > 0.0, root, 0.0 if last else weight / 8.0)
        if last:
            break
    weight = np.where(free, 0.0, np.minimum(weight, 1.0))
    return np.asarray(np.add.reduceat(xlogy(weighed, p_of(weight)), offsets, axis=1))


def _taken_by_cells(weighed: Floats, observed: Floats, total: Floats, model: DriftModel) -> Floats:
    """What the most restrictive single cell takes, [S, C]: N · KL(C/N ‖ nearest bound) of Bernoulli variables."""
    nearest = np.clip(observed, model.lower, model.upper)
    beyond = nearest != observed
    bound = np.where(beyond, nearest, 0.5)
    wide = total[:, model.column_of_cell]
    own = xlogy(weighed, np.where(beyond, observed, 0.5) / bound)
    rest = xlogy(wide - weighed, (1.0 - np.where(beyond, observed, 0.5)) / (1.0 - bound))
    return np.asarray(np.maximum.reduceat(np.where(beyond, own + rest, 0.0), model.reference.offsets, axis=1))


def _taken_by_score(weighed: Floats, observed: Floats, model: DriftModel) -> Floats:
    """What the interval of the mean score takes, [S, C]: max over λ of Σ C ln(1 + λ(±z − b)), b the bound passed.

    By Jensen's inequality every λ with 1 + λ(±z − b) ≥ 0 in all cells takes at most that much for every p whose mean
    score is within b (empirical likelihood; Owen, Biometrika 75, 1988), so a few Newton steps suffice.
    """
    offsets, column = model.reference.offsets, model.column_of_cell
    mean = np.add.reduceat(observed * model.scores, offsets, axis=1)
    falls = mean < model.score_low
    passed = falls | (mean > model.score_high)
    if not passed.any():
        return np.zeros_like(mean)
    sign = np.where(falls, -1.0, 1.0)
    bound = np.where(falls, -model.score_low, model.score_high)
    distance = np.where(passed[:, column], sign[:, column] * model.scores - bound[:, column], 0.0)
    lowest = np.minimum.reduceat(distance, offsets, axis=1)
    most = 0.999 / np.maximum(-lowest, 1e-12)
    rate = np.zeros_like(mean)
    for _ in range(_SCORE_STEPS):
        ratio = distance / (1.0 + rate[:, column] * distance)
        value = np.add.reduceat(observed * ratio, offsets, axis=1)
        slope = np.add.reduceat(observed * ratio**2, offsets, axis=1)
        rate = np.clip(rate + value / np.maximum(slope, 1e-300), 0.0, most)
    taken = np.add.reduceat(weighed * np.log1p(rate[:, column] * distance), offsets, axis=1)
    return np.where(passed, np.maximum(taken, 0.0), 0.0)
