"""What the exporter knows of the daemon at one commit: the values that become series.

What lives here: frozen value types between the cycle and the exporter. What must not: metric names, rendering, clocks.
All times are seconds since the epoch; None where it has not happened yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitor.verdict import CheckSettings, Threshold, WindowResult

Severity = Literal["warning", "critical"]
AlarmState = Literal["inactive", "pending", "firing", "resolved"]
ReferenceState = Literal["ok", "no_reference", "learning"]


@dataclass(frozen=True)
class VersionInfo:
    """A version that has answered, and whether it can be compared with a reference."""

    version: str
    reference: ReferenceState


@dataclass(frozen=True)
class CheckLimit:
    """The absolute limit of one check of one version, in the unit of the check's own statistic."""

    version: str
    check: str
    severity: Severity
    value: float


@dataclass(frozen=True)
class AlarmSnapshot:
    """Where one alarm stands.

    `evidence_nats` is the logarithm of the e-value, `evidence_threshold_nats` the one at which it fires.
    `budget_share_ratio` is what the check holds of the model's false-alarm budget, `budget_used_ratio` how likely a
    false alarm of it has been since its evidence began, at most. `early_warning_nats` is the evidence that warns and
    never decides. `risk_ratio` is the risk with most evidence over all first labels since it began, with the ends of a
    95 % confidence sequence. `effect` and `tolerance` are in the unit of the check's statistic.
    """

    version: str
    check: str
    state: AlarmState
    evidence_nats: float | None = None
    evidence_threshold_nats: float | None = None
    effect: float | None = None
    tolerance: float | None = None
    budget_used_ratio: float | None = None
    budget_share_ratio: float | None = None
    early_warning_nats: float | None = None
    risk_ratio: float | None = None
    risk_lower_ratio: float | None = None
    risk_upper_ratio: float | None = None


@dataclass(frozen=True)
class SourceSnapshot:
    """One way on which records of a model come: `spool`, `http` or `sql`.

    `newest`: newest time delivered (event time of predictions, cursor of labels). `last_success` and `success` are of a
    source that is read, None of one that delivers by itself.
    """

    source: str
    newest_timestamp_seconds: float | None = None
    last_success_timestamp_seconds: float | None = None
    success: bool | None = None
    rejected_total: int = 0


@dataclass(frozen=True)
class ModelSnapshot:
    """One model at its last evaluation.

    `windows` holds per version and length the rolling window (maturity provisional) and the latest final one; it is
    ignored where `success` is False, since old numbers must not stay. `predictions_total` is by version,
    `repeats_total` by kind (identical, conflicting), `labels_total` by state (received, matched, corrected,
    contradicted, orphan, surplus; expired are predictions whose label did not come in time), `rejected_total` by
    reason; these only grow.
    """

    model: str
    task: str
    versions: tuple[VersionInfo, ...] = ()
    windows: tuple[WindowResult, ...] = ()
    predictions_total: Mapping[str, int] = field(default_factory=dict)
    repeats_total: Mapping[str, int] = field(default_factory=dict)
    labels_total: Mapping[str, int] = field(default_factory=dict)
    rejected_total: Mapping[str, int] = field(default_factory=dict)
    pending_labels: int = 0
    watermark_timestamp_seconds: float | None = None
    last_attempt_timestamp_seconds: float | None = None
    last_success_timestamp_seconds: float | None = None
    success: bool = False
    evaluation_duration_seconds: float | None = None
    evaluations_total: int = 0
    evaluation_failures_total: int = 0
    label_coverage_goal_ratio: float | None = None
    label_horizon_seconds: float | None = None
    limits: tuple[CheckLimit, ...] = ()
    alarms: tuple[AlarmSnapshot, ...] = ()
    sources: tuple[SourceSnapshot, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """The whole daemon at one commit. `rejected_total` counts records that name no model we know, by reason."""

    build_version: str
    rendered_at: float
    evaluation_interval_seconds: float
    models: tuple[ModelSnapshot, ...] = ()
    state_bytes: int | None = None
    spool_bytes: int | None = None
    spool_damaged_bytes_total: int = 0
    rejected_total: Mapping[str, int] = field(default_factory=dict)
    ingest_interval_seconds: float | None = None
    ingest_last_attempt_timestamp_seconds: float | None = None
    ingest_last_success_timestamp_seconds: float | None = None
    ingest_success: bool | None = None
    ingest_failures_total: int = 0


def check_limits(version: str, checks: CheckSettings, reference: Mapping[str, float]) -> tuple[CheckLimit, ...]:
    """The absolute limits of every check of a version; relative ones need the reference's own value, else none."""
    limits = []
    for check, own in [(check, reference.get(check.metric)) for check in checks.values] + [
        (check, None) for check in checks.columns
    ]:
        severities: tuple[tuple[Severity, Threshold | None], ...] = (
            ("warning", check.warning),
            ("critical", check.critical),
        )
        for severity, threshold in severities:
            value = threshold.limit(own) if threshold else None
            if value is not None:
                limits.append(CheckLimit(version, check.metric, severity, value))
    return tuple(limits)
