"""Two sets of rows compared: every statistic and a verdict per column, worst first, and what pictures of them show.

What lives here: the order of a quick look, without a configuration or history; its record for machines; shares for
pictures. What must not: the judgement of a column (`comparison_verdict`), files, formulas, markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monitor.comparison_verdict import Limits, judge_column, judge_embedding
from monitor.profiles.arrow_values import ColumnKind
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile, ColumnSpec
from monitor.profiles.model_profile import Profile, Reference, empty_outcome
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import OutcomeProfile
from monitor.records import EMBEDDING, Task, column_label
from monitor.statistics import summary
from monitor.statistics.atoms import atoms
from monitor.statistics.result import Absent, Estimate, Result
from monitor.statistics.segments import (
    DRIFT,
    Segments,
    SegmentStatistics,
    reference_performance,
    segment_statistics,
    worst_first,
)
from monitor.verdict import SEVERITY, State, Verdict

Floats = npt.NDArray[np.float64]
Kinds = Mapping[str, tuple[ColumnKind, ColumnKind | None]]

# Statistics that a quick look calls by a shorter name than the metrics do.
_SHORT_NAMES = {"kolmogorov_smirnov_statistic": "kolmogorov_smirnov"}
# Intervals of labelled rows; those of estimates are wider.
_USUAL_LEVEL = 0.95
# So many labels without one hit are no model's, but names that differ.
_MANY_MISSES = 30
_BARS = 40
_CATEGORIES = 12
# Of each sample, so much at either end may lie outside a picture.
_TAIL = 0.005


@dataclass(frozen=True, eq=False)
class Shares:
    """A picture: shares of reference and current per bar, float64 [B] each.

    `edges` float64 [B + 1] in the units of the axis for numbers and times; `names` [B] for categories.
    """

    reference: Floats
    current: Floats
    names: tuple[str, ...] = ()
    edges: Floats | None = None
    is_logit: bool = False


@dataclass(frozen=True, eq=False)
class ColumnComparison:
    """One column: its verdict, every statistic, and its picture where both sides have rows."""

    name: str
    kind: ColumnKind | Literal["embedding", "other"]
    verdict: Verdict
    statistics: Mapping[str, Result]
    shares: Shares | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two sets of rows compared; `columns` worst first.

    `performance` and `reference_performance` are results by name where there are labels, estimates without them
    included. `sampled_rows`: how many rows of the reference fixed the cells, None where all did. `classes`: precision,
    recall, F1 and AUROC by class, where there are labels of a classification. `unread`: rows of the two files that
    could not be read, and so count nowhere. `labelled_rows`: current rows that have a label, `unscored_rows`
    those of them whose prediction or label is missing or of no known class.
    """

    columns: tuple[ColumnComparison, ...]
    reference_rows: int
    current_rows: int
    performance: Mapping[str, Result]
    reference_performance: Mapping[str, float]
    sampled_rows: int | None = None
    classes: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)
    unread: tuple[int, int] = (0, 0)
    task: Task = "regression"
    labelled_rows: int = 0
    unscored_rows: int = 0
    segments: Segments = field(default_factory=dict)
    reference_segments: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)

    def count(self, state: State) -> int:
        """Columns in a state."""
        return sum(column.verdict.state == state for column in self.columns)


def compare(
    reference: Reference,
    profile: Profile,
    outcome: OutcomeProfile | None = None,
    *,
    appeared: Mapping[str, ColumnKind | None] | None = None,
    changed: Kinds | None = None,
    limits: Limits | None = None,
) -> Comparison:
    """The comparison of a profile with its reference.

    `appeared`: columns (names of the log) that the reference lacks, `changed`: those of another kind than it has.
    """
    limits = (limits or Limits()).shared_among(len(reference.columns))
    statistics = summary.column_statistics(reference, profile)
    columns = [_column(reference, profile, spec, statistics, changed or {}, limits) for spec in reference.columns]
    for name, kind in (appeared or {}).items():
        if kind is None:
            verdict = Verdict("insufficient", "is of no kind that can be compared")
        else:
            verdict = Verdict("warning", "is not in the reference")
        columns.append(ColumnComparison(column_label(name), kind or "other", verdict, {}))
    if EMBEDDING in statistics:
        found = statistics[EMBEDDING]
        verdict = judge_embedding(found, reference.profile.rows, limits)
        columns.append(ColumnComparison(EMBEDDING, "embedding", verdict, found))
    columns.sort(key=lambda column: (-SEVERITY[column.verdict.state], -_size(column), column.name))
    performance = dict(summary.estimated_statistics(reference, profile))
    if outcome is not None:
        known = summary.outcome_statistics(reference, outcome)
        # Rows of a file often have no times, and then no delays; what has not been asked for is not missed.
        performance = {
            name: result for name, result in known.items() if "delay" not in name or isinstance(result, Estimate)
        } | performance
    return Comparison(
        tuple(columns),
        reference.profile.rows,
        profile.rows,
        performance,
        summary.reference_values(reference),
        reference.sampled_rows,
        {} if outcome is None else summary.class_statistics(reference, outcome),
        segments=segment_statistics(reference, profile, outcome or empty_outcome(reference)),
        reference_segments=reference_performance(reference),
        task=reference.schema.task,
        labelled_rows=0 if outcome is None else outcome.rows,
        unscored_rows=0 if outcome is None else outcome.unusable,
    )


