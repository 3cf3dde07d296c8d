"""Every metric trueup exports: name, kind, labels, unit, help.

What lives here: the one table that the exporter, the dashboards, the alert rules and `docs/metrics.md` are held to.
What must not: values, rendering of samples, which series are worth their place (that is `series`).
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Literal

from monitor.export.segment_metrics import SEGMENT_STATISTICS
from monitor.export.statistic_metrics import (
    COLUMN_BY_KEY,
    COLUMN_STATISTICS,
    VALUE_STATISTICS,
    Statistic,
)

Kind = Literal["gauge", "counter", "info"]
Group = Literal["daemon", "evaluation", "records", "window", "drift", "segment", "alarm"]

WINDOW_LABELS = ("model", "version", "window", "maturity")
COLUMN_LABELS = (*WINDOW_LABELS, "column")
SEGMENT_LABELS = (*WINDOW_LABELS, "segment", "segment_value")
SOURCE_LABELS = ("model", "source")
ALARM_LABELS = ("model", "version", "check")
# Columns beyond the series budget are still seen: through the largest value of these over all columns.
MAXIMUM_KEYS = ("population_stability_index", "jensen_shannon_distance", "kolmogorov_smirnov_statistic")


@dataclass(frozen=True)
class Metric:
    """One metric family. `name` is as on the wire; `unit` is for people and dashboards, "" where there is none.

    Infos are gauges of value 1 on the wire; only metrics of kind counter end in `_total`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    unit: str
    group: Group


def _gauge(group: Group, labels: tuple[str, ...], name: str, unit: str, text: str) -> Metric:
    return Metric("trueup_" + name, "gauge", text, labels, unit, group)


def _counter(group: Group, labels: tuple[str, ...], name: str, unit: str, text: str) -> Metric:
    return Metric(f"trueup_{name}_total", "counter", text, labels, unit, group)


def _info(group: Group, labels: tuple[str, ...], name: str, text: str) -> Metric:
    return Metric(f"trueup_{name}_info", "info", text, labels, "", group)


_DAEMON = (
    _info("daemon", ("version",), "build", "The running trueup, by its version"),
    _gauge(
        "daemon",
        (),
        "exposition_fresh",
        "boolean",
        "1 while the values shown were committed lately, 0 once they expired",
    ),
    _gauge("daemon", (), "exposition_timestamp_seconds", "seconds", "When the values shown were rendered"),
    _gauge("daemon", (), "evaluation_interval_seconds", "seconds", "Time between the starts of two evaluations"),
    _gauge("daemon", (), "ingest_interval_seconds", "seconds", "Time between the starts of two ingest runs"),
    _gauge("daemon", (), "ingest_last_attempt_timestamp_seconds", "seconds", "When the last ingest run started"),
    _gauge("daemon", (), "ingest_last_success_timestamp_seconds", "seconds", "When the last ingest run succeeded"),
    _gauge("daemon", (), "ingest_success", "boolean", "Whether the last ingest run succeeded"),
    _counter("daemon", (), "ingest_failures", "runs", "Ingest runs that failed"),
    _gauge("daemon", (), "state_bytes", "bytes", "Size of the state database"),
    _gauge("daemon", (), "spool_bytes", "bytes", "Size of the spools that wait for ingest"),
    _counter("daemon", (), "spool_damaged_bytes", "bytes", "Bytes of spool segments that could not be read"),
)

_EVALUATION = (
    _info("evaluation", ("model", "version", "task", "reference"), "model", "A monitored model version"),
    _gauge(
        "evaluation",
        ("model",),
        "evaluation_last_attempt_timestamp_seconds",
        "seconds",
        "When the last evaluation started",
    ),
    _gauge(
        "evaluation",
        ("model",),
        "evaluation_last_success_timestamp_seconds",
        "seconds",
        "When the last successful evaluation ended",
    ),
    _gauge("evaluation", ("model",), "evaluation_success", "boolean", "Whether the last evaluation succeeded"),
    _gauge("evaluation", ("model",), "evaluation_duration_seconds", "seconds", "How long the last evaluation took"),
    _counter("evaluation", ("model",), "evaluations", "runs", "Evaluations started"),
    _counter("evaluation", ("model",), "evaluation_failures", "runs", "Evaluations that failed"),
    _gauge(
        "evaluation",
        ("model",),
        "watermark_timestamp_seconds",
        "seconds",
        "Event time up to which predictions are taken to be complete",
    ),
    _gauge("evaluation", ("model",), "series", "series", "Series exported for the model"),
    _gauge("evaluation", ("model",), "series_dropped", "series", "Series left out to keep the model's series budget"),
    _gauge("evaluation", ("model",), "statistics_unknown", "statistics", "Statistics left out for want of a metric"),
)

