"""Scenarios of the alarm benchmark: quiet streams, drifts, and streams that break the assumption of independence.

What lives here: running the evidence (and, in some, the peers' rules) over simulated quarters and counting alarms and
delays. What must not: tables, pictures, files.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.alarm_population import (
    CATEGORICAL,
    COLUMNS,
    MISSING,
    MISSING_COLUMN,
    NUMERIC,
    PANE_ROWS,
    Counter,
    Cut,
    Pane,
    Pool,
    cut_reference,
    hide,
    shift,
    shift_scores,
    swap,
    take,
)
from benchmarks.alarm_rules import RULES, Rules
from monitor.statistics.drift_model import DriftModel, drift_model, psi_radius
from monitor.statistics.evidence_counts import CellReference, EvidenceCounts, by_column, no_evidence, observe
from monitor.statistics.independence import design_effect
from monitor.statistics.labelled_risk import risk_changed, risk_counts, risk_exceeds, risk_reference
from monitor.statistics.sequential import combine_phases, composite_evidence, early_warning

QUARTER = 2016
DAY = 24
LIMIT = math.log(QUARTER)
CAP = 168

Drift = Callable[[Pane, np.random.Generator], set[str]]


@dataclass
class Delays:
    """Panes to the alarm by trial (inf where not found within the cap), and whether it named a drifted column."""

    panes: list[float] = field(default_factory=list)
    named: list[bool] = field(default_factory=list)
    early: list[float] = field(default_factory=list)
    peers: dict[str, list[float]] = field(default_factory=dict)


def quiet_quarters(pool: Pool, seed: int, quarters: int, reference_rows: int) -> tuple[list[int], float]:
    """Alarms of each quarter, each against a reference of its own; and milliseconds per pane of weighing evidence."""
    alarms, spent, panes = [], 0.0, 0
    for quarter in range(quarters):
        rng = np.random.default_rng([seed, quarter])
        cut = cut_reference(pool, take(pool, rng, reference_rows))
        counter, model = Counter(pool, cut), drift_model(cut.layout.reference)
        state, found = no_evidence(cut.layout.reference), 0
        for _ in range(QUARTER):
            counts = counter.quiet(rng)
            begun = time.process_time()
            state = observe(state, counts)
            evidence = composite_evidence(state, model)
            spent += time.process_time() - begun
            panes += 1
            if evidence.log_evidence >= LIMIT:
                found, state = found + 1, no_evidence(cut.layout.reference)
        alarms.append(found)
    return alarms, 1000 * spent / panes


def quiet_peers(pool: Pool, seed: int, quarters: int, panes: int = QUARTER) -> dict[str, float]:
    """Panes per quarter in which each of today's rules calls drift, on the same kind of quiet panes."""
    total = np.zeros(len(RULES))
    for quarter in range(quarters):
        rng = np.random.default_rng([seed, quarter])
        rules = Rules(pool, take(pool, rng, 10_000))
        for _ in range(panes):
            total += rules.judge(take(pool, rng))
    return dict(zip(RULES, (total / quarters * QUARTER / panes).tolist(), strict=True))


def delays(
    pool: Pool, seed: int, drift: Callable[[int], Drift], trials: int, peers: bool = False, warm: int = 48
) -> Delays:
    """Delay of the alarm after `warm` quiet panes, reference of 10,000 rows, season off, tolerance off."""
    result = Delays(peers={rule: [] for rule in RULES} if peers else {})
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        cut = cut_reference(pool, take(pool, rng, 10_000))
        counter, model = Counter(pool, cut), drift_model(cut.layout.reference)
        state = no_evidence(cut.layout.reference)
        for _ in range(warm):
            state = observe(state, counter.quiet(rng))
        _one_delay(pool, counter, model, state, drift(trial), rng, result)
        if peers:
            _peer_delays(pool, cut, drift(trial), rng, result, warm)
    return result


