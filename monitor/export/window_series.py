"""The series of one window: its own values and verdicts, and those of every column.

What lives here: from a `WindowResult` to series. What must not: the budget, models, the wire format.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitor.errors import DefectError
from monitor.export.catalogue import MAXIMUM_KEYS
from monitor.export.segment_metrics import SEGMENT_STATISTICS
from monitor.export.series import Labels, Series, absent, extended, label_value, present
from monitor.export.snapshot import CheckLimit
from monitor.export.statistic_metrics import (
    COLUMN_BY_KEY,
    Statistic,
    column_statistic,
    value_statistic,
)
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import SegmentStatistics
from monitor.verdict import SEVERITY, WindowResult
from monitor.windows import MICROSECONDS

# Without a limit of the operator's a column counts as drifted past the customary first mark of PSI.
CUSTOMARY_DRIFT_LIMIT = 0.1
RANKED_BY = "population_stability_index"

Subject = Literal["performance", "drift", "labels"]


@dataclass
class WindowSeries:
    """The series of one window: those of the whole, of every column by its name, of every value of a segment."""

    series: list[Series]
    columns: dict[str, list[Series]]
    labels: Labels
    unknown: set[str] = field(default_factory=set)
    segments: dict[tuple[str, str], list[Series]] = field(default_factory=dict)


def window_series(model: Labels, result: WindowResult, limits: tuple[CheckLimit, ...]) -> WindowSeries:
    """The series of a window of the model whose labels are given.

    A value that is absent or not finite becomes its reason; a statistic without a metric is named in `unknown`.
    """
    labels = extended(model, {"version": result.version, "window": result.window.name, "maturity": result.maturity})
    made = WindowSeries([], {}, labels)
    made.series += present(
        labels,
        ("trueup_window_end_timestamp_seconds", result.window.end / MICROSECONDS),
        ("trueup_window_revision", result.revision),
        ("trueup_window_predictions", result.predictions),
        ("trueup_window_labels", result.labels),
    )
    for check, verdict in result.verdicts.items():
        for state in SEVERITY:
            names = {**labels, "subject": subject(check), "check": label_value(check), "state": state}
            made.series.append(Series("trueup_verdict_state", names, float(verdict.state == state)))
    for key, value in result.values.items():
        try:
            made.series += _value_series(labels, value_statistic(key), value)
        except DefectError:
            made.unknown.add(key)
    made.series += _drift_series(labels, result, limits)
    for column, results in result.columns.items():
        made.columns[column] = _column_series(labels, column, results, made.unknown)
    for segment, values in result.segments.items():
        for own, statistics in values.items():
            made.segments[segment, own] = list(_segment_series(labels, segment, own, statistics))
    return made


def subject(check: str) -> Subject:
    """What a check watches, by the statistic that it is named after."""
    if check in COLUMN_BY_KEY or check == "label_shift_distance":
        return "drift"
    return "labels" if check.startswith("label_") else "performance"


def _value_series(labels: Labels, statistic: Statistic, result: Result) -> Iterator[Series]:
    reason = _absence(result)
    if reason is not None:
        yield absent(labels, "", statistic.key, reason)
        return
    assert isinstance(result, Estimate)
    bounds = ((statistic.lower, result.lower), (statistic.upper, result.upper)) if statistic.interval else ()
    yield from present(labels, (statistic.metric, result.value), *bounds)


def _drift_series(labels: Labels, result: WindowResult, limits: tuple[CheckLimit, ...]) -> Iterator[Series]:
    """The drift of all columns together, whatever the budget leaves of them."""
    for key in MAXIMUM_KEYS:
        largest = max(_finite(result.columns, key), default=None)
        yield from present(labels, (COLUMN_BY_KEY[key].maximum, largest))
    compared = _finite(result.columns, RANKED_BY)
    own = [limit.value for limit in limits if limit.check == RANKED_BY and limit.version == result.version]
    limit = min(own, default=CUSTOMARY_DRIFT_LIMIT)
    yield from present(labels, ("trueup_compared_columns", len(compared) if result.columns else None))
    if compared:
        drifted = sum(value > limit for value in compared)
        yield Series("trueup_drifted_columns_ratio", labels, drifted / len(compared))


def _column_series(labels: Labels, column: str, results: Mapping[str, Result], unknown: set[str]) -> list[Series]:
    series: list[Series] = []
    column = label_value(column)
    labels = {**labels, "column": column}
    observations = 0
    for key, result in results.items():
        try:
            statistic = column_statistic(key)
        except DefectError:
            unknown.add(key)
            continue
        reason = _absence(result)
        if reason is None:
            assert isinstance(result, Estimate)
            series.append(Series(statistic.metric, labels, result.value))
            observations = max(observations, result.n)
        elif reason != Reason.NOT_APPLICABLE:
            # A statistic that the column's kind rules out is never going to come: no absence to look into.
            series.append(absent(labels, column, key, reason))
    if observations:
        series.append(Series("trueup_column_observations", labels, float(observations)))
    return series


def _segment_series(labels: Labels, segment: str, value: str, found: SegmentStatistics) -> Iterator[Series]:
    labels = {**labels, "segment": label_value(segment), "segment_value": label_value(value)}
    excess = "trueup_segment_excess_errors" if "accuracy" in found.values else "trueup_segment_excess_squared_error"
    yield from present(
        labels,
        ("trueup_segment_predictions", found.predictions),
        ("trueup_segment_labels", found.labels),
        (excess, found.excess),
    )
    for statistic in SEGMENT_STATISTICS:
        result = found.values.get(statistic.key)
        if isinstance(result, Estimate):
            yield from present(labels, (statistic.metric, result.value))


def _finite(columns: Mapping[str, Mapping[str, Result]], key: str) -> list[float]:
    found = (results.get(key) for results in columns.values())
    return [item.value for item in found if isinstance(item, Estimate) and math.isfinite(item.value)]


def _absence(result: Result) -> Reason | None:
    if isinstance(result, Absent):
        return result.reason
    return None if math.isfinite(result.value) else Reason.OVERFLOW