_RECORDS = (
    _counter("records", ("model", "version"), "predictions", "predictions", "Predictions read from the log"),
    _counter(
        "records",
        ("model", "kind"),
        "predictions_repeated",
        "predictions",
        "Predictions that came again, identical to or in conflict with the one that counts",
    ),
    _counter("records", ("model", "state"), "labels", "labels", "Labels read from the log, by what became of them"),
    _gauge("records", ("model",), "labels_pending", "labels", "Labels whose prediction has not come yet"),
    _counter("records", ("model", "reason"), "records_rejected", "records", "Records set aside, by reason"),
    _gauge(
        "records",
        SOURCE_LABELS,
        "source_newest_timestamp_seconds",
        "seconds",
        "Newest time a source delivered: event time of predictions, cursor of labels in a database",
    ),
    _gauge(
        "records",
        SOURCE_LABELS,
        "source_last_success_timestamp_seconds",
        "seconds",
        "When a database with labels was last read to its end",
    ),
    _gauge("records", SOURCE_LABELS, "source_success", "boolean", "Whether the last reading of a database succeeded"),
    _counter("records", SOURCE_LABELS, "source_records_rejected", "records", "Records set aside, by source"),
    _gauge(
        "records",
        ("model",),
        "label_coverage_goal_ratio",
        "ratio",
        "Label coverage from which on a window is final before the label horizon",
    ),
    _gauge(
        "records", ("model",), "label_horizon_seconds", "seconds", "Time after a window's end until which labels count"
    ),
)

_WINDOW = (
    _gauge("window", WINDOW_LABELS, "window_end_timestamp_seconds", "seconds", "End of the window in event time"),
    _gauge(
        "window",
        WINDOW_LABELS,
        "window_revision",
        "revisions",
        "0 while provisional, 1 when final, one more for each later correction",
    ),
    _gauge("window", WINDOW_LABELS, "window_predictions", "predictions", "Predictions in the window"),
    _gauge("window", WINDOW_LABELS, "window_labels", "labels", "Labelled predictions in the window"),
    _gauge(
        "window",
        (*WINDOW_LABELS, "subject", "check", "state"),
        "verdict_state",
        "boolean",
        "1 for the state a check is in, 0 for the others",
    ),
    _gauge(
        "window",
        ("model", "version", "check", "severity"),
        "check_limit",
        "",
        "Limit of a check in the unit of the check's own metric",
    ),
    _info("window", (*COLUMN_LABELS, "statistic", "reason"), "absent", "A statistic without a value, and why"),
)

_DRIFT = (
    _gauge("drift", COLUMN_LABELS, "column_observations", "values", "Values of the column that were compared"),
    _gauge("drift", WINDOW_LABELS, "compared_columns", "columns", "Columns with a population stability index"),
    _gauge(
        "drift",
        WINDOW_LABELS,
        "drifted_columns_ratio",
        "ratio",
        "Share of the compared columns whose population stability index is past its lowest limit (0.1 without one)",
    ),
)

_SEGMENT = (
    _gauge(
        "segment", SEGMENT_LABELS, "segment_predictions", "predictions", "Predictions with this value of the segment"
    ),
    _gauge(
        "segment", SEGMENT_LABELS, "segment_labels", "labels", "Labelled predictions with this value of the segment"
    ),
    _gauge(
        "segment",
        SEGMENT_LABELS,
        "segment_excess_errors",
        "predictions",
        "Errors of the value's labelled predictions beyond those that the reference's rate would give",
    ),
    _gauge(
        "segment",
        SEGMENT_LABELS,
        "segment_excess_squared_error",
        "target²",
        "Sum of squared errors of the value's labelled predictions beyond what the reference's mean would give",
    ),
)

_ALARM = (
    _gauge(
        "alarm", (*ALARM_LABELS, "state"), "alarm_state", "boolean", "1 for the state an alarm is in, 0 for the others"
    ),
    _gauge("alarm", ALARM_LABELS, "alarm_evidence_nats", "nats", "Evidence that the check's tolerance is exceeded"),
    _gauge("alarm", ALARM_LABELS, "alarm_evidence_threshold_nats", "nats", "Evidence at which the alarm fires"),
    _gauge("alarm", ALARM_LABELS, "alarm_effect", "", "Effect in the unit of the check; larger is worse"),
    _gauge("alarm", ALARM_LABELS, "alarm_tolerance", "", "Effect the operator tolerates, in the unit of the check"),
    _gauge(
        "alarm",
        ALARM_LABELS,
        "alarm_budget_used_ratio",
        "ratio",
        "How likely a false alarm of the check has been since its evidence began, at most",
    ),
    _gauge(
        "alarm",
        ALARM_LABELS,
        "alarm_budget_share_ratio",
        "ratio",
        "Share of the model's false-alarm budget that the check holds",
    ),
    _gauge(
        "alarm",
        ALARM_LABELS,
        "alarm_early_warning_nats",
        "nats",
        "Evidence that inputs are not what they were, which warns early and decides nothing",
    ),
    _gauge(
        "alarm",
        ALARM_LABELS,
        "alarm_risk_ratio",
        "ratio",
        "Share of first labels since the evidence began that the risk with most evidence befell",
    ),
    _gauge("alarm", ALARM_LABELS, "alarm_risk_lower_ratio", "ratio", "Lower end of its 95 % confidence sequence"),
    _gauge("alarm", ALARM_LABELS, "alarm_risk_upper_ratio", "ratio", "Upper end of its 95 % confidence sequence"),
)


