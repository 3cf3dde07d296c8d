"""Performance of a model's answers on labelled items: the numbers in a bundle's manifest.

What lives here: formulas over arrays, in float64. What must not: models, files. The monitor's own statistics read
profiles instead (`monitor.statistics.performance`) and agree with these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# A probability below this counts as this much: one sure mistake must not make the mean infinite.
SMALLEST_PROBABILITY = 1e-15


def softmax(logits: npt.NDArray[np.floating[Any]]) -> Floats:
    """Probabilities [N, K] of logits [N, K], in float64 whatever the logits are; each row sums to 1."""
    wide = np.asarray(logits, dtype=np.float64)
    weights = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def classification_metrics(
    probabilities: Floats, labels: npt.NDArray[np.intp], classes: Sequence[str]
) -> dict[str, Any]:
    """Accuracy, cross-entropy −mean ln p(label) (nats, p at least 1e-15), and precision and recall per class.

    `probabilities` [N, K], `labels` [N] as class positions; N ≥ 1. Precision of a class never predicted and recall of
    a class without items are None.
    """
    predicted = probabilities.argmax(axis=1)
    chosen = np.maximum(probabilities[np.arange(len(labels)), labels], SMALLEST_PROBABILITY)
    return {
        "n": len(labels),
        "accuracy": float(np.mean(predicted == labels)),
        "cross_entropy": float(-np.mean(np.log(chosen))),
        "per_class": {name: _class_metrics(predicted, labels, index) for index, name in enumerate(classes)},
    }


def regression_metrics(values: Floats, labels: Floats) -> dict[str, Any]:
    """Mean squared error (label unit squared), its root and the mean absolute error (label unit). N ≥ 1."""
    errors = np.asarray(values, dtype=np.float64) - np.asarray(labels, dtype=np.float64)
    squared = float(np.mean(errors**2))
    return {
        "n": len(errors),
        "mean_squared_error": squared,
        "root_mean_squared_error": squared**0.5,
        "mean_absolute_error": float(np.mean(np.abs(errors))),
    }


def _class_metrics(
    predicted: npt.NDArray[np.intp], labels: npt.NDArray[np.intp], index: int
) -> dict[str, float | int | None]:
    hits = int(np.sum((predicted == index) & (labels == index)))
    claimed, present = int(np.sum(predicted == index)), int(np.sum(labels == index))
    return {
        "n": present,
        "precision": hits / claimed if claimed else None,
        "recall": hits / present if present else None,
    }
