"""Evidence of drift that survives being looked at for ever: e-detectors on counts in the reference's cells.

What lives here: the composite-null detector, which decides alarms, and the stream-predictive one, which warns early;
pure functions of the counts in `evidence_counts` and of a `drift_model`. What must not: thresholds and budgets
(`multiplicity`), alarms, any reading of profiles.

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
import numpy.typing as npt
from scipy.special import gammaln

from monitor.errors import DefectError
from monitor.statistics.drift_model import CELL_CONCENTRATION, CONCENTRATIONS, DriftModel
from monitor.statistics.evidence_counts import CellReference, EvidenceCounts, Floats
from monitor.statistics.null_likelihood import largest_null_likelihood

Offsets = npt.NDArray[np.intp]


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


def composite_evidence(state: EvidenceCounts, model: DriftModel) -> Evidence:
    """Evidence against 'no column has left its null region'; decides alarms.

    Null: the rows of every column c come from one p_c within its region (`drift_model`: what the reference's own
    sampling, or the tolerance, allows). Per start, with C the rows since then over the design effect: e = Q(C) / max
    over the region of Mult(C; p), Q the mixture of alternatives, so e is at most a likelihood ratio. Guarantee: mean
    observations to the first false alarm at a limit of ln T are at least T, for the user's own reference, in 99 % of
    references (in all, where the tolerance exceeds the sampling error). Assumption: see the module. Source: see the
    module; construction and figures in docs/alarm_quality.
    """
    weighed = state.since / model.design_effect[model.column_of_cell]
    log_e = _alternatives(weighed, model) - largest_null_likelihood(weighed, model)
    return shiryaev_roberts(log_e, state, model.reference)


def early_warning(state: EvidenceCounts, model: DriftModel) -> Evidence:
    """Evidence against 'the rows since the start come from what made the reference and the stream before it'.

    Null: exchangeability with all that came before, with p drawn from the Dirichlet(½) prior: e = Q(C) / DirMult(C;
    reference + stream before + ½). Guarantee: the run length holds on average over references and streams, not for each
    one; it absorbs a drift that stays, and then falls silent. So it may warn, never decide that an alarm begins or
    is over. Assumption: see the module. It needs no tolerance, and knows none: a drift that is tolerated warns too.
    """
    effect = model.design_effect[model.column_of_cell]
    before = (model.reference.counts + state.total - state.since) / effect + 0.5
    weighed = state.since / effect
    log_e = _alternatives(weighed, model) - _dirichlet_multinomial(weighed, before, model.reference.offsets)
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
    columns = np.logaddexp.reduce(log_e, axis=0)
    best = np.argmax(log_e, axis=0)
    return Evidence(
        state.observations,
        float(np.logaddexp.reduce(columns) - math.log(len(names))),
        {name: float(value) for name, value in zip(names, columns, strict=True)},
        {name: state.starts[index] for name, index in zip(names, best, strict=True)},
    )


def combine_phases(phases: Sequence[Evidence]) -> Evidence:
    """Evidence of detectors of the same columns, one per phase of the season (`match: phase`), as one.

    R_c = Σ over phases of R_{c,phase}: each grows by at most one per observation of its own phase, so the sum grows by
    at most one per observation of any, and the same run length holds. Every phase has a reference and a model of its
    own, `drift_model(…, miss=0.01 / phases)`. `since` is of the phase with most evidence, counted in observations of
    all phases from the first season on.
    """
    if not phases:
        raise DefectError("no phases to combine", expected="at least one")
    names = list(phases[0].columns)
    columns = {name: float(np.logaddexp.reduce([phase.columns[name] for phase in phases])) for name in names}
    since = {}
    for name in names:
        index = int(np.argmax([phase.columns[name] for phase in phases]))
        since[name] = max(phases[index].since[name] - 1, 0) * len(phases) + index + 1
    mean = float(np.logaddexp.reduce(list(columns.values())) - math.log(len(names)))
    return Evidence(sum(phase.observations for phase in phases), mean, columns, since)


def _alternatives(weighed: Floats, model: DriftModel) -> Floats:
    """ln Q(C), float64 [S, C]: tilts of the reference, single cells changed, and Dirichlet-multinomials around it."""
    offsets = model.reference.offsets
    tilted = np.add.reduceat(weighed[None] * model.tilts[:, None], offsets, axis=2) + model.tilt_weights[:, None]
    total = np.add.reduceat(weighed, offsets, axis=1)
    spread = [
        constant + weight + np.add.reduceat(gammaln(alpha + weighed), offsets, axis=1) - gammaln(whole + total)
        for alpha, weight, constant, whole in zip(
            model.alphas, model.alpha_weights, model.alpha_constants, CONCENTRATIONS, strict=True
        )
    ]
    cells = np.logaddexp.reduceat(_one_cell_changed(weighed, total, model), offsets, axis=1)
    return np.asarray(np.logaddexp.reduce(np.concatenate((tilted, np.stack((*spread, cells)))), axis=0))


def _one_cell_changed(weighed: Floats, total: Floats, model: DriftModel) -> Floats:
    """ln of weight · probability if only this cell's share changed, to a Beta around it, for every cell [S, K]."""
    offsets, column, prior = model.reference.offsets, model.column_of_cell, model.prior
    a, b = CELL_CONCENTRATION * prior, CELL_CONCENTRATION * (1.0 - prior)
    rest = total[:, column] - weighed
    unchanged = weighed * np.log(prior)
    by_column = np.add.reduceat(unchanged, offsets, axis=1) - gammaln(CELL_CONCENTRATION + total)
    own = gammaln(a + weighed) + gammaln(b + rest) + model.cell_constants
    return np.asarray(own - unchanged - rest * np.log1p(-prior) + by_column[:, column])


def _dirichlet_multinomial(weighed: Floats, alpha: Floats, offsets: Offsets) -> Floats:
    """ln of the probability of a sequence of rows with these counts [S, C]; `alpha` [S, K], > 0."""
    whole = np.add.reduceat(alpha, offsets, axis=1)
    rows = np.add.reduceat(weighed, offsets, axis=1)
    cells = np.add.reduceat(gammaln(alpha + weighed) - gammaln(alpha), offsets, axis=1)
    return np.asarray(gammaln(whole) - gammaln(whole + rows) + cells)
