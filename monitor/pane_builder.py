"""Rebuilds dirty panes from the log and commits them; merges stored panes into windows.

What lives here: the way from log rows to stored profiles and back. What must not: judgement, schedules.
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Generic, TypeVar

from monitor.engines.local import pane_ranges, read_panes
from monitor.engines.repeats import Tally
from monitor.engines.winners import drop_superseded, unique_outcomes, unique_predictions
from monitor.log.tables import SEQUENCE, ModelLog
from monitor.profiles.codec import decode_outcome, decode_profile, encode_outcome, encode_profile
from monitor.profiles.model_profile import Profile, Reference, empty_outcome, profile_inputs, profile_outcomes
from monitor.profiles.outcome import OutcomeProfile
from monitor.state import PaneDigest, PaneKind, StoredPane, Transaction
from monitor.windows import MICROSECONDS, WindowSettings

T = TypeVar("T", Profile, OutcomeProfile)
# Panes of the stretches that are merged once and kept, coarse to fine: of 5 minutes each a week, a day and an hour.
STRETCHES = (2_016, 288, 12)
# How many of each length are kept. A window of 30 days that moves on by a pane needs five weeks at most, and the days
# and hours of its two ends; one stretch of 25 columns takes about half a megabyte.
KEPT_STRETCHES = 96


def rebuild_inputs(
    log: ModelLog,
    reference: Reference | None,
    version: str,
    starts: set[int],
    settings: WindowSettings,
    superseded: dict[str, int],
    tally: Tally,
) -> Iterator[StoredPane]:
    """Drift profiles of these panes, from all predictions the log holds for them; what is new goes to `tally`.

    Without a reference there is nothing to profile against, and the rows are only counted.
    """
    files = log.files("predictions")
    for wanted in pane_ranges(version, starts, settings.pane_seconds, files):
        for start, rows in read_panes(log, "predictions", wanted, settings.pane_seconds):
            tally.note_predictions(rows)
            if reference is None:
                continue
            profile = profile_inputs(reference, unique_predictions(rows, superseded))
            yield _stored(version, "inputs", start, settings, reference, profile.rows, encode_profile(profile))


def rebuild_outcomes(
    log: ModelLog,
    reference: Reference | None,
    version: str,
    starts: set[int],
    settings: WindowSettings,
    superseded: dict[str, int],
    tally: Tally,
) -> Iterator[StoredPane]:
    """Outcome profiles of these panes, from all matched labels the log holds for them; what is new goes to `tally`.

    Without a reference there is nothing to profile against, and the rows are only counted.
    """
    known = log.schema("matched")
    if known is None:  # no label has ever found its prediction
        return
    columns = [*(name for name in known.names if name not in ("version", "source")), SEQUENCE]
    files = log.files("matched")
    for wanted in pane_ranges(version, starts, settings.pane_seconds, files):
        for start, found in read_panes(log, "matched", wanted, settings.pane_seconds, columns):
            rows = drop_superseded(found, superseded)
            tally.note_labels(rows)
            if reference is None:
                continue
            profile = profile_outcomes(reference, unique_outcomes(rows))
            yield _stored(version, "outcomes", start, settings, reference, profile.rows, encode_outcome(profile))


@dataclass
class PaneMerger(Generic[T]):
    """Merges stored panes of one version and kind; stretches that did not change are not decoded again."""

    model: str
    version: str
    kind: PaneKind
    reference: Reference
    decode: Callable[[bytes, Reference], T]
    empty: Callable[[Reference], T]
    _kept: dict[int, OrderedDict[tuple[int, int], tuple[tuple[PaneDigest, ...], T]]] = field(default_factory=dict)

    def merge(self, state: Transaction, panes: Sequence[PaneDigest], pane_seconds: float) -> T:
        """The merged profile of these panes.

        Which stretches they are merged in follows from their times alone: whatever was kept, sums are the same to the
        last bit.
        """
        return self._merged(state, panes, round(pane_seconds * MICROSECONDS), 0)

    def _merged(self, state: Transaction, panes: Sequence[PaneDigest], pane: int, level: int) -> T:
        """Merged from stretches of the length of this level; below the last one, from the stored panes."""
        if level == len(STRETCHES):
            stored = state.panes(self.model, self.version, self.kind, panes[0].start, panes[-1].start + 1)
            return self._all(self.decode(item.profile, self.reference) for item in stored)
        size = pane * STRETCHES[level]
        stretches = itertools.groupby(panes, lambda item: item.start // size * size)
        return self._all(self._stretch(state, start, tuple(content), pane, level) for start, content in stretches)

    def _stretch(self, state: Transaction, start: int, content: tuple[PaneDigest, ...], pane: int, level: int) -> T:
        kept = self._kept.setdefault(level, OrderedDict())
        # Windows that begin within a stretch have a part of it each.
        key = (start, content[0].start)
        known = kept.get(key)
        if known is not None and known[0] == content:
            kept.move_to_end(key)
            return known[1]
        merged = self._merged(state, content, pane, level + 1)
        kept[key] = (content, merged)
        kept.move_to_end(key)
        while len(kept) > KEPT_STRETCHES:
            kept.popitem(last=False)
        return merged

    def _all(self, profiles: Iterator[T]) -> T:
        first = next(profiles, None)
        if first is None:
            return self.empty(self.reference)
        return reduce(lambda one, other: one.merge(other), profiles, first)


def input_merger(model: str, version: str, reference: Reference) -> PaneMerger[Profile]:
    """Merger of drift profiles."""
    return PaneMerger(model, version, "inputs", reference, decode_profile, Profile.empty)


def outcome_merger(model: str, version: str, reference: Reference) -> PaneMerger[OutcomeProfile]:
    """Merger of outcome profiles."""
    return PaneMerger(model, version, "outcomes", reference, decode_outcome, empty_outcome)


def _stored(
    version: str,
    kind: PaneKind,
    start: int,
    settings: WindowSettings,
    reference: Reference,
    rows: int,
    profile: bytes,
) -> StoredPane:
    end = start + round(settings.pane_seconds * MICROSECONDS)
    return StoredPane(version, kind, start, end, reference.identity, rows, profile)
