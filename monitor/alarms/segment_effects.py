"""In which values of its segments the effect of an alarm lies. Pure.

What lives here: how much each value contributes to what a check measures. What must not: wording, evidence, alarms: a
value of a segment has none of its own, so that the false-alarm budget stays whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.alarms.explanation import SegmentEffect
from monitor.statistics.result import Estimate
from monitor.statistics.segments import DRIFT, SegmentStatistics
from monitor.verdict import WindowResult

# What a check's own number is not a mean of rows is told by one that is.
_ADDITIVE = {
    "cross_entropy": "cross_entropy",
    "brier_score": "brier_score",
    "mean_absolute_error": "mean_absolute_error",
    "mean_squared_error": "mean_squared_error",
    "root_mean_squared_error": "mean_squared_error",
}
# The reference's own numbers by segment, value and metric.
OwnSegments = Mapping[str, Mapping[str, Mapping[str, float]]]


def drift_effects(result: WindowResult) -> tuple[SegmentEffect, ...]:
    """Values by how far they moved, times their rows: of each segment they add up to 1, largest first."""
    found = []
    for segment, values in result.segments.items():
        moved = {
            value: (own, drift)
            for value, own in values.items()
            if isinstance(drift := own.values.get(DRIFT), Estimate) and drift.value > 0
        }
        total = sum(own.predictions * drift.value for own, drift in moved.values())
        rows = sum(own.predictions for own in values.values())
        for value, (own, drift) in moved.items():
            part = own.predictions * drift.value / total
            metric = f"{drift.detail} PSI beyond chance"
            effect = SegmentEffect(
                segment, value, metric, own.predictions, own.predictions / rows, part, None, drift.value
            )
            found.append(effect)
    return _ranked(found)


def loss_effects(
    check: str, result: WindowResult, own: Mapping[str, float], own_segments: OwnSegments
) -> tuple[SegmentEffect, ...]:
    """Values by their share of the loss beyond the reference's, largest first.

    n × (loss now − loss of the reference's rows of this value), over the sum of it over all values of the segment with
    enough labels; nothing where that sum is no loss. A check that is no mean of rows is told by errors.
    """
    metric = _ADDITIVE.get(check, "accuracy")
    sign = -1.0 if metric == "accuracy" else 1.0
    found = []
    for segment, values in result.segments.items():
        known: dict[str, tuple[SegmentStatistics, Estimate, float]] = {}
        for value, statistics in values.items():
            before = own_segments.get(segment, {}).get(value, {}).get(metric, own.get(metric))
            now = statistics.values.get(metric)
            if isinstance(now, Estimate) and before is not None:
                known[value] = statistics, now, before
        parts = {value: sign * now.n * (now.value - before) for value, (_, now, before) in known.items()}
        total, labels = sum(parts.values()), sum(now.n for _, now, _ in known.values())
        if total <= 0:
            continue
        for value, (_, now, before) in known.items():
            share = now.n / labels
            found.append(SegmentEffect(segment, value, metric, now.n, share, parts[value] / total, before, now.value))
    return _ranked(found)


def _ranked(found: list[SegmentEffect]) -> tuple[SegmentEffect, ...]:
    return tuple(sorted(found, key=lambda effect: (-effect.part, effect.segment, effect.value)))
