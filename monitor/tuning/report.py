"""A model's checks scored on its own past, with or without proposed limits: the order of the work, and its JSON.

What lives here: past → quiet part → proposals → trials, and what is told of them. What must not: reading the log,
tables, pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.alarms.plan import assumption
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.tuning.injection import UNITS, Kind
from monitor.tuning.quiet import PastAlarm, Quiet, Setup, past_run, quiet_run
from monitor.tuning.scoring import Power, Score, Trials, needed_observations, score, trial_starts
from monitor.tuning.stream import Past, drawn_anew, too_short
from monitor.tuning.suggestion import Proposal, latest_effects, propose, with_proposals
from monitor.verdict import Threshold
from monitor.window_codec import iso
from monitor.windows import format_duration

PRESENT, PROPOSED = "as set", "proposed"
# A cycle is no harm of its own: where it is found, the season is set too short.
HARMLESS = frozenset({Kind.DAILY_CYCLE})


@dataclass(frozen=True, eq=False)
class Tuning:
    """What came of it. `setups`: as the checks are set, then as they are proposed, if that was asked for."""

    past: Past
    trials: Trials
    setups: tuple[Setup, ...]
    score: Score
    proposals: tuple[Proposal, ...]

    @property
    def model(self) -> str:
        """Name of the model."""
        return self.setups[0].settings.name

    @property
    def proposed(self) -> ModelSettings | None:
        """The settings with the proposed limits; None where they were not asked for."""
        return self.setups[1].settings if len(self.setups) > 1 else None

    def quiet(self, setup: str) -> Quiet:
        """The quiet part of a setup."""
        return next(item for item in self.score.quiet if item.setup == setup)


def tune(
    past: Past,
    settings: ModelSettings,
    reference: Reference,
    trials: Trials,
    *,
    suggest: bool,
    resample: bool,
    advance: Callable[[], None] = lambda: None,
) -> Tuning:
    """Score the checks on the past, and with `suggest` propose limits and score them too.

    `resample`: use seasons drawn from the rows of the past. Raises OperatorError where the past is too short.
    """
    needed = needed_observations(past.settings, trials)
    if resample:
        past = drawn_anew(past, np.random.default_rng([trials.seed, 1]), stream_length(past, trials, resample=True))
    elif not past.whole or len(past.observations) < needed:
        raise too_short(past if past.whole else replace(past, observations=()), needed)
    setups = [Setup.of(PRESENT, settings, reference)]
    run = past_run(past, setups[0], trial_starts(past, trials), advance)
    proposals: tuple[Proposal, ...] = ()
    if suggest:
        quiet, _ = quiet_run(run, setups[0])
        proposals = propose(setups[0], quiet, np.random.default_rng([trials.seed, 2]))
        setups.append(Setup.of(PROPOSED, with_proposals(settings, proposals), reference))
    return Tuning(past, trials, tuple(setups), score(run, setups, trials, advance), proposals)


def stream_length(past: Past, trials: Trials, *, resample: bool) -> int:
    """Observations of the stream that is scored: the past's, or a quarter's or as many as the trials need, if more."""
    if not resample:
        return len(past.observations)
    return max(90, needed_observations(past.settings, trials) + trials.horizon)


def verdict_counts(quiet: Quiet, check: str) -> dict[str, int]:
    """How many windows of the past had which verdict, each by its last revision."""
    counts: dict[str, int] = {}
    for effect in latest_effects(quiet, check):
        counts[effect.verdict] = counts.get(effect.verdict, 0) + 1
    return counts


def tuning_record(tuning: Tuning) -> dict[str, Any]:
    """The JSON of `trueup replay --score` and `--suggest`; delays in observations and in seconds."""
    past, trials, settings = tuning.past, tuning.trials, tuning.setups[0].settings
    record: dict[str, Any] = {
        "model": tuning.model,
        "version": past.version,
        "from": iso(past.first),
        "to": iso(past.last),
        "observations": len(past.observations),
        "observation": format_duration(past.settings.length_seconds),
        "rows_per_observation": past.rows_per_observation,
        "rows_are_a_sample": past.sampled,
        "drawn_anew": past.drawn_anew,
        "false_alarms_allowed": str(settings.false_alarms),
        "assumption": assumption(settings),
        "seed": trials.seed,
        "trials": trials.trials,
        "horizon_observations": trials.horizon,
        "starts": tuning.score.starts,
        "quiet": [_quiet_record(tuning, setup) for setup in tuning.setups],
        "power": [_power_record(power, past) for power in tuning.score.power],
        "not_tried": dict(tuning.score.not_tried),
        "unwatched": tuning.setups[0].plan.unwatched,
    }
    if tuning.proposals:
        record["proposals"] = [_proposal_record(item) for item in tuning.proposals]
    return record


def _quiet_record(tuning: Tuning, setup: Setup) -> dict[str, Any]:
    quiet = tuning.quiet(setup.name)
    return {
        "checks_are": setup.name,
        "alarms": [_alarm_record(alarm) for alarm in quiet.alarms],
        "alarms_per_quarter": quiet.per_quarter,
        "checks": {
            watch.name: {
                "tolerance": watch.tolerance,
                "windows": verdict_counts(quiet, watch.name),
                "largest_effect": max(
                    (item.value for item in latest_effects(quiet, watch.name) if item.value is not None), default=None
                ),
            }
            for watch in setup.plan.watches
        },
    }


def _alarm_record(alarm: PastAlarm) -> dict[str, Any]:
    return {
        "check": alarm.check,
        "fired_at": iso(alarm.fired_at),
        "resolved_at": None if alarm.resolved_at is None else iso(alarm.resolved_at),
        "since": None if alarm.since is None else iso(alarm.since),
        "columns": list(alarm.columns),
        "text": alarm.text,
    }


def _power_record(power: Power, past: Past) -> dict[str, Any]:
    delay = power.median_delay
    return {
        "checks_are": power.setup,
        "drift": power.kind,
        "size": power.size,
        "unit": UNITS[power.kind],
        "harmless": power.kind in HARMLESS,
        "check": power.check or "any",
        "trials": power.trials,
        "found": power.found,
        "cut_short": power.cut_short,
        "median_delay_observations": delay,
        "median_delay_seconds": None if delay is None else delay * past.settings.length_seconds,
        "named_a_drifted_column": power.named,
    }


def _proposal_record(item: Proposal) -> dict[str, Any]:
    def limits(check: Any) -> dict[str, Any] | None:
        return None if check is None else {"warning": _limit(check.warning), "critical": _limit(check.critical)}

    return {
        "check": item.check,
        "present": limits(item.present),
        "proposed": limits(item.proposed),
        "tolerance": item.tolerance,
        "by_chance": item.chance,
        "past_below": item.past,
        "past_share_below": item.coverage,
        "past_largest": item.largest,
        "windows": item.windows,
        "windows_in_alarms": item.left_out,
        "windows_in_alarms_taken": item.all_taken,
    }


def _limit(threshold: Threshold | None) -> dict[str, Any] | None:
    if threshold is None:
        return None
    return {"side": threshold.side, "value": threshold.value, "relative": threshold.relative}
