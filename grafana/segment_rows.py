"""The row on segments: in which values the model is worse, or its inputs moved.

What lives here: which metrics stand there, and what a reader is told. What must not: looks (`panels`).
"""

from __future__ import annotations

from typing import Any

from grafana.panels import Query, instant_table, time_series
from grafana.selectors import WINDOW

_NAME = "{{version}} {{segment}}={{segment_value}}"


def segments() -> list[Any]:
    """Where a loss lies, the worst values over time, and a table of what is known of every value shown."""

    def worst(metric: str, choose: str = "topk") -> Query:
        return Query(f"{choose}(5, {metric}{{{WINDOW}}})", _NAME)

    by_value = "max by (version, segment, segment_value)"
    columns = (
        ("Predictions", "segment_predictions"),
        ("Labels", "segment_labels"),
        ("Excess errors", "segment_excess_errors"),
        ("Excess squared error", "segment_excess_squared_error"),
        ("Accuracy", "segment_accuracy_ratio"),
        ("F1", "segment_f1_ratio"),
        ("Cross-entropy", "segment_cross_entropy_nats"),
        ("RMSE", "segment_root_mean_squared_error"),
        ("MAE", "segment_mean_absolute_error"),
        ("Estimated accuracy", "segment_estimated_accuracy_ratio"),
        ("Estimated MAE", "segment_estimated_mean_absolute_error"),
        ("Largest PSI beyond chance", "segment_drift_maximum_population_stability_index_excess"),
    )
    return [
        time_series(
            "Errors beyond the reference's rate, by value",
            "The five values in which most of a loss lies: labelled predictions times the rise of their error rate.",
            "short",
            worst("trueup_segment_excess_errors"),
            width=8,
        ),
        time_series(
            "Accuracy of the worst values",
            "The five values with the lowest accuracy. Few labels make it uncertain: see their number below.",
            "percentunit",
            worst("trueup_segment_accuracy_ratio", "bottomk"),
            minimum=0,
            maximum=1,
            width=8,
        ),
        time_series(
            "Largest drift of the values",
            "The five values of which a column moved most against the reference's rows of the same value, chance taken "
            "off. Drift is not damage.",
            "none",
            worst("trueup_segment_drift_maximum_population_stability_index_excess"),
            minimum=0,
            width=8,
        ),
        instant_table(
            "Values of the segments",
            "What is known of every value within the series budget. Without a number there are fewer than 30 rows or "
            "labels; the history says why.",
            "none",
            [(title, f"{by_value} (trueup_{name}{{{WINDOW}}})") for title, name in columns],
            labels={"version": "Version", "segment": "Segment", "segment_value": "Value"},
            sort_by="Excess errors",
            units={"Accuracy": "percentunit", "F1": "percentunit", "Estimated accuracy": "percentunit"},
        ),
    ]
