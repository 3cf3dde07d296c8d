"""Old panes become coarser: an hour each after two days, a day each after thirty, or the state would grow for ever.

What lives here: which grain old panes have, and merging stored panes into it. What must not: rebuilding from the log
(that is `pane_builder`), windows.

A grain is used only where it divides every window and every observation, so that no window that is open or may still be
revised needs anything finer. Up to which event time panes of a grain reach is a cursor: a late record before it makes
the whole coarse pane dirty, and that is rebuilt from the log like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from monitor.profiles.codec import decode_outcome, decode_profile, encode_outcome, encode_profile
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import OutcomeProfile
from monitor.settings import ModelSettings
from monitor.state import PaneKind, StoredPane, Transaction
from monitor.windows import MICROSECONDS

# (age in seconds, grain in seconds), finest first.
LEVELS = ((2 * 86_400.0, 3_600.0), (30 * 86_400.0, 86_400.0))
# Coarse panes made in one cycle: a long backlog is worked off over several.
MOST_AT_ONCE = 24

P = TypeVar("P", Profile, OutcomeProfile)


@dataclass(frozen=True)
class RollUp:
    """The grains of one model's old panes."""

    settings: ModelSettings

    @property
    def levels(self) -> list[tuple[int, int]]:
        """(age, grain) in µs of the grains that may be used."""
        windows, observations = self.settings.windows, self.settings.observations
        lengths = [_micros(seconds) for seconds in (*windows.window_seconds, observations.length_seconds)]
        pane = _micros(windows.pane_seconds)
        found = [(_micros(age), _micros(grain)) for age, grain in LEVELS]
        return [
            (age, grain)
            for age, grain in found
            if grain > pane and grain % pane == 0 and all(length % grain == 0 for length in lengths)
        ]

    def grains(self, state: Transaction, version: str, starts: Iterable[int]) -> dict[float, set[int]]:
        """Dirty panes by the grain (seconds) in which they are kept, as starts of panes of that grain."""
        reached = [(state.cursor(self.settings.name, _cursor(grain, version)), grain) for _, grain in self.levels]
        pane = _micros(self.settings.windows.pane_seconds)
        found: dict[float, set[int]] = {}
        for start in starts:
            grain = max((grain for until, grain in reached if start < until), default=pane)
            found.setdefault(grain / MICROSECONDS, set()).add(start // grain * grain)
        return found

    def run(self, state: Transaction, version: str, reference: Reference, complete: int) -> int:
        """Make coarse what is old enough before `complete` (µs); returns how many coarse panes were made."""
        made = 0
        for age, grain in self.levels:
            cursor = _cursor(grain, version)
            reached = state.cursor(self.settings.name, cursor)
            until = (complete - age) // grain * grain
            starts = sorted({start // grain * grain for start in self._starts(state, version, reached, until)})
            for start in starts[:MOST_AT_ONCE]:
                self._roll(state, version, reference, start, start + grain)
            done = until if len(starts) <= MOST_AT_ONCE else starts[MOST_AT_ONCE]
            if done > reached:
                state.set_cursor(self.settings.name, cursor, done)
            made += len(starts[:MOST_AT_ONCE])
        return made

    def _starts(self, state: Transaction, version: str, start: int, end: int) -> list[int]:
        digests = state.pane_digests(self.settings.name, version, start, end)
        return [pane.start for panes in digests.values() for pane in panes]

    def _roll(self, state: Transaction, version: str, reference: Reference, start: int, end: int) -> None:
        name = self.settings.name
        inputs = state.panes(name, version, "inputs", start, end)
        if _finer(inputs, start, end):
            profile = encode_profile(_merged(inputs, reference, decode_profile))
            self._put(state, "inputs", inputs, start, end, profile)
        outcomes = state.panes(name, version, "outcomes", start, end)
        if _finer(outcomes, start, end):
            profile = encode_outcome(_merged(outcomes, reference, decode_outcome))
            self._put(state, "outcomes", outcomes, start, end, profile)

    def _put(
        self, state: Transaction, kind: PaneKind, panes: list[StoredPane], start: int, end: int, profile: bytes
    ) -> None:
        rows = sum(pane.rows for pane in panes)
        coarse = StoredPane(panes[0].version, kind, start, end, panes[0].reference, rows, profile)
        state.replace_panes(self.settings.name, coarse)


def _finer(panes: list[StoredPane], start: int, end: int) -> bool:
    return bool(panes) and (panes[0].start, panes[0].end) != (start, end)


def _merged(panes: list[StoredPane], reference: Reference, decode: Callable[[bytes, Reference], P]) -> P:
    profile = decode(panes[0].profile, reference)
    for pane in panes[1:]:
        profile = profile.merge(decode(pane.profile, reference))
    return profile


def _cursor(grain: int, version: str) -> str:
    return f"rolled {grain / MICROSECONDS:g} {version}"


def _micros(seconds: float) -> int:
    return round(seconds * MICROSECONDS)
