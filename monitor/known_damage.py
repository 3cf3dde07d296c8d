"""What is known of a model's quality from one window: measured on labels, or estimated without them. Pure.

What lives here: which numbers tell of damage, and when one counts as worse. What must not: wording, evidence.
"""

from __future__ import annotations

from collections.abc import Mapping

from monitor.alarm_explanation import Quality
from monitor.statistics.result import Estimate
from monitor.verdict import Threshold, WindowResult

# Measured performance that has an interval, and whether more of it is better.
_MEASURED = {"accuracy": True, "cross_entropy": False, "mean_squared_error": False}
# The estimate that stands for a measured metric.
_ESTIMATED = {"estimated_accuracy": "accuracy"}
# An estimate without a limit of the operator's is worse when this share of the reference's value is gone.
_CUSTOMARY = Threshold("below", 0.05, relative=True)


def measured_quality(result: WindowResult, own: Mapping[str, float], minimum: int) -> tuple[Quality, ...]:
    """The measured numbers of a window with at least `minimum` labels; `own` is the reference's, by metric.

    Worse as the operator's check judged it; without one, where the whole interval is on the bad side of the reference.
    """
    found = []
    for metric, higher_is_better in _MEASURED.items():
        value, before = result.values.get(metric), own.get(metric)
        if not isinstance(value, Estimate) or before is None or value.n < minimum:
            continue
        verdict = result.verdicts.get(metric)
        if verdict is not None and verdict.state != "insufficient":
            worse = verdict.state in ("warning", "critical")
        else:
            edge = value.upper if higher_is_better else value.lower
            worse = edge is not None and (edge < before if higher_is_better else edge > before)
        found.append(Quality(metric, before, value.value, worse, estimated=False))
    return tuple(found)


def estimated_quality(
    result: WindowResult, own: Mapping[str, float], limits: Mapping[str, Threshold]
) -> tuple[Quality, ...]:
    """The estimates of a window against the limits of what they estimate, by the measured metric's name."""
    found = []
    for estimate, metric in _ESTIMATED.items():
        value, before = result.values.get(estimate), own.get(metric)
        if isinstance(value, Estimate) and before is not None:
            worse = limits.get(metric, _CUSTOMARY).crossed(value.value, before)
            found.append(Quality(estimate, before, value.value, worse, estimated=True))
    return tuple(found)
