"""Two sets of rows compared: every statistic and a verdict per column, worst first, and what pictures of them show.

What lives here: the judgement of a quick look, without a configuration or history; its record for machines; shares for
pictures. What must not: files, formulas, markup.

A column is judged by the size of its change beyond what chance gives at these sample sizes; significance only guards. A
quick look has no false-alarm budget: that needs time, and is the daemon's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monitor.profiles.arrow_values import ColumnKind
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile, ColumnSpec
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import OutcomeProfile
from monitor.records import EMBEDDING, column_label
from monitor.statistics import summary
from monitor.statistics.atoms import atoms
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.verdict import SEVERITY, State, Verdict

Floats = npt.NDArray[np.float64]
Kinds = Mapping[str, tuple[ColumnKind, ColumnKind | None]]

# Statistics that a quick look calls by a shorter name than the metrics do.
_SHORT_NAMES = {"kolmogorov_smirnov_statistic": "kolmogorov_smirnov"}
_BARS = 40
_CATEGORIES = 12
# Of each sample, so much at either end may lie outside a picture.
_TAIL = 0.005


@dataclass(frozen=True)
class Limits:
    """What a change must exceed to be a warning, or critical; and how sure it must be.

    `index`: population stability index beyond its expectation without drift. `missing`: change of the share of missing
    values. `strange`: share of values out of the reference's range or in new categories. `separable` and `discrepancy`:
    AUROC of the domain classifier and squared maximum mean discrepancy of embeddings. `significance`: p-value of no
    drift above which a change is left to chance. `minimum_rows`: rows on either side below which nothing is said.
    """

    index: tuple[float, float] = (0.1, 0.25)
    missing: tuple[float, float] = (0.05, 0.2)
    strange: tuple[float, float] = (0.01, 0.1)
    separable: tuple[float, float] = (0.65, 0.8)
    discrepancy: tuple[float, float] = (0.01, 0.1)
    significance: float = 0.01
    minimum_rows: int = 200


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
    included. `sampled_rows`: how many rows of the reference fixed the cells, None where all did.
    """

    columns: tuple[ColumnComparison, ...]
    reference_rows: int
    current_rows: int
    performance: Mapping[str, Result]
    reference_performance: Mapping[str, float]
    sampled_rows: int | None = None
    classes: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)

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
    limits = limits or Limits()
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
        columns.append(ColumnComparison(EMBEDDING, "embedding", _judge_embedding(found, limits), found))
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
    )


def record(comparison: Comparison) -> dict[str, Any]:
    """The comparison for machines: `columns`, `dataset`, `performance`; an absent number is null and has a reason.

    With labels of a classification there is `classes` as well: precision, recall, F1 and AUROC of each.
    """
    classes = {
        name: {key: _result_record(result) for key, result in results.items()}
        for name, results in comparison.classes.items()
    }
    return ({"classes": classes} if classes else {}) | {
        "columns": {column.name: _column_record(column) for column in comparison.columns},
        "dataset": {
            "reference_rows": comparison.reference_rows,
            "current_rows": comparison.current_rows,
            "columns": len(comparison.columns),
            **{state: comparison.count(state) for state in ("critical", "warning", "ok", "insufficient")},
            "sampled_rows": comparison.sampled_rows,
        },
        "performance": {
            name: _result_record(result) | {"reference": comparison.reference_performance.get(name)}
            for name, result in comparison.performance.items()
        },
    }


def _column_record(column: ColumnComparison) -> dict[str, Any]:
    verdict = {"state": column.verdict.state, "reason": column.verdict.reason}
    results = {_SHORT_NAMES.get(name, name): _result_record(result) for name, result in column.statistics.items()}
    return {"kind": column.kind, "verdict": verdict, **results}


def _result_record(result: Result) -> dict[str, Any]:
    if isinstance(result, Absent):
        return {"value": None, "p_value": None, "n": result.n, "error_bound": None, "reason": str(result.reason)}
    content: dict[str, Any] = {"value": result.value, "p_value": result.p_value, "n": result.n}
    content |= {"error_bound": result.error_bound, "reason": None}
    if result.level is not None:
        content |= {"lower": result.lower, "upper": result.upper, "level": result.level}
    return content


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
        verdict = _judge(results, old, new, limits)
    shares = None
    if old is not None and new is not None and old.rows and new.rows and spec.name not in changed:
        shares = _shares(old, new)
    return ColumnComparison(name, spec.kind, verdict, results, shares)


