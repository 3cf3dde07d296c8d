"""What the cycles of a model would have known at the end of every observation: counts, windows, labels as they came.

What lives here: from rows of observations to what checks are judged on, with the profiles, cells and window statistics
that the cycle uses. What must not: evidence, alarms, tolerances, drifts.

A label counts from its label time on, as its last value: corrections are not told apart from first labels. A window
whose labels go on coming is evaluated again, as the cycle does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from monitor.alarms.judge import LabelBatch
from monitor.alarms.plan import AlarmPlan, alarm_window_seconds
from monitor.evaluation import InputStatistics, evaluate_window
from monitor.profiles.model_profile import Profile, Reference, empty_outcome, profile_inputs, profile_outcomes
from monitor.profiles.outcome import OutcomeProfile
from monitor.profiles.outcome_builder import Estimators
from monitor.settings import ModelSettings
from monitor.statistics.evidence_cells import CellLayout, cell_counts
from monitor.statistics.evidence_counts import Counts
from monitor.statistics.risk_cells import RiskCells
from monitor.tuning.stream import Observation, event_times, label_times, labelled, pieces
from monitor.verdict import WindowResult
from monitor.windows import MICROSECONDS, Window, tumbling_window


@dataclass(frozen=True, eq=False)
class Seen:
    """What there is at the end of one observation, for every check whatever its tolerance.

    `counts`: of inputs in the cells of the drift checks, None without such a check. `inputs`, `outcomes`: windows of
    the alarm's length, evaluated on inputs and on labels. `labels`: what came since the observation before, by metric.
    """

    window: Window
    counts: Counts | None
    inputs: tuple[WindowResult, ...]
    outcomes: tuple[WindowResult, ...]
    labels: Mapping[str, LabelBatch]

    @property
    def now(self) -> int:
        """The moment, in microseconds: the end of the observation."""
        return self.window.end


@dataclass(frozen=True, eq=False)
class Cells:
    """What rows are counted in, by a plan: the partition of inputs, and the risks of every metric."""

    layout: CellLayout | None
    risks: Mapping[str, RiskCells]

    @classmethod
    def of(cls, plan: AlarmPlan) -> Cells:
        """The cells of all watches; every drift check counts in the same."""
        layouts = [watch.cells for watch in plan.watches if isinstance(watch.cells, CellLayout)]
        risks = {watch.name: watch.cells for watch in plan.watches if isinstance(watch.cells, RiskCells)}
        return cls(layouts[0] if layouts else None, risks)


@dataclass
class Feed:
    """Takes observations in, one after the other; keeps what is not complete yet."""

    settings: ModelSettings
    version: str
    reference: Reference
    cells: Cells
    # By start: inputs of windows that have not ended; outcomes of windows, and how often they were evaluated.
    _open: dict[int, Profile] = field(default_factory=dict)
    _outcomes: dict[int, tuple[OutcomeProfile, int]] = field(default_factory=dict)
    _pending: pa.Table | None = None
    _first: int | None = None
    _only: Reference | None = None

    def copy(self, column: str | None = None) -> Feed:
        """An independent feed in the same place; with a log column, one that looks at no other column of inputs."""
        only = None
        if column is not None:
            specs = tuple(spec for spec in self.reference.columns if spec.name == column)
            only = replace(self.reference, columns=specs, estimators=Estimators())
        return replace(self, _open=dict(self._open), _outcomes=dict(self._outcomes), _only=only)

    def take(self, observation: Observation, *, inputs: bool = True, labels: bool = True) -> Seen:
        """What there is at its end; only of `inputs` or of `labels` where the other is not asked for."""
        if self._first is None:
            self._first = observation.window.start
        counts, shown = self._take_inputs(observation) if inputs and self.cells.layout else (None, ())
        batches, judged = self._take_labels(observation) if labels and self.cells.risks else ({}, ())
        return Seen(observation.window, counts, shown, judged, batches)

    @property
    def _seconds(self) -> float:
        return alarm_window_seconds(self.settings)

    def _take_inputs(self, observation: Observation) -> tuple[Counts, tuple[WindowResult, ...]]:
        assert self.cells.layout is not None
        reference = self._only or self.reference
        whole = Profile.empty(reference)
        for piece in pieces(observation, self._seconds):
            profile = profile_inputs(reference, piece.rows)
            whole = whole.merge(profile)
            start = tumbling_window(piece.start, self._seconds).start
            known = self._open.get(start)
            self._open[start] = profile if known is None else known.merge(profile)
        results = []
        for window in self._ended(self._open, observation.window.end):
            profile = self._open.pop(window.start)
            # A window that began before the stream did is not whole.
            if window.start >= (self._first or 0):
                results.append(self._evaluated(reference, window, profile, empty_outcome(reference), 0))
        return cell_counts(self.cells.layout, whole), tuple(results)

    def _take_labels(self, observation: Observation) -> tuple[dict[str, LabelBatch], tuple[WindowResult, ...]]:
        arrived = self._arrived(labelled(observation.rows), observation.window.end)
        if not arrived.num_rows:
            return {}, ()
        times = event_times(arrived)
        span = (int(times.min()), int(times.max()))
        batches = {
            name: LabelBatch(risks.count(self.reference, arrived), span) for name, risks in self.cells.risks.items()
        }
        touched: dict[int, tuple[OutcomeProfile, int]] = {}
        windows = times // round(self._seconds * MICROSECONDS)
        for number in np.unique(windows).tolist():
            start = number * round(self._seconds * MICROSECONDS)
            new = profile_outcomes(self.reference, arrived.filter(pa.array(windows == number)))
            known, revision = self._outcomes.get(start, (None, -1))
            touched[start] = (new if known is None else known.merge(new), revision)
        self._outcomes |= touched
        return batches, tuple(self._judged(touched, observation.window.end))

    def _judged(self, touched: Iterable[int], end: int) -> Iterable[WindowResult]:
        """Windows that have ended and have labels that were not evaluated yet."""
        fresh = {start for start, (_, revision) in self._outcomes.items() if revision < 0} | set(touched)
        for window in self._ended(fresh, end):
            outcomes, revision = self._outcomes[window.start]
            self._outcomes[window.start] = (outcomes, revision + 1)
            if window.start >= (self._first or 0):
                yield self._evaluated(self.reference, window, Profile.empty(self.reference), outcomes, revision + 1)

    def _arrived(self, rows: pa.Table, end: int) -> pa.Table:
        """Labelled rows whose label is known by now; the others wait. Without a label time it came at once."""
        if self._pending is not None and self._pending.num_rows:
            rows = pa.concat_tables([self._pending, rows])
        due = pa.array(label_times(rows) <= end)
        self._pending = rows.filter(pa.array(~due.to_numpy(zero_copy_only=False)))
        return rows.filter(due)

    def _ended(self, starts: Iterable[int], end: int) -> list[Window]:
        windows = [tumbling_window(start, self._seconds) for start in sorted(starts)]
        return [window for window in windows if window.end <= end]

    def _evaluated(
        self, reference: Reference, window: Window, inputs: Profile, outcomes: OutcomeProfile, revision: int
    ) -> WindowResult:
        return evaluate_window(
            self.settings,
            self.version,
            reference,
            window,
            InputStatistics.of(reference, inputs),
            outcomes,
            maturity="provisional",
            revision=revision,
            profile=inputs,
        )


def with_column(seen: Seen, other: Seen, column: str, layout: CellLayout) -> Seen:
    """What was seen with one column (its public label) as another feed saw it, which looked at that column only."""
    assert seen.counts is not None
    assert other.counts is not None
    reference, counts = layout.reference, seen.counts.copy()
    for name, offset, size in zip(reference.names, reference.offsets, reference.sizes, strict=True):
        if name == column:
            counts[offset : offset + size] = other.counts[offset : offset + size]
    changed = {result.window: result.columns[column] for result in other.inputs}
    inputs = tuple(
        replace(result, columns={**result.columns, column: changed[result.window]}) for result in seen.inputs
    )
    return replace(seen, counts=counts, inputs=inputs, outcomes=other.outcomes, labels=other.labels)
