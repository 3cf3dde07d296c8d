"""Alarms: verdicts that were held against the false-alarm budget.

What lives here: the states of an alarm, the table of what leads from one to the next, the named reason of every step,
and a versioned encoding; pure. What must not: how effects and evidence are computed, clocks (`now` is an argument),
notification.

An alarm needs two things at once: an effect beyond the operator's tolerance in the window it is judged on, and evidence
that has reached the check's share of the false-alarm budget. It ends when the effect is back inside the tolerance; a
statistic that falls silent ends nothing, nor does missing data. A revised window is judged anew on its effect; evidence
enters as it is and is never undone. When an alarm has ended its evidence starts afresh (`Step.restart_evidence`): what
was collected during the drift must not fire again at the next breath of the effect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

from monitor.errors import OperatorError

FORMAT = 1
_MICROSECONDS = 1_000_000


class State(StrEnum):
    """Where an alarm stands."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


class Condition(StrEnum):
    """What one reading says."""

    UNKNOWN = "unknown"  # no effect, or too few rows to judge it
    CALM = "calm"  # the effect is inside the tolerance
    SUSPECT = "suspect"  # the effect is outside, the evidence does not suffice
    ALARMING = "alarming"  # both


class Reason(StrEnum):
    """Why an alarm is where it is; decisions and dashboards use these, never a text."""

    NOTHING_SEEN = "nothing_seen"
    INSIDE_TOLERANCE = "inside_tolerance"
    EVIDENCE_WITHOUT_EFFECT = "evidence_without_effect"
    EFFECT_WITHOUT_EVIDENCE = "effect_without_evidence"
    HOLDING_OFF = "holding_off"
    EFFECT_AND_EVIDENCE = "effect_and_evidence"
    STILL_OUTSIDE = "still_outside"
    KEPT_FIRING = "kept_firing"
    BACK_INSIDE = "back_inside"
    TOO_FEW_ROWS = "too_few_rows"
    NO_EFFECT = "no_effect"
    OLDER_WINDOW = "older_window"
    RESOLUTION_SHOWN = "resolution_shown"


@dataclass(frozen=True)
class AlarmSettings:
    """How patient an alarm is.

    `minimum_n`: rows (labels) below which the effect is not judged. `holdoff_seconds`: how long effect and evidence
    must both hold before it fires; 0 by default, since evidence has waited already. `keep_firing_seconds`: how long the
    effect must stay inside before it is resolved. `show_resolved_seconds`: how long it is shown as resolved.
    """

    minimum_n: int = 200
    holdoff_seconds: float = 0.0
    keep_firing_seconds: float = 0.0
    show_resolved_seconds: float = 3_600.0


@dataclass(frozen=True)
class Effect:
    """The effect side: of the latest window judged, in the unit of its tolerance; larger is worse.

    `value` None where the statistic is absent. `window_end` (microseconds) and `revision` say which window it is.
    """

    value: float | None
    tolerance: float
    n: int
    window_end: int
    revision: int = 0


@dataclass(frozen=True)
class Weight:
    """The evidence side: nats, against ln of the run length that the check's share of the budget promises."""

    log_evidence: float
    log_threshold: float
    since: int | None = None

    @property
    def suffices(self) -> bool:
        """Whether the check's share of the budget has been reached; NaN does not."""
        return self.log_evidence >= self.log_threshold


@dataclass(frozen=True)
class Alarm:
    """One check's alarm and what it rests on; times in microseconds since the epoch.

    `since`: when it entered its state. `alarming_since`: since when effect and evidence have both held. `calm_since`:
    since when the effect has been inside while it fired. `window_end`, `revision`: the window last judged. `fired`: how
    often it has fired in all.
    """

    check: str
    state: State = State.INACTIVE
    reason: Reason = Reason.NOTHING_SEEN
    since: int = 0
    alarming_since: int | None = None
    calm_since: int | None = None
    fired_at: int | None = None
    resolved_at: int | None = None
    fired: int = 0
    effect: float | None = None
    tolerance: float | None = None
    n: int = 0
    window_end: int | None = None
    revision: int = 0
    log_evidence: float | None = None
    log_threshold: float | None = None
    evidence_since: int | None = None

    @property
    def is_shown(self) -> bool:
        """Whether there is something to tell: it is pending, firing or lately resolved."""
        return self.state is not State.INACTIVE