def _one_delay(
    pool: Pool,
    counter: Counter,
    model: DriftModel,
    state: EvidenceCounts,
    drift: Drift,
    rng: np.random.Generator,
    result: Delays,
) -> None:
    early = math.inf
    for pane in range(1, CAP + 1):
        rows = take(pool, rng)
        moved = drift(rows, rng)
        state = observe(state, counter.count(rows))
        if early == math.inf and early_warning(state, model).log_evidence >= LIMIT:
            early = float(pane)
        evidence = composite_evidence(state, model)
        if evidence.log_evidence >= LIMIT:
            result.panes.append(float(pane))
            result.named.append(max(evidence.columns, key=evidence.columns.__getitem__) in moved)
            result.early.append(min(early, float(pane)))
            return
    result.panes.append(math.inf)
    result.early.append(early)


def _peer_delays(
    pool: Pool, cut: Cut, drift: Drift, rng: np.random.Generator, result: Delays, warm: int, cap: int = 96
) -> None:
    rules = Rules(pool, cut.sample)
    for _ in range(warm):
        rules.judge(take(pool, rng))
    first = np.full(len(RULES), math.inf)
    for pane in range(1, cap + 1):
        rows = take(pool, rng)
        drift(rows, rng)
        called = rules.judge(rows)
        first[called & np.isinf(first)] = pane
        if np.isfinite(first).all():
            break
    for rule, delay in zip(RULES, first, strict=True):
        result.peers[rule].append(float(delay))


def shift_drift(pool: Pool, size: float, columns: int, scores: bool) -> Callable[[int], Drift]:
    """So many standard deviations (of values or of normal scores) in some numeric columns, others in every trial."""

    def of_trial(trial: int) -> Drift:
        chosen = [(trial * columns + i) % len(NUMERIC) for i in range(columns)]

        def drift(pane: Pane, rng: np.random.Generator) -> set[str]:
            for column in chosen:
                if scores:
                    shift_scores(pool, pane, column, size, rng)
                else:
                    shift(pool, pane, column, size)
            return {NUMERIC[column] for column in chosen}

        return drift

    return of_trial


def category_drift(pool: Pool, total_variation: float) -> Callable[[int], Drift]:
    """A categorical column, another in every trial, moves towards its second most frequent category."""

    def of_trial(trial: int) -> Drift:
        column = trial % len(CATEGORICAL)
        shares = np.bincount(pool.kinds[:, column]) / pool.rows
        target = int(np.argsort(-shares)[1])

        def drift(pane: Pane, rng: np.random.Generator) -> set[str]:
            swap(pane, column, total_variation, target, float(shares[target]), rng)
            return {CATEGORICAL[column]}

        return drift

    return of_trial


def missing_drift(_: int) -> Drift:
    """The column that is missing in 1 % of rows becomes missing in 5 %."""

    def drift(pane: Pane, rng: np.random.Generator) -> set[str]:
        hide(pane, rng, MISSING_COLUMN, (0.05 - MISSING) / (1 - MISSING))
        return {MISSING_COLUMN}

    return drift


def inside_tolerance(pool: Pool, seed: int, trials: int, panes: int) -> list[int]:
    """Alarms in `panes` panes of a shift of 0.25 sd (PSI 0.06) in one column that the tolerance (PSI 0.1) allows."""
    alarms = []
    for trial in range(trials):
        rng = np.random.default_rng([seed, trial])
        cut = cut_reference(pool, take(pool, rng, 10_000))
        counter, model = Counter(pool, cut), drift_model(cut.layout.reference, tolerance=psi_radius(0.1))
        state, found = no_evidence(cut.layout.reference), 0
        for _ in range(panes):
            rows = take(pool, rng)
            shift_scores(pool, rows, trial % len(NUMERIC), 0.25, rng)
            state = observe(state, counter.count(rows))
            if composite_evidence(state, model).log_evidence >= LIMIT:
                found, state = found + 1, no_evidence(cut.layout.reference)
        alarms.append(found)
    return alarms


def _cycled(pool: Pool, rng: np.random.Generator, hour: int, extra: float, rows: int = PANE_ROWS) -> Pane:
    """A pane of a day: every numeric column breathes by 0.25 sd; `extra` sd more in the first one."""
    pane = take(pool, rng, rows)
    for column in range(len(NUMERIC)):
        shift(pool, pane, column, 0.25 * math.sin(2 * math.pi * hour / DAY))
    if extra:
        shift(pool, pane, 0, extra)
    return pane


