"""What a quick look calls a column: ok, a warning or critical, and the reasons in words.

What lives here: limits and the judgement of one column, and of the embedding as a whole. What must not: formulas of
statistics, files, markup.

A column is judged by the size of its change beyond what chance gives at these sample sizes; significance only guards. A
quick look has no false-alarm budget: that needs time, and is the daemon's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile
from monitor.profiles.numeric import NumericProfile
from monitor.statistics.divergence import CellCounts, cells_of, population_stability_index
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.tails import normal_tails, outside_tail
from monitor.verdict import SEVERITY, State, Verdict


@dataclass(frozen=True)
class Limits:
    """What a change must exceed to be a warning, or critical; and how sure it must be.

    `index`: population stability index beyond its expectation without drift. `missing`: change of the share of missing
    values. `strange`: share of values out of the reference's range or in new categories, beyond what the reference
    itself lets expect. `separable` and `discrepancy`: AUROC of the domain classifier and squared maximum mean
    discrepancy of embeddings. `significance`: probability that chance alone makes any of the columns a finding; each
    has its share of it (Bonferroni), and what has a larger p-value is left to chance.
    `minimum_rows`: rows on either side below which nothing is said.

    The limits of embeddings are those of the index in other units. An index of 0.1 and 0.25 is a shift of a normal
    column by δ = 0.32 and 0.51 standard deviations. Along the direction in which a shift of δ is plainest a classifier
    has the AUROC Φ(δ / √2): 0.59 and 0.64. The kernel's features vary by 1 − E k = 1 − e^(−1/2) = 0.39 within a sample,
    whatever the model, because its bandwidth is the median distance: a shift by δ of their deviations is an MMD² of
    0.39 δ²: 0.04 and 0.1.
    """

    index: tuple[float, float] = (0.1, 0.25)
    missing: tuple[float, float] = (0.05, 0.2)
    strange: tuple[float, float] = (0.01, 0.1)
    separable: tuple[float, float] = (0.59, 0.64)
    discrepancy: tuple[float, float] = (0.04, 0.1)
    significance: float = 0.01
    minimum_rows: int = 200

    def shared_among(self, columns: int) -> Limits:
        """The limits of each of so many columns: who looks at thirty finds one at p < 0.01 in every fourth table."""
        return replace(self, significance=self.significance / max(columns, 1))


def judge_column(
    results: Mapping[str, Result], old: ColumnProfile | None, new: ColumnProfile | None, limits: Limits
) -> Verdict:
    """The worst of what can be said; a reason for each thing that is past its limit."""
    index = results.get("population_stability_index_excess")
    then, now = (0 if column is None else column.rows for column in (old, new))
    if old is None or new is None or min(then, now) < limits.minimum_rows:
        side = "the reference" if then < now else "the current rows"
        return Verdict("insufficient", f"{_rows(min(then, now))} in {side}, at least {limits.minimum_rows} needed")
    if old.missing == old.rows and new.missing == new.rows:
        return Verdict("insufficient", "no values on either side")
    found: list[tuple[State, str]] = []
    if isinstance(index, Estimate) and (index.p_value is None or index.p_value < limits.significance):
        text = f"distribution moved (PSI {index.value:.3g} beyond chance{_from_missing(old, new)})"
        found.append(_past(index.value, limits.index, text))
    missing = results.get("missing_rate_difference")
    if isinstance(missing, Estimate) and missing.p_value is not None and missing.p_value < limits.significance:
        found.append(_past(abs(missing.value), limits.missing, _more_missing(missing.value)))
    outside = results.get("out_of_range_ratio")
    if isinstance(outside, Estimate) and _chance_of_outside(outside, old) < limits.significance:
        text = f"{outside.value:.1%} of the values out of the reference's range"
        found.append(_past(outside.value - 2 / (_values(old) + 1), limits.strange, text))
    new_names = results.get("new_category_ratio")
    if isinstance(new_names, Estimate):
        chance = _unseen(old)
        excess = new_names.value - chance - 3 * math.sqrt(chance * (1 - chance) * (1 / new_names.n + 1 / old.rows))
        text = f"{new_names.value:.1%} of the rows in categories that the reference lacks"
        found.append(_past(excess, limits.strange, text))
    if _is_constant(new) and not _is_constant(old) and _chance_of_one_value(old, new) < limits.significance:
        found.append(("critical", "has become constant"))
    worst: State = max((state for state, _ in found), key=lambda state: SEVERITY[state], default="ok")
    if worst == "ok" and isinstance(index, Absent):
        return Verdict("insufficient", index.detail or str(index.reason))
    return Verdict(worst, _reasons(found))


def judge_embedding(results: Mapping[str, Result], reference_rows: int, limits: Limits) -> Verdict:
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
    if isinstance(missing, Estimate) and _is_sure(missing, reference_rows, results, limits):
        found.append(_past(abs(missing.value), limits.missing, _more_missing(missing.value)))
    worst: State = max((state for state, _ in found), key=lambda state: SEVERITY[state], default="ok")
    return Verdict(worst, _reasons(found))


def _is_sure(missing: Estimate, reference_rows: int, results: Mapping[str, Result], limits: Limits) -> bool:
    """Whether the rates of missing embeddings differ by more than chance: the score test of two proportions."""
    embedded, n, m = results["maximum_mean_discrepancy"].n, missing.n, reference_rows
    now = 1 - embedded / n
    pooled = (now * n + (now - missing.value) * m) / (n + m)
    deviation = math.sqrt(max(pooled * (1 - pooled), 0.0) * (1 / n + 1 / m))
    return deviation > 0 and normal_tails(missing.value / deviation) < limits.significance


def _from_missing(old: ColumnProfile, new: ColumnProfile) -> str:
    """What the index would be of the values alone, where most of it comes from missing ones."""
    both, values = cells_of(old, new), cells_of(old, new, missing=False)
    whole, alone = (population_stability_index(cells) for cells in (both, values))
    if isinstance(whole, Absent):
        return ""
    if isinstance(alone, Absent):
        return ", all of it missing values"
    beyond = alone.value - _expected(values)
    return f", {max(beyond, 0.0):.3g} without missing values" if alone.value < whole.value / 2 else ""


def _expected(cells: CellCounts) -> float:
    return float((cells.current.size - 1) * (1 / cells.current.sum() + 1 / cells.reference.sum()))


def _chance_of_outside(ratio: Estimate, old: ColumnProfile) -> float:
    return outside_tail(round(ratio.value * ratio.n), ratio.n, _values(old))


def _values(old: ColumnProfile) -> int:
    """Rows that have a value; without drift 2 / (m + 1) of others are outside the range of m of them."""
    return old.rows - old.missing


def _unseen(old: ColumnProfile) -> float:
    """Share of rows of the same distribution in categories without a count of their own.

    What a reference row would be to the reference without it: new where its category was seen once, or is not among
    those that are counted (Good 1953). Nearly all rows of a column of identifiers. Where not all categories are
    counted, those with the fewest rows, or with one more, are so by their rank: without the row another one is.
    """
    if isinstance(old, NumericProfile):
        return 0.0
    counts = old.counts[old.counts > 0]
    new = float(old.other + np.count_nonzero(counts == 1))
    if old.other and counts.size:
        fewest = int(counts.min())
        at_end = int(np.count_nonzero(counts == fewest))
        # Of the others at most so many have as many rows as the last that is counted.
        rivals = old.other / fewest
        new += (fewest > 1) * at_end * fewest
        new += int(np.count_nonzero(counts == fewest + 1)) * (fewest + 1) * rivals / (rivals + at_end)
    return min(new / old.rows, 1.0)


def _past(value: float, limits: tuple[float, float], text: str) -> tuple[State, str]:
    return ("critical" if value > limits[1] else "warning" if value > limits[0] else "ok"), text


def _reasons(found: list[tuple[State, str]]) -> str:
    return "; ".join(text for state, text in sorted(found, key=lambda item: -SEVERITY[item[0]]) if state != "ok")


def _more_missing(difference: float) -> str:
    return f"{abs(difference):.1%} {'more' if difference > 0 else 'fewer'} values missing"


def _rows(number: int) -> str:
    return "no rows" if number == 0 else "1 row" if number == 1 else f"{number:,} rows"


def _chance_of_one_value(old: ColumnProfile, new: ColumnProfile) -> float:
    """How likely rows of the reference's distribution would all have the one value that the rows now have.

    With a of the reference's values equal to it and b not, the Beta-binomial Π (a + 1 + i) / (a + b + 2 + i) over the n
    values now: a pixel that is lit in one image of a thousand is dark in all of the next hundred.
    """
    if isinstance(old, NumericProfile) and isinstance(new, NumericProfile):
        # A value that more than 0.5 % of the reference has is one of its marks.
        equal = int(old.equal[old.standardisation.mark_values == new.minimum].sum())
    else:
        assert isinstance(old, CategoricalProfile)
        assert isinstance(new, CategoricalProfile)
        equal = int(old.counts[new.counts > 0].sum())
    n, a, b = new.rows - new.missing, equal + 1, old.rows - old.missing - equal + 1
    return math.exp(math.lgamma(a + n) - math.lgamma(a) + math.lgamma(a + b) - math.lgamma(a + b + n))


def _is_constant(profile: ColumnProfile) -> bool:
    if isinstance(profile, NumericProfile):
        infinite = profile.positive_infinity + profile.negative_infinity
        return profile.finite > 0 and not infinite and profile.minimum == profile.maximum
    assert isinstance(profile, CategoricalProfile)
    known = int(np.count_nonzero(profile.counts))
    return known + len(profile.new) == 1 and not (profile.new_error and profile.other)
