"""From profiles to the integer counts that evidence is weighed on.

What lives here: the partition of every column that the reference fixes (deciles and null of numbers; the most frequent
categories, other and null), counts of a profile on it, names of the cells for people. What must not: evidence.

A partition must be fixed before the data it counts: whether a value is in a cell never depends on what else came.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums, OutcomeProfile
from monitor.records import column_label
from monitor.statistics.evidence_counts import CellReference, Counts, flat_counts
from monitor.statistics.partition import Cuts, decile_cuts

# More categories than these share the cell `other`: every further cell widens the null around a finite reference.
MAXIMUM_CATEGORIES = 20


@dataclass(frozen=True, eq=False)
class NumericCells:
    """The cells between a numeric column's cuts, then one of missing values."""

    cuts: Cuts
    names: tuple[str, ...]

    def count(self, profile: NumericProfile) -> Counts:
        """Rows per cell, int64 [cuts + 2]; infinities are in the outermost cells, NaN with null."""
        return np.append(self.cuts.count(profile), profile.missing)


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
        cells[spec.name] = _cells(profile)
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


def _cells(profile: ColumnProfile) -> NumericCells | CategoryCells:
    if isinstance(profile, NumericProfile):
        cuts = decile_cuts(profile.standardisation)
        return NumericCells(cuts, (*cuts.names(), "missing"))
    return _categories(profile)


def _categories(profile: CategoricalProfile) -> CategoryCells:
    order = sorted(range(len(profile.categories)), key=lambda i: (-int(profile.counts[i]), i))
    kept = np.asarray(sorted(order[:MAXIMUM_CATEGORIES]), dtype=np.intp)
    return CategoryCells(kept, (*(profile.categories[i] for i in kept), "other", "missing"))