@dataclass(frozen=True)
class Step:
    """The alarm after a reading, and what the shell must do: announce it, begin its evidence afresh."""

    alarm: Alarm
    changed: bool
    restart_evidence: bool = False


# From a state, by a condition: the next state and its reason, once the waiting time of that step (`_waited`) is over.
TRANSITIONS: Mapping[tuple[State, Condition], tuple[State, Reason]] = {
    (State.INACTIVE, Condition.UNKNOWN): (State.INACTIVE, Reason.NO_EFFECT),
    (State.INACTIVE, Condition.CALM): (State.INACTIVE, Reason.INSIDE_TOLERANCE),
    (State.INACTIVE, Condition.SUSPECT): (State.PENDING, Reason.EFFECT_WITHOUT_EVIDENCE),
    (State.INACTIVE, Condition.ALARMING): (State.FIRING, Reason.EFFECT_AND_EVIDENCE),
    (State.PENDING, Condition.UNKNOWN): (State.PENDING, Reason.NO_EFFECT),
    (State.PENDING, Condition.CALM): (State.INACTIVE, Reason.INSIDE_TOLERANCE),
    (State.PENDING, Condition.SUSPECT): (State.PENDING, Reason.EFFECT_WITHOUT_EVIDENCE),
    (State.PENDING, Condition.ALARMING): (State.FIRING, Reason.EFFECT_AND_EVIDENCE),
    (State.FIRING, Condition.UNKNOWN): (State.FIRING, Reason.NO_EFFECT),
    (State.FIRING, Condition.CALM): (State.RESOLVED, Reason.BACK_INSIDE),
    (State.FIRING, Condition.SUSPECT): (State.FIRING, Reason.STILL_OUTSIDE),
    (State.FIRING, Condition.ALARMING): (State.FIRING, Reason.STILL_OUTSIDE),
    (State.RESOLVED, Condition.UNKNOWN): (State.RESOLVED, Reason.NO_EFFECT),
    (State.RESOLVED, Condition.CALM): (State.INACTIVE, Reason.RESOLUTION_SHOWN),
    (State.RESOLVED, Condition.SUSPECT): (State.PENDING, Reason.EFFECT_WITHOUT_EVIDENCE),
    (State.RESOLVED, Condition.ALARMING): (State.FIRING, Reason.EFFECT_AND_EVIDENCE),
}


def transition_table() -> str:
    """`TRANSITIONS` as a Markdown table: a row for every state, a column for every condition."""
    lines = ["| state | " + " | ".join(Condition) + " |", "| --- |" + " --- |" * len(Condition)]
    for state in State:
        cells = [TRANSITIONS[state, says] for says in Condition]
        lines.append(f"| **{state}** | " + " | ".join(f"{to}: `{reason}`" for to, reason in cells) + " |")
    return "\n".join(lines) + "\n"


def condition(effect: Effect, weight: Weight, settings: AlarmSettings) -> Condition:
    """What a reading says; an effect exactly at its tolerance is inside."""
    if effect.value is None or effect.n < settings.minimum_n:
        return Condition.UNKNOWN
    # Written so that NaN counts as outside: an effect that is not a number must not end an alarm.
    if effect.value <= effect.tolerance:
        return Condition.CALM
    return Condition.ALARMING if weight.suffices else Condition.SUSPECT


