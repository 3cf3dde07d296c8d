"""What is known of a model's quality from one window: measured on labels, or estimated without them. Pure.

What lives here: which numbers tell of damage, and when one counts as worse. What must not: wording, evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.alarms.explanation import Quality
from monitor.statistics.result import Estimate
from monitor.verdict import Threshold, WindowResult

# Performance that has an interval and an estimate, and past which share of the reference's value an estimate of it is
# worse where the operator has set no limit.
_METRICS = {
    "accuracy": Threshold("below", 0.05, relative=True),
    "cross_entropy": Threshold("above", 0.10, relative=True),
    "mean_squared_error": Threshold("above", 0.10, relative=True),
}


def measured_quality(result: WindowResult, own: Mapping[str, float], minimum: int) -> tuple[Quality, ...]:
    """The measured numbers of a window with at least `minimum` labels; `own` is the reference's, by metric.

    Worse as the operator's check judged it; without one, where the whole interval is on the bad side of the reference.
    """
    found = []
    for metric, customary in _METRICS.items():
        value, before = result.values.get(metric), own.get(metric)
        if not isinstance(value, Estimate) or before is None or value.n < minimum:
            continue
        verdict = result.verdicts.get(metric)
        if verdict is not None and verdict.state != "insufficient":
            worse = verdict.state in ("warning", "critical")
        else:
            worse = _whole_interval_worse(value, before, customary) is True
        found.append(Quality(metric, before, value.value, worse, estimated=False))
    return tuple(found)


def estimated_quality(
    result: WindowResult, own: Mapping[str, float], limits: Mapping[str, Threshold]
) -> tuple[Quality, ...]:
    """The estimates of a window against the limits of what they estimate, by the measured metric's name.

    Worse past the limit, unless the estimate's own interval reaches back to the reference.
    """
    found = []
    for metric, customary in _METRICS.items():
        estimate = f"estimated_{metric}"
        value, before = result.values.get(estimate), own.get(metric)
        if isinstance(value, Estimate) and before is not None:
            past = limits.get(metric, customary).crossed(value.value, before)
            worse = past and _whole_interval_worse(value, before, customary) is not False
            found.append(Quality(estimate, before, value.value, worse, estimated=True))
    return tuple(found)


def _whole_interval_worse(value: Estimate, before: float, customary: Threshold) -> bool | None:
    """Whether the interval lies on the bad side of the reference as a whole; None without an interval."""
    edge = value.upper if customary.side == "below" else value.lower
    if edge is None:
        return None
    return edge < before if customary.side == "below" else edge > before
