"""The rows on judgement and on the monitor itself: verdicts, alarms, health.

What lives here: which metrics stand there, and what a reader is told. What must not: looks (`panels`).
"""

from __future__ import annotations

from typing import Any

from grafana.panels import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    Query,
    headline,
    instant_table,
    time_series,
    timeline,
)
from grafana.selectors import DAEMON, MODEL, VERDICTS, VERSION, WINDOW, YES_NO


def alarms() -> list[Any]:
    """Verdicts over time, and the alarms that were held against the false-alarm budget."""
    verdict = " or ".join(
        f'sum without (state) (trueup_verdict_state{{{WINDOW}, state="{state}"}} == 1) * {rank}'
        for state, rank in (("critical", 3), ("warning", 2), ("ok", 1), ("insufficient", 0))
    )
    state = " or ".join(
        f'sum without (state) (trueup_alarm_state{{{VERSION}, state="{state}"}} == 1) * {rank}'
        for state, rank in (("firing", 3), ("pending", 2), ("inactive", 1), ("resolved", 0))
    )
    return [
        timeline(
            "Verdicts",
            "Each check of the selected window against its limits.",
            Query(verdict, "{{version}} {{check}}"),
            VERDICTS,
            width=12,
        ),
        timeline(
            "Alarms",
            "Verdicts held against the false-alarm budget: inactive, pending, firing, resolved.",
            Query(state, "{{version}} {{check}}"),
            {"0": ("resolved", BLUE), "1": ("inactive", GREEN), "2": ("pending", YELLOW), "3": ("firing", RED)},
            width=12,
        ),
        time_series(
            "Effect of alarms",
            "Effect (larger is worse) and what the operator tolerates, in the unit of each check.",
            "none",
            Query(f"trueup_alarm_effect{{{VERSION}}}", "{{version}} {{check}}"),
            Query(f"trueup_alarm_tolerance{{{VERSION}}}", "{{version}} {{check}} tolerance", "limit"),
            width=6,
        ),
        time_series(
            "Evidence of alarms",
            "Logarithm of the evidence that the tolerance is exceeded, where it fires, and of the early warning.",
            "suffix: nats",
            Query(f"trueup_alarm_evidence_nats{{{VERSION}}}", "{{version}} {{check}}"),
            Query(f"trueup_alarm_evidence_threshold_nats{{{VERSION}}}", "{{version}} {{check}} threshold", "limit"),
            Query(f"trueup_alarm_early_warning_nats{{{VERSION}}}", "{{version}} {{check}} early warning"),
            width=6,
        ),
        time_series(
            "Labelled risk since the evidence began",
            "Of the risk with most evidence; the interval holds at every look at once.",
            "percentunit",
            Query(f"trueup_alarm_risk_ratio{{{VERSION}}}", "{{version}} {{check}}"),
            Query(f"trueup_alarm_risk_lower_ratio{{{VERSION}}}", "{{version}} {{check}} lower"),
            Query(f"trueup_alarm_risk_upper_ratio{{{VERSION}}}", "{{version}} {{check}} upper"),
            width=6,
        ),
        time_series(
            "False-alarm budget",
            "How likely a false alarm of each check has been so far, at most; dashed: its share of the budget.",
            "percentunit",
            Query(f"trueup_alarm_budget_used_ratio{{{VERSION}}}", "{{version}} {{check}} used"),
            Query(f"trueup_alarm_budget_share_ratio{{{VERSION}}}", "{{version}} {{check}} share", "limit"),
            minimum=0,
            maximum=1,
            width=6,
        ),
    ]


