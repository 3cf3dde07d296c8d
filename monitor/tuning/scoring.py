"""What a model's alarms would find of drifts put into its own past.

What lives here: trials with injected drifts, and what became of them. What must not: how checks go over a stream (that
is `quiet`), reading the log, formulas, tables and pictures; seeds and progress are arguments.

Several settings are scored in one pass over the same streams, so that what differs between them is their tolerances.
Every trial goes on from where the past had brought the evidence and the alarms at its start, at which no alarm fires. A
drift counts as found by a check that fires before it fires without the drift: where the past itself alarms first the
trial is cut short, and counts as one that found nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
import pyarrow.compute as pc

from monitor.alarms import evidence
from monitor.alarms.transitions import State
from monitor.records import column_label
from monitor.statistics.evidence_cells import CellLayout
from monitor.statistics.seasons import ObservationSettings
from monitor.tuning.feed import with_column
from monitor.tuning.injection import SIZES, Drawn, Injection, Kind, columns_for, drawn_from, inject
from monitor.tuning.quiet import Advance, Checks, PastRun, Quiet, Setup, news_of, past_alarm, quiet_run
from monitor.tuning.stream import Observation, Past, too_short
from monitor.windows import MICROSECONDS

# Places in the past from which trials may go on: what has to be remembered of it.
_STARTS = 40
_DAY = 86_400.0


@dataclass(frozen=True)
class Trials:
    """How drifts are tried: which, how often, and for how many observations each may take to be found.

    `columns`: log columns to put them into, all that can have them by default; every trial takes one at random.
    """

    sizes: Mapping[Kind, Sequence[float]] = field(default_factory=lambda: dict(SIZES))
    trials: int = 10
    horizon: int = 14
    columns: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Power:
    """What became of the trials of one drift under one setup; `check` None: the first check that found it.

    `found`: trials in which it fired within the horizon, of `trials`. `delays`: observations until it did, ascending.
    `named`: of those found, in how many the alarm named a drifted column; None where no single column drifted.
    `cut_short`: trials that found nothing before the check fired without the drift.
    """

    setup: str
    kind: Kind
    size: float
    check: str | None
    trials: int
    delays: tuple[int, ...]
    named: int | None
    cut_short: int = 0

    @property
    def found(self) -> int:
        """Trials in which the drift was found."""
        return len(self.delays)

    @property
    def share(self) -> float:
        """Share of the trials in which the drift was found, 0–1."""
        return self.found / self.trials if self.trials else 0.0

    @property
    def median_delay(self) -> float | None:
        """Median over all trials, in observations; None where less than half of them found it."""
        waits = [*map(float, self.delays), *([float("inf")] * (self.trials - self.found))]
        middle = median(waits) if waits else float("inf")
        return middle if np.isfinite(middle) else None


@dataclass(frozen=True, eq=False)
class Score:
    """The quiet part of every setup, the power of every drift, and why drifts were not tried."""

    quiet: tuple[Quiet, ...]
    power: tuple[Power, ...]
    not_tried: Mapping[str, str]
    starts: int


@dataclass
class _Found:
    """One trial, by names of setup and check: observations until it fired and whether it named the drifted column.

    `cut_short`: those that fire without the drift before they fired with it.
    """

    fired: dict[tuple[str, str], tuple[int, bool]] = field(default_factory=dict)
    cut_short: set[tuple[str, str]] = field(default_factory=set)


def score(run: PastRun, setups: Sequence[Setup], trials: Trials, advance: Advance) -> Score:
    """The past as it was, and all trials, under every setup; raises OperatorError for a past that is too short.

    `advance` is called once for every trial, `trial_count` says how often.
    """
    if len(run.past.observations) < needed_observations(run.past.settings, trials):
        raise too_short(run.past, needed_observations(run.past.settings, trials))
    quiet, kept = {}, {}
    for setup in setups:
        quiet[setup.name], kept[setup.name] = quiet_run(run, setup)
    usable = [start for start in sorted(run.feeds) if all(_is_calm(checks[start]) for checks in kept.values())]
    drawn = drawn_from(setups[0].reference)
    tried, not_tried = _kinds(run, drawn, trials)
    if not usable:
        reason = "an alarm fires wherever a drift could begin: what it adds cannot be told"
        not_tried, tried = dict.fromkeys(trials.sizes, reason), {}
    power: list[Power] = []
    for kind, columns in tried.items():
        for size in trials.sizes[kind]:
            found: list[_Found] = []
            for trial in range(trials.trials):
                found.append(_trial(run, kept, quiet, usable, drawn, kind, size, columns, trials, trial))
                advance()
            for setup in setups:
                power += _powers(setup, kind, size, columns, found)
    return Score(tuple(quiet.values()), tuple(power), {str(kind): why for kind, why in not_tried.items()}, len(usable))


def needed_observations(settings: ObservationSettings, trials: Trials) -> int:
    """Whole observations that a past must hold: what phases learn from, one before the drift, and the horizon."""
    return _run_in(settings) + 1 + trials.horizon


def trial_count(trials: Trials) -> int:
    """How many trials there are at most."""
    return sum(len(sizes) for sizes in trials.sizes.values()) * trials.trials


def default_horizon(settings: ObservationSettings) -> int:
    """Two weeks of whole seasons; of shorter observations as many as two days hold, at least 14."""
    return max(14, round(2 * _DAY / settings.length_seconds))


def _run_in(settings: ObservationSettings) -> int:
    return evidence.LEARNT_SEASONS * settings.phases if settings.phases > 1 else 0


def trial_starts(past: Past, trials: Trials) -> list[int]:
    """Where trials may begin: among the later observations, so that evidence has seen some of the past."""
    last = len(past.observations) - trials.horizon
    first = max(_run_in(past.settings) + 1, min(len(past.observations) // 3, last))
    if last < first:
        return []
    return [int(place) for place in np.unique(np.linspace(first, last, _STARTS).round())]


def _is_calm(checks: Checks) -> bool:
    return not any(check.report.alarm.state is State.FIRING for check in checks.values())


def _undrifted(run: PastRun, quiet: Quiet, check: str, start: int) -> float:
    """In how many observations from a start a check fires without any drift; infinite if never."""
    begin, size = run.past.observations[start].window, run.past.settings.length_seconds * MICROSECONDS
    fired = [alarm.fired_at for alarm in quiet.alarms if alarm.check == check and alarm.fired_at > begin.start]
    return round((min(fired) - begin.start) / size) if fired else math.inf


def _kinds(run: PastRun, drawn: Drawn, trials: Trials) -> tuple[dict[Kind, tuple[str, ...]], dict[Kind, str]]:
    """Drifts that can be tried, with the columns they may go into; and why others cannot."""
    tried: dict[Kind, tuple[str, ...]] = {}
    not_tried: dict[Kind, str] = {}
    has_labels = any(pc.any(pc.is_valid(item.rows.column("label"))).as_py() for item in run.past.observations)
    for kind in trials.sizes:
        columns = columns_for(kind, drawn)
        if not isinstance(columns, str) and columns and trials.columns:
            columns = tuple(name for name in columns if name in trials.columns) or "no column of its type was asked for"
        if isinstance(columns, str):
            not_tried[kind] = columns
        elif kind is Kind.CONCEPT_FLIP and not has_labels:
            not_tried[kind] = "the log has no labels"
        elif kind is Kind.CONCEPT_FLIP and not run.cells.risks:
            not_tried[kind] = "no check is weighed on labels"
        elif columns and run.cells.layout is None:
            not_tried[kind] = "no check watches the inputs"
        else:
            tried[kind] = columns
    return tried, not_tried


def _touches(kind: Kind, column: str | None) -> tuple[bool, bool]:
    """Whether a drift can change what inputs are judged on, and what labels are."""
    return kind is not Kind.CONCEPT_FLIP, kind in (Kind.CONCEPT_FLIP, Kind.LABEL_SHIFT) or column == "prediction"


def _trial(
    run: PastRun,
    kept: Mapping[str, Mapping[int, Checks]],
    quiet: Mapping[str, Quiet],
    usable: Sequence[int],
    drawn: Drawn,
    kind: Kind,
    size: float,
    columns: Sequence[str],
    trials: Trials,
    trial: int,
) -> _Found:
    """What each check of each setup did, by their names."""
    # The same start and column for every size, so that sizes are compared on the same traffic.
    place = np.random.default_rng([trials.seed, trial])
    start = int(usable[int(place.integers(len(usable)))])
    column = columns[int(place.integers(len(columns)))] if columns else None
    random = np.random.default_rng([trials.seed, trial, list(Kind).index(kind), round(size * 1_000_000)])
    begin = run.past.observations[start].window.start
    length = trials.horizon * run.past.settings.length_seconds / 2 if kind is Kind.RAMP else _DAY
    injection = Injection(kind, size, begin, () if column is None else (column,), length)
    inputs, labels = _touches(kind, column)
    label = None if column is None else column_label(column)
    feed, found = run.feeds[start].copy(column), _Found()
    states = {
        (setup, name): check
        for setup, checks in kept.items()
        for name, check in checks[start].items()
        if (inputs if isinstance(check.watch.cells, CellLayout) else labels)
    }
    alone = {key: _undrifted(run, quiet[key[0]], key[1], start) for key in states}
    for number, observation in enumerate(run.past.observations[start : start + trials.horizon], 1):
        rows = inject(observation.rows, injection, drawn, random)
        seen = feed.take(Observation(observation.window, rows, observation.seen), inputs=inputs, labels=labels)
        if label is not None and run.cells.layout is not None:
            seen = with_column(run.seen[start + number - 1], seen, label, run.cells.layout)
        for key, check in list(states.items()):
            after = check.after(news_of(check.watch, seen), seen.now)
            states[key] = after
            if number >= alone[key]:
                found.cut_short.add(key)
                del states[key]
            elif after.report.alarm.fired > check.report.alarm.fired:
                told = past_alarm(after.report.check, after.report.alarm, after.report.explanation or {})
                found.fired[key] = (number, label in told.columns)
                del states[key]
        if not states:
            break
    return found


def _powers(setup: Setup, kind: Kind, size: float, columns: Sequence[str], found: Sequence[_Found]) -> list[Power]:
    """By check, and of the first check to fire."""
    inputs, labels = _touches(kind, columns[0] if columns else None)
    names = [
        watch.name
        for watch in setup.plan.watches
        if (inputs if isinstance(watch.cells, CellLayout) else labels or "prediction" in columns)
    ]
    powers = []
    for check in (None, *names):
        wanted = [(setup.name, name) for name in names if check in (None, name)]
        firsts = [
            min((item.fired[key] for key in wanted if key in item.fired), key=_soonest, default=None) for item in found
        ]
        fired = [item for item in firsts if item is not None]
        cut = sum(
            first is None and any(key in item.cut_short for key in wanted)
            for first, item in zip(firsts, found, strict=True)
        )
        named = sum(item[1] for item in fired) if columns else None
        delays = tuple(sorted(item[0] for item in fired))
        powers.append(Power(setup.name, kind, size, check, len(found), delays, named, cut))
    return powers


def _soonest(fired: tuple[int, bool]) -> tuple[int, bool]:
    """The sooner first; of two at once the one that named the column."""
    return fired[0], not fired[1]
