"""Every statistic of the values of a segment: performance, estimates, and the columns that drifted most.

What lives here: which statistics a value has, its minimum n, the choice of its worst columns. What must not: formulas
of statistics, alarms: a value of a segment has no evidence of its own, and takes nothing from the false-alarm budget.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import OutcomeProfile
from monitor.profiles.segment_outcomes import SegmentOutcomes
from monitor.profiles.segments import SegmentInputs
from monitor.records import column_label
from monitor.statistics import estimation
from monitor.statistics.divergence import (
    MINIMUM_ROWS,
    PSEUDO_COUNT,
    CellCounts,
    population_stability_index,
    psi_excess,
)
from monitor.statistics.performance import (
    CLASSIFICATION,
    REGRESSION,
    classification_statistics,
    regression_statistics,
)
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.summary import reference_values

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Labels or rows of a value below which its statistics are not stated: with fewer the worst of twenty values is chance.
MINIMUM_N = MINIMUM_ROWS
# Columns named per value, those that drifted most.
WORST_COLUMNS = 5
# What adds up over rows and so tells where a loss lies.
EXCESS_METRICS = {"classification": "accuracy", "regression": "mean_squared_error"}
DRIFT = "drift_maximum_population_stability_index_excess"
_NO_HISTOGRAMS = Absent(Reason.NOT_APPLICABLE, 0, "histograms of scores are not kept per segment")


@dataclass(frozen=True)
class SegmentStatistics:
    """One value of a segment within a window, by the names that the whole window's statistics have.

    `reference_predictions`: rows of the reference with this value, None where it was not told apart by the segment.
    `excess`: labelled rows × (their rate of errors − that of the reference's rows of this value); of a regression the
    same of the squared error. Where the reference has too few such rows all of its rows stand for them; None without
    any, or without enough labels. It adds up, and so says how much of a loss lies in this value. `columns` holds the
    drift of the columns that drifted most, `values` the largest as `drift_maximum_population_stability_index_excess`.
    """

    predictions: int
    labels: int
    values: Mapping[str, Result]
    columns: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)
    reference_predictions: int | None = None
    excess: float | None = None


@dataclass(frozen=True)
class SlotDrift:
    """What is known of one value without labels: the drift of all columns together, and of the worst."""

    values: Mapping[str, Result]
    columns: Mapping[str, Mapping[str, Result]]


# By segment, then by value.
SegmentDrift = Mapping[str, Mapping[str, SlotDrift]]
Segments = Mapping[str, Mapping[str, SegmentStatistics]]


def segment_statistics(
    reference: Reference, inputs: Profile, outcomes: OutcomeProfile, drift: SegmentDrift | None = None
) -> dict[str, dict[str, SegmentStatistics]]:
    """Statistics of every value with predictions or labels, by segment; `drift` as `segment_drift` found it."""
    found: dict[str, dict[str, SegmentStatistics]] = {}
    drift = segment_drift(reference, inputs) if drift is None else drift
    for name, own in inputs.segments.items():
        labelled, then = outcomes.segments.get(name), reference.profile.segments.get(name)
        found[name] = {}
        of_labels = np.zeros_like(own.rows) if labelled is None else labelled.rows
        for place in np.flatnonzero((own.rows > 0) | (of_labels > 0)).tolist():
            slot, predictions, labels = own.spec.slots[place], int(own.rows[place]), int(of_labels[place])
            values: dict[str, Result] = {"label_coverage": _coverage(labels, predictions)}
            values |= slot_performance(reference, labelled, place)
            moved = drift[name].get(slot) or _slot_drift(reference, own, place)
            values |= moved.values
            before = None if then is None else int(then.rows[place])
            excess = _excess(reference, name, slot, values)
            found[name][slot] = SegmentStatistics(predictions, labels, values, moved.columns, before, excess)
    return found


def worst_first(segments: Segments) -> list[tuple[str, str, SegmentStatistics]]:
    """(segment, value, its statistics): by excess, then those without one by drift, then by name."""

    def rank(item: tuple[str, str, SegmentStatistics]) -> tuple[bool, float, float, str, str]:
        segment, value, found = item
        drift = found.values.get(DRIFT)
        moved = drift.value if isinstance(drift, Estimate) else float("-inf")
        return found.excess is None, -(found.excess or 0.0), -moved, segment, value

    every = [(segment, value, found) for segment, values in segments.items() for value, found in values.items()]
    return sorted(every, key=rank)


def worst_text(segments: Segments) -> str | None:
    """In a few words the value in which most of a loss lies; where no labels tell, the one that drifted most."""
    for segment, value, found in worst_first(segments):
        accuracy, drift = found.values.get("accuracy"), found.values.get(DRIFT)
        name = f"{segment}={value}"
        if found.excess is not None and isinstance(accuracy, Estimate):
            return f"{name} accuracy {accuracy.value:.3g}, {found.excess:+.0f} errors of {accuracy.n}"
        error = found.values.get("root_mean_squared_error")
        if found.excess is not None and isinstance(error, Estimate):
            return f"{name} RMSE {error.value:.4g} of {error.n}"
        if isinstance(drift, Estimate):
            return f"{name} {drift.detail} PSI {drift.value:.3g} beyond chance"
    return None


def slot_performance(reference: Reference, outcomes: SegmentOutcomes | None, place: int) -> dict[str, Result]:
    """Performance of one value; absent below 30 labels, and what needs histograms of scores always."""
    task, estimators = reference.schema.task, reference.estimators
    names = CLASSIFICATION if task == "classification" else REGRESSION
    scored = 0 if outcomes is None else int(outcomes.rows[place] - outcomes.unusable[place])
    if outcomes is None or scored < MINIMUM_N:
        reason = Absent(Reason.TOO_FEW_LABELS, scored, f"{scored} labels, at least {MINIMUM_N} needed")
        return dict.fromkeys(names, reason if scored else Absent(Reason.NO_LABELS))
    if task == "regression":
        return regression_statistics(outcomes.regression(place, estimators), scored)
    sums = outcomes.classification(place, len(reference.schema.classes))
    return classification_statistics(sums) | {"auroc": _NO_HISTOGRAMS}


# A reference does not change, and every window asks for the same.
@lru_cache(maxsize=4)
def reference_performance(reference: Reference) -> Mapping[str, Mapping[str, Mapping[str, float]]]:
    """The reference's own performance by segment, value and statistic, where it has enough labels."""
    if reference.outcome is None:
        return {}
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name, outcomes in reference.outcome.segments.items():
        for place in np.flatnonzero(outcomes.rows >= MINIMUM_N).tolist():
            results = slot_performance(reference, outcomes, place)
            values = {key: result.value for key, result in results.items() if isinstance(result, Estimate)}
            found.setdefault(name, {})[outcomes.spec.slots[place]] = values
    return found


def segment_drift(reference: Reference, inputs: Profile) -> dict[str, dict[str, SlotDrift]]:
    """Drift and estimates of every value that has predictions, by segment and value."""
    found: dict[str, dict[str, SlotDrift]] = {}
    for name, own in inputs.segments.items():
        found[name] = {}
        for place in np.flatnonzero(own.rows).tolist():
            found[name][own.spec.slots[place]] = _slot_drift(reference, own, place)
    return found


def _slot_drift(reference: Reference, own: SegmentInputs, place: int) -> SlotDrift:
    largest, columns = _drift(reference, own, place)
    return SlotDrift({**_estimates(reference, own, place), DRIFT: largest}, columns)


def _coverage(labels: int, predictions: int) -> Result:
    if labels > predictions:
        detail = f"{labels} labels of {predictions} predictions: some were joined without their segment"
        return Absent(Reason.NOT_APPLICABLE, predictions, detail)
    return Estimate(labels / predictions, predictions)


def column_excess(reference: Integers, current: Integers, offsets: Integers) -> Floats:
    """`psi_excess` of all columns at once, float64 [C], from counts in their cells end to end; NaN where it is absent.

    `offsets` int64 [C + 1]: the first cell of each column, and how many there are.
    """
    starts, sizes = offsets[:-1], np.diff(offsets)
    used = (reference > 0) | (current > 0)
    cells = np.add.reduceat(used, starts, dtype=np.int64)
    n, m = (np.add.reduceat(counts, starts).astype(np.float64) for counts in (current, reference))
    c, r = (
        (counts + PSEUDO_COUNT) / np.repeat(np.maximum(total + PSEUDO_COUNT * cells, PSEUDO_COUNT), sizes)
        for counts, total in ((current, n), (reference, m))
    )
    index = np.add.reduceat(np.where(used, (c - r) * np.log(c / r), 0.0), starts)
    few = (n < MINIMUM_ROWS) | (m < MINIMUM_ROWS)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(few, np.nan, index - (cells - 1) * (1 / n + 1 / m))


def _excess(reference: Reference, segment: str, value: str, values: Mapping[str, Result]) -> float | None:
    metric = EXCESS_METRICS[reference.schema.task]
    now, before = values[metric], reference_value(reference, metric, segment, value)
    if before is None or not isinstance(now, Estimate):
        return None
    return now.n * (before - now.value if metric == "accuracy" else now.value - before)


def reference_value(reference: Reference, metric: str, segment: str, value: str) -> float | None:
    """A number of the reference's rows of one value, else of all its rows; None where it has no labels."""
    own = reference_performance(reference).get(segment, {}).get(value, {})
    return own[metric] if metric in own else _whole_performance(reference).get(metric)


@lru_cache(maxsize=4)
def _whole_performance(reference: Reference) -> Mapping[str, float]:
    return reference_values(reference)


def _estimates(reference: Reference, own: SegmentInputs, place: int) -> dict[str, Result]:
    rows = int(own.rows[place])
    estimated = None if own.estimated is None else own.estimated.slot(place)
    expected = estimation.estimated_statistics(reference, Profile(reference.identity, rows, {}, estimated))
    if rows < MINIMUM_N:
        few = Absent(Reason.TOO_FEW_ROWS, rows, f"{rows} rows, at least {MINIMUM_N} needed")
        return dict.fromkeys(expected, few)
    # What an estimate assumes is said of the whole window; twenty times over it would be most of what is stored.
    short: dict[str, Result] = {
        name: replace(result, detail="") if isinstance(result, Estimate) else result
        for name, result in expected.items()
    }
    return short | ({"estimated_auroc": _NO_HISTOGRAMS} if reference.schema.task == "classification" else {})


def _drift(reference: Reference, own: SegmentInputs, place: int) -> tuple[Result, dict[str, dict[str, Result]]]:
    """The largest excess over the columns, named in its detail, and the statistics of the worst columns."""
    rows, name = int(own.rows[place]), own.spec.name
    then = reference.profile.segments.get(name)
    if then is None:
        return Absent(Reason.NO_REFERENCE, rows, f"the reference is not told apart by {name}"), {}
    before = int(then.rows[place])
    if before == 0:
        return Absent(Reason.REFERENCE_EMPTY, rows, "the reference has no such rows"), {}
    if min(rows, before) < MINIMUM_N:
        detail = f"{rows} rows, {before} in the reference, at least {MINIMUM_N} needed"
        return Absent(Reason.TOO_FEW_ROWS, rows, detail), {}
    layout = reference.segment_cells
    r, c = then.dense(place, layout.total), own.dense(place, layout.total)
    excess = column_excess(r, c, layout.offsets)
    compared = np.flatnonzero(np.isfinite(excess))
    if not compared.size:
        return Absent(Reason.COLUMN_MISSING, rows), {}
    worst = compared[np.argsort(-excess[compared], kind="stable")][:WORST_COLUMNS]
    columns: dict[str, dict[str, Result]] = {}
    for number in worst.tolist():
        cells = slice(layout.offsets[number], layout.offsets[number + 1])
        counts = CellCounts.of(r[cells], c[cells])
        columns[column_label(layout.columns[number].name)] = {
            "population_stability_index": population_stability_index(counts),
            "population_stability_index_excess": psi_excess(counts),
        }
    label, first = next(iter(columns.items()))
    largest = first["population_stability_index_excess"]
    assert isinstance(largest, Estimate)
    # The largest of so many columns: Bonferroni.
    p_value = None if largest.p_value is None else min(largest.p_value * compared.size, 1.0)
    return Estimate(largest.value, largest.n, p_value=p_value, error_bound=0.0, detail=label), columns
