"""What `trueup doctor` finds: whether panes are independent enough, what a configuration costs, what does not fit.

What lives here: findings of one model from its settings, references, log and state. What must not: tables, options, any
change to what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from monitor.alarms.plan import alarm_plan, alarm_window_seconds
from monitor.errors import TrueupError
from monitor.evaluation import InputStatistics, evaluate_window
from monitor.export.budget import DEFAULT_BUDGET
from monitor.export.snapshot import AlarmSnapshot, ModelSnapshot, Snapshot, VersionInfo, check_limits
from monitor.export.snapshot_series import snapshot_series
from monitor.label_join import Maturity
from monitor.log.tables import ModelLog, TableName
from monitor.profiles.codec import decode_profile
from monitor.profiles.model_profile import Reference, empty_outcome
from monitor.segment_values import LEARN_ROWS
from monitor.settings import ModelSettings
from monitor.state import State
from monitor.statistics.drift_model import drift_model
from monitor.statistics.evidence_cells import CellLayout, cell_counts, cell_layout
from monitor.statistics.evidence_counts import Counts, by_column
from monitor.statistics.independence import Advice, Independence, judge_independence, neighbouring_design_effect
from monitor.statistics.seasons import ObservationSettings
from monitor.statistics.summary import reference_values
from monitor.windows import MICROSECONDS, Window, format_duration

Level = Literal["good", "note", "problem"]
# Panes that are looked at, the newest: a week of five minutes.
PANES = 2_016
MONTH_SECONDS = 30 * 86_400.0
# A design effect below this is not worth a setting.
_WORTH_A_SETTING = 1.2


@dataclass(frozen=True)
class Finding:
    """One thing found: about what, how bad it is, in words, and a setting that follows from it, if one does."""

    topic: str
    level: Level
    text: str
    setting: str | None = None


@dataclass(frozen=True)
class Diagnosis:
    """Everything found of one model; the figures are None where nothing is known yet."""

    model: str
    findings: tuple[Finding, ...]
    bytes_per_prediction: float | None = None
    gigabytes_per_month: float | None = None
    predictions_per_second: float | None = None
    series: int | None = None
    series_dropped: int | None = None
    panes: int = 0
    design_effect: float | None = None
    advice: str | None = None


@dataclass(frozen=True)
class Traffic:
    """What the log holds of predictions: rows, bytes of all tables, and the time the rows span."""

    rows: int
    bytes: int
    seconds: float

    @property
    def bytes_per_prediction(self) -> float | None:
        """Bytes on disk per prediction, labels and joined rows included."""
        return self.bytes / self.rows if self.rows else None

    @property
    def per_second(self) -> float | None:
        """Predictions per second of event time."""
        return self.rows / self.seconds if self.rows and self.seconds > 0 else None


def diagnose(
    settings: ModelSettings,
    reference: Reference | None,
    version: str | None,
    log: ModelLog,
    state: State | None,
    retention_seconds: float | None,
    progress: Callable[[int, int], None],
) -> Diagnosis:
    """The findings of one model, of the version that answered last; `progress` is told panes done, and of how many."""
    findings = list(_reference_findings(settings, reference))
    findings += segment_findings(settings, reference) if reference is not None else []
    traffic = log_traffic(log)
    found = Diagnosis(settings.name, ())
    monthly = None
    if traffic.per_second is not None and traffic.bytes_per_prediction is not None:
        monthly = traffic.per_second * MONTH_SECONDS * traffic.bytes_per_prediction / 1e9
        found = replace(found, predictions_per_second=traffic.per_second, gigabytes_per_month=monthly)
    found = replace(found, bytes_per_prediction=traffic.bytes_per_prediction)
    findings.append(retention_finding(settings, retention_seconds, monthly))
    if reference is not None:
        series, dropped = series_of(settings, reference)
        found = replace(found, series=series, series_dropped=dropped)
        if dropped:
            text = (
                f"{dropped:,} series are left out to keep {DEFAULT_BUDGET:,} a model; the columns that drift most stay"
            )
            findings.append(Finding("series", "note", text))
        if state is not None and version is not None:
            counts = pane_counts(settings, reference, version, state, progress)
            judged, effect = judge_panes(counts)
            findings.append(season_finding(settings.observations, judged, effect))
            found = replace(found, panes=judged.panes, design_effect=effect, advice=judged.advice.value)
    return replace(found, findings=tuple(findings))


def log_traffic(log: ModelLog) -> Traffic:
    """Rows and time from the files' statistics; no row is read."""
    files = log.files("predictions")
    times = [file.time for file in files if file.time is not None]
    span = max(time[1] for time in times) - min(time[0] for time in times) if times else 0
    tables: tuple[TableName, ...] = ("predictions", "labels", "matched")
    size = sum(file.bytes for table in tables for file in log.files(table))
    return Traffic(sum(file.rows for file in files), size, span / MICROSECONDS)