@dataclass
class Dependent:
    """Alarms a quarter of one setting on streams that are not independent, and observations to find +0.5 sd then."""

    quiet: float
    delay: float
    unit: str


def daily_cycle(pool: Pool, seed: int, quarters: int) -> dict[str, Dependent]:
    """A daily cycle of 0.25 sd in all numeric columns: by the pane, by whole seasons (the default), by phase."""
    totals: dict[str, list[tuple[int, float]]] = {"pane": [], "season": [], "phase": []}
    for quarter in range(quarters):
        rng = np.random.default_rng([seed, quarter])
        # 20 reference rows an hour of the day and day, so that it holds whole seasons as a real one would.
        parts = [_cycled(pool, rng, hour, 0.0, 417) for hour in range(DAY)]
        sample = Pane(np.concatenate([p.numbers for p in parts]), np.concatenate([p.kinds for p in parts]))
        counter = Counter(pool, cut_reference(pool, sample))
        whole = counter.layout.reference
        by_phase = [CellReference(whole.names, whole.sizes, whole.ordered, counter.count(part)) for part in parts]
        days = [_day(pool, counter, rng, 0.0) for _ in range(QUARTER // DAY)]
        drifted = [_day(pool, counter, rng, 0.5) for _ in range(7)]
        limits = {"pane": LIMIT, "season": math.log(QUARTER / DAY), "phase": LIMIT}
        for setting, limit in limits.items():
            totals[setting].append(_run_days(setting, limit, whole, by_phase, days, drifted))
    units = {"pane": "panes", "season": "days", "phase": "panes"}
    return {
        setting: Dependent(
            float(np.mean([a for a, _ in found])), float(np.median([d for _, d in found])), units[setting]
        )
        for setting, found in totals.items()
    }


def _day(pool: Pool, counter: Counter, rng: np.random.Generator, extra: float) -> list[npt.NDArray[np.int64]]:
    return [counter.count(_cycled(pool, rng, hour, extra)) for hour in range(DAY)]


def _run_days(
    setting: str,
    limit: float,
    whole: CellReference,
    by_phase: list[CellReference],
    days: list[list[npt.NDArray[np.int64]]],
    drifted: list[list[npt.NDArray[np.int64]]],
) -> tuple[int, float]:
    """Alarms over the quiet days, then observations until the drift is found."""
    references = by_phase if setting == "phase" else [whole]
    # One column of every phase has its own radius: the miss probability is shared over phases too.
    models = [drift_model(reference, miss=0.01 / len(references)) for reference in references]
    states, alarms = [no_evidence(reference) for reference in references], 0
    weighed = [composite_evidence(state, model) for state, model in zip(states, models, strict=True)]
    for number, day in enumerate(days + drifted):
        observations = [np.sum(day, axis=0)] if setting == "season" else day
        for hour, counts in enumerate(observations):
            phase = hour if setting == "phase" else 0
            states[phase] = observe(states[phase], counts)
            weighed[phase] = composite_evidence(states[phase], models[phase])
            if combine_phases(weighed).log_evidence >= limit:
                if number >= len(days):
                    return alarms, (number - len(days)) * len(observations) + hour + 1.0
                alarms += 1
                states = [no_evidence(reference) for reference in references]
                weighed = [composite_evidence(state, model) for state, model in zip(states, models, strict=True)]
    return alarms, math.inf


def copied_rows(pool: Pool, seed: int, quarters: int, copies: int = 5) -> dict[str, Dependent]:
    """Every row `copies` times, in the reference too: with and without the design effect, by pane and by season."""
    settings = [(unit, divided) for unit in ("pane", "season") for divided in (False, True)]
    totals: dict[tuple[str, bool], list[tuple[int, float]]] = {setting: [] for setting in settings}
    for quarter in range(quarters):
        rng = np.random.default_rng([seed, quarter])
        parts = [take(pool, rng, PANE_ROWS, copies) for _ in range(20)]
        sample = Pane(np.concatenate([p.numbers for p in parts]), np.concatenate([p.kinds for p in parts]))
        counter = Counter(pool, cut_reference(pool, sample))
        reference = counter.layout.reference
        panes = np.array([counter.count(part) for part in parts])
        effects = [design_effect(column) for column in by_column(reference, panes)]
        quiet = [copies * counter.quiet(rng, PANE_ROWS // copies) for _ in range(QUARTER)]
        drifted = []
        for _ in range(7 * DAY):
            pane = take(pool, rng, PANE_ROWS, copies)
            shift(pool, pane, 0, 0.5)
            drifted.append(counter.count(pane))
        for unit, divided in settings:
            totals[unit, divided].append(_run_copies(unit, reference, effects if divided else 1.0, quiet, drifted))
    return {
        f"{unit}, {'design effect measured' if divided else 'rows taken as they are'}": Dependent(
            float(np.mean([a for a, _ in found])), float(np.median([d for _, d in found])), f"{unit}s"
        )
        for (unit, divided), found in totals.items()
    }


def _run_copies(
    unit: str,
    reference: CellReference,
    effect: float | list[float],
    quiet: list[npt.NDArray[np.int64]],
    drifted: list[npt.NDArray[np.int64]],
) -> tuple[int, float]:
    size = DAY if unit == "season" else 1
    model, state, alarms = drift_model(reference, design_effect=effect), no_evidence(reference), 0
    limit = math.log(QUARTER / size)
    for i in range(0, len(quiet), size):
        state = observe(state, np.sum(quiet[i : i + size], axis=0))
        if composite_evidence(state, model).log_evidence >= limit:
            alarms, state = alarms + 1, no_evidence(reference)
    for i in range(0, len(drifted), size):
        state = observe(state, np.sum(drifted[i : i + size], axis=0))
        if composite_evidence(state, model).log_evidence >= limit:
            return alarms, i // size + 1.0
    return alarms, math.inf


@dataclass
class Risk:
    """A detector of labelled risk: false alarms a quarter, and median delay in batches by risk (inf: not found)."""

    false_alarms: float
    delays: dict[float, float]


def labelled_risk(seed: int, quarters: int, trials: int, warm: int = 168) -> dict[str, Risk]:
    """Errors at 0.10, then 0.12, 0.15 or 0.20; 500 labels a batch, reference of 2,000 labels, a new one each time."""
    found = {}
    for name, detector in (("Beta-predictive", risk_changed), ("95 % bound + 0.01", risk_exceeds)):
        alarms = 0
        for quarter in range(quarters):
            rng = np.random.default_rng([seed, quarter])
            ref = risk_reference(["error"], [int(rng.binomial(2000, 0.1))], [2000])
            state = no_evidence(ref)
            for _ in range(QUARTER):
                state = observe(state, risk_counts([int(rng.binomial(PANE_ROWS, 0.1))], [PANE_ROWS]))
                if detector(state, ref).log_evidence >= LIMIT:
                    alarms, state = alarms + 1, no_evidence(ref)
        by_risk = {}
        for risk in (0.12, 0.15, 0.20):
            found_after = []
            for trial in range(trials):
                rng = np.random.default_rng([seed, trial, int(risk * 100)])
                ref = risk_reference(["error"], [int(rng.binomial(2000, 0.1))], [2000])
                state = no_evidence(ref)
                for _ in range(warm):
                    state = observe(state, risk_counts([int(rng.binomial(PANE_ROWS, 0.1))], [PANE_ROWS]))
                found_after.append(_risk_delay(detector, ref, state, risk, rng))
            by_risk[risk] = float(np.median(found_after))
        found[name] = Risk(alarms / quarters, by_risk)
    return found


def _risk_delay(
    detector: Callable[..., object], ref: CellReference, state: EvidenceCounts, risk: float, rng: np.random.Generator
) -> float:
    for batch in range(1, CAP + 1):
        state = observe(state, risk_counts([int(rng.binomial(PANE_ROWS, risk))], [PANE_ROWS]))
        if detector(state, ref).log_evidence >= LIMIT:  # type: ignore[attr-defined]
            return float(batch)
    return math.inf


assert len(COLUMNS) == 25
