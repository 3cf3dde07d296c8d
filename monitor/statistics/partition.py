"""The partition of a numeric column that its reference fixes: between deciles, with heavy values by themselves.

What lives here: cuts, counts of a profile between them, names of the cells for people. What must not: distances,
evidence.

Cell i holds the finite values after cut i − 1 up to cut i. There is a cut at each decile of the reference (the decile
belongs to the lower cell), and one just below a value that is two or more of the deciles: such a value, which a tenth
of the rows or more have, is a cell by itself. All cuts are at marks of the reference's lattice, so counts are exact.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from monitor.profiles.lattice import Standardisation
from monitor.profiles.numeric import NumericProfile

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cuts:
    """Cuts in ascending order: `marks` intp [C] are indices of the lattice's marks, `above` bool [C] says whether the
    cut is just above the mark (so that it belongs to the lower cell) or just below it; `values` float64 [C].
    """

    marks: npt.NDArray[np.intp]
    above: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float64]

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return self.marks.size + 1

    def count(self, profile: NumericProfile) -> Counts:
        """Values per cell, exact; int64 [C + 1]. Infinities are in the outermost cells; missing values in none."""
        below, up_to = profile.counts_to_marks()
        cumulative = np.where(self.above, up_to[self.marks], below[self.marks])
        counts = np.diff(np.concatenate(([0], cumulative, [profile.finite])))
        counts[0] += profile.negative_infinity
        counts[-1] += profile.positive_infinity
        return np.asarray(counts, dtype=np.int64)

    def names(self) -> tuple[str, ...]:
        """What people call each cell."""
        if not self.marks.size:
            return ("any value",)
        shown = _shown(self.values)
        first = f"up to {shown[0]}" if self.above[0] else f"below {shown[0]}"
        last = f"above {shown[-1]}" if self.above[-1] else f"from {shown[-1]}"
        between = [low if low == high else f"{low} to {high}" for low, high in itertools.pairwise(shown)]
        return (first, *between, last)


@lru_cache(maxsize=4_096)
def decile_cuts(standardisation: Standardisation) -> Cuts:
    """The cuts of a column; none where the reference had no finite value."""
    values, repeats = np.unique(np.asarray(standardisation.deciles, dtype=np.float64), return_counts=True)
    heavy = values[repeats > 1]
    every = np.concatenate((values, heavy))
    above = np.concatenate((np.ones(values.size, bool), np.zeros(heavy.size, bool)))
    order = np.lexsort((above, every))
    marks = np.searchsorted(standardisation.mark_values, every[order])
    return Cuts(marks, above[order], every[order])


def _shown(values: npt.NDArray[np.float64]) -> list[str]:
    """As few digits as tell different values apart, 4 at least."""
    different = np.unique(values).size
    for digits in (4, 6, 9, 12):
        shown = [f"{value:.{digits}g}" for value in values]
        if len(set(shown)) == different:
            return shown
    return [repr(float(value)) for value in values]
