"""From a snapshot of the daemon to all of its series.

What lives here: what is shown of the daemon, of a model and of its alarms, and when values have expired; pure. What
must not: the wire format, clocks, names that are not in the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import get_args

from monitor.export.budget import DEFAULT_BUDGET, within_budget
from monitor.export.series import Labels, Series, by_label, extended, label_value, present
from monitor.export.snapshot import AlarmSnapshot, AlarmState, ModelSnapshot, Snapshot
from monitor.export.window_series import window_series
from monitor.verdict import WindowResult

# Values stay this many intervals after the last success; then they could be anybody's past.
EXPIRY_INTERVALS = 3


def expiry_seconds(snapshot: Snapshot) -> float:
    """How long after a commit values are served: three intervals, of what a whole evaluation takes at present."""
    durations = [model.evaluation_duration_seconds or 0.0 for model in snapshot.models]
    return EXPIRY_INTERVALS * max([snapshot.evaluation_interval_seconds, *durations])


def self_series(snapshot: Snapshot, *, fresh: bool) -> Iterator[Series]:
    """What is true however old the snapshot is: who we are, how old it is, when each part last worked."""
    yield Series("trueup_build_info", {"version": label_value(snapshot.build_version)}, 1.0)
    yield Series("trueup_exposition_fresh", {}, float(fresh))
    yield from present(
        {},
        ("trueup_exposition_timestamp_seconds", snapshot.rendered_at),
        ("trueup_evaluation_interval_seconds", snapshot.evaluation_interval_seconds),
        ("trueup_ingest_interval_seconds", snapshot.ingest_interval_seconds),
        ("trueup_ingest_last_attempt_timestamp_seconds", snapshot.ingest_last_attempt_timestamp_seconds),
        ("trueup_ingest_last_success_timestamp_seconds", snapshot.ingest_last_success_timestamp_seconds),
    )
    for model in snapshot.models:
        yield from present(
            {"model": label_value(model.model)},
            ("trueup_evaluation_last_attempt_timestamp_seconds", model.last_attempt_timestamp_seconds),
            ("trueup_evaluation_last_success_timestamp_seconds", model.last_success_timestamp_seconds),
        )


def snapshot_series(snapshot: Snapshot, budget: int = DEFAULT_BUDGET) -> Iterator[Series]:
    """Everything a fresh snapshot shows, at most `budget` series of windows and columns per model."""
    yield from self_series(snapshot, fresh=True)
    yield from present(
        {},
        ("trueup_ingest_success", snapshot.ingest_success),
        ("trueup_ingest_failures_total", snapshot.ingest_failures_total),
        ("trueup_state_bytes", snapshot.state_bytes),
        ("trueup_spool_bytes", snapshot.spool_bytes),
        ("trueup_spool_damaged_bytes_total", snapshot.spool_damaged_bytes_total),
    )
    yield from by_label("trueup_records_rejected_total", {"model": ""}, "reason", snapshot.rejected_total)
    oldest = snapshot.rendered_at - expiry_seconds(snapshot)
    for model in snapshot.models:
        succeeded = model.last_success_timestamp_seconds
        yield from _model_series(model, model.success and succeeded is not None and succeeded >= oldest, budget)


def _model_series(model: ModelSnapshot, fresh: bool, budget: int) -> Iterator[Series]:
    labels = {"model": label_value(model.model)}
    for info in model.versions:
        version = {"version": label_value(info.version), "task": model.task, "reference": info.reference}
        yield Series("trueup_model_info", labels | version, 1.0)
    yield from present(
        labels,
        ("trueup_evaluation_success", model.success),
        ("trueup_evaluation_duration_seconds", model.evaluation_duration_seconds),
        ("trueup_evaluations_total", model.evaluations_total),
        ("trueup_evaluation_failures_total", model.evaluation_failures_total),
        ("trueup_watermark_timestamp_seconds", model.watermark_timestamp_seconds),
        ("trueup_labels_pending", model.pending_labels),
        ("trueup_label_coverage_goal_ratio", model.label_coverage_goal_ratio),
        ("trueup_label_horizon_seconds", model.label_horizon_seconds),
    )
    yield from by_label("trueup_predictions_total", labels, "version", model.predictions_total)
    yield from by_label("trueup_predictions_repeated_total", labels, "kind", model.repeats_total)
    yield from by_label("trueup_labels_total", labels, "state", model.labels_total)
    yield from by_label("trueup_records_rejected_total", labels, "reason", model.rejected_total)
    for limit in model.limits:
        names = {"version": limit.version, "check": limit.check, "severity": limit.severity}
        yield from present(extended(labels, names), ("trueup_check_limit", limit.value))
    for source in model.sources:
        yield from present(
            extended(labels, {"source": source.source}),
            ("trueup_source_newest_timestamp_seconds", source.newest_timestamp_seconds),
            ("trueup_source_last_success_timestamp_seconds", source.last_success_timestamp_seconds),
            ("trueup_source_success", source.success),
            ("trueup_source_records_rejected_total", source.rejected_total),
        )
    for alarm in model.alarms:
        yield from _alarm_series(labels, alarm, fresh)
    windows = [window_series(labels, window, model.limits) for window in _newest(model.windows)] if fresh else []
    kept, dropped = within_budget(windows, model.windows, budget)
    yield from kept
    unknown = set().union(*(window.unknown for window in windows))
    yield from present(
        labels,
        ("trueup_series", len(kept)),
        ("trueup_series_dropped", dropped),
        ("trueup_statistics_unknown", len(unknown)),
    )


def _alarm_series(labels: Labels, alarm: AlarmSnapshot, fresh: bool) -> Iterator[Series]:
    # A failed evaluation resolves no alarm: its state stays, the numbers it rests on go.
    labels = extended(labels, {"version": alarm.version, "check": alarm.check})
    for state in get_args(AlarmState):
        yield Series("trueup_alarm_state", {**labels, "state": state}, float(alarm.state == state))
    if fresh:
        yield from present(
            labels,
            ("trueup_alarm_evidence_nats", alarm.evidence_nats),
            ("trueup_alarm_evidence_threshold_nats", alarm.evidence_threshold_nats),
            ("trueup_alarm_effect", alarm.effect),
            ("trueup_alarm_tolerance", alarm.tolerance),
            ("trueup_alarm_budget_used_ratio", alarm.budget_used_ratio),
            ("trueup_alarm_budget_share_ratio", alarm.budget_share_ratio),
            ("trueup_alarm_early_warning_nats", alarm.early_warning_nats),
            ("trueup_alarm_risk_ratio", alarm.risk_ratio),
            ("trueup_alarm_risk_lower_ratio", alarm.risk_lower_ratio),
            ("trueup_alarm_risk_upper_ratio", alarm.risk_upper_ratio),
        )


def _newest(windows: Iterable[WindowResult]) -> list[WindowResult]:
    """One window per set of labels, newest first: of two with equal labels Prometheus would keep either."""
    newest: dict[tuple[str, str, str], WindowResult] = {}
    for window in windows:
        key = (window.version, window.window.name, window.maturity)
        old = newest.get(key)
        if old is None or (window.window.end, window.revision) > (old.window.end, old.revision):
            newest[key] = window
    return sorted(newest.values(), key=lambda window: window.window.end, reverse=True)
