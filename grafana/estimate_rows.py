"""The panels on performance without labels: estimates beside what was realised, and how wrong they turned out to be.

What lives here: which metrics stand there, and what a reader is told. What must not: looks (`panels`).
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import timeseries

from grafana.panels import Query, time_series
from grafana.selectors import WINDOW

_ASSUMES = "It assumes that what the output meant on the reference still holds: concept drift is invisible to it."


def classification() -> list[Any]:
    """Estimates of a classifier, their errors where labels have come, and the shift of its classes."""
    return [
        _estimated(
            "Accuracy without labels",
            f"Estimated from calibrated probabilities, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "percentunit",
            ("estimated_accuracy", "_ratio"),
            Query(f"trueup_accuracy_ratio{{{WINDOW}}}", "{{version}} realised"),
            maximum=1,
        ),
        _estimated(
            "Cross-entropy without labels",
            f"Estimated from calibrated probabilities, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "suffix: nats",
            ("estimated_cross_entropy", "_nats"),
            Query(f"trueup_cross_entropy_nats{{{WINDOW}}}", "{{version}} realised"),
            minimum=0,
        ),
        _estimated(
            "Macro F1 without labels",
            f"Estimated from calibrated probabilities, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "percentunit",
            ("estimated_f1", "_ratio"),
            Query(f"trueup_f1_ratio{{{WINDOW}}}", "{{version}} realised"),
            maximum=1,
        ),
        _estimated(
            "AUROC without labels",
            f"Estimated from calibrated probabilities, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "percentunit",
            ("estimated_auroc", "_ratio"),
            Query(f"trueup_auroc_ratio{{{WINDOW}}}", "{{version}} realised"),
            maximum=1,
        ),
        _estimated(
            "Error of the estimated accuracy",
            "Estimated less realised over the same labelled rows, with its 95 % interval. Where the interval leaves 0, "
            "the estimate does not hold here.",
            "percentunit",
            ("estimated_accuracy_error", "_ratio"),
            Query(f"trueup_estimated_f1_error_ratio{{{WINDOW}}}", "{{version}} error of F1"),
            Query(f"trueup_estimated_auroc_error_ratio{{{WINDOW}}}", "{{version}} error of AUROC"),
        ),
        _estimated(
            "Error of the estimated cross-entropy",
            "Estimated less realised over the same labelled rows, with its 95 % interval.",
            "suffix: nats",
            ("estimated_cross_entropy_error", "_nats"),
        ),
        time_series(
            "Shift of the classes",
            "Total variation distance of the estimated mix of classes from the reference's, 0 to 1. Absent where the "
            "confusion of the reference is too ill-conditioned to tell.",
            "none",
            Query(f"trueup_label_shift_distance{{{WINDOW}}}", "{{version}}"),
            minimum=0,
        ),
    ]


def regression() -> list[Any]:
    """Estimates of a regression, and their errors where labels have come."""
    return [
        _estimated(
            "Mean absolute error without labels",
            f"Estimated from the columns, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "none",
            ("estimated_mean_absolute_error", ""),
            Query(f"trueup_mean_absolute_error{{{WINDOW}}}", "{{version}} realised"),
            minimum=0,
        ),
        _estimated(
            "Mean squared error without labels",
            f"Estimated from the columns, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "none",
            ("estimated_mean_squared_error", ""),
            Query(f"trueup_mean_squared_error{{{WINDOW}}}", "{{version}} realised"),
            minimum=0,
        ),
        _estimated(
            "Root mean squared error without labels",
            f"Estimated from the columns, ± 3 standard errors, beside the realised one. {_ASSUMES}",
            "none",
            ("estimated_root_mean_squared_error", ""),
            Query(f"trueup_root_mean_squared_error{{{WINDOW}}}", "{{version}} realised"),
            minimum=0,
        ),
        _estimated(
            "Error of the estimated mean absolute error",
            "Estimated less realised over the same labelled rows, with its 95 % interval.",
            "none",
            ("estimated_mean_absolute_error_error", ""),
        ),
        _estimated(
            "Error of the estimated mean squared error",
            "Estimated less realised over the same labelled rows, with its 95 % interval.",
            "none",
            ("estimated_mean_squared_error_error", ""),
            width=24,
        ),
    ]


def _estimated(
    title: str, description: str, unit: str, name: tuple[str, str], *extra: Query, **axis: float
) -> timeseries.Panel:
    """A statistic, named by stem and suffix, with its bounds."""
    stem, suffix = name
    return time_series(
        title,
        description,
        unit,
        Query(f"trueup_{stem}{suffix}{{{WINDOW}}}", "{{version}}"),
        Query(f"trueup_{stem}_lower{suffix}{{{WINDOW}}}", "{{version}} lower bound", "bound"),
        Query(f"trueup_{stem}_upper{suffix}{{{WINDOW}}}", "{{version}} upper bound", "bound"),
        *extra,
        **axis,  # type: ignore[arg-type]
    )
