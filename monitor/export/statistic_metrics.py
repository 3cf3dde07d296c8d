"""Which statistic becomes which metric: name on the wire, unit, help.

What lives here: the table of the statistics that `monitor.statistics.summary` names. What must not: values, metrics
that are no statistic (those are in `catalogue`).
"""

from __future__ import annotations

from dataclasses import dataclass

from monitor.errors import DefectError

PREFIX = "trueup_"


@dataclass(frozen=True)
class Statistic:
    """How one statistic of `monitor.statistics.summary` is exported.

    `stem` and `suffix` make the name: `trueup_<stem>_<suffix>`; bounds put `lower` or `upper` between them. `level`
    is that of the interval.
    """

    key: str
    stem: str
    suffix: str
    unit: str
    help: str
    interval: bool = False
    level: str = "95 %"

    @property
    def metric(self) -> str:
        """Name of the value's metric."""
        return _name(self.stem, self.suffix)

    @property
    def lower(self) -> str:
        """Name of the lower bound's metric."""
        return _name(self.stem, "lower", self.suffix)

    @property
    def upper(self) -> str:
        """Name of the upper bound's metric."""
        return _name(self.stem, "upper", self.suffix)

    @property
    def maximum(self) -> str:
        """Name of the metric of the largest value over the columns."""
        return _name("drift_maximum", self.stem, self.suffix)


def _name(*parts: str) -> str:
    return PREFIX + "_".join(part for part in parts if part)


# Three standard errors: what estimates without labels have around them.
_SAMPLING_LEVEL = "99.73 %"

VALUE_STATISTICS = (
    Statistic("label_coverage", "label_coverage", "ratio", "ratio", "Share of the window's predictions with a label"),
    Statistic("accuracy", "accuracy", "ratio", "ratio", "Share of labelled predictions that were right", True),
    Statistic(
        "balanced_accuracy", "balanced_accuracy", "ratio", "ratio", "Mean of the recalls of the labelled classes", True
    ),
    Statistic("precision", "precision", "ratio", "ratio", "Precision, macro average over the classes", True),
    Statistic("recall", "recall", "ratio", "ratio", "Recall, macro average over the classes", True),
    Statistic("f1", "f1", "ratio", "ratio", "F1 score, macro average over the classes", True),
    Statistic(
        "auroc", "auroc", "ratio", "ratio", "Area under the ROC curve, one class against the rest, macro average", True
    ),
    Statistic(
        "cross_entropy",
        "cross_entropy",
        "nats",
        "nats",
        "Mean of -ln of the probability given to the label, floored at 1e-15",
        True,
    ),
    Statistic("brier_score", "brier_score", "", "score", "Multiclass Brier score, a sum over classes (0 to 2)", True),
    Statistic(
        "expected_calibration_error",
        "expected_calibration_error",
        "ratio",
        "ratio",
        "Mean gap between the top confidence and the accuracy at it",
        True,
    ),
    Statistic("mean_squared_error", "mean_squared_error", "", "target²", "Mean of the squared error", True),
    Statistic(
        "root_mean_squared_error", "root_mean_squared_error", "", "target", "Root of the mean squared error", True
    ),
    Statistic("mean_absolute_error", "mean_absolute_error", "", "target", "Mean of the absolute error", True),
    Statistic(
        "r_squared", "r_squared", "", "score", "Share of the labels' variance that is explained (at most 1)", True
    ),
    Statistic("bias", "bias", "", "target", "Mean of prediction - label", True),
    Statistic("label_delay_seconds", "label_delay", "seconds", "seconds", "Mean time from prediction to label"),
    Statistic(
        "label_delay_p50_seconds", "label_delay_p50", "seconds", "seconds", "Median time from prediction to label"
    ),
    Statistic(
        "label_delay_p95_seconds",
        "label_delay_p95",
        "seconds",
        "seconds",
        "95th percentile of the time from prediction to label",
    ),
    Statistic(
        "estimated_accuracy",
        "estimated_accuracy",
        "ratio",
        "ratio",
        "Accuracy estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_cross_entropy",
        "estimated_cross_entropy",
        "nats",
        "nats",
        "Cross-entropy estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_f1",
        "estimated_f1",
        "ratio",
        "ratio",
        "Macro F1 score estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_auroc",
        "estimated_auroc",
        "ratio",
        "ratio",
        "Area under the ROC curve estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_mean_absolute_error",
        "estimated_mean_absolute_error",
        "",
        "target",
        "Mean absolute error estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_mean_squared_error",
        "estimated_mean_squared_error",
        "",
        "target²",
        "Mean squared error estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_root_mean_squared_error",
        "estimated_root_mean_squared_error",
        "",
        "target",
        "Root mean squared error estimated without labels",
        True,
        _SAMPLING_LEVEL,
    ),
    Statistic(
        "estimated_accuracy_error",
        "estimated_accuracy_error",
        "ratio",
        "ratio",
        "Estimated less realised accuracy of the labelled predictions",
        True,
    ),
    Statistic(
        "estimated_cross_entropy_error",
        "estimated_cross_entropy_error",
        "nats",
        "nats",
        "Estimated less realised cross-entropy of the labelled predictions",
        True,
    ),
    Statistic(
        "estimated_f1_error",
        "estimated_f1_error",
        "ratio",
        "ratio",
        "Estimated less realised macro F1 score of the labelled predictions",
    ),
    Statistic(
        "estimated_auroc_error",
        "estimated_auroc_error",
        "ratio",
        "ratio",
        "Estimated less realised area under the ROC curve of the labelled predictions",
    ),
    Statistic(
        "estimated_mean_absolute_error_error",
        "estimated_mean_absolute_error_error",
        "",
        "target",
        "Estimated less realised mean absolute error of the labelled predictions",
        True,
    ),
    Statistic(
        "estimated_mean_squared_error_error",
        "estimated_mean_squared_error_error",
        "",
        "target²",
        "Estimated less realised mean squared error of the labelled predictions",
        True,
    ),
    Statistic(
        "label_shift_distance",
        "label_shift_distance",
        "",
        "score",
        "Total variation distance (0 to 1) of the estimated mix of classes from the reference's",
    ),
)

