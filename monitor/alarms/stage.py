"""The stage of a cycle that weighs evidence and moves alarms, after panes were rebuilt and windows published.

What lives here: which observations and labels are consumed, in which order alarms are judged, and keeping both in the
cycle's transaction. What must not: evidence formulas, transitions, wording; they are the core's.

Evidence is consumed once: inputs up to a cursor in event time, labels up to the cursor of `matched`. Both cursors
commit with the evidence, so a killed cycle has either happened or not. In one cycle first come the labels, then
observations and windows in the order of event time, so that a cycle that catches up on a month passes through the same
states as thirty that did not have to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from monitor.alarms import evidence
from monitor.alarms.evidence import CheckEvidence
from monitor.alarms.first_labels import first_labels
from monitor.alarms.judge import LabelBatch, News, judge_check
from monitor.alarms.null_regions import NullRegions, detectors_of
from monitor.alarms.plan import AlarmPlan, Watch, alarm_plan, alarm_window_seconds
from monitor.alarms.report import AlarmReport, restored, stored
from monitor.alarms.storage import keep_only, read_alarms, read_evidence, write_alarm, write_evidence
from monitor.alarms.transitions import Alarm
from monitor.engines.local import event_times
from monitor.engines.winners import unique_outcomes
from monitor.learning import Learning
from monitor.log.tables import ModelLog
from monitor.profiles.model_profile import Profile, Reference
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import Transaction
from monitor.statistics.evidence_cells import CellLayout, cell_counts
from monitor.statistics.evidence_counts import Counts
from monitor.statistics.risk_cells import RiskCells, risk_cells
from monitor.statistics.seasons import due_observations
from monitor.statistics.segments import reference_performance
from monitor.statistics.summary import reference_values
from monitor.verdict import CheckSettings, WindowResult
from monitor.windows import MICROSECONDS, Window

# The merged drift profile of a stretch of one version.
Merged = Callable[[str, Reference, Window], Profile]
# Counts of first labels by version and metric.
NewLabels = Mapping[tuple[str, str], Sequence[LabelBatch]]
# Plans kept in memory: one for each reference and number of versions.
_CACHED_PLANS = 512


@dataclass(frozen=True)
class Consumed:
    """What a cycle has for the alarms: published windows, the watermark, and first labels as `read_labels` counted."""

    published: Sequence[WindowResult]
    watermark: int | None
    labels: NewLabels
    now: int


@dataclass
class AlarmStage:
    """Evidence and alarms of one model; keeps null regions in memory between cycles, nothing else."""

    settings: ModelSettings
    log: ModelLog
    learning: Learning
    _plans: dict[tuple[str, int, CheckSettings], AlarmPlan] = field(default_factory=dict)
    _own: dict[str, Mapping[str, float]] = field(default_factory=dict)
    _regions: NullRegions = field(default_factory=NullRegions)

    def read_labels(self, state: Transaction, references: ReferenceStore, matched: tuple[int, int]) -> NewLabels:
        """Count the first labels of the new stretch of `matched`; nothing is consumed by it.

        Apart from `run`, since it reads the log: nobody should wait for that with the state locked. Rows are let go
        batch by batch.
        """
        found: dict[tuple[str, str], list[LabelBatch]] = {}
        if matched[1] <= matched[0]:
            return found
        watched = self._watched_versions(state, references)
        superseded = {version: state.superseded(self.settings.name, version) for version in watched}
        for version, batch in first_labels(self.log, after=matched[0], until=matched[1]):
            rows = unique_outcomes(batch, superseded[version]) if version in watched else batch.slice(0, 0)
            if not rows.num_rows:
                continue
            times = event_times(rows)
            events = int(np.min(times)), int(np.max(times))
            for check in self.settings.checks.values:
                cells = risk_cells(check.metric, watched[version])
                if isinstance(cells, RiskCells):
                    counts = cells.count(watched[version], rows)
                    found.setdefault((version, check.metric), []).append(LabelBatch(counts, events))
        return found

    def run(
        self, state: Transaction, references: ReferenceStore, merged: Merged, consumed: Consumed
    ) -> list[AlarmReport]:
        """Consume what is due, judge every alarm, keep both; all alarms of the versions that are watched."""
        name, seconds = self.settings.name, alarm_window_seconds(self.settings)
        watched = self._watched_versions(state, references)
        judged_by = {
            version: self.learning.settings_for(state, version, reference, seconds)
            for version, reference in watched.items()
        }
        plans = {
            version: self._plan(judged_by[version], reference, len(watched)) for version, reference in watched.items()
        }
        reports: list[AlarmReport] = []
        for version, reference in watched.items():
            known = {item.check: restored(item) for item in read_alarms(state, name, version)}
            observed = self._observations(state, version, reference, plans[version], merged, consumed.watermark)
            windows = self._windows(consumed.published, version)
            for watch in plans[version].watches:
                report = known.get(watch.name) or AlarmReport(version, Alarm(watch.name), watch.share)
                inputs = observed if isinstance(watch.cells, CellLayout) else ()
                news = News(inputs, consumed.labels.get((version, watch.name), ()), windows)
                reports.append(self._judge(state, judged_by[version], reference, watch, report, news, consumed.now))
        keep_only(state, self.settings.name, {(report.version, report.check) for report in reports})
        return reports

    def _judge(
        self,
        state: Transaction,
        judged_by: ModelSettings,
        reference: Reference,
        watch: Watch,
        report: AlarmReport,
        news: News,
        now: int,
    ) -> AlarmReport:
        name, version = self.settings.name, report.version
        context = self._regions.context(judged_by, watch, self._values(reference))
        context = replace(context, own_segments=reference_performance(reference))
        kept = read_evidence(state, name, version, watch.name)
        detectors = [self._detector(watch, kept.get(place)) for place in range(detectors_of(watch, self.settings))]
        current = replace(report, share=watch.share)
        judged = judge_check(watch, context, detectors, current, news, now)
        for place in sorted(judged.changed):
            encoded = evidence.encode_evidence(judged.detectors[place])
            write_evidence(state, name, version, watch.name, place, encoded)
        write_alarm(state, name, stored(judged.report))
        return judged.report

    def _detector(self, watch: Watch, kept: bytes | None) -> CheckEvidence:
        """The evidence as it was kept; begun afresh where it was held against other cells."""
        if kept is None:
            return evidence.fresh(watch.reference)
        state = evidence.decode_evidence(kept)
        fits = state.learnt is None or state.learnt.shape == watch.reference.counts.shape
        if fits and state.counts.reference == evidence.phase_reference(state, watch.reference).identity:
            return state
        return evidence.fresh(watch.reference)

    def _watched_versions(self, state: Transaction, references: ReferenceStore) -> dict[str, Reference]:
        """Versions with a reference that answered within the longest window before the newest answer of any."""
        name, longest = self.settings.name, max(self.settings.windows.window_seconds)
        newest = {version: state.newest_pane(name, version) for version in state.versions(name)}
        last = max((pane for pane in newest.values() if pane is not None), default=0)
        watched = {}
        for version, pane in newest.items():
            reference = references.get(version)
            if reference is not None and pane is not None and last - pane <= longest * MICROSECONDS:
                watched[version] = reference
        return watched

    def _values(self, reference: Reference) -> Mapping[str, float]:
        """The reference's own values by metric."""
        if reference.identity not in self._own:
            self._own = {reference.identity: reference_values(reference)}
        return self._own[reference.identity]

    def _plan(self, settings: ModelSettings, reference: Reference, versions: int) -> AlarmPlan:
        key = (reference.identity, versions, settings.checks)
        if key not in self._plans:
            if len(self._plans) >= _CACHED_PLANS:
                self._plans.clear()
            self._plans[key] = alarm_plan(settings, reference, versions)
        return self._plans[key]

    def _observations(
        self,
        state: Transaction,
        version: str,
        reference: Reference,
        plan: AlarmPlan,
        merged: Merged,
        mark: int | None,
    ) -> list[tuple[Window, Counts]]:
        """Complete stretches of event time that were not consumed yet, as counts; from now on they are consumed."""
        name, cursor = self.settings.name, f"observed {version}"
        oldest = state.oldest_pane(name, version)
        if oldest is None:
            return []
        due = due_observations(state.cursor(name, cursor) or None, oldest, mark, self.settings.observations)
        if due:
            state.set_cursor(name, cursor, due[-1].end)
        # All checks of inputs count in the same cells.
        layout = next((watch.cells for watch in plan.watches if isinstance(watch.cells, CellLayout)), None)
        if layout is None:
            return []
        return [(window, cell_counts(layout, merged(version, reference, window))) for window in due]

    def _windows(self, published: Iterable[WindowResult], version: str) -> list[WindowResult]:
        seconds = alarm_window_seconds(self.settings)
        mine = [result for result in published if result.version == version and result.window.seconds == seconds]
        return sorted(mine, key=lambda result: (result.window.end, result.revision))
