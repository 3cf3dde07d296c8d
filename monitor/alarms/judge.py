"""One check during one cycle: evidence and windows in, the alarm and its explanation out. Pure.

What lives here: the order in which evidence is consumed and windows are judged, and what is shown of it. What must not:
evidence formulas, transitions, wording, tables; `now` is an argument.

Labels come first, then observations and windows in the order of event time (an observation before a window that ends
with it), so that a cycle that catches up on a month passes through the same states as thirty that did not have to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from monitor.alarms import evidence as ev
from monitor.alarms.evidence import CheckEvidence, Weighed
from monitor.alarms.explanation import Explanation, Quality, SegmentEffect, column_moves, explain, explain_risk
from monitor.alarms.known_damage import estimated_quality, measured_quality
from monitor.alarms.plan import Watch, window_effect
from monitor.alarms.report import AlarmReport
from monitor.alarms.segment_effects import OwnSegments, drift_effects, loss_effects
from monitor.alarms.transitions import Alarm, Condition, Effect, Reason, State, Weight, condition, step
from monitor.statistics.confidence_sequences import rate_sequence
from monitor.statistics.drift_model import DriftModel
from monitor.statistics.evidence_cells import CellLayout
from monitor.statistics.evidence_counts import Counts
from monitor.statistics.result import Absent
from monitor.statistics.seasons import ObservationSettings, phase
from monitor.verdict import Threshold, WindowResult
from monitor.windows import Window

# The null region of a check that was given the evidence of one of its phases.
ModelOf = Callable[[CheckEvidence], DriftModel]
_SHOWN = (State.PENDING, State.FIRING)


@dataclass(frozen=True)
class LabelBatch:
    """Counts of an evidence batch in the cells of one check, and the event times of its predictions, from and to."""

    counts: Counts
    events: tuple[int, int]


@dataclass(frozen=True)
class News:
    """What a cycle has for one check: observations of inputs, batches of labels, windows; each oldest first."""

    observations: Sequence[tuple[Window, Counts]] = ()
    labels: Sequence[LabelBatch] = ()
    windows: Sequence[WindowResult] = ()

    def __bool__(self) -> bool:
        return bool(self.observations or self.labels or self.windows)


@dataclass(frozen=True)
class Context:
    """What does not change during a cycle: the setting, the reference's own values, limits by metric, null regions.

    `own_segments`: the reference's own values by segment, value and metric.
    """

    observed: ObservationSettings
    own: Mapping[str, float]
    limits: Mapping[str, Threshold]
    minimum_labels: int
    model_of: ModelOf
    own_segments: OwnSegments = field(default_factory=dict)


@dataclass
class _Check:
    """The check as it is while the news is worked through."""

    watch: Watch
    context: Context
    detectors: list[CheckEvidence]
    report: AlarmReport
    now: int
    weighed: Weighed | None = None
    result: WindowResult | None = None
    # The last window whose effect the alarm was judged on, in which it can be looked for.
    located: WindowResult | None = None
    touched: set[int] = field(default_factory=set)
    # Whether the alarm was judged on all that is known; a second step would only hide the reason of the first.
    settled: bool = False

    @property
    def alarm(self) -> Alarm:
        return self.report.alarm


@dataclass(frozen=True, eq=False)
class Judged:
    """A check after a cycle; `changed` are the phases whose evidence is another now."""

    detectors: tuple[CheckEvidence, ...]
    report: AlarmReport
    changed: frozenset[int]


def judge_check(
    watch: Watch, context: Context, detectors: Sequence[CheckEvidence], report: AlarmReport, news: News, now: int
) -> Judged:
    """The check after the news. The same news must not be given twice: evidence would count it twice."""
    check = _Check(watch, context, list(detectors), report, now)
    if not isinstance(watch.cells, CellLayout):
        _consume_labels(check, news.labels)
    for window, counts in news.observations:
        _judge_windows(check, [result for result in news.windows if _between(result, check, window.end)])
        _consume_inputs(check, window, counts)
    _judge_windows(check, [result for result in news.windows if _between(result, check, None)])
    _judge_again(check)
    _explain(check, bool(news))
    return Judged(tuple(check.detectors), check.report, frozenset(check.touched))


def _between(result: WindowResult, check: _Check, end: int | None) -> bool:
    """Whether a window comes next: after the last one judged here, and before the observation that ends at `end`."""
    done = check.result
    later = done is None or (result.window.end, result.revision) > (done.window.end, done.revision)
    return later and (end is None or result.window.end < end)


def _consume_labels(check: _Check, batches: Sequence[LabelBatch]) -> None:
    observed = check.context.observed
    state = before = check.detectors[0]
    for batch in batches:
        state = ev.take_labels(state, batch.counts, batch.events, check.now, observed)
    state = ev.settle_labels(state, check.now, observed)
    if state is not before:
        check.detectors[0] = state
        check.touched.add(0)
        if state.counts is not before.counts:
            _weigh(check)


def _consume_inputs(check: _Check, window: Window, counts: Counts) -> None:
    observed = check.context.observed
    place = phase(window, observed)
    before = check.detectors[place]
    if observed.phases > 1:
        after = ev.observe_phase(before, check.watch.reference, counts, window)
    else:
        after = ev.observe_inputs(before, counts, window)
    if after is not before:
        check.detectors[place] = after
        check.touched.add(place)
        _weigh(check)


def _weigh(check: _Check) -> None:
    """Weigh what was consumed, and note it in the alarm; its state moves with `step` only."""
    watch = check.watch
    if isinstance(watch.cells, CellLayout):
        models = [check.context.model_of(detector) for detector in check.detectors]
        if len(models) > 1:
            weighed = ev.weigh_phases(check.detectors, models)
        else:
            weighed = ev.weigh_drift(check.detectors[0], models[0])
    else:
        effect = check.context.observed.design_effect
        weighed = ev.weigh_risk(check.detectors[0], watch.reference, watch.null_tolerance, effect)
    check.weighed, check.settled = weighed, False
    found, early = weighed.evidence, weighed.early
    leading = max(found.columns, key=lambda name: found.columns[name])
    check.report = replace(
        check.report,
        observations=found.observations,
        risk=None if isinstance(watch.cells, CellLayout) else _risk(check, leading),
        early_warning=None if early is None or not math.isfinite(early.log_evidence) else early.log_evidence,
        alarm=replace(
            check.alarm, log_evidence=found.log_evidence, evidence_since=weighed.begun.get(found.since[leading])
        ),
    )


def _risk(check: _Check, name: str) -> dict[str, Any] | None:
    """One risk over all first labels since the evidence began, with an interval that holds at every look at once."""
    place = 2 * check.watch.reference.names.index(name)
    happened, not_happened = check.detectors[0].counts.total[place : place + 2].tolist()
    found = rate_sequence(happened, happened + not_happened)
    if isinstance(found, Absent):
        return None
    return {"name": name, "n": found.n, "value": found.value, "lower": found.lower, "upper": found.upper}


def _judge_windows(check: _Check, windows: Sequence[WindowResult]) -> None:
    for result in windows:
        check.result = result
        measured = measured_quality(result, check.context.own, check.context.minimum_labels)
        # Labels come later than predictions: what they last said may be of an older window than the alarm rests on, and
        # must not give way to what they say of one that is older still.
        if measured and result.window.end >= check.report.measured.get("window_end", result.window.end):
            numbers = {number.metric: [number.reference, number.current, number.worse] for number in measured}
            check.report = replace(check.report, measured={"window_end": result.window.end, "numbers": numbers})
        effect = window_effect(check.watch, result)
        says = condition(effect, _weight(check), check.watch.settings)
        if says is not Condition.UNKNOWN and not _is_older(result, check.alarm):
            check.located = result
            _step(check, effect)
        elif check.alarm.window_end is None:
            # A later window without labels must not keep an earlier one, whose labels come, from being judged.
            reason = Reason.NO_EFFECT if effect.value is None else Reason.TOO_FEW_ROWS
            check.report = replace(check.report, alarm=replace(check.alarm, reason=reason))


def _is_older(result: WindowResult, alarm: Alarm) -> bool:
    """Whether the alarm rests on a later window or revision, so that this one neither moves nor explains it.

    Labels of older windows come in nearly every cycle: they must not keep the alarm from being judged on its own.
    """
    return alarm.window_end is not None and (result.window.end, result.revision) < (alarm.window_end, alarm.revision)


def _judge_again(check: _Check) -> None:
    """The last window once more: evidence may have come since, time has passed, a tolerance may be another."""
    alarm = check.alarm
    threshold = check.watch.share.log_threshold
    if check.settled:
        return
    if alarm.window_end is None or alarm.effect is None:
        check.report = replace(check.report, alarm=replace(alarm, log_threshold=threshold))
        return
    effect = Effect(alarm.effect, check.watch.tolerance, alarm.n, alarm.window_end, alarm.revision)
    _step(check, effect)


def _step(check: _Check, effect: Effect) -> None:
    moved = step(check.alarm, effect, _weight(check), check.watch.settings, check.now)
    alarm = moved.alarm
    if moved.restart_evidence:
        alarm = replace(alarm, log_evidence=-math.inf, evidence_since=None)
        check.detectors[:] = [ev.restarted(detector, check.watch.reference) for detector in check.detectors]
        check.touched |= set(range(len(check.detectors)))
        check.weighed = None
        check.report = replace(check.report, observations=0, early_warning=None, risk=None)
    check.report = replace(check.report, alarm=alarm)
    check.settled = True


def _weight(check: _Check) -> Weight:
    found = check.alarm.log_evidence
    return Weight(-math.inf if found is None else found, check.watch.share.log_threshold, check.alarm.evidence_since)


def _explain(check: _Check, is_news: bool) -> None:
    """An alarm that is pending or firing is explained, one that is resolved keeps its explanation a while."""
    state = check.alarm.state
    if state is State.INACTIVE:
        check.report = replace(check.report, explanation=None)
    if state not in _SHOWN or not (is_news or check.touched or check.report.explanation is None):
        return
    if check.weighed is None:
        _weigh(check)
    weighed, watch = check.weighed, check.watch
    assert weighed is not None
    rows = ev.since_start(check.detectors, weighed.evidence, watch.reference)
    if isinstance(watch.cells, CellLayout):
        moves = column_moves(watch.reference, rows, weighed.evidence, watch.cells.cell_names, weighed.begun)
        begun = [move.since for move in moves if move.since is not None]
        quality = _quality(check, min(begun, default=None))
        segments = drift_effects(check.located) if check.located else _known_segments(check)
        explanation = explain(watch.name, moves, watch.share.log_threshold, segments, quality)
    else:
        own, own_segments = check.context.own, check.context.own_segments
        located = check.located
        segments = loss_effects(watch.name, located, own, own_segments) if located else _known_segments(check)
        explanation = explain_risk(
            watch.name, watch.reference, rows, weighed.evidence, weighed.begun, segments, _quality(check, None)
        )
    check.report = replace(check.report, explanation=_plain(explanation))


def _known_segments(check: _Check) -> tuple[SegmentEffect, ...]:
    """Where the effect was found in the last window that was judged, in a cycle that judges none."""
    known = (check.report.explanation or {}).get("segments", ())
    return tuple(SegmentEffect(**effect) for effect in known)


def _quality(check: _Check, since: int | None) -> tuple[Quality, ...]:
    """What is known of the damage: labels of windows that end after the drift began, else the estimate."""
    measured = check.report.measured
    found: list[Quality] = []
    if measured and (since is None or measured["window_end"] > since):
        found += [
            Quality(name, before, current, worse, estimated=False)
            for name, (before, current, worse) in sorted(measured["numbers"].items())
        ]
    if check.result is not None and not _is_older(check.result, check.alarm):
        found += estimated_quality(check.result, check.context.own, check.context.limits)
    else:
        known = (check.report.explanation or {}).get("quality", ())
        found += [Quality(**number) for number in known if number["estimated"]]
    return tuple(found)


def _plain(explanation: Explanation) -> dict[str, Any]:
    record = asdict(explanation)
    for column in record["columns"]:
        # Evidence that has seen nothing is ln 0, and a rate of nothing is none.
        column |= {name: None for name in ("log_evidence", "q") if not math.isfinite(column[name])}
    return record