COLUMN_STATISTICS = (
    Statistic(
        "population_stability_index",
        "population_stability_index",
        "",
        "score",
        "Population stability index of the column against the reference",
    ),
    Statistic(
        "population_stability_index_excess",
        "population_stability_index_excess",
        "",
        "score",
        "Population stability index less what chance alone gives at this sample size",
    ),
    Statistic(
        "jensen_shannon_distance",
        "jensen_shannon_distance",
        "",
        "score",
        "Jensen-Shannon distance (base 2, 0 to 1) of the column from the reference",
    ),
    Statistic(
        "total_variation_distance",
        "total_variation_distance",
        "",
        "score",
        "Total variation distance (0 to 1) of the column from the reference",
    ),
    Statistic(
        "hellinger_distance",
        "hellinger_distance",
        "",
        "score",
        "Hellinger distance (0 to 1) of the column from the reference",
    ),
    Statistic(
        "kolmogorov_smirnov_statistic",
        "kolmogorov_smirnov_statistic",
        "",
        "score",
        "Kolmogorov-Smirnov statistic (0 to 1) of the column against the reference",
    ),
    Statistic(
        "wasserstein_distance",
        "wasserstein_distance",
        "standard_deviations",
        "reference standard deviations",
        "Wasserstein-1 distance of the column in standard deviations of the reference",
    ),
    Statistic(
        "mean_shift",
        "mean_shift",
        "standard_deviations",
        "reference standard deviations",
        "Mean of the column less the reference's in standard deviations of the reference",
    ),
    Statistic(
        "missing_rate_difference",
        "missing_difference",
        "ratio",
        "ratio",
        "Share of missing values less the reference's",
    ),
    Statistic("new_category_ratio", "new_category", "ratio", "ratio", "Share of values the reference never saw"),
    Statistic(
        "maximum_mean_discrepancy",
        "maximum_mean_discrepancy",
        "",
        "score",
        "Squared maximum mean discrepancy (-1 to 2, about 0 without drift) of the embedding from the reference",
    ),
    Statistic(
        "maximum_mean_discrepancy_p_value",
        "maximum_mean_discrepancy_p_value",
        "",
        "probability",
        "Chance of a maximum mean discrepancy as large without drift, doubled as one of two tests of the embedding",
    ),
    Statistic(
        "frechet_distance",
        "frechet_distance",
        "",
        "squared embedding units",
        "Frechet distance of the embedding from the reference less what chance alone gives",
    ),
    Statistic(
        "domain_classifier_auroc",
        "domain_classifier_auroc",
        "",
        "score",
        "AUROC (0.5 to 1) of a linear classifier that tells embeddings from the reference's",
    ),
    Statistic(
        "out_of_range_ratio",
        "out_of_range",
        "ratio",
        "ratio",
        "Share of values below the reference's smallest or above its largest",
    ),
    Statistic(
        "chi_square_statistic",
        "chi_square_statistic",
        "",
        "score",
        "Chi-square statistic of the categories, the reference taken as the sample that it is",
    ),
)

VALUE_BY_KEY = {statistic.key: statistic for statistic in VALUE_STATISTICS}
COLUMN_BY_KEY = {statistic.key: statistic for statistic in COLUMN_STATISTICS}
# The columns beyond the series budget are still seen through the largest value of these.
MAXIMUM_KEYS = ("population_stability_index", "jensen_shannon_distance", "kolmogorov_smirnov_statistic")


def value_statistic(key: str) -> Statistic:
    """The statistic of a window's value by its name; raises DefectError for one that the table does not have."""
    return _find(VALUE_BY_KEY, key)


def column_statistic(key: str) -> Statistic:
    """The statistic of a column by its name; raises DefectError for one that the table does not have."""
    return _find(COLUMN_BY_KEY, key)


def _find(table: dict[str, Statistic], key: str) -> Statistic:
    try:
        return table[key]
    except KeyError:
        raise DefectError(
            f"the statistic {key!r} has no metric",
            where="monitor/export/statistic_metrics.py",
            expected="a row for every statistic of monitor.statistics.summary",
        ) from None