def _statistic_metrics() -> list[Metric]:
    metrics = []
    for statistic in VALUE_STATISTICS:
        metrics.append(_of(statistic, statistic.metric, WINDOW_LABELS, "window", ""))
        if statistic.interval:
            metrics.append(_of(statistic, statistic.lower, WINDOW_LABELS, "window", f"Lower {statistic.level} bound: "))
            metrics.append(_of(statistic, statistic.upper, WINDOW_LABELS, "window", f"Upper {statistic.level} bound: "))
    metrics += [_of(statistic, statistic.metric, COLUMN_LABELS, "drift", "") for statistic in COLUMN_STATISTICS]
    metrics += [_of(statistic, statistic.metric, SEGMENT_LABELS, "segment", "") for statistic in SEGMENT_STATISTICS]
    for key in MAXIMUM_KEYS:
        statistic = COLUMN_BY_KEY[key]
        metrics.append(_of(statistic, statistic.maximum, WINDOW_LABELS, "drift", "Largest over all columns: "))
    return metrics


def _of(statistic: Statistic, name: str, labels: tuple[str, ...], group: Group, before: str) -> Metric:
    return Metric(name, "gauge", before + statistic.help, labels, statistic.unit, group)


CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        *_DAEMON,
        *_EVALUATION,
        *_RECORDS,
        *_WINDOW,
        *_DRIFT,
        *_SEGMENT,
        *_statistic_metrics(),
        *_ALARM,
    )
}

_TITLES: dict[Group, str] = {
    "daemon": "The daemon",
    "evaluation": "Models and their evaluation",
    "records": "Predictions and labels",
    "window": "Windows: performance, delay, verdicts",
    "drift": "Drift of columns",
    "segment": "Segments",
    "alarm": "Alarms",
}

_INTRODUCTION = """# Metrics

Made by `python -m monitor.export.catalogue`; edit `monitor/export/catalogue.py` instead of this page.

- `window` is a length such as `1h`. `maturity` is `provisional` (the rolling window that ends with the newest pane) or
  `final` (the latest tumbling window whose labels are complete or overdue).
- `column` is a feature's name, `p_<class>` for a class probability (compared on the clipped logit), `prediction`,
  `entropy` or `confidence`.
- `segment_value` is a value of `segment`, `(other)` for those that are not told apart, or `(missing)`. Each prediction
  is in one value of every segment: sum over `segment_value` one segment at a time. Numbers of fewer than 30 rows or
  labels have no series; the history says why.
- `subject` says what a check watches: `performance`, `drift` or `labels` (their coverage and delay).
- A value that cannot be computed has no series; `trueup_absent_info` says why. No series is ever NaN.
- After a failed evaluation a model's windows vanish. After three intervals without a commit everything vanishes but
  what is marked with a star.
- A model has a series budget (2,000 by default): columns with the largest population stability index are kept,
  `trueup_series_dropped` counts the rest, and the `trueup_drift_maximum_…` metrics cover all of them. At most a quarter
  of what windows leave of it goes to the values of segments in which most of a loss lies, or that drifted most.
"""

# What stays on /metrics when everything else has expired: nothing here can be mistaken for a current value.
SELF_METRICS = (
    "trueup_build_info",
    "trueup_exposition_fresh",
    "trueup_exposition_timestamp_seconds",
    "trueup_evaluation_interval_seconds",
    "trueup_evaluation_last_attempt_timestamp_seconds",
    "trueup_evaluation_last_success_timestamp_seconds",
    "trueup_ingest_interval_seconds",
    "trueup_ingest_last_attempt_timestamp_seconds",
    "trueup_ingest_last_success_timestamp_seconds",
)


def render_documentation() -> str:
    """The page `docs/metrics.md`: one Markdown table per group."""
    parts = [_INTRODUCTION]
    for group, title in _TITLES.items():
        parts.append(f"\n## {title}\n\n| metric | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n")
        parts += [_row(metric) for metric in CATALOGUE.values() if metric.group == group]
    return "".join(parts)


def _row(metric: Metric) -> str:
    star = " *" if metric.name in SELF_METRICS else ""
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}`{star} | {metric.kind} | {metric.unit} | {labels} | {metric.help} |\n"


if __name__ == "__main__":
    sys.stdout.write(render_documentation())