def step(alarm: Alarm, effect: Effect, weight: Weight, settings: AlarmSettings, now: int) -> Step:
    """The alarm after a reading at `now` (microseconds); of the same reading twice the second changes nothing.

    A window older than the last one judged, or an older revision of it, is not judged again.
    """
    if alarm.window_end is not None and (effect.window_end, effect.revision) < (alarm.window_end, alarm.revision):
        return Step(replace(alarm, reason=Reason.OLDER_WINDOW), changed=False)
    says = condition(effect, weight, settings)
    judged = _timed(_recorded(alarm, effect, weight), says, now)
    state, reason = TRANSITIONS[alarm.state, says]
    state, reason = _waited(judged, state, reason, settings, now)
    reason = _named(reason, says, effect, weight, settings)
    if state is alarm.state:
        return Step(replace(judged, reason=reason), changed=False)
    moved = replace(judged, state=state, reason=reason, since=now)
    if state is State.FIRING:
        moved = replace(moved, fired_at=now, resolved_at=None, fired=alarm.fired + 1)
    if state is State.RESOLVED:
        moved = replace(moved, resolved_at=now, alarming_since=None, calm_since=None)
    return Step(moved, changed=True, restart_evidence=state is State.RESOLVED)


def _recorded(alarm: Alarm, effect: Effect, weight: Weight) -> Alarm:
    return replace(
        alarm,
        effect=effect.value,
        tolerance=effect.tolerance,
        n=effect.n,
        window_end=effect.window_end,
        revision=effect.revision,
        log_evidence=weight.log_evidence,
        log_threshold=weight.log_threshold,
        evidence_since=weight.since,
    )


def _timed(alarm: Alarm, says: Condition, now: int) -> Alarm:
    """Start or stop the two stop-watches; an unknown reading lets both run on."""
    if says is Condition.UNKNOWN:
        return alarm
    alarming = (now if alarm.alarming_since is None else alarm.alarming_since) if says is Condition.ALARMING else None
    calm = (now if alarm.calm_since is None else alarm.calm_since) if says is Condition.CALM else None
    return replace(alarm, alarming_since=alarming, calm_since=calm)


def _waited(alarm: Alarm, state: State, reason: Reason, settings: AlarmSettings, now: int) -> tuple[State, Reason]:
    """The table's step, or the state to wait in while its time is not up."""
    if state is alarm.state:
        return state, reason
    if state is State.FIRING and _younger(alarm.alarming_since, settings.holdoff_seconds, now):
        return State.PENDING, Reason.HOLDING_OFF
    if state is State.RESOLVED and _younger(alarm.calm_since, settings.keep_firing_seconds, now):
        return State.FIRING, Reason.KEPT_FIRING
    if alarm.state is State.RESOLVED and state is State.INACTIVE:
        shown = not _younger(alarm.resolved_at, settings.show_resolved_seconds, now)
        return (state, reason) if shown else (State.RESOLVED, Reason.BACK_INSIDE)
    return state, reason


def _younger(since: int | None, seconds: float, now: int) -> bool:
    return since is not None and now - since < seconds * _MICROSECONDS


def _named(reason: Reason, says: Condition, effect: Effect, weight: Weight, settings: AlarmSettings) -> Reason:
    """Reasons that one cell of the table holds two of."""
    if says is Condition.UNKNOWN and effect.value is not None and effect.n < settings.minimum_n:
        return Reason.TOO_FEW_ROWS
    if reason is Reason.INSIDE_TOLERANCE and weight.suffices:
        return Reason.EVIDENCE_WITHOUT_EFFECT
    return reason


def encode_alarm(alarm: Alarm) -> bytes:
    """The alarm as versioned JSON; floats round-trip exactly, −inf as null of a known field."""
    fields = asdict(alarm)
    if alarm.log_evidence is not None and alarm.log_evidence == float("-inf"):
        fields["log_evidence"] = "-inf"
    return json.dumps({"format": FORMAT, **fields}, sort_keys=True).encode()


def decode_alarm(data: bytes) -> Alarm:
    """The alarm that `encode_alarm` wrote; raises OperatorError for anything else or newer."""
    try:
        fields = json.loads(data)
        version = int(fields.pop("format"))
        if version > FORMAT:
            raise OperatorError("an alarm of a newer trueup", expected=f"format {FORMAT}", got=str(version))
        if fields["log_evidence"] == "-inf":
            fields["log_evidence"] = float("-inf")
        return Alarm(**{**fields, "state": State(fields["state"]), "reason": Reason(fields["reason"])})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OperatorError("not a trueup alarm", expected="what encode_alarm wrote") from error
