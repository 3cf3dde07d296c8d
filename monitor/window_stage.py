"""From stored panes to evaluated windows: which are due, what they are made of, their revisions.

What lives here: publication of tumbling windows, the rolling window, profiles kept between cycles. What must not: which
panes are dirty, cursors of the log, alarms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from monitor.evaluation import InputStatistics, evaluate_window, fingerprint
from monitor.label_join import maturity
from monitor.learning import Learning
from monitor.pane_builder import PaneMerger, input_merger, outcome_merger
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import OutcomeProfile
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import PaneDigest, StoredWindow, Transaction
from monitor.statistics.result import Result
from monitor.verdict import WindowResult
from monitor.window_codec import counts_of, encode_window
from monitor.windows import MICROSECONDS, Window, tumbling_window

ColumnStatistics = Mapping[str, Mapping[str, Result]]
ChangedPanes = Callable[[str], set[int]]
# Of a window's revisions the newest are kept, and before them those whose number is a power of two.
NEWEST_REVISIONS = 16
# Windows whose statistics of inputs are kept in memory, for as long as only labels come; one takes some 40 kB.
KNOWN_WINDOWS = 1_024


@dataclass(frozen=True)
class _MadeOf:
    """What a window is made of: its panes, a fingerprint of those with inputs, and one of all."""

    inputs: list[PaneDigest]
    outcomes: list[PaneDigest]
    inputs_fingerprint: str
    fingerprint: str

    @property
    def predictions(self) -> int:
        """Predictions in the window, repeats removed."""
        return sum(pane.rows for pane in self.inputs)

    @property
    def labels(self) -> int:
        """Labelled predictions in the window."""
        return sum(pane.rows for pane in self.outcomes)


@dataclass
class WindowStage:
    """Evaluates the windows of one model; keeps merged profiles and statistics of inputs in memory, nothing else.

    `quiet_windows`: lengths (seconds) whose provisional numbers are not made better while labels come. `thinned`:
    whether old revisions make room for new ones. `on_progress` is called for every window that was evaluated.
    """

    settings: ModelSettings
    learning: Learning
    quiet_windows: frozenset[float] = frozenset()
    thinned: bool = True
    on_progress: Callable[[], None] = field(default=lambda: None)
    _known_inputs: OrderedDict[str, InputStatistics] = field(default_factory=OrderedDict)
    _mergers: dict[str, tuple[str, PaneMerger[Profile], PaneMerger[OutcomeProfile]]] = field(default_factory=dict)

    def publish(
        self,
        state: Transaction,
        references: ReferenceStore,
        changed: ChangedPanes,
        mark: int | None,
        now: int,
        *,
        everything: bool = False,
        remade: Mapping[str, int] = MappingProxyType({}),
    ) -> list[WindowResult]:
        """Evaluate and store every tumbling window that is complete and new, or whose content or maturity changed.

        `changed`: starts of the panes of a version that were rebuilt. `mark`: the watermark; nothing is complete
        without one. `everything`: look at all unfinished windows once, since what was decided with other settings may
        be decided otherwise now. `remade`: versions whose panes were all made again, with the start of the first: what
        the log no longer holds is in none of them, and a window it was part of stays as it was published.
        """
        if mark is None:
            return []
        published = []
        due = self._due(state, everything, now)
        for version in state.versions(self.settings.name):
            reference = references.get(version)
            if reference is None:
                continue
            for seconds in self.settings.windows.window_seconds:
                windows = {tumbling_window(pane, seconds) for pane in changed(version)}
                windows |= due.get((version, seconds), set())
                windows |= self._newly_complete(state, version, seconds, mark)
                for window in sorted(windows):
                    if window.end <= mark and not self._has_lost(state, version, window, remade.get(version)):
                        result = self._publish_window(state, version, reference, window, now)
                        published += [result] if result else []
        return published

    def _has_lost(self, state: Transaction, version: str, window: Window, first: int | None) -> bool:
        """Whether a window was published of more predictions than panes from `first` on still have of it."""
        if first is None or window.start >= first:
            return False
        known = state.windows(
            self.settings.name, version=version, seconds=window.seconds, start=window.start, end=window.start + 1
        )
        panes = state.pane_digests(self.settings.name, version, window.start, window.end)["inputs"]
        return bool(known) and counts_of(known[-1].result)[0] > sum(pane.rows for pane in panes)

    def _due(self, state: Transaction, everything: bool, now: int) -> dict[tuple[str, float], set[Window]]:
        """Unfinished windows to look at although no pane changed, by (version, length): those at their horizon."""
        horizon = round(self.settings.labels.horizon_seconds * MICROSECONDS)
        due: dict[tuple[str, float], set[Window]] = {}
        for head in state.unfinished_windows(self.settings.name):
            if everything or now >= head.end + horizon:
                window = Window(head.start, head.end, head.seconds)
                due.setdefault((head.version, head.seconds), set()).add(window)
        return due

    def _newly_complete(self, state: Transaction, version: str, seconds: float, mark: int) -> set[Window]:
        name, cursor = self.settings.name, f"published {seconds:g} {version}"
        before = state.cursor(name, cursor)
        if mark != before:
            # It goes back with the watermark when the clock does, or what completes until then would be passed over.
            state.set_cursor(name, cursor, mark)
        if mark <= before:
            return set()
        size = round(seconds * MICROSECONDS)
        starts = state.pane_starts(name, version, before - size, mark)
        return {tumbling_window(start, seconds) for start in starts}

    def _publish_window(
        self, state: Transaction, version: str, reference: Reference, window: Window, now: int
    ) -> WindowResult | None:
        made_of = self._made_of(state, version, reference, window)
        latest = state.latest_revision(self.settings.name, version, window.seconds, window.start)
        if not made_of.predictions and latest is None:
            return None
        ripe = maturity(window, made_of.predictions, made_of.labels, self.settings.labels, now)
        if latest is not None and latest.maturity == "final":
            ripe = "final"
        if latest is not None and latest.fingerprint == made_of.fingerprint and latest.maturity == ripe:
            return None
        if latest is not None and ripe == "provisional" and window.seconds in self.quiet_windows:
            return None
        # Revision 0 is provisional and replaced in place; final is 1, and every later change one more.
        revision = 0 if ripe == "provisional" else (latest.revision if latest else 0) + 1
        inputs = self._inputs(state, version, reference, made_of)
        result = evaluate_window(
            self.learning.settings_for(state, version, reference, window.seconds),
            version,
            reference,
            window,
            inputs,
            self._labelled(state, version, made_of),
            maturity=ripe,
            revision=revision,
            profile=self._merged(state, version, made_of) if inputs.has_segments else None,
        )
        self.learning.learn(state, reference, result)
        state.put_window(
            self.settings.name,
            StoredWindow(
                version=version,
                seconds=window.seconds,
                start=window.start,
                end=window.end,
                revision=revision,
                maturity=ripe,
                evaluated_at=now,
                fingerprint=made_of.fingerprint,
                result=encode_window(result),
            ),
        )
        self.on_progress()
        if self.thinned and (left := superfluous_revision(revision)) is not None:
            state.drop_revision(self.settings.name, version, window.seconds, window.start, left)
        return result

    def _made_of(self, state: Transaction, version: str, reference: Reference, window: Window) -> _MadeOf:
        known = self._mergers.get(version)
        if known is None or known[0] != reference.identity:
            name = self.settings.name
            known = (
                reference.identity,
                input_merger(name, version, reference),
                outcome_merger(name, version, reference),
            )
            self._mergers[version] = known
        panes = state.pane_digests(self.settings.name, version, window.start, window.end)
        inputs, outcomes = panes["inputs"], panes["outcomes"]
        of_inputs = fingerprint(reference.identity, (("inputs", pane.start, pane.digest) for pane in inputs))
        whole = fingerprint(of_inputs, (("outcomes", pane.start, pane.digest) for pane in outcomes))
        return _MadeOf(inputs, outcomes, of_inputs, whole)

    def _merged(self, state: Transaction, version: str, made_of: _MadeOf) -> Profile:
        """The merged inputs of a window."""
        return self._mergers[version][1].merge(state, made_of.inputs, self.settings.windows.pane_seconds)

    def _labelled(self, state: Transaction, version: str, made_of: _MadeOf) -> OutcomeProfile:
        """The merged outcomes of a window."""
        return self._mergers[version][2].merge(state, made_of.outcomes, self.settings.windows.pane_seconds)

    def merged_inputs(self, state: Transaction, version: str, reference: Reference, window: Window) -> Profile:
        """The merged profile of a window's inputs."""
        return self._merged(state, version, self._made_of(state, version, reference, window))

    def _inputs(self, state: Transaction, version: str, reference: Reference, made_of: _MadeOf) -> InputStatistics:
        """Statistics of inputs; those that did not change (only labels came) are not computed again."""
        known = self._known_inputs.get(made_of.inputs_fingerprint)
        if known is None:
            known = InputStatistics.of(reference, self._merged(state, version, made_of))
            self._known_inputs[made_of.inputs_fingerprint] = known
            if len(self._known_inputs) > (KNOWN_WINDOWS // 4 if known.has_segments else KNOWN_WINDOWS):
                self._known_inputs.popitem(last=False)
        self._known_inputs.move_to_end(made_of.inputs_fingerprint)
        return known

    def rolling(self, state: Transaction, version: str, reference: Reference, window: Window) -> WindowResult:
        """The latest window of a length as it stands; it is not stored."""
        made_of = self._made_of(state, version, reference, window)
        inputs = self._inputs(state, version, reference, made_of)
        return evaluate_window(
            self.learning.settings_for(state, version, reference, window.seconds),
            version,
            reference,
            window,
            inputs,
            self._labelled(state, version, made_of),
            maturity="provisional",
            revision=0,
            rolling=True,
            profile=self._merged(state, version, made_of) if inputs.has_segments else None,
        )


def superfluous_revision(newest: int) -> int | None:
    """The revision that need not be kept any more once `newest` is there; None where all before it stay.

    What is left of n revisions is the first final one, the newest 16 and some log2(n) between them, so that a window
    whose labels trickle in for months does not fill the state with what it said in every minute.

    >>> [superfluous_revision(newest) for newest in (5, 18, 19, 20, 21)]
    [None, None, 3, None, 5]
    """
    left = newest - NEWEST_REVISIONS
    return left if left > 0 and left & (left - 1) else None
