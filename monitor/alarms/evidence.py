"""The evidence behind one check: what it has consumed, how it consumes more, how it is weighed. Pure.

What lives here: the state of one detector, observations of inputs and of labels, and a versioned encoding. What must
not: which checks there are and their shares (`plan`), profiles, files, clocks (`now` is an argument).

Inputs are observed by stretches of event time: a whole season, or an hour that is matched by its phase. Labels are
observed as they arrive. What has arrived waits until its predictions span a whole season (labels of one night are not
held against a reference of whole days), or until it has waited for one; with `season: off` nothing waits. Whatever
comes within one season of arrival belongs to one observation, so that a promised run length counts seasons.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.errors import OperatorError
from monitor.statistics.drift_model import DriftModel
from monitor.statistics.evidence_counts import (
    CellReference,
    Counts,
    EvidenceCounts,
    decode_counts,
    encode_counts,
    no_evidence,
    observe,
)
from monitor.statistics.labelled_risk import risk_changed, risk_exceeds
from monitor.statistics.seasons import ObservationSettings
from monitor.statistics.sequential import Evidence, combine_phases, composite_evidence, early_warning
from monitor.windows import MICROSECONDS, Window

FORMAT = 1
# Seasons of the version's own traffic that become the reference of every phase (`match: phase`).
LEARNT_SEASONS = 7


@dataclass(frozen=True, eq=False)
class Waiting:
    """Labelled counts that are not yet an observation: since when they wait, and the event times they span (µs)."""

    counts: Counts
    since: int
    first_event: int
    last_event: int


@dataclass(frozen=True, eq=False)
class CheckEvidence:
    """What one detector has consumed.

    `begun`: start in event time (µs) of every live start. `waiting`, `interval`: of labels, what waits, and the
    interval of arrival in which the last observation was opened. `learnt`, `seasons`: of a phase, counts of the seasons
    that are its reference, and how many there were.
    """

    counts: EvidenceCounts
    begun: tuple[int, ...] = ()
    waiting: Waiting | None = None
    interval: int | None = None
    learnt: Counts | None = None
    seasons: int = 0


@dataclass(frozen=True)
class Weighed:
    """Evidence that decides, evidence that only warns (of drift), and when the observations named in them began."""

    evidence: Evidence
    early: Evidence | None
    begun: dict[int, int]


def fresh(reference: CellReference) -> CheckEvidence:
    """Before anything was seen."""
    return CheckEvidence(no_evidence(reference))


def restarted(state: CheckEvidence, reference: CellReference) -> CheckEvidence:
    """Evidence begun afresh after an alarm has ended; what a phase has learnt stays."""
    return replace(state, counts=no_evidence(phase_reference(state, reference)), begun=(), waiting=None)


def observe_inputs(state: CheckEvidence, counts: Counts, window: Window) -> CheckEvidence:
    """After one observation of inputs; one without rows says nothing and opens none."""
    return state if not counts.sum() else _observed(state, counts, window.start, opens=True)


def observe_phase(state: CheckEvidence, reference: CellReference, counts: Counts, window: Window) -> CheckEvidence:
    """After one observation of one phase: the first seasons become its reference, the rest is held against them."""
    if not counts.sum():
        return state
    if state.seasons >= LEARNT_SEASONS:
        return _observed(state, counts, window.start, opens=True)
    learnt = counts if state.learnt is None else state.learnt + counts
    grown = replace(state, learnt=learnt, seasons=state.seasons + 1)
    return replace(grown, counts=no_evidence(phase_reference(grown, reference)))


def phase_reference(state: CheckEvidence, reference: CellReference) -> CellReference:
    """What observations are held against: the reference, or the seasons that a phase has learnt.

    A column that these seasons never had keeps the reference's counts.
    """
    if state.learnt is None:
        return reference
    parts = []
    for offset, size in zip(reference.offsets, reference.sizes, strict=True):
        own = state.learnt[offset : offset + size]
        parts.append(own if own.sum() else reference.counts[offset : offset + size])
    return CellReference(reference.names, reference.sizes, reference.ordered, np.concatenate(parts))


def take_labels(
    state: CheckEvidence, counts: Counts, events: tuple[int, int], now: int, settings: ObservationSettings
) -> CheckEvidence:
    """After an evidence batch: first labels that arrived together, of predictions made within `events` (µs)."""
    if not counts.sum():
        return state
    held = state.waiting
    waiting = (
        Waiting(counts, now, *events)
        if held is None
        else Waiting(
            held.counts + counts, held.since, min(held.first_event, events[0]), max(held.last_event, events[1])
        )
    )
    return settle_labels(replace(state, waiting=waiting), now, settings)


def settle_labels(state: CheckEvidence, now: int, settings: ObservationSettings) -> CheckEvidence:
    """Make an observation of what waits, if it is time."""
    held = state.waiting
    if held is None:
        return state
    season = settings.season_seconds
    if season is not None:
        whole = round(season * MICROSECONDS)
        # Traffic that is made every few minutes never spans the season to the last second.
        spanned = held.last_event - held.first_event >= whole - whole // 24
        if not spanned and now - held.since < whole:
            return state
    interval = now // round(label_interval_seconds(settings) * MICROSECONDS)
    opens = state.interval is None or interval > state.interval or not state.counts.observations
    observed = _observed(state, held.counts, held.first_event, opens=opens)
    return replace(observed, waiting=None, interval=interval if opens else state.interval)


def label_interval_seconds(settings: ObservationSettings) -> float:
    """In how long a time of arrival at most one observation of labels is opened."""
    return settings.season_seconds or settings.observe_seconds


def weigh_drift(state: CheckEvidence, model: DriftModel) -> Weighed:
    """Evidence of drift: the composite null decides, the predictive of the stream warns."""
    return Weighed(composite_evidence(state.counts, model), early_warning(state.counts, model), _begun(state))


def weigh_phases(states: Sequence[CheckEvidence], models: Sequence[DriftModel]) -> Weighed:
    """The same of all phases of the season together."""
    weighed = [weigh_drift(state, model) for state, model in zip(states, models, strict=True)]
    begun = {
        (number - 1) * len(states) + phase + 1: start
        for phase, item in enumerate(weighed)
        for number, start in item.begun.items()
    }
    early = combine_phases([item.early for item in weighed if item.early is not None])
    return Weighed(combine_phases([item.evidence for item in weighed]), early, begun)


def weigh_risk(state: CheckEvidence, reference: CellReference, tolerance: float, design_effect: float) -> Weighed:
    """Evidence that a labelled risk rose: the mean of 'it changed' and of 'it is worse than accepted'.

    R = (R_changed + R_exceeds) / 2, so that it is never later than either by more than ln 2. The first is fast and
    absorbs a slow rise, the second sees a slow rise and is blind inside the reference's own uncertainty. Each less the
    observations opened is a supermartingale, so is their mean; its run length holds as `risk_changed` says.
    """
    changed = risk_changed(state.counts, reference, design_effect)
    exceeds = risk_exceeds(state.counts, reference, tolerance, design_effect=design_effect)
    columns = {name: _mean(changed.columns[name], exceeds.columns[name]) for name in changed.columns}
    since = {
        name: (changed if changed.columns[name] >= exceeds.columns[name] else exceeds).since[name] for name in columns
    }
    total = _mean(changed.log_evidence, exceeds.log_evidence)
    return Weighed(Evidence(changed.observations, total, columns, since), None, _begun(state))


def since_start(states: Sequence[CheckEvidence], evidence: Evidence, reference: CellReference) -> Counts:
    """Rows per cell since the observation with most evidence, column by column, int64 [K]; zeros without any.

    `states`: one, or one per phase, as they were weighed.
    """
    counts = np.zeros(reference.counts.size, dtype=np.int64)
    for name, offset, size in zip(reference.names, reference.offsets, reference.sizes, strict=True):
        number, phase = divmod(evidence.since[name] - 1, len(states))
        state = states[phase].counts
        if number + 1 in state.starts:
            row = state.since[state.starts.index(number + 1)]
            counts[offset : offset + size] = row[offset : offset + size]
    return counts


def encode_evidence(state: CheckEvidence) -> bytes:
    """The state as one line of JSON and the encoded counts; equal states give equal bytes."""
    held = state.waiting
    header: dict[str, Any] = {
        "format": FORMAT,
        "begun": list(state.begun),
        "interval": state.interval,
        "seasons": state.seasons,
        "learnt": None if state.learnt is None else state.learnt.tolist(),
        "waiting": None
        if held is None
        else {"counts": held.counts.tolist(), "since": held.since, "events": [held.first_event, held.last_event]},
    }
    return json.dumps(header, sort_keys=True).encode() + b"\n" + encode_counts(state.counts)


def decode_evidence(data: bytes) -> CheckEvidence:
    """The state that `encode_evidence` wrote; raises OperatorError for anything else, damaged or newer."""
    text, _, counts = data.partition(b"\n")
    try:
        header = json.loads(text)
        version = header["format"]
        if version > FORMAT:
            raise OperatorError("evidence of a newer trueup", expected=f"format {FORMAT}", got=str(version))
        held, learnt = header["waiting"], header["learnt"]
        return CheckEvidence(
            decode_counts(counts),
            tuple(header["begun"]),
            None if held is None else Waiting(_counts(held["counts"]), held["since"], *held["events"]),
            header["interval"],
            None if learnt is None else _counts(learnt),
            header["seasons"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise OperatorError("not the evidence of a check", expected="what encode_evidence wrote") from error


def _observed(state: CheckEvidence, counts: Counts, start: int, *, opens: bool) -> CheckEvidence:
    after = observe(state.counts, counts, opens)
    known = dict(zip(state.counts.starts, state.begun, strict=True))
    return replace(state, counts=after, begun=tuple(known.get(number, start) for number in after.starts))


def _begun(state: CheckEvidence) -> dict[int, int]:
    return dict(zip(state.counts.starts, state.begun, strict=True))


def _counts(values: list[int]) -> Counts:
    return np.asarray(values, dtype=np.int64)


def _mean(first: float, second: float) -> float:
    return float(np.logaddexp(first, second) - np.log(2.0))
