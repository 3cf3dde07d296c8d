"""Which statistics of a segment's values become which metrics.

What lives here: their table. What must not: values, the choice of values within the budget.
"""

from __future__ import annotations

from monitor.export.statistic_metrics import Statistic

# What is exported of each value of a segment: few, for there are many values.
SEGMENT_STATISTICS = (
    Statistic(
        "accuracy", "segment_accuracy", "ratio", "ratio", "Share of the value's labelled predictions that were right"
    ),
    Statistic("f1", "segment_f1", "ratio", "ratio", "F1 score of the value's rows, macro average over the classes"),
    Statistic(
        "cross_entropy",
        "segment_cross_entropy",
        "nats",
        "nats",
        "Mean of -ln of the probability given to the label, of the value's rows",
    ),
    Statistic(
        "root_mean_squared_error",
        "segment_root_mean_squared_error",
        "",
        "target",
        "Root of the mean squared error of the value's rows",
    ),
    Statistic(
        "mean_absolute_error", "segment_mean_absolute_error", "", "target", "Mean absolute error of the value's rows"
    ),
    Statistic(
        "estimated_accuracy",
        "segment_estimated_accuracy",
        "ratio",
        "ratio",
        "Accuracy of the value's rows estimated without labels",
    ),
    Statistic(
        "estimated_mean_absolute_error",
        "segment_estimated_mean_absolute_error",
        "",
        "target",
        "Mean absolute error of the value's rows estimated without labels",
    ),
    Statistic(
        "drift_maximum_population_stability_index_excess",
        "segment_drift_maximum_population_stability_index_excess",
        "",
        "score",
        "Largest over all columns, of the value's rows against the reference's of the same value: population stability "
        "index less what chance alone gives",
    ),
)
