"""One evaluation of one model: what is new in the log becomes panes, windows and a committed result.

What lives here: the order of the stages, once, for the daemon, `replay` and `evaluate`. What must not: schedules, HTTP,
rendering. `now` is an argument; everything it writes commits in one transaction with the offsets it consumed, so a
killed cycle has either happened or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import TypeVar

import pyarrow as pa

from monitor import matching
from monitor.alarms.report import AlarmReport
from monitor.alarms.stage import AlarmStage, Consumed
from monitor.dirty_panes import Marks, clear_dirty, dirty_panes
from monitor.engines.local import event_times, touched_panes
from monitor.engines.repeats import Tally
from monitor.fault_points import fault_point
from monitor.learning import Learning
from monitor.log.tables import ModelLog, TableName
from monitor.pane_builder import rebuild_inputs, rebuild_outcomes
from monitor.references import ReferenceStore
from monitor.rollup import RollUp
from monitor.segment_values import learn_values
from monitor.settings import ModelSettings
from monitor.state import State, Transaction
from monitor.verdict import WindowResult
from monitor.window_codec import counts_of, decode_window
from monitor.window_stage import WindowStage
from monitor.windows import (
    MICROSECONDS,
    SourceProgress,
    pane_start,
    rolling_window,
    watermark,
)

Item = TypeVar("Item")
# Name of the counters of predictions that came again.
REPEATS = "repeats"
# Rebuilt panes that commit together.
PANES_AT_ONCE = 256


@dataclass(frozen=True)
class CycleReport:
    """What one cycle left behind: the results to export, and how far it came."""

    rolling: tuple[WindowResult, ...]
    final: tuple[WindowResult, ...]
    published: tuple[WindowResult, ...]
    versions: dict[str, str | None]
    watermark: int | None
    predictions_total: dict[str, int]
    labels_total: dict[str, int]
    repeats_total: dict[str, int]
    pending_labels: int
    alarms: tuple[AlarmReport, ...] = ()


@dataclass
class _Dirty:
    inputs: dict[str, set[int]] = field(default_factory=dict)
    outcomes: dict[str, set[int]] = field(default_factory=dict)

    def add(self, marks: Marks) -> None:
        for version, starts in marks.items():
            self.inputs.setdefault(version, set()).update(starts)
            self.outcomes.setdefault(version, set()).update(starts)

    def all(self, version: str) -> set[int]:
        return self.inputs.get(version, set()) | self.outcomes.get(version, set())


@dataclass
class ModelCycle:
    """Evaluates one model again and again; keeps merged profiles in memory between cycles, nothing else.

    A replay, which shows what windows were in the end, leaves out what only matters while one looks on: `rolling`
    windows, and better provisional numbers of the lengths (seconds) in `quiet_windows`. It shows all revisions; a state
    that lasts is `thinned` of old ones.
    """

    settings: ModelSettings
    log: ModelLog
    state: State
    references: ReferenceStore
    join: matching.Join = field(default_factory=matching.LogJoin)
    rolling: bool = True
    quiet_windows: frozenset[float] = frozenset()
    thinned: bool = True
    # Called whenever a part of a run is done, so that a long one can be told from a stuck one.
    on_progress: Callable[[], None] = field(default=lambda: None)
    _windows: WindowStage = field(init=False)
    _alarms: AlarmStage = field(init=False)
    _rollup: RollUp = field(init=False)
    # Whether windows that nothing came for are to be looked at too: after a start, the settings may be others.
    _everything: bool = field(init=False, default=True)

    def __post_init__(self) -> None:
        self._rollup = RollUp(self.settings)
        learning = Learning(self.settings)
        self._windows = WindowStage(
            self.settings, learning, self.quiet_windows, self.thinned, on_progress=self._note_progress
        )
        self._alarms = AlarmStage(self.settings, self.log, learning)

    def _note_progress(self) -> None:
        # Whoever listens comes after the stages were made.
        self.on_progress()

    def quieten(self, lengths: frozenset[float]) -> None:
        """From the next run on, leave provisional numbers of these lengths (seconds) alone, and of no others."""
        self._windows.quiet_windows = lengths
        self._everything = True

    def run(self, now: int) -> CycleReport:
        """Consume what is new, rebuild, evaluate, commit; raises and changes nothing if any of it fails."""
        self.references.refresh()
        predictions_until = self.log.last_sequence("predictions")
        labels_until = self.log.last_sequence("labels")
        learn_values(self.state, self.log, self.references, predictions_until)
        with self.state.transaction(write=False) as state:
            predictions_after = state.cursor(self.settings.name, "predictions")
            labels_after = state.cursor(self.settings.name, "labels")
            matched_after = state.cursor(self.settings.name, "matched")
            pending = pa.array(state.pending(self.settings.name), pa.string())
        from_labels = self.join.labels(
            self.log,
            self.settings.labels,
            after=labels_after,
            until=labels_until,
            predictions_until=predictions_until,
            pending=pending,
        )
        self.on_progress()
        fault_point("cycle.labels_matched")
        from_predictions = self.join.predictions(
            self.log,
            self.settings.labels,
            after=predictions_after,
            until=predictions_until,
            labels_until=labels_after,
            pending=pending,
        )
        repeats = self.join.repeats(
            self.log, self.settings.windows.pane_seconds, after=predictions_after, until=predictions_until
        )
        matched_until = self.log.last_sequence("matched")
        self.on_progress()
        fault_point("cycle.predictions_matched")
        new = self._touched("predictions", predictions_after, predictions_until)
        truth = self._touched("matched", matched_after, matched_until)
        with self.state.transaction() as state:
            # Panes are a function of the log: those that commit before the cursors move are made again after a kill.
            forgotten = dirty_panes(state, self.settings.name)
            dirty = self._dirty_panes(state, new, truth, repeats, now)
            dirty.add(forgotten)
        tally = Tally(predictions_after, matched_after)
        self._rebuild(dirty, tally)
        fault_point("cycle.rebuilt")
        with self.state.transaction(write=False) as state:
            labels = self._alarms.read_labels(state, self.references, (matched_after, matched_until))
        with self.state.transaction() as state:
            self._count(state, from_labels, from_predictions, new, now)
            self._count_repeats(state, tally, repeats)
            remade = self._note_versions(state, dirty, now)
            mark = watermark(self._sources(state, now), self.settings.windows, now)
            published = self._windows.publish(
                state, self.references, dirty.all, mark, now, everything=self._everything, remade=remade
            )
            self._count_expired(state, mark, now)
            clear_dirty(state, self.settings.name, forgotten)
            state.set_cursor(self.settings.name, "predictions", predictions_until)
            state.set_cursor(self.settings.name, "labels", labels_until)
            state.set_cursor(self.settings.name, "matched", matched_until)
            alarms = self._alarms.run(
                state,
                self.references,
                lambda version, reference, window: self._windows.merged_inputs(state, version, reference, window),
                Consumed(published, mark, labels, now),
            )
            report = replace(self._report(state, published, mark), alarms=tuple(alarms))
            self._roll_up(state)
            fault_point("cycle.committing")
        self._everything = False
        fault_point("cycle.committed")
        return report

    def _touched(self, table: TableName, after: int, until: int) -> dict[str, dict[int, int]]:
        return touched_panes(self.log, table, self.settings.windows.pane_seconds, after=after, until=until)

    def _count(
        self,
        state: Transaction,
        from_labels: matching.Matching,
        from_predictions: matching.Matching,
        new: dict[str, dict[int, int]],
        now: int,
    ) -> None:
        name = self.settings.name
        for version, panes in new.items():
            state.add(name, "predictions", version, sum(panes.values()))
        state.put_pending(name, from_labels.waiting, now)
        state.remove_pending(name, from_labels.resolved | from_predictions.resolved)
        horizon = round(self.settings.labels.horizon_seconds * MICROSECONDS)
        orphans = state.expire_pending(name, now - horizon)
        for key, amount in (
            ("received", from_labels.labels),
            ("orphan", orphans),
            ("surplus", from_labels.surplus),
        ):
            state.add(name, "labels", key, amount)

    def _count_repeats(self, state: Transaction, tally: Tally, repeats: matching.Repeats) -> None:
        """Count what came again: identical, in contradiction to what was known, or to correct it."""
        name = self.settings.name
        across = sum(len(repeat.panes) - max(len(repeat.known_panes), 1) for repeat in repeats.values())
        for key, amount in (("identical", tally.identical), ("conflicting", tally.conflicting + across)):
            state.add(name, REPEATS, key, amount)
        # A prediction that came again in another pane had its label counted there.
        known = {identifier for (_, identifier), repeat in repeats.items() if repeat.known_panes}
        for key, amount in (
            ("matched", tally.matched.count(known)),
            ("corrected", sum(count for identifier, count in tally.corrected.items() if identifier not in known)),
            ("contradicted", sum(count for identifier, count in tally.contradicted.items() if identifier not in known)),
        ):
            state.add(name, "labels", key, amount)

    def _count_expired(self, state: Transaction, mark: int | None, now: int) -> None:
        """Count predictions whose label had not come when their horizon passed, by the shortest windows."""
        if mark is None:
            return
        name, seconds = self.settings.name, min(self.settings.windows.window_seconds)
        size = round(seconds * MICROSECONDS)
        before = state.cursor(name, "expired")
        until = min(mark, now - round(self.settings.labels.horizon_seconds * MICROSECONDS)) // size * size
        if until <= before:
            return
        found = state.windows(name, seconds=seconds, start=before, end=until)
        latest = {(item.version, item.start): item.result for item in found if item.end <= until}
        missing = (predictions - labels for predictions, labels in map(counts_of, latest.values()))
        state.add(name, "labels", "expired", sum(max(count, 0) for count in missing))
        state.set_cursor(name, "expired", until)

    def _dirty_panes(
        self,
        state: Transaction,
        new: dict[str, dict[int, int]],
        truth: dict[str, dict[int, int]],
        repeats: matching.Repeats,
        now: int,
    ) -> _Dirty:
        name = self.settings.name
        dirty = _Dirty(
            {version: set(panes) for version, panes in new.items()},
            {version: set(panes) for version, panes in truth.items()},
        )
        state.put_superseded(name, {key: repeat.earliest for key, repeat in repeats.items()})
        for (version, _), repeat in repeats.items():
            dirty.inputs.setdefault(version, set()).update(repeat.panes)
            dirty.outcomes.setdefault(version, set()).update(repeat.panes)
        for version, identity in state.versions(name).items():
            reference = self.references.get(version)
            if reference is not None and reference.identity != identity:
                # Profiles against another reference mean nothing now: rebuild everything this version ever had.
                state.drop_panes(name, version, reference.identity)
                self._add_all_panes(dirty, version)
        for version in new:
            if version not in state.versions(name):
                state.put_version(name, version, self._identity(version), now)
        return dirty

    def _identity(self, version: str) -> str | None:
        reference = self.references.get(version)
        return reference.identity if reference else None

    def _note_versions(self, state: Transaction, dirty: _Dirty, now: int) -> dict[str, int]:
        """Remember what the panes of every version were profiled against; only now that all of them are.

        Returns the versions whose panes were all made again, with the start of the first.
        """
        remade = {}
        for version, identity in state.versions(self.settings.name).items():
            if identity != self._identity(version):
                state.put_version(self.settings.name, version, self._identity(version), now)
                remade[version] = min(dirty.all(version), default=now)
        return remade

    def _add_all_panes(self, dirty: _Dirty, version: str) -> None:
        seconds = self.settings.windows.pane_seconds
        for table, target in (("predictions", dirty.inputs), ("matched", dirty.outcomes)):
            for batch in self.log.scan(table, ["event_time"], versions=[version]):  # type: ignore[arg-type]
                starts = {pane_start(moment, seconds) for moment in set(event_times(batch).tolist())}
                target.setdefault(version, set()).update(starts)

    def _rebuild(self, dirty: _Dirty, tally: Tally) -> None:
        windows, name = self.settings.windows, self.settings.name
        for version in sorted({*dirty.inputs, *dirty.outcomes}):
            reference = self.references.get(version)
            with self.state.transaction(write=False) as state:
                lost = state.superseded(name, version)
                of_inputs = self._rollup.grains(state, version, dirty.inputs.get(version, ()))
                of_outcomes = self._rollup.grains(state, version, dirty.outcomes.get(version, ()))
            inputs = (
                rebuild_inputs(self.log, reference, version, starts, replace(windows, pane_seconds=grain), lost, tally)
                for grain, starts in of_inputs.items()
            )
            outcomes = (
                rebuild_outcomes(
                    self.log, reference, version, starts, replace(windows, pane_seconds=grain), lost, tally
                )
                for grain, starts in of_outcomes.items()
            )
            # In parts, so that others get their turn at the state, and a long backlog does not pile up in memory.
            for part in batched(chain.from_iterable(chain(inputs, outcomes)), PANES_AT_ONCE):
                with self.state.transaction() as state:
                    state.put_panes(name, part)
                self.on_progress()

    def _roll_up(self, state: Transaction) -> None:
        """Old panes become coarser, by their distance from the newest: the clock has no say."""
        for version in state.versions(self.settings.name):
            reference, newest = self.references.get(version), state.newest_pane(self.settings.name, version)
            if reference is not None and newest is not None:
                self._rollup.run(state, version, reference, newest)

    def _sources(self, state: Transaction, now: int) -> list[SourceProgress]:
        # A source that spoke in the future was seen before the clock was set back: from now on its silence counts.
        state.bring_sources_back(self.settings.name, now)
        sources = state.sources(self.settings.name)
        if sources:
            return sources
        # The log was filled by something that reports no progress (a file): it is as far as its newest pane.
        newest = [state.newest_pane(self.settings.name, version) for version in state.versions(self.settings.name)]
        size = round(self.settings.windows.pane_seconds * MICROSECONDS)
        return [SourceProgress(pane + size, min(now, pane + size)) for pane in newest if pane is not None]

    def _report(self, state: Transaction, published: list[WindowResult], mark: int | None) -> CycleReport:
        name = self.settings.name
        versions = state.versions(name)
        rolling: list[WindowResult] = []
        final: list[WindowResult] = []
        for version in versions:
            reference = self.references.get(version)
            newest = state.newest_pane(name, version)
            if reference is None or newest is None:
                continue
            for seconds in self.settings.windows.window_seconds:
                window = rolling_window(newest, self.settings.windows, seconds)
                rolling += [self._windows.rolling(state, version, reference, window)] if self.rolling else []
                stored = state.windows(name, version=version, seconds=seconds, maturity="final", newest=1)
                final += [decode_window(item.result) for item in stored]
        return CycleReport(
            rolling=tuple(rolling),
            final=tuple(final),
            published=tuple(published),
            versions=versions,
            watermark=mark,
            predictions_total=state.counters(name, "predictions"),
            labels_total=state.counters(name, "labels"),
            repeats_total=state.counters(name, REPEATS),
            pending_labels=state.pending_count(name),
        )


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of at most `size` items, in order."""
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
