"""Every statistic of a profile by name: the one door between statistics and the evaluation.

What lives here: which statistics a column or an outcome has. What must not: formulas.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile
from monitor.records import EMBEDDING, column_label
from monitor.statistics import divergence, embedding_drift, estimation, macro
from monitor.statistics.atoms import atoms
from monitor.statistics.label_shift import label_shift_distance, warned
from monitor.statistics.performance import classification_statistics, delay_statistics, regression_statistics
from monitor.statistics.result import Absent, Estimate, Reason, Result

_CELL_STATISTICS = {
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
    "population_stability_index",
    "population_stability_index_excess",
    *_CELL_STATISTICS,
    *_ATOM_STATISTICS,
    *_NUMERIC_STATISTICS,
    "chi_square_statistic",
    "new_category_ratio",
    *(name for name in embedding_drift.STATISTICS if name not in _NUMERIC_STATISTICS),
)
# A window keeps so many classes, and none of a model of more: its size does not grow with them.
_SHOWN_CLASSES, _MOST_CLASSES = 20, 100
_ESTIMATED = (*estimation.CLASSIFICATION, *estimation.REGRESSION)


def column_statistics(reference: Reference, profile: Profile) -> dict[str, dict[str, Result]]:
    """Drift statistics of every column of the reference and of the embedding, by public column name and statistic."""
    results: dict[str, dict[str, Result]] = {}
    for spec in reference.columns:
        old, new = reference.profile.columns.get(spec.name), profile.columns.get(spec.name)
        label = column_label(spec.name)
        if profile.rows == 0 or old is None or new is None:
            reason = Reason.NO_ROWS if profile.rows == 0 else Reason.COLUMN_MISSING
            results[label] = {"population_stability_index": Absent(reason, profile.rows)}
        else:
            results[label] = _compare(old, new)
    embedding = embedding_drift.embedding_statistics(
        reference.embedding, reference.profile.embedding, profile.embedding
    )
    return results | ({EMBEDDING: embedding} if embedding else {})


def outcome_statistics(reference: Reference, outcome: OutcomeProfile) -> dict[str, Result]:
    """Performance and label delay of labelled predictions, and by how much the estimates of them were wrong."""
    return _realised(outcome) | delay_statistics(outcome.delays) | estimation.estimate_errors(reference, outcome)


def class_statistics(reference: Reference, outcome: OutcomeProfile) -> dict[str, dict[str, Result]]:
    """Performance of every class by its name; empty for a regression."""
    sums = outcome.sums
    return macro.class_statistics(sums, reference.schema.classes) if isinstance(sums, ClassificationSums) else {}


def worst_class_statistics(reference: Reference, outcome: OutcomeProfile) -> dict[str, dict[str, Result]]:
    """The same of the 20 classes with the lowest F1, the lowest first; empty without labels and beyond 100 classes."""
    if not outcome.scored or len(reference.schema.classes) > _MOST_CLASSES:
        return {}
    found = macro.worst_classes(class_statistics(reference, outcome), _SHOWN_CLASSES)
    return {name: dict(results) for name, results in found}


def estimated_statistics(reference: Reference, profile: Profile) -> dict[str, Result]:
    """What is known of performance without labels: its estimates, and the shift of the classes (classification)."""
    found = estimation.estimated_statistics(reference, profile)
    if reference.schema.task == "classification":
        shift = label_shift_distance(reference, profile)
        return warned(found, shift) | {"label_shift_distance": shift}
    return found


@lru_cache(maxsize=8)
def reference_values(reference: Reference) -> Mapping[str, float]:
    """The reference's own performance, for relative thresholds; an estimate is held against what was realised."""
    if reference.outcome is None:
        return {}
    results = _realised(reference.outcome)
    values = {name: result.value for name, result in results.items() if isinstance(result, Estimate)}
    return values | {f"estimated_{name}": values[name] for name in _ESTIMATED if name in values}


def _realised(outcome: OutcomeProfile) -> dict[str, Result]:
    if isinstance(outcome.sums, ClassificationSums):
        return classification_statistics(outcome.sums)
    return regression_statistics(outcome.sums, outcome.scored)


def _compare(old: ColumnProfile, new: ColumnProfile) -> dict[str, Result]:
    if isinstance(old, NumericProfile) and isinstance(new, NumericProfile):
        results = _of_cells(divergence.decile_cells(old, new))
        both = atoms(old, new)
        results |= {name: statistic(old, new, both) for name, statistic in _ATOM_STATISTICS.items()}
        return results | {name: statistic(old, new) for name, statistic in _NUMERIC_STATISTICS.items()}
    assert isinstance(old, CategoricalProfile)
    assert isinstance(new, CategoricalProfile)
    cells = divergence.category_cells(old, new)
    results = _of_cells(cells)
    results["chi_square_statistic"] = divergence.chi_square(cells)
    results["missing_rate_difference"] = divergence.missing_rate_difference(old, new)
    results["new_category_ratio"] = divergence.new_category_ratio(new)
    return results


def _of_cells(cells: divergence.CellCounts) -> dict[str, Result]:
    index = divergence.population_stability_index(cells)
    results = {
        "population_stability_index": index,
        "population_stability_index_excess": divergence.psi_excess(cells, index),
    }
    return results | {name: statistic(cells) for name, statistic in _CELL_STATISTICS.items()}
