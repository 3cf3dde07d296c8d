"""Rebuilds dirty panes from the log and commits them; merges stored panes into windows.

What lives here: the way from log rows to stored profiles and back. What must not: judgement, schedules.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
# Merged stretches kept in memory; one holds up to BLOCK_PANES panes.
CACHED_BLOCKS = 256
BLOCK_PANES = 12


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
    _blocks: OrderedDict[tuple[int, int], tuple[tuple[PaneDigest, ...], T]] = field(default_factory=OrderedDict)

    def panes(self, state: Transaction, start: int, end: int) -> list[PaneDigest]:
        """What there is to merge in [start, end)."""
        return state.pane_digests(self.model, self.version, self.kind, start, end)

    def merge(self, state: Transaction, panes: Sequence[PaneDigest], pane_seconds: float) -> T:
        """The merged profile of these panes."""
        size = round(pane_seconds * MICROSECONDS) * BLOCK_PANES
        blocks: dict[int, list[PaneDigest]] = {}
        for pane in panes:
            blocks.setdefault(pane.start // size * size, []).append(pane)
        merged = self.empty(self.reference)
        for block, content in sorted(blocks.items()):
            merged = merged.merge(self._block(state, block, tuple(content)))
        return merged

    def _block(self, state: Transaction, block: int, content: tuple[PaneDigest, ...]) -> T:
        key = (block, content[0].start)
        cached = self._blocks.get(key)
        if cached is not None and cached[0] == content:
            self._blocks.move_to_end(key)
            return cached[1]
        merged = self.empty(self.reference)
        for pane in state.panes(self.model, self.version, self.kind, content[0].start, content[-1].start + 1):
            merged = merged.merge(self.decode(pane.profile, self.reference))
        self._blocks[key] = (content, merged)
        while len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return merged


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
