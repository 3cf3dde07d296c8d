"""From profiles to the integer counts that evidence is weighed on.

What lives here: the partition of every column that the reference fixes (deciles and null of numbers; the most frequent
categories, other and null), counts of a profile on it, names of the cells for people. What must not: evidence.

A partition must be fixed before the data it counts: cuts are cells of the reference's lattice, so whether a value is
below one never depends on what else came. They are near the deciles, not at them; any fixed partition is valid.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from monitor.errors import DefectError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.model_profile import ColumnProfile, ColumnSpec, Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile
from monitor.records import column_label
from monitor.statistics.evidence_counts import CellReference, Counts, flat_counts

DECILES = 10
# More categories than these share the cell `other`: every further cell widens the null around a finite reference.
MAXIMUM_CATEGORIES = 20


@dataclass(frozen=True, eq=False)
class NumericCells:
    """Cuts of a numeric column: a value of order key ≤ cuts[i] is in cell i or before; the last cell is of nulls."""

    cuts: npt.NDArray[np.int64]
    names: tuple[str, ...]

    def count(self, profile: NumericProfile) -> Counts:
        """Rows per cell, int64 [cuts + 2]; infinities are in the outermost cells, NaN with null."""
        cell = np.searchsorted(self.cuts, profile.standardisation.order(profile.cells), side="left")
        counts = np.zeros(self.cuts.size + 2, dtype=np.int64)
        np.add.at(counts, cell, profile.counts)
        counts[0] += profile.negative_infinity
        counts[-2] += profile.positive_infinity
        counts[-1] += profile.missing
        return counts


@dataclass(frozen=True, eq=False)
class CategoryCells:
    """The categories that have a cell, by position among the reference's; then other, then null."""

    kept: npt.NDArray[np.intp]
    names: tuple[str, ...]

    def count(self, profile: CategoricalProfile) -> Counts:
        """Rows per cell, int64 [kept + 2]."""
        own = profile.counts[self.kept]
        rest = int(profile.counts.sum() - own.sum()) + profile.other
        return np.concatenate((own, [rest, profile.null])).astype(np.int64)


@dataclass(frozen=True, eq=False)
class CellLayout:
    """The partition of every watched column, and the reference counted on it.

    `cells` by log column name, in the order of `reference.names` (which are public column labels).
    """

    profile_reference: str
    cells: dict[str, NumericCells | CategoryCells]
    reference: CellReference

    @property
    def cell_names(self) -> dict[str, tuple[str, ...]]:
        """Names of every column's cells, by public column label."""
        return {column_label(column): cells.names for column, cells in self.cells.items()}


def cell_layout(reference: Reference, exclude: Collection[str] = ()) -> CellLayout:
    """Partition of all columns of a reference but those in `exclude` (public labels) and those without rows."""
    cells: dict[str, NumericCells | CategoryCells] = {}
    counted: list[Counts] = []
    for spec in reference.columns:
        profile = reference.profile.columns.get(spec.name)
        if profile is None or profile.rows == 0 or column_label(spec.name) in exclude:
            continue
        cells[spec.name] = _cells(spec, profile)
        counted.append(_count(cells[spec.name], profile))
    if not cells:
        raise DefectError("no column to watch", where=f"reference {reference.identity}", expected="one with rows")
    names = tuple(column_label(column) for column in cells)
    sizes = tuple(len(counts) for counts in counted)
    ordered = tuple(
        size - 1 if isinstance(kind, NumericCells) else 0 for size, kind in zip(sizes, cells.values(), strict=True)
    )
    return CellLayout(reference.identity, cells, CellReference(names, sizes, ordered, flat_counts(counted)))


def cell_counts(layout: CellLayout, profile: Profile) -> Counts:
    """Rows of a profile per cell, int64 [K]; zeros for a column that the profile lacks.

    Raises DefectError for a profile of another reference.
    """
    if profile.reference != layout.profile_reference:
        raise DefectError("counts of another reference", expected=layout.profile_reference, got=profile.reference)
    counted = []
    for column, cells in layout.cells.items():
        found = profile.columns.get(column)
        counted.append(np.zeros(len(cells.names), dtype=np.int64) if found is None else _count(cells, found))
    return flat_counts(counted)


def error_counts(outcome: OutcomeProfile) -> tuple[int, int]:
    """Errors and scored rows of a classification outcome; an unknown predicted class is an error."""
    if not isinstance(outcome.sums, ClassificationSums):
        raise DefectError("errors are counted of classes", got=type(outcome.sums).__name__)
    return outcome.sums.rows - outcome.sums.hits, outcome.sums.rows


def _count(cells: NumericCells | CategoryCells, profile: ColumnProfile) -> Counts:
    if isinstance(cells, NumericCells) and isinstance(profile, NumericProfile):
        return cells.count(profile)
    if isinstance(cells, CategoryCells) and isinstance(profile, CategoricalProfile):
        return cells.count(profile)
    raise DefectError("a column changed its kind", expected=type(cells).__name__, got=type(profile).__name__)


def _cells(spec: ColumnSpec, profile: ColumnProfile) -> NumericCells | CategoryCells:
    if isinstance(profile, NumericProfile):
        return _numeric(profile, is_logit=spec.source == "logit")
    return _categories(profile)


def _numeric(profile: NumericProfile, is_logit: bool) -> NumericCells:
    lattice, counts = profile.ordered()
    if lattice.size == 0:
        return NumericCells(np.empty(0, dtype=np.int64), ("any value", "missing"))
    key = profile.standardisation.order(lattice)
    low, high = profile.standardisation.edges(lattice)
    cumulative = np.cumsum(counts)
    goals = np.arange(1, DECILES) / DECILES * cumulative[-1]
    after = np.minimum(np.searchsorted(cumulative, goals), lattice.size - 1)
    # The cell boundary nearest to each decile; a heavy value fills several and leaves fewer cuts.
    before = np.maximum(after - 1, 0)
    nearer = np.abs(cumulative[before] - goals) < np.abs(cumulative[after] - goals)
    position = np.where(nearer, before, after)
    edges = {int(key[i]): float(high[i]) for i in position if i < lattice.size - 1}
    # A value that half of the rows have is a cell by itself: a move off it is seen, however small.
    for i in np.flatnonzero(2 * counts >= cumulative[-1]):
        edges[int(key[i]) - 1], edges[int(key[i])] = float(low[i]), float(high[i])
    cuts = sorted(edges)
    shown = expit([edges[cut] for cut in cuts]) if is_logit else [edges[cut] for cut in cuts]
    return NumericCells(np.asarray(cuts, dtype=np.int64), _interval_names([f"{value:.4g}" for value in shown]))


def _interval_names(edges: list[str]) -> tuple[str, ...]:
    if not edges:
        return ("any value", "missing")
    between = [f"{low} to {high}" for low, high in itertools.pairwise(edges)]
    return (f"up to {edges[0]}", *between, f"above {edges[-1]}", "missing")


def _categories(profile: CategoricalProfile) -> CategoryCells:
    order = sorted(range(len(profile.categories)), key=lambda i: (-int(profile.counts[i]), i))
    kept = np.asarray(sorted(order[:MAXIMUM_CATEGORIES]), dtype=np.intp)
    return CategoryCells(kept, (*(profile.categories[i] for i in kept), "other", "missing"))