def series_of(settings: ModelSettings, reference: Reference) -> tuple[int, int]:
    """Series of one version of this configuration, and how many its budget drops: the reference as its own traffic."""
    own, outcome = reference_values(reference), reference.outcome or empty_outcome(reference)
    kinds: tuple[Maturity, ...] = ("provisional", "final")
    inputs = InputStatistics.of(reference, reference.profile)
    windows = [
        evaluate_window(
            settings,
            "1",
            reference,
            Window(0, round(seconds * MICROSECONDS), seconds),
            inputs,
            outcome,
            maturity=maturity,
            revision=0,
            profile=reference.profile,
        )
        for seconds in settings.windows.window_seconds
        for maturity in kinds
    ]
    model = ModelSnapshot(
        model=settings.name,
        task=reference.schema.task,
        versions=(VersionInfo("1", "ok"),),
        windows=tuple(windows),
        success=True,
        last_success_timestamp_seconds=0.0,
        limits=check_limits("1", settings.checks, own),
        alarms=tuple(
            AlarmSnapshot("1", watch.name, "inactive", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
            for watch in alarm_plan(settings, reference).watches
        ),
    )
    made = list(snapshot_series(Snapshot("", 0.0, 60.0, (model,))))
    dropped = sum(int(series.value) for series in made if series.name == "trueup_series_dropped")
    return len(made), dropped


def pane_counts(
    settings: ModelSettings, reference: Reference, version: str, state: State, progress: Callable[[int, int], None]
) -> list[Counts]:
    """Rows per cell of the newest panes of a version in the order of time, column by column, int64 [P, cells] each."""
    size = round(settings.windows.pane_seconds * MICROSECONDS)
    layout: CellLayout = cell_layout(reference)
    rows: list[Counts] = []
    with state.transaction(write=False) as transaction:
        newest = transaction.newest_pane(settings.name, version)
        if newest is None:
            return []
        starts = transaction.pane_starts(settings.name, version, newest - PANES * size, newest + 1)[-PANES:]
        for done, start in enumerate(starts):
            # One at a time, so that a week of wide panes does not have to fit into memory.
            for pane in transaction.panes(settings.name, version, "inputs", start, start + 1):
                # Panes that were rolled up into longer ones are no panes of this length.
                if pane.end - pane.start == size and pane.reference == reference.identity:
                    rows.append(cell_counts(layout, decode_profile(pane.profile, reference)))
            progress(done + 1, len(starts))
    return by_column(layout.reference, np.array(rows, dtype=np.int64)) if rows else []


def judge_panes(columns: Sequence[Counts]) -> tuple[Independence, float]:
    """What panes say of themselves, and the design effect between neighbours, of the column with the largest."""
    judged = judge_independence(columns)
    return judged, max((neighbouring_design_effect(column) for column in columns), default=1.0)


def season_finding(observed: ObservationSettings, judged: Independence, effect: float) -> Finding:
    """Which `season` follows from the panes, and whether it is the one that is configured."""
    length = format_duration(observed.season_seconds or 86_400.0)
    clustered = effect >= _WORTH_A_SETTING
    parts = ["length: off" if judged.advice in (Advice.INDEPENDENT, Advice.CLUSTERED) else f"length: {length}"]
    if clustered:
        parts.append(f"design_effect: {round(effect + 0.05, 1):g}")
    wanted = f"season: {{{', '.join(parts)}}}"
    topic = f"independence ({judged.panes} panes)"
    if judged.advice is Advice.UNKNOWN:
        return Finding(topic, "note", judged.text)
    text = judged.text
    if clustered:
        text += (
            f" Neighbouring panes differ {effect:.1f} times as much as independent rows would: rows come in clusters."
        )
    too_short = judged.advice is Advice.SEASONAL and observed.season_seconds is None
    undivided = clustered and observed.design_effect < 0.8 * effect
    if too_short or undivided:
        return Finding(topic, "problem", f"{text} The false-alarm budget does not hold as configured.", wanted)
    if judged.advice in (Advice.INDEPENDENT, Advice.CLUSTERED) and observed.season_seconds is not None:
        return Finding(topic, "note", f"{text} It would find drift earlier; what is configured is safe.", wanted)
    return Finding(topic, "good", f"{text} What is configured fits.")


def retention_finding(settings: ModelSettings, retention_seconds: float | None, monthly: float | None) -> Finding:
    """Whether the log is kept as long as its windows and labels need it, and what that comes to."""
    needed = settings.labels.horizon_seconds + max(settings.windows.window_seconds)
    grows = "" if monthly is None else f"; at the traffic so far {monthly:.3g} GB a month"
    if retention_seconds is None:
        return Finding("retention", "note", f"the log is kept for ever{grows}")
    if retention_seconds < needed:
        text = f"{format_duration(retention_seconds)} is too short for late labels"
        return Finding("retention", "problem", text, f"log: {{retention: {format_duration(needed)}}}")
    kept = "" if monthly is None else f", about {monthly * retention_seconds / MONTH_SECONDS:.3g} GB"
    return Finding("retention", "good", f"{format_duration(retention_seconds)} hold every late label and window{kept}")


def segment_findings(settings: ModelSettings, reference: Reference) -> list[Finding]:
    """What is not said of a declared segment, and what to do about it."""
    told = {spec.name for spec in reference.segments}
    found = []
    for name in settings.segments:
        if name not in told:
            text = f"its values are learnt from the first {LEARN_ROWS:,} predictions with one, and left out until then"
            found.append(Finding(f"segment {name}", "note", text, f"segments: {{{name}: [VALUE, …]}}"))
        elif name not in reference.profile.segments:
            text = (
                f"the reference is not told apart by it: no drift per value (trueup reference build --segment {name})"
            )
            found.append(Finding(f"segment {name}", "note", text))
    return found


def _reference_findings(settings: ModelSettings, reference: Reference | None) -> Sequence[Finding]:
    if reference is None:
        return [Finding("reference", "problem", "no version has one, so nothing is judged")]
    try:
        plan = alarm_plan(settings, reference)
    except TrueupError as error:
        return [Finding("alarms", "problem", str(error))]
    found = [Finding("alarms", "note", f"{check} has no alarm: {reason}") for check, reason in plan.unwatched.items()]
    rows = reference.profile.rows
    for watch in plan.watches:
        if isinstance(watch.cells, CellLayout) and watch.null_tolerance > 0:
            own = drift_model(watch.reference, 0.0, settings.observations.design_effect)
            widest = int(np.argmax(own.radius))
            if own.radius[widest] > watch.null_tolerance:
                text = (
                    f"{rows:,} rows leave {watch.reference.names[widest]} open by {own.radius[widest]:.3g} nats, more "
                    f"than {watch.name} tolerates ({watch.null_tolerance:.3g}): smaller drifts are not told from chance"
                )
                found.append(Finding("reference", "note", text))
    shortest = min((watch.share.run_length for watch in plan.watches), default=None)
    if shortest is not None:
        text = (
            f"{len(plan.watches)} checks share {settings.false_alarms}; the effect is of windows of "
            f"{format_duration(alarm_window_seconds(settings))}, evidence needs at least {np.log(shortest):.1f} nats"
        )
        found.append(Finding("budget", "good", text))
    return found
