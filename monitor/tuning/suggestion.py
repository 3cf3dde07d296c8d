"""Tolerances from a model's own variation: what quiet windows of the reference and of the past stayed below.

What lives here: how large the effect of a window without drift is, by the reference's sampling error and by the past,
and the limits that follow. What must not: what a limit costs (that is `scoring`), how it is written in a file.

A warning is set where ordinary windows end: above all but 1 % of the calm windows of the past (above all of them where
there are too few to tell 1 %), and not below what a window of that many rows shows by chance alone, 99 % of the time.
Windows that lie inside an alarm of the past are left out: a drift must not become the measure of what is ordinary.
Where they are more than half of the past, all of it is taken, and the proposal says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from scipy.special import kolmogi, ndtri

from monitor.alarms.plan import Watch
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.statistics import divergence
from monitor.statistics.divergence import CellCounts
from monitor.statistics.evidence_cells import CellLayout
from monitor.statistics.independence import learnt_tolerance
from monitor.statistics.result import Estimate
from monitor.statistics.summary import outcome_statistics
from monitor.tuning.quiet import PastAlarm, Quiet, Setup, WindowEffect
from monitor.verdict import Check, Threshold

# The share of quiet windows that a warning must not meet.
COVERAGE = 0.99
# How far critical lies beyond warning where the operator has not set both.
_DRIFT_RATIO, _VALUE_RATIO = 2.5, 2.0
_DRAWS = 500
_STATISTICS = {
    "population_stability_index": divergence.population_stability_index,
    "jensen_shannon_distance": divergence.jensen_shannon_distance,
}


@dataclass(frozen=True)
class Proposal:
    """The limits proposed for one check, and what they rest on; effects as the alarm judges them, larger is worse.

    `chance`: what a window shows without drift, by the sampling error of reference and window; None where it is not
    known for the metric. `past`: what `coverage` of the calm windows stayed below; None without any. `largest`: the
    largest of all windows. `windows`, `left_out`: calm windows, and those inside alarms. `all_taken`: whether those
    were taken after all. `proposed` None: there is nothing to go by.
    """

    present: Check
    proposed: Check | None
    tolerance: float | None
    chance: float | None
    past: float | None
    coverage: float | None
    largest: float | None
    windows: int
    left_out: int
    all_taken: bool

    @property
    def check(self) -> str:
        """Name of the check."""
        return self.present.metric


def propose(setup: Setup, quiet: Quiet, random: np.random.Generator) -> tuple[Proposal, ...]:
    """A proposal for every watched check, from the past under this setup."""
    return tuple(_propose(watch, setup, quiet, random) for watch in setup.plan.watches)


def with_proposals(settings: ModelSettings, proposals: Sequence[Proposal]) -> ModelSettings:
    """The settings with the limits that were proposed; checks without a proposal stay as they are."""
    new = {item.check: item.proposed for item in proposals if item.proposed is not None}
    checks = settings.checks
    changed = replace(
        checks,
        values=tuple(new.get(check.metric, check) for check in checks.values),
        columns=tuple(new.get(check.metric, check) for check in checks.columns),
    )
    return replace(settings, checks=changed)


def latest_effects(quiet: Quiet, check: str) -> list[WindowEffect]:
    """The last revision of every window that could be judged, oldest first."""
    last: dict[int, WindowEffect] = {}
    for effect in quiet.effects:
        known = last.get(effect.window_end)
        if effect.check == check and effect.value is not None and (known is None or known.revision <= effect.revision):
            last[effect.window_end] = effect
    return [last[end] for end in sorted(last)]


def chance_effect(watch: Watch, reference: Reference, rows: float, random: np.random.Generator) -> float | None:
    """The effect that a window of so many rows stays below with 99 % while nothing has changed; None: not known.

    PSI and Jensen–Shannon: of the worst column, from pairs of samples drawn from the reference's cells. Kolmogorov–
    Smirnov: from its asymptotic distribution, over all numeric columns. Metrics with an interval: normal, from the
    reference's own standard error.
    """
    if rows < 1:
        return None
    if not isinstance(watch.cells, CellLayout):
        return _chance_of_value(watch, reference, rows)
    if watch.name == "kolmogorov_smirnov_statistic":
        return _chance_of_distance(watch.cells, rows)
    if watch.name not in _STATISTICS:
        return None
    cells, worst = watch.cells.reference, np.zeros(_DRAWS)
    for offset, size, total in zip(cells.offsets, cells.sizes, cells.rows, strict=True):
        share = cells.counts[offset : offset + size] / total
        before, now = (random.multinomial(round(n), share, size=_DRAWS) for n in (total, rows))
        found = [_STATISTICS[watch.name](CellCounts.of(a, b)) for a, b in zip(before, now, strict=True)]
        worst = np.maximum(worst, [item.value if isinstance(item, Estimate) else 0.0 for item in found])
    return float(np.quantile(worst, COVERAGE))


def _chance_of_distance(cells: CellLayout, rows: float) -> float | None:
    ordered = [total for total, kind in zip(cells.reference.rows, cells.reference.ordered, strict=True) if kind]
    if not ordered:
        return None
    tail = -math.expm1(math.log(COVERAGE) / len(ordered))
    return float(kolmogi(tail) * math.sqrt(1 / rows + 1 / min(ordered)))


def _chance_of_value(watch: Watch, reference: Reference, rows: float) -> float | None:
    if reference.outcome is None or watch.own is None:
        return None
    own = outcome_statistics(reference, reference.outcome).get(watch.name)
    if not isinstance(own, Estimate) or own.lower is None or own.upper is None or own.level is None:
        return None
    error = (own.upper - own.lower) / 2 / float(ndtri((1 + own.level) / 2))
    harm = float(ndtri(COVERAGE)) * error * math.sqrt(own.n) * math.sqrt(1 / rows + 1 / own.n)
    return watch.own + harm if watch.threshold.side == "above" else harm


def _propose(watch: Watch, setup: Setup, quiet: Quiet, random: np.random.Generator) -> Proposal:
    every = latest_effects(quiet, watch.name)
    rows = float(median(item.n for item in every)) if every else 0.0
    calm = [item for item in every if not _inside(item, [alarm for alarm in quiet.alarms if alarm.check == watch.name])]
    left_out, all_taken = len(every) - len(calm), len(calm) * 2 < len(every)
    values = [item.value for item in (every if all_taken else calm) if item.value is not None]
    learnt = learnt_tolerance(values, COVERAGE)
    coverage = COVERAGE if isinstance(learnt, Estimate) else 1.0
    past = learnt.value if isinstance(learnt, Estimate) else max(values, default=None)
    chance = chance_effect(watch, setup.reference, rows, random)
    known = [item for item in (past, chance) if item is not None]
    made = _check(watch, max(known)) if known and past is not None else None
    return Proposal(
        watch.check,
        None if made is None else made[0],
        None if made is None else made[1],
        chance,
        past,
        None if past is None else coverage,
        max((item.value for item in every if item.value is not None), default=None),
        len(values),
        left_out,
        all_taken,
    )


def _inside(effect: WindowEffect, alarms: Sequence[PastAlarm]) -> bool:
    """Whether a window ends in an alarm, from when it is taken to have begun until the window that ended it."""
    return any(
        (alarm.fired_at if alarm.since is None else alarm.since) < effect.window_end
        and (alarm.resolved_at is None or effect.window_end < alarm.resolved_at)
        for alarm in alarms
    )


def _check(watch: Watch, effect: float) -> tuple[Check, float]:
    """The check with its warning at an effect, rounded away from it, and that tolerance; in the form it was written."""
    present, threshold = watch.check, watch.threshold
    ratio = _ratio(watch)
    if threshold.relative:
        assert watch.own is not None
        away = effect / watch.own - 1 if threshold.side == "above" else effect / watch.own
        fraction = max(math.ceil(round(away * 1000, 9)) / 1000, 0.001)
        # Of a value that cannot fall below nothing all of it is the most there is.
        most = math.inf if threshold.side == "above" else 1.0
        warning, critical = (
            Threshold(threshold.side, _percents(min(fraction * times, most)), relative=True) for times in (1, ratio)
        )
    elif threshold.side == "above":
        base = watch.own if watch.own is not None and not isinstance(watch.cells, CellLayout) else 0.0
        over = _rounded_up(max(effect - base, 1e-9))
        warning, critical = (Threshold("above", _plain(base + over * times)) for times in (1, ratio))
    else:
        base = watch.own if watch.own is not None else threshold.value
        under = _rounded_up(max(effect, 1e-9))
        warning, critical = (Threshold("below", _plain(base - under * times)) for times in (1, ratio))
    changed = replace(watch, check=Check(present.metric, warning, critical), threshold=warning)
    return changed.check, changed.tolerance


def _ratio(watch: Watch) -> float:
    """How many times as far as warning critical lies: as the operator has it, else as is customary."""
    check = watch.check
    if check.warning is not None and check.critical is not None:
        reaches = [_reach(watch, threshold) for threshold in (check.warning, check.critical)]
        if reaches[0] > 0 and reaches[1] >= reaches[0]:
            return reaches[1] / reaches[0]
    return _DRIFT_RATIO if isinstance(watch.cells, CellLayout) else _VALUE_RATIO


def _reach(watch: Watch, threshold: Threshold) -> float:
    """How far a limit is from what there is without any harm."""
    if threshold.relative:
        return threshold.value
    base = 0.0 if isinstance(watch.cells, CellLayout) or watch.own is None else watch.own
    return threshold.value - base if threshold.side == "above" else base - threshold.value


def _rounded_up(value: float) -> float:
    """To two significant digits, never down."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.ceil(round(value / step, 9)) * step


def _percents(fraction: float) -> float:
    """As it is when it is read back from a text in percent."""
    return float(f"{fraction * 100:.5g}") / 100


def _plain(value: float) -> float:
    return float(f"{value:.6g}")
