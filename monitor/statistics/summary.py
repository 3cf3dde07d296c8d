"""Every statistic of a profile by name: the one door between statistics and the evaluation.

What lives here: which statistics a column or an outcome has. What must not: formulas.
"""

from __future__ import annotations

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile
from monitor.records import column_label
from monitor.statistics import divergence
from monitor.statistics.atoms import atoms
from monitor.statistics.performance import classification_statistics, delay_statistics, regression_statistics
from monitor.statistics.result import Absent, Estimate, Reason, Result

_CELL_STATISTICS = {
    "population_stability_index": divergence.population_stability_index,
    "population_stability_index_excess": divergence.psi_excess,
    "jensen_shannon_distance": divergence.jensen_shannon_distance,
    "total_variation_distance": divergence.total_variation_distance,
    "hellinger_distance": divergence.hellinger_distance,
}
_ATOM_STATISTICS = {
    "kolmogorov_smirnov_statistic": divergence.kolmogorov_smirnov,
    "wasserstein_distance": divergence.wasserstein_distance,
}
_NUMERIC_STATISTICS = {
    "mean_shift": divergence.mean_shift,
    "missing_rate_difference": divergence.missing_rate_difference,
    "out_of_range_ratio": divergence.out_of_range_ratio,
}
COLUMN_STATISTICS = (
    *_CELL_STATISTICS,
    *_ATOM_STATISTICS,
    *_NUMERIC_STATISTICS,
    "chi_square_statistic",
    "new_category_ratio",
)


def column_statistics(reference: Reference, profile: Profile) -> dict[str, dict[str, Result]]:
    """Drift statistics of every column of the reference, by public column name and statistic."""
    results: dict[str, dict[str, Result]] = {}
    for spec in reference.columns:
        old, new = reference.profile.columns.get(spec.name), profile.columns.get(spec.name)
        label = column_label(spec.name)
        if profile.rows == 0 or old is None or new is None:
            reason = Reason.NO_ROWS if profile.rows == 0 else Reason.COLUMN_MISSING
            results[label] = {"population_stability_index": Absent(reason, profile.rows)}
        else:
            results[label] = _compare(old, new)
    return results


def outcome_statistics(reference: Reference, outcome: OutcomeProfile) -> dict[str, Result]:
    """Performance and label delay of labelled predictions."""
    del reference
    if isinstance(outcome.sums, ClassificationSums):
        values = classification_statistics(outcome.sums)
    else:
        values = regression_statistics(outcome.sums, outcome.scored)
    return values | delay_statistics(outcome.delays)


def estimated_statistics(reference: Reference, profile: Profile) -> dict[str, Result]:
    """Performance estimated without labels.

    `estimated_accuracy` is the difference of confidences (Guillory et al. 2021): accuracy of the reference + mean top
    confidence now − mean top confidence of the reference, clipped to [0, 1]. It assumes that the confidence moves with
    the accuracy; a concept drift that leaves the inputs alone is invisible to it.
    """
    if reference.schema.task != "classification":
        return {}
    accuracy = reference_values(reference).get("accuracy")
    old, new = (item.columns.get("confidence") for item in (reference.profile, profile))
    if accuracy is None or not isinstance(old, NumericProfile) or not old.finite:
        return {"estimated_accuracy": Absent(Reason.NO_REFERENCE)}
    if not isinstance(new, NumericProfile) or not new.finite:
        return {"estimated_accuracy": Absent(Reason.NO_ROWS)}
    now = new.standardisation.centre + new.total / new.finite
    then = old.standardisation.centre + old.total / old.finite
    return {"estimated_accuracy": Estimate(min(max(accuracy + now - then, 0.0), 1.0), new.finite)}


def reference_values(reference: Reference) -> dict[str, float]:
    """The reference's own performance, for relative thresholds."""
    if reference.outcome is None:
        return {}
    values = outcome_statistics(reference, reference.outcome)
    return {name: value.value for name, value in values.items() if isinstance(value, Estimate)}


def _compare(old: ColumnProfile, new: ColumnProfile) -> dict[str, Result]:
    if isinstance(old, NumericProfile) and isinstance(new, NumericProfile):
        cells = divergence.decile_cells(old, new)
        results = {name: statistic(cells) for name, statistic in _CELL_STATISTICS.items()}
        both = atoms(old, new)
        results |= {name: statistic(old, new, both) for name, statistic in _ATOM_STATISTICS.items()}
        return results | {name: statistic(old, new) for name, statistic in _NUMERIC_STATISTICS.items()}
    assert isinstance(old, CategoricalProfile)
    assert isinstance(new, CategoricalProfile)
    cells = divergence.category_cells(old, new)
    results = {name: statistic(cells) for name, statistic in _CELL_STATISTICS.items()}
    results["chi_square_statistic"] = divergence.chi_square(cells)
    results["missing_rate_difference"] = divergence.missing_rate_difference(old, new)
    results["new_category_ratio"] = divergence.new_category_ratio(new)
    return results
