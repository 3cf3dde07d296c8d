"""What the daemon shows of itself: from the outcome of cycles and the state to the exporter's snapshot and to JSON.

What lives here: the translation, without any decision. What must not: schedules, HTTP, metric names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.alarms.report import AlarmReport, finite, restored
from monitor.alarms.storage import read_alarms
from monitor.cycle import REPEATS
from monitor.export.snapshot import (
    AlarmSnapshot,
    CheckLimit,
    ModelSnapshot,
    ReferenceState,
    SourceSnapshot,
    VersionInfo,
    check_limits,
)
from monitor.label_sources import SQL, SourceRecord, source_record
from monitor.log.spool import OPEN_SUFFIX, SEALED_SUFFIX
from monitor.pipeline import REJECTED, REJECTED_BY_SOURCE, ModelParts
from monitor.state import State, sqlite_path
from monitor.statistics.segments import worst_text
from monitor.statistics.summary import reference_values
from monitor.window_codec import iso
from monitor.windows import MICROSECONDS
from monitor.worker import WorkerStatus


@dataclass(frozen=True)
class Counters:
    """Counters of one model that only grow, as the state holds them."""

    predictions: Mapping[str, int]
    repeats: Mapping[str, int]
    labels: Mapping[str, int]
    rejected: Mapping[str, int]
    pending_labels: int
    versions: Mapping[str, str | None]
    alarms: tuple[AlarmReport, ...] = ()
    rejected_by_source: Mapping[str, int] = field(default_factory=dict)
    newest_event_time: int | None = None
    sql_labels: SourceRecord | None = None


def read_counters(state: State, model: str) -> Counters:
    """The counters of a model now."""
    with state.transaction(write=False) as transaction:
        return Counters(
            transaction.counters(model, "predictions"),
            transaction.counters(model, REPEATS),
            transaction.counters(model, "labels"),
            transaction.counters(model, REJECTED),
            transaction.pending_count(model),
            transaction.versions(model),
            tuple(restored(item) for item in read_alarms(transaction, model)),
            transaction.counters(model, REJECTED_BY_SOURCE),
            max((source.newest_event_time for source in transaction.sources(model)), default=None),
            source_record(transaction, model),
        )


def model_snapshot(parts: ModelParts, status: WorkerStatus, counters: Counters) -> ModelSnapshot:
    """One model as the exporter takes it."""
    report, record, settings = status.report, status.record, parts.settings
    schema = parts.schema
    return ModelSnapshot(
        model=settings.name,
        task=schema.task if schema else "",
        versions=tuple(VersionInfo(name, _reference_state(parts, name)) for name in counters.versions),
        windows=() if report is None else (*report.rolling, *report.final),
        predictions_total=counters.predictions,
        repeats_total=counters.repeats,
        labels_total=counters.labels,
        rejected_total=counters.rejected,
        pending_labels=counters.pending_labels,
        watermark_timestamp_seconds=_seconds(report.watermark) if report else None,
        last_attempt_timestamp_seconds=_seconds(record.last_attempt or None),
        last_success_timestamp_seconds=_seconds(record.last_success),
        success=report is not None,
        evaluation_duration_seconds=record.duration_seconds,
        evaluations_total=record.attempts,
        evaluation_failures_total=record.failures,
        label_coverage_goal_ratio=settings.labels.final_at_coverage * settings.labels.expected_coverage,
        label_horizon_seconds=settings.labels.horizon_seconds,
        limits=tuple(_limits(parts, counters.versions)),
        alarms=tuple(_alarm(report) for report in counters.alarms),
        sources=_sources(counters),
    )


def _sources(counters: Counters) -> tuple[SourceSnapshot, ...]:
    rejected, sql = counters.rejected_by_source, counters.sql_labels
    found = [SourceSnapshot("spool", _seconds(counters.newest_event_time), rejected_total=rejected.get("spool", 0))]
    if "http" in rejected:
        found.append(SourceSnapshot("http", rejected_total=rejected["http"]))
    if sql is not None:
        success = _seconds(sql.last_success)
        found.append(SourceSnapshot(SQL, _seconds(sql.newest), success, sql.error is None, rejected.get(SQL, 0)))
    return tuple(found)


def _alarm(report: AlarmReport) -> AlarmSnapshot:
    alarm, risk = report.alarm, report.risk or {}
    return AlarmSnapshot(
        version=report.version,
        check=report.check,
        state=alarm.state.value,
        evidence_nats=finite(alarm.log_evidence),
        evidence_threshold_nats=finite(alarm.log_threshold),
        effect=alarm.effect,
        tolerance=alarm.tolerance,
        budget_used_ratio=report.budget_used,
        budget_share_ratio=report.share.share,
        early_warning_nats=finite(report.early_warning),
        risk_ratio=risk.get("value"),
        risk_lower_ratio=risk.get("lower"),
        risk_upper_ratio=risk.get("upper"),
    )


def model_record(parts: ModelParts, status: WorkerStatus, counters: Counters) -> dict[str, Any]:
    """One model as JSON, its name first: for `/v1/models`, `trueup status` and the page."""
    report, record, schema = status.report, status.record, parts.schema
    return {
        "name": parts.settings.name,
        "task": schema.task if schema else None,
        "classes": list(schema.classes) if schema else [],
        "versions": {name: _reference_state(parts, name) for name in counters.versions},
        "predictions": sum(counters.predictions.values()),
        "labels": counters.labels.get("received", 0),
        "labels_matched": counters.labels.get("matched", 0),
        "labels_pending": counters.pending_labels,
        "records_rejected": sum(counters.rejected.values()),
        "watermark": iso(report.watermark) if report and report.watermark is not None else None,
        "last_evaluation": iso(record.last_attempt) if record.last_attempt else None,
        "last_success": iso(record.last_success) if record.last_success else None,
        **({"worst_segment": _worst_segment(status)} if parts.settings.segments else {}),
        "alarms": sorted(f"{report.check} {report.alarm.state}" for report in counters.alarms if report.alarm.is_shown),
        "error": record.error,
        "problems": parts.problems,
    }


def _worst_segment(status: WorkerStatus) -> str | None:
    """Of the shortest rolling window of the newest predictions."""
    windows = status.report.rolling if status.report is not None else ()
    newest = max(windows, key=lambda result: (result.window.end, -result.window.seconds), default=None)
    return None if newest is None else worst_text(newest.segments)


def spool_bytes(roots: tuple[Path, ...]) -> int:
    """Bytes of all segments below the spools, sealed or open."""
    total = 0
    for root in roots:
        for path in root.glob("*/*"):
            if path.suffix in (OPEN_SUFFIX, SEALED_SUFFIX):
                try:
                    total += path.stat().st_size
                except FileNotFoundError:  # taken in meanwhile
                    continue
    return total


def state_bytes(url: str) -> int | None:
    """Bytes of a SQLite state with its write-ahead log; None for other databases."""
    path = sqlite_path(url)
    if path is None:
        return None
    files = [path, path.with_name(path.name + "-wal")]
    return sum(file.stat().st_size for file in files if file.exists())


def _reference_state(parts: ModelParts, version: str) -> ReferenceState:
    return "ok" if parts.references.get(version) is not None else "no_reference"


def _limits(parts: ModelParts, versions: Mapping[str, str | None]) -> list[CheckLimit]:
    limits: list[CheckLimit] = []
    for version in versions:
        reference = parts.references.get(version)
        if reference is not None:
            limits += check_limits(version, parts.settings.checks, reference_values(reference))
    return limits


def _seconds(microseconds: int | None) -> float | None:
    return None if microseconds is None else microseconds / MICROSECONDS