def health() -> list[Any]:
    """Whether the monitor does its work: freshness, evaluations, ingest, disk, series."""
    rate = "[$__rate_interval]"
    return [
        headline(
            "Values are fresh",
            "Whether the exported values were committed within three intervals.",
            "none",
            f"min(trueup_exposition_fresh{{{DAEMON}}})",
            mappings=YES_NO,
        ),
        headline(
            "Evaluation succeeds",
            "Whether the last evaluation of the model succeeded.",
            "none",
            f"min(trueup_evaluation_success{{{MODEL}}})",
            mappings=YES_NO,
        ),
        headline(
            "Ingest succeeds",
            "Whether the last ingest run succeeded.",
            "none",
            f"min(trueup_ingest_success{{{DAEMON}}})",
            mappings=YES_NO,
        ),
        headline(
            "Columns compared",
            "Columns of the window that have a population stability index.",
            "none",
            f"min(trueup_compared_columns{{{WINDOW}}})",
            steps=((None, BLUE),),
        ),
        headline(
            "Series",
            "Series exported for the model, within its budget.",
            "short",
            f"sum(trueup_series{{{MODEL}}})",
            steps=((None, BLUE),),
        ),
        headline(
            "Series dropped",
            "Series left out to keep the budget: the columns that drifted least.",
            "short",
            f"sum(trueup_series_dropped{{{MODEL}}})",
            steps=((None, GREEN), (1, YELLOW)),
        ),
        headline(
            "Unknown statistics",
            "Statistics left out because the catalogue has no metric for them. More than 0 is a defect of trueup.",
            "none",
            f"sum(trueup_statistics_unknown{{{MODEL}}})",
            steps=((None, GREEN), (1, RED)),
        ),
        headline(
            "Damaged spool",
            "Bytes of spool segments that could not be read in the last day.",
            "bytes",
            f"sum(increase(trueup_spool_damaged_bytes_total{{{DAEMON}}}[1d]))",
            steps=((None, GREEN), (1, RED)),
        ),
        time_series(
            "Time since attempts and successes",
            "Evaluation and ingest; the dashed lines are their intervals.",
            "s",
            Query(f"time() - trueup_evaluation_last_attempt_timestamp_seconds{{{MODEL}}}", "since evaluation attempt"),
            Query(f"time() - trueup_evaluation_last_success_timestamp_seconds{{{MODEL}}}", "since evaluation success"),
            Query(f"time() - trueup_ingest_last_attempt_timestamp_seconds{{{DAEMON}}}", "since ingest attempt"),
            Query(f"time() - trueup_ingest_last_success_timestamp_seconds{{{DAEMON}}}", "since ingest success"),
            Query(f"time() - trueup_exposition_timestamp_seconds{{{DAEMON}}}", "since rendering"),
            Query(f"trueup_evaluation_interval_seconds{{{DAEMON}}}", "evaluation interval", "limit"),
            Query(f"trueup_ingest_interval_seconds{{{DAEMON}}}", "ingest interval", "limit"),
            minimum=0,
        ),
        time_series(
            "Evaluation",
            "How long an evaluation takes, and how far complete event time is behind the clock.",
            "s",
            Query(f"trueup_evaluation_duration_seconds{{{MODEL}}}", "duration"),
            Query(f"time() - trueup_watermark_timestamp_seconds{{{MODEL}}}", "watermark lag"),
            minimum=0,
        ),
        time_series(
            "Evaluations and failures",
            "Per second; ingest failures beside them.",
            "short",
            Query(f"sum(rate(trueup_evaluations_total{{{MODEL}}}{rate}))", "evaluations"),
            Query(f"sum(rate(trueup_evaluation_failures_total{{{MODEL}}}{rate}))", "failed evaluations"),
            Query(f"sum(rate(trueup_ingest_failures_total{{{DAEMON}}}{rate}))", "failed ingest runs"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Predictions read from the log",
            "Per second and version.",
            "short",
            Query(f"sum by (version) (rate(trueup_predictions_total{{{VERSION}}}{rate}))", "{{version}}"),
            Query(f"sum by (kind) (rate(trueup_predictions_repeated_total{{{MODEL}}}{rate}))", "repeated, {{kind}}"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Records rejected",
            "Per second and reason, of this model and of records that name none.",
            "short",
            Query(
                f'sum by (model, reason) (rate(trueup_records_rejected_total{{{DAEMON}, model=~"$model|"}}{rate}))',
                "{{model}} {{reason}}",
            ),
            minimum=0,
            width=8,
        ),
        time_series(
            "Disk",
            "Size of the state database and of the spools that wait for ingest.",
            "bytes",
            Query(f"trueup_state_bytes{{{DAEMON}}}", "state"),
            Query(f"trueup_spool_bytes{{{DAEMON}}}", "spools"),
            minimum=0,
        ),
        instant_table(
            "Versions",
            "Every version that has answered, and whether there is a reference to compare it with.",
            "none",
            [("Monitored", f"max by (version, task, reference) (trueup_model_info{{{MODEL}}})")],
            labels={"version": "Version", "task": "Task", "reference": "Reference"},
            sort_by="Version",
            width=6,
        ),
        instant_table(
            "Monitor",
            "The running trueup.",
            "none",
            [("Running", f"max by (instance, version) (trueup_build_info{{{DAEMON}}})")],
            labels={"instance": "Instance", "version": "Version of trueup"},
            sort_by="Instance",
            width=6,
        ),
    ]
