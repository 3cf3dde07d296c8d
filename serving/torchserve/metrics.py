"""The capture's counters as TorchServe metrics.

What lives here: the metric's name and labels, its place in TorchServe's metrics configuration, reporting increments.
What must not: the capture, the handler.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from serving.capture import Counters

CAPTURE_METRIC = "trueup_capture_predictions_total"
OUTCOMES = ("sent", "dropped", "failed", "unsampled")
_LABELS = ["model", "version", "outcome"]
_UNIT = "Count"


def metrics_config(defaults: Path) -> str:
    """TorchServe's metrics configuration (YAML) in the file `defaults`, with the capture's counter added.

    TorchServe shows a metric of a handler only if its configuration names it.
    """
    content = yaml.safe_load(defaults.read_text(encoding="utf-8"))
    counters = content["model_metrics"].setdefault("counter", [])
    counters.append({"name": CAPTURE_METRIC, "unit": _UNIT, "dimensions": list(_LABELS)})
    return yaml.safe_dump(content, sort_keys=False)


def capture_observer(metrics: Any, model: str, version: str) -> Callable[[Counters], None]:
    """A function that reports what the counters grew by since its last call, to TorchServe's `metrics` cache."""
    from ts.metrics.metric_type_enum import MetricTypes

    counter = metrics.add_metric_to_cache(CAPTURE_METRIC, _UNIT, list(_LABELS), MetricTypes.COUNTER)
    reported = dict.fromkeys(OUTCOMES, 0)

    def observe(counters: Counters) -> None:
        for outcome in OUTCOMES:
            total = getattr(counters, outcome)
            if total > reported[outcome]:
                counter.add_or_update(total - reported[outcome], [model, version, outcome])
                reported[outcome] = total

    return observe