def _judge(
    results: Mapping[str, Result], old: ColumnProfile | None, new: ColumnProfile | None, limits: Limits
) -> Verdict:
    """The worst of what can be said; a reason for each thing that is past its limit."""
    index = results.get("population_stability_index_excess")
    rows = min((column.rows for column in (old, new) if column is not None), default=0)
    if old is None or new is None or rows < limits.minimum_rows:
        return Verdict("insufficient", f"{rows} rows on one side, at least {limits.minimum_rows} needed")
    if old.missing == old.rows and new.missing == new.rows:
        return Verdict("insufficient", "no values on either side")
    found: list[tuple[State, str]] = []
    if isinstance(index, Estimate) and (index.p_value is None or index.p_value < limits.significance):
        found.append(_past(index.value, limits.index, f"distribution moved (PSI {index.value:.3g} beyond chance)"))
    missing = results.get("missing_rate_difference")
    if isinstance(missing, Estimate) and missing.p_value is not None and missing.p_value < limits.significance:
        text = f"{abs(missing.value):.1%} {'more' if missing.value > 0 else 'fewer'} values missing"
        found.append(_past(abs(missing.value), limits.missing, text))
    # A reference of m rows leaves about 2 / (m + 1) of the same distribution outside its range.
    for name, chance, text in (
        ("out_of_range_ratio", 2 / (old.rows + 1), "of the values out of the reference's range"),
        ("new_category_ratio", 0.0, "of the rows in categories that the reference lacks"),
    ):
        ratio = results.get(name)
        if isinstance(ratio, Estimate):
            excess = ratio.value - chance - 3 * (chance * (1 - chance) / ratio.n) ** 0.5
            found.append(_past(excess, limits.strange, f"{ratio.value:.1%} {text}"))
    if _is_constant(new) and not _is_constant(old):
        found.append(("critical", "has become constant"))
    worst: State = max((state for state, _ in found), key=lambda state: SEVERITY[state], default="ok")
    if worst == "ok" and isinstance(index, Absent):
        return Verdict("insufficient", index.detail or str(index.reason))
    reasons = [text for state, text in sorted(found, key=lambda item: -SEVERITY[item[0]]) if state != "ok"]
    return Verdict(worst, "; ".join(reasons))


def _judge_embedding(results: Mapping[str, Result], limits: Limits) -> Verdict:
    """The worst of what can be said of the embedding as a whole."""
    discrepancy = results["maximum_mean_discrepancy"]
    if isinstance(discrepancy, Absent):
        told: Mapping[Reason, Verdict] = {
            Reason.COLUMN_MISSING: Verdict("critical", "the column has vanished"),
            Reason.DIMENSION_DIFFERS: Verdict("critical", f"has another length: {discrepancy.detail}"),
            Reason.NO_REFERENCE: Verdict("warning", discrepancy.detail),
        }
        return told.get(discrepancy.reason, Verdict("insufficient", discrepancy.detail or str(discrepancy.reason)))
    if discrepancy.n < limits.minimum_rows:
        return Verdict("insufficient", f"{discrepancy.n} embeddings, at least {limits.minimum_rows} needed")
    found: list[tuple[State, str]] = []
    if discrepancy.p_value is not None and discrepancy.p_value < limits.significance:
        found.append(_past(discrepancy.value, limits.discrepancy, f"distribution moved (MMD² {discrepancy.value:.3g})"))
    classifier = results["domain_classifier_auroc"]
    if isinstance(classifier, Estimate) and (classifier.p_value or 0.0) < limits.significance:
        text = f"a linear classifier tells it from the reference (AUROC {classifier.value:.2f})"
        found.append(_past(classifier.value, limits.separable, text))
    missing = results["missing_rate_difference"]
    if isinstance(missing, Estimate):
        text = f"{abs(missing.value):.1%} {'more' if missing.value > 0 else 'fewer'} values missing"
        found.append(_past(abs(missing.value), limits.missing, text))
    worst: State = max((state for state, _ in found), key=lambda state: SEVERITY[state], default="ok")
    return Verdict(worst, "; ".join(text for state, text in found if state != "ok"))


def _past(value: float, limits: tuple[float, float], text: str) -> tuple[State, str]:
    return ("critical" if value > limits[1] else "warning" if value > limits[0] else "ok"), text


def _is_constant(profile: ColumnProfile) -> bool:
    if isinstance(profile, NumericProfile):
        infinite = profile.positive_infinity + profile.negative_infinity
        return profile.finite > 0 and not infinite and profile.minimum == profile.maximum
    known = int(np.count_nonzero(profile.counts))
    return known + len(profile.new) == 1 and not (profile.new_error and profile.other)


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
