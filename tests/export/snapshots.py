"""Snapshots of an imagined daemon for tests of what is exported: every metric of the catalogue occurs in `full`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from monitor.export.snapshot import AlarmSnapshot, ModelSnapshot, Snapshot, SourceSnapshot, VersionInfo, check_limits
from monitor.export.statistic_metrics import COLUMN_BY_KEY
from monitor.label_join import Maturity
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import DRIFT, Segments, SegmentStatistics
from monitor.verdict import Check, CheckSettings, Threshold, Verdict, WindowResult, judge
from monitor.windows import MICROSECONDS, Window

NOW = 1_790_000_000.0
REFERENCE = {"accuracy": 0.97, "cross_entropy": 0.10, "mean_squared_error": 4.0}

CLASSIFICATION: Mapping[str, Result] = {
    "label_coverage": Estimate(0.5, 1_000),
    "accuracy": Estimate(0.91, 500, 0.88, 0.93, 0.95),
    "balanced_accuracy": Estimate(0.9, 500, 0.87, 0.92, 0.95),
    "precision": Estimate(0.92, 500, 0.89, 0.94, 0.95),
    "recall": Estimate(0.9, 500, 0.87, 0.92, 0.95),
    "f1": Estimate(0.91, 500, 0.88, 0.93, 0.95),
    "auroc": Estimate(0.98, 500, 0.96, 0.99, 0.95),
    "cross_entropy": Estimate(0.31, 500, 0.25, 0.37, 0.95),
    "brier_score": Estimate(0.14, 500, 0.11, 0.17, 0.95),
    "expected_calibration_error": Estimate(0.03, 500, 0.01, 0.05, 0.95),
    "estimated_accuracy": Estimate(0.93, 1_000, 0.91, 0.95, 0.9973, detail="CBPE"),
    "estimated_cross_entropy": Estimate(0.25, 1_000, 0.2, 0.3, 0.9973),
    "estimated_f1": Estimate(0.92, 1_000, 0.9, 0.94, 0.9973),
    "estimated_auroc": Estimate(0.985, 1_000, 0.97, 0.99, 0.9973),
    "estimated_accuracy_error": Estimate(0.02, 500, -0.01, 0.05, 0.95),
    "estimated_cross_entropy_error": Estimate(-0.06, 500, -0.1, -0.02, 0.95),
    "estimated_f1_error": Estimate(0.01, 500),
    "estimated_auroc_error": Estimate(0.005, 500),
    "label_shift_distance": Estimate(0.04, 1_000, p_value=0.2),
    "label_delay_seconds": Estimate(3_600.0, 500),
    "label_delay_p50_seconds": Estimate(3_000.0, 500),
    "label_delay_p95_seconds": Estimate(9_000.0, 500),
}
REGRESSION: Mapping[str, Result] = {
    "label_coverage": Estimate(1.0, 1_000),
    "mean_squared_error": Estimate(4.2, 1_000, 3.9, 4.5, 0.95),
    "root_mean_squared_error": Estimate(2.05, 1_000, 1.97, 2.12, 0.95),
    "mean_absolute_error": Estimate(1.6, 1_000, 1.5, 1.7, 0.95),
    "r_squared": Estimate(0.88, 1_000, 0.86, 0.9, 0.95),
    "bias": Estimate(-0.12, 1_000, -0.2, -0.04, 0.95),
    "estimated_mean_absolute_error": Estimate(1.5, 1_000, 1.4, 1.6, 0.9973),
    "estimated_mean_squared_error": Estimate(4.0, 1_000, 3.6, 4.4, 0.9973),
    "estimated_root_mean_squared_error": Estimate(2.0, 1_000, 1.9, 2.1, 0.9973),
    "estimated_mean_absolute_error_error": Estimate(-0.1, 1_000, -0.2, 0.01, 0.95),
    "estimated_mean_squared_error_error": Estimate(-0.2, 1_000, -0.5, 0.1, 0.95),
    "label_delay_seconds": Estimate(60.0, 1_000),
    "label_delay_p50_seconds": Estimate(55.0, 1_000),
    "label_delay_p95_seconds": Estimate(110.0, 1_000),
}


def told_apart(values: Mapping[str, Result], count: int = 2) -> Segments:
    """The values `r0`, `r1` … of the segment region, the last the worst, each with the numbers of the whole."""
    return {
        "region": {
            f"r{place}": SegmentStatistics(500, 250, {**values, DRIFT: Estimate(0.1 * place, 500)}, excess=float(place))
            for place in range(count)
        }
    }


CHECKS = CheckSettings(
    values=(
        Check("accuracy", critical=Threshold("below", 0.9)),
        Check("cross_entropy", Threshold("above", 0.1, relative=True), Threshold("above", 0.25, relative=True)),
        Check("mean_squared_error", warning=Threshold("above", 0.1, relative=True)),
    ),
    columns=(Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25)),),
)


def drift(columns: int, *, worst: float = 0.5) -> dict[str, dict[str, Result]]:
    """Every column statistic for `columns` columns; the last column has drifted most."""
    return {
        f"feature_{i:04d}": {
            key: Estimate(worst * (i + 1) / columns * (1 if "index" in key else 0.5), 1_000) for key in COLUMN_BY_KEY
        }
        for i in range(columns)
    }


def window(
    model: str = "digits",
    version: str = "1",
    *,
    values: Mapping[str, Result] = CLASSIFICATION,
    columns: Mapping[str, Mapping[str, Result]] | None = None,
    maturity: Maturity = "provisional",
    seconds: float = 3_600.0,
    end: float = NOW,
    revision: int = 0,
    verdicts: Mapping[str, Verdict] | None = None,
    segments: Segments | None = None,
) -> WindowResult:
    """An evaluated window that ends at `end` seconds, judged by `CHECKS`."""
    if columns is None:
        columns = {**drift(3), "gone": {"population_stability_index": Absent(Reason.COLUMN_MISSING)}}
    coverage = values.get("label_coverage")
    return WindowResult(
        model=model,
        version=version,
        window=Window(round((end - seconds) * MICROSECONDS), round(end * MICROSECONDS), seconds),
        maturity=maturity,
        revision=revision,
        predictions=1_000,
        labels=500,
        label_coverage=coverage.value if isinstance(coverage, Estimate) else None,
        values=values,
        columns=columns,
        verdicts=judge(CHECKS, values, columns, REFERENCE) if verdicts is None else verdicts,
        rolling=maturity == "provisional",
        segments=segments or {},
    )


def model(name: str = "digits", *, task: str = "classification", **changes: object) -> ModelSnapshot:
    """A healthy model with a provisional and a final window and one firing alarm."""
    values = CLASSIFICATION if task == "classification" else REGRESSION
    check = "accuracy" if task == "classification" else "mean_squared_error"
    healthy = ModelSnapshot(
        model=name,
        task=task,
        versions=(VersionInfo("1", "ok"), VersionInfo("2", "no_reference")),
        windows=(
            window(name, values=values, segments=told_apart(values)),
            window(name, values=values, maturity="final", end=NOW - 3_600, revision=1, segments=told_apart(values)),
        ),
        predictions_total={"1": 12_345, "2": 10},
        repeats_total={"identical": 12, "conflicting": 1},
        labels_total={"received": 9_000, "matched": 8_990, "orphan": 4},
        rejected_total={"future_event_time": 3},
        sources=(
            SourceSnapshot("spool", NOW - 30, rejected_total=3),
            SourceSnapshot("sql", NOW - 60, NOW - 9, True, 2),
        ),
        pending_labels=6,
        watermark_timestamp_seconds=NOW - 600,
        last_attempt_timestamp_seconds=NOW - 2,
        last_success_timestamp_seconds=NOW - 1,
        success=True,
        evaluation_duration_seconds=0.8,
        evaluations_total=77,
        evaluation_failures_total=2,
        label_coverage_goal_ratio=0.95,
        label_horizon_seconds=1_209_600.0,
        limits=check_limits("1", CHECKS, REFERENCE),
        alarms=(
            AlarmSnapshot("1", check, "firing", 12.5, 9.2, 0.06, 0.02, 1.0, 0.5, 14.0, 0.12, 0.1, 0.14),
            AlarmSnapshot("1", "population_stability_index", "inactive", 0.1, 9.2, 0.01, 0.1, 0.1, 0.5, 0.2),
        ),
    )
    return replace(healthy, **changes)  # type: ignore[arg-type]


def daemon(*models: ModelSnapshot, **changes: object) -> Snapshot:
    """A healthy daemon with these models."""
    healthy = Snapshot(
        build_version="0.1.0",
        rendered_at=NOW,
        evaluation_interval_seconds=60.0,
        models=models,
        state_bytes=1_234_567,
        spool_bytes=0,
        rejected_total={"unknown_batch": 1},
        ingest_interval_seconds=15.0,
        ingest_last_attempt_timestamp_seconds=NOW - 3,
        ingest_last_success_timestamp_seconds=NOW - 3,
        ingest_success=True,
    )
    return replace(healthy, **changes)  # type: ignore[arg-type]


def full(now: float = NOW) -> Snapshot:
    """A daemon with a classification and a regression model in which every metric of the catalogue has a series."""
    shown = daemon(model(), model("angles", task="regression"))
    if now == NOW:
        return shown
    shift = round((now - NOW) * MICROSECONDS)
    return (
        replace(shown, rendered_at=now, models=tuple(_moved(item, shift) for item in shown.models)) if shift else shown
    )


def _moved(item: ModelSnapshot, shift: int) -> ModelSnapshot:
    seconds = shift / MICROSECONDS
    windows = tuple(
        replace(
            result,
            window=Window(result.window.start + shift, result.window.end + shift, result.window.seconds),
        )
        for result in item.windows
    )
    assert item.last_attempt_timestamp_seconds is not None
    assert item.last_success_timestamp_seconds is not None
    assert item.watermark_timestamp_seconds is not None
    return replace(
        item,
        windows=windows,
        last_attempt_timestamp_seconds=item.last_attempt_timestamp_seconds + seconds,
        last_success_timestamp_seconds=item.last_success_timestamp_seconds + seconds,
        watermark_timestamp_seconds=item.watermark_timestamp_seconds + seconds,
    )
