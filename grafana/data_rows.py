"""The rows on what comes in: drift of columns, and labels.

What lives here: which metrics stand there, and what a reader is told. What must not: looks (`panels`).
"""

from __future__ import annotations

from typing import Any

from grafana.panels import (
    Query,
    instant_table,
    time_series,
)
from grafana.selectors import MODEL, VERSION, WINDOW


def drift() -> list[Any]:
    """The worst columns over time, all columns together, and a table of what is known of the worst."""

    def worst(metric: str, count: int = 5) -> Query:
        return Query(f"topk({count}, {metric}{{{WINDOW}}})", "{{version}} {{column}}")

    def limits(check: str) -> Query:
        return Query(f'trueup_check_limit{{{VERSION}, check="{check}"}}', "{{version}} {{severity}} limit", "limit")

    # Aggregated, because a table of plain series has a column of metric names, and rows that differ do not merge.
    by_column = "max by (version, column)"
    worst_columns = f"topk(20, {by_column} (trueup_population_stability_index{{{WINDOW}}}))"
    statistics = (
        ("PSI", "population_stability_index"),
        ("PSI beyond chance", "population_stability_index_excess"),
        ("Jensen-Shannon", "jensen_shannon_distance"),
        ("Kolmogorov-Smirnov", "kolmogorov_smirnov_statistic"),
        ("Hellinger", "hellinger_distance"),
        ("Total variation", "total_variation_distance"),
        ("Wasserstein (sd)", "wasserstein_distance_standard_deviations"),
        ("Mean shift (sd)", "mean_shift_standard_deviations"),
        ("More missing", "missing_difference_ratio"),
        ("New categories", "new_category_ratio"),
        ("Out of range", "out_of_range_ratio"),
        ("Chi-square", "chi_square_statistic"),
        ("Values", "column_observations"),
    )
    return [
        time_series(
            "Population stability index of the worst columns",
            "The five columns that differ most from the reference, and the limits of the check. Drift is not damage.",
            "none",
            worst("trueup_population_stability_index"),
            limits("population_stability_index"),
            minimum=0,
        ),
        time_series(
            "Drift of all columns together",
            "Largest value of each distance over all columns, those beyond the series budget too.",
            "none",
            Query(f"trueup_drift_maximum_population_stability_index{{{WINDOW}}}", "{{version}} PSI"),
            Query(f"trueup_drift_maximum_jensen_shannon_distance{{{WINDOW}}}", "{{version}} Jensen-Shannon"),
            Query(f"trueup_drift_maximum_kolmogorov_smirnov_statistic{{{WINDOW}}}", "{{version}} Kolmogorov-Smirnov"),
            minimum=0,
        ),
        time_series(
            "Jensen-Shannon distance of the worst columns",
            "Bounded by 0 and 1, defined for numbers and categories; the limits of the check, if there are any.",
            "none",
            worst("trueup_jensen_shannon_distance"),
            limits("jensen_shannon_distance"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Kolmogorov-Smirnov statistic of the worst columns",
            "Largest gap between the two distribution functions, 0 to 1; numeric columns only.",
            "none",
            worst("trueup_kolmogorov_smirnov_statistic"),
            limits("kolmogorov_smirnov_statistic"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Share of columns that drifted",
            "Columns whose population stability index is past its lowest limit (0.1 where there is none).",
            "percentunit",
            Query(f"trueup_drifted_columns_ratio{{{WINDOW}}}", "{{version}}"),
            minimum=0,
            maximum=1,
            width=8,
        ),
        instant_table(
            "Worst columns",
            "The twenty columns with the largest population stability index, and what else is known of them. sd: "
            "standard deviations of the reference.",
            "none",
            [(title, f"{by_column} (trueup_{name}{{{WINDOW}}}) and {worst_columns}") for title, name in statistics],
            labels={"version": "Version", "column": "Column"},
            sort_by="PSI",
            units={"More missing": "percentunit", "New categories": "percentunit"},
        ),
    ]


def embeddings() -> list[Any]:
    """How far the embedding moved, whether chance explains it, and how well the two can be told apart."""

    def of(metric: str) -> Query:
        return Query(f"trueup_{metric}{{{WINDOW}}}", "{{version}}")

    def limits(check: str) -> Query:
        return Query(f'trueup_check_limit{{{VERSION}, check="{check}"}}', "{{version}} {{severity}} limit", "limit")

    return [
        time_series(
            "Maximum mean discrepancy",
            "Squared distance of the embeddings from the reference's in a Gaussian kernel: about 0 without drift.",
            "none",
            of("maximum_mean_discrepancy"),
            limits("maximum_mean_discrepancy"),
            minimum=0,
        ),
        time_series(
            "Chance of that discrepancy without drift",
            "p-value, of rows that are independent. Looked at window after window it is small now and then by chance.",
            "none",
            of("maximum_mean_discrepancy_p_value"),
            minimum=0,
            maximum=1,
        ),
        time_series(
            "Frechet distance",
            "Distance of means and covariances in squared units of the embedding, less what chance alone gives.",
            "none",
            of("frechet_distance"),
            limits("frechet_distance"),
            minimum=0,
        ),
        time_series(
            "AUROC of a classifier between reference and now",
            "0.5: a linear classifier cannot tell the embeddings of the window from the reference's. 1: it always can.",
            "none",
            of("domain_classifier_auroc"),
            limits("domain_classifier_auroc"),
            minimum=0.5,
            maximum=1,
        ),
    ]


def labels() -> list[Any]:
    """How many labels have come, how late, from where, what became of them, and what is absent for want of them."""
    rate = "[$__rate_interval]"
    return [
        time_series(
            "Label coverage",
            "Share of predictions with a label, and the coverage from which on a window is final.",
            "percentunit",
            Query(f"trueup_label_coverage_ratio{{{WINDOW}}}", "{{version}}"),
            Query(f"trueup_label_coverage_goal_ratio{{{MODEL}}}", "goal", "limit"),
            minimum=0,
            maximum=1,
        ),
        time_series(
            "Label delay",
            "Time from prediction to label: mean, median, 95th percentile, and the horizon after which windows close.",
            "s",
            Query(f"trueup_label_delay_seconds{{{WINDOW}}}", "{{version}} mean"),
            Query(f"trueup_label_delay_p50_seconds{{{WINDOW}}}", "{{version}} median"),
            Query(f"trueup_label_delay_p95_seconds{{{WINDOW}}}", "{{version}} 95th percentile"),
            Query(f"trueup_label_horizon_seconds{{{MODEL}}}", "label horizon", "limit"),
            minimum=0,
        ),
        time_series(
            "Predictions and labels in the window",
            "What the numbers of the window rest on.",
            "short",
            Query(f"trueup_window_predictions{{{WINDOW}}}", "{{version}} predictions"),
            Query(f"trueup_window_labels{{{WINDOW}}}", "{{version}} labels"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Labels by what became of them",
            "Labels per second by state. Orphans had no prediction until the label horizon.",
            "short",
            Query(f"sum by (state) (rate(trueup_labels_total{{{MODEL}}}[$__rate_interval]))", "{{state}}"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Labels that wait for their prediction",
            "They are matched when it comes, and orphans after the label horizon.",
            "short",
            Query(f"trueup_labels_pending{{{MODEL}}}", "pending"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Revision of the window",
            "0 while provisional, 1 when final, one more for each correction by a late label.",
            "none",
            Query(f"trueup_window_revision{{{WINDOW}}}", "{{version}}"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Age of the window",
            "Time since the window's end in event time.",
            "s",
            Query(f"time() - trueup_window_end_timestamp_seconds{{{WINDOW}}}", "{{version}}"),
            minimum=0,
            width=8,
        ),
        instant_table(
            "Values that are absent, and why",
            "A statistic without a value has no series; this is its reason.",
            "none",
            [("Absent", f"max by (version, statistic, column, reason) (trueup_absent_info{{{WINDOW}}})")],
            labels={"version": "Version", "statistic": "Statistic", "column": "Column", "reason": "Reason"},
            sort_by="Statistic",
            width=8,
        ),
        time_series(
            "Lag of the sources",
            "Time since the newest record of a source, and since a database with labels was last read to its end.",
            "s",
            Query(f"time() - trueup_source_newest_timestamp_seconds{{{MODEL}}}", "{{source}} newest"),
            Query(f"time() - trueup_source_last_success_timestamp_seconds{{{MODEL}}}", "{{source}} read"),
            minimum=0,
            width=8,
        ),
        time_series(
            "Databases that were read",
            "1 where the last reading of a database with labels succeeded, 0 where it failed.",
            "none",
            Query(f"trueup_source_success{{{MODEL}}}", "{{source}}"),
            minimum=0,
            maximum=1,
            width=8,
        ),
        time_series(
            "Rejected records by source",
            "Records per second that were set aside; the dead letters hold them.",
            "short",
            Query(f"sum by (source) (rate(trueup_source_records_rejected_total{{{MODEL}}}{rate}))", "{{source}}"),
            minimum=0,
            width=8,
        ),
    ]