def notes(performance: Mapping[str, Result]) -> list[str]:
    """What to know of the performance: how sure the intervals are, what estimates assume, what is absent and why."""
    levels: dict[str, None] = {}
    said: dict[str, list[str]] = {}
    for name, result in performance.items():
        if isinstance(result, Absent):
            because = str(result.reason).replace("_", " ") + (f", {result.detail}" if result.detail else "")
            said.setdefault(f"absent ({because})", []).append(name)
            continue
        if result.level is not None:
            whose = "estimates without labels" if result.level > _USUAL_LEVEL else "labelled rows"
            levels[f"{result.level:.2%} ({whose})".replace(".00%", " %").replace("%", " %").replace("  ", " ")] = None
        if result.detail:
            said.setdefault(result.detail, []).append(name)
    accuracy = performance.get("accuracy")
    if isinstance(accuracy, Estimate) and accuracy.value == 0 and accuracy.n >= _MANY_MISSES:
        said["no label is what was predicted: are classes called the same in both?"] = ["accuracy"]
    intervals = [f"from and to hold the value with {' and '.join(levels)}"] if levels else []
    return intervals + [f"{', '.join(names)}: {text}" for text, names in said.items()]


def record(comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines: `columns`, `dataset`, `performance`; an absent number is null and has a reason.

    With labels of a classification there is `classes` as well: precision, recall, F1 and AUROC of each. Where rows are
    told apart there is `segments`: by segment and value, worst first, what there is of the rows of each.
    """
    segments: dict[str, dict[str, Any]] = {}
    for segment, value, found in worst_first(comparison.segments):
        before = comparison.reference_segments.get(segment, {}).get(value, {})
        segments.setdefault(segment, {})[value] = _segment_record(found, before)
    classes = {
        name: {key: _result_record(result) for key, result in results.items()}
        for name, results in comparison.classes.items()
    }
    more = {name: found for name, found in (("classes", classes), ("segments", segments)) if found}
    return more | {
        "columns": {column.name: _column_record(column) for column in comparison.columns},
        "dataset": {
            "reference_rows": comparison.reference_rows,
            "current_rows": comparison.current_rows,
            "columns": len(comparison.columns),
            **{state: comparison.count(state) for state in ("critical", "warning", "ok", "insufficient")},
            "sampled_rows": comparison.sampled_rows,
            "task": comparison.task,
            "labelled_rows": comparison.labelled_rows,
            "unscored_rows": comparison.unscored_rows,
            "reference_rows_unread": comparison.unread[0],
            "current_rows_unread": comparison.unread[1],
        },
        "performance": {
            name: _result_record(result) | {"reference": comparison.reference_performance.get(name)}
            for name, result in comparison.performance.items()
        },
    }


def _segment_record(found: SegmentStatistics, before: Mapping[str, float]) -> dict[str, Any]:
    return {
        "predictions": found.predictions,
        "labels": found.labels,
        "reference_predictions": found.reference_predictions,
        "excess": found.excess,
        "values": {
            name: _result_record(result) | {"reference": before.get(name)} for name, result in found.values.items()
        },
        "columns": {
            column: {name: _result_record(result) for name, result in statistics.items()}
            for column, statistics in found.columns.items()
        },
    }


def _column_record(column: ColumnComparison) -> dict[str, Any]:
    verdict = {"state": column.verdict.state, "reason": column.verdict.reason}
    results = {_SHORT_NAMES.get(name, name): _result_record(result) for name, result in column.statistics.items()}
    return {"kind": column.kind, "verdict": verdict, **results}


def _result_record(result: Result) -> dict[str, Any]:
    content: dict[str, Any] = {"value": None, "p_value": None, "n": result.n, "error_bound": None, "reason": None}
    if isinstance(result, Absent):
        content["reason"] = str(result.reason)
    else:
        content |= {"value": result.value, "p_value": result.p_value, "error_bound": result.error_bound}
        if result.level is not None:
            content |= {"lower": result.lower, "upper": result.upper, "level": result.level}
    # What an estimate assumes, or what is lacking, in words.
    return content | ({"detail": result.detail} if result.detail else {})


def _column(
    reference: Reference,
    profile: Profile,
    spec: ColumnSpec,
    statistics: Mapping[str, Mapping[str, Result]],
    changed: Kinds,
    limits: Limits,
) -> ColumnComparison:
    name = column_label(spec.name)
    results = statistics[name]
    old, new = reference.profile.columns.get(spec.name), profile.columns.get(spec.name)
    if profile.rows and old is not None and spec.name in changed:
        was, became = changed[spec.name]
        verdict = Verdict("critical", f"was {was}, is {became or 'of no kind that can be compared'}")
    elif profile.rows and old is not None and new is None:
        verdict = Verdict("critical", "the column has vanished")
    else:
        verdict = judge_column(results, old, new, limits)
    shares = None
    if old is not None and new is not None and old.rows and new.rows and spec.name not in changed:
        shares = _shares(old, new)
    return ColumnComparison(name, spec.kind, verdict, results, shares)


def _size(column: ColumnComparison) -> float:
    index = column.statistics.get("population_stability_index")
    return index.value if isinstance(index, Estimate) else -1.0


def _shares(old: ColumnProfile, new: ColumnProfile) -> Shares | None:
    if isinstance(old, NumericProfile) and isinstance(new, NumericProfile):
        return _numeric_shares(old, new)
    assert isinstance(old, CategoricalProfile)
    assert isinstance(new, CategoricalProfile)
    total = old.counts / max(old.rows, 1) + new.counts / max(new.rows, 1)
    top = np.argsort(-total, kind="stable")[:_CATEGORIES]
    names = [old.categories[i] for i in top]
    rest = [int(column.counts.sum() - column.counts[top].sum()) + column.other for column in (old, new)]
    r, c = ([*column.counts[top], extra, column.null] for column, extra in zip((old, new), rest, strict=True))
    shown = [i for i, both in enumerate(zip(r, c, strict=True)) if i < len(names) or sum(both)]
    every = (*names, "(other)", "(missing)")
    return Shares(
        np.array([r[i] for i in shown], dtype=np.float64) / old.rows,
        np.array([c[i] for i in shown], dtype=np.float64) / new.rows,
        tuple(every[i] for i in shown),
    )


def _numeric_shares(old: NumericProfile, new: NumericProfile) -> Shares | None:
    if not old.finite or not new.finite:
        return None
    both = atoms(old, new)
    r, c = both.reference / old.finite, both.current / new.finite
    middle = both.low / 2 + both.high / 2
    ends: list[float] = []
    for mass in (r, c):
        cumulative = np.cumsum(mass)
        first, last = (int(np.searchsorted(cumulative, share)) for share in (_TAIL, 1 - _TAIL))
        ends += [middle[first], middle[min(last, middle.size - 1)]]
    low, high = min(ends), max(ends)
    if not high > low:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BARS + 1)
    place = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, _BARS - 1)
    bars: list[Floats] = [np.bincount(place, weights=mass, minlength=_BARS).astype(np.float64) for mass in (r, c)]
    standardisation = old.standardisation
    units = edges * standardisation.scale + standardisation.centre
    return Shares(bars[0], bars[1], edges=units, is_logit=standardisation.axis == "logit")


@dataclass(frozen=True)
class SegmentLine:
    """One value of a segment in short: its rows and those of the reference, labels, performance now and then, drift.

    `metric`: what the performance is, `detail` of the drift the column that moved most.
    """

    name: str
    predictions: int
    reference_predictions: int | None
    labels: int
    metric: str
    performance: Result
    reference: float | None
    drift: Result


def segment_lines(comparison: Comparison) -> list[SegmentLine]:
    """Every value of a segment, worst first."""
    lines = []
    for segment, value, found in worst_first(comparison.segments):
        metric = "accuracy" if "accuracy" in found.values else "root_mean_squared_error"
        before = comparison.reference_segments.get(segment, {}).get(value, {}).get(metric)
        lines.append(
            SegmentLine(
                f"{segment}={value}",
                found.predictions,
                found.reference_predictions,
                found.labels,
                metric,
                found.values[metric],
                before,
                found.values[DRIFT],
            )
        )
    return lines
