"""Two numeric profiles laid beside each other, from the lowest value to the highest.

What lives here: the atoms of a lattice, counts on them, where they lie. What must not: distances.

An atom is what the lattice tells apart: a cell, or, where it holds marks of the reference, the marks themselves
(points) and the open stretches between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from monitor.profiles.lattice import Cells, Floats, Integers, Standardisation
from monitor.profiles.numeric import NumericProfile

# Cells from here on are of values below the centre.
_NEGATIVE = 1 << 31


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms in order of value that either profile has rows in; all arrays [A].

    `reference` and `current` count the finite values of each, int64. `low` and `high` are where an atom begins and ends
    in scales from the centre (`Standardisation.exact_positions`); equal for a point. `is_point`, bool, tells atoms that
    are one value: at the ends of a clipped axis a stretch of many values has no width either.
    """

    reference: Integers
    current: Integers
    low: Floats
    high: Floats
    is_point: npt.NDArray[np.bool_]

    @cached_property
    def shares(self) -> tuple[Floats, Floats]:
        """Share of the current, and of the reference's, finite values in each atom."""
        return self.current / self.current.sum(), self.reference / self.reference.sum()

    @cached_property
    def cumulative(self) -> tuple[Floats, Floats]:
        """Share of the current, and of the reference's, finite values up to the end of each atom."""
        c, r = self.shares
        return np.cumsum(c), np.cumsum(r)


def atoms(reference: NumericProfile, current: NumericProfile) -> Atoms:
    """Common atoms of two profiles of one standardisation."""
    standardisation = reference.standardisation
    own = [profile.in_order for profile in (reference, current)]
    keys = _union(own[0][0], own[1][0])
    low, high = standardisation.edges(_cells(keys))
    place, present = _marks(standardisation, keys)
    position = standardisation.mark_positions[present]
    # A mark and the stretch below it, up to the mark before it in the same cell.
    same = np.concatenate((np.zeros(min(1, place.size), bool), place[1:] == place[:-1]))
    before = np.where(same, np.concatenate((position[:1], position[:-1])), low[place])
    stretch = low.copy()
    # What is left of a cell begins at its last mark.
    stretch[place] = position
    # The atoms of a cell are, for each of its marks, the stretch below and the mark itself; then the rest.
    ordinal = np.arange(place.size)
    at_stretch = place + 2 * ordinal
    at_rest = np.arange(keys.size) + 2 * np.cumsum(np.bincount(place, minlength=keys.size))
    size = keys.size + 2 * place.size
    every_low, every_high, is_mark = np.empty(size), np.empty(size), np.zeros(size, bool)
    every_low[at_rest], every_high[at_rest] = stretch, np.maximum(high, stretch)
    every_low[at_stretch], every_high[at_stretch] = np.minimum(before, position), position
    every_low[at_stretch + 1] = every_high[at_stretch + 1] = position
    is_mark[at_stretch + 1] = True
    counts = np.empty((2, size), np.int64)
    for row, (cells, per_cell), profile in zip(counts, own, (reference, current), strict=True):
        row[at_stretch], row[at_stretch + 1] = profile.below[present], profile.equal[present]
        rest = np.zeros(keys.size, np.int64)
        rest[np.searchsorted(keys, cells)] = per_cell
        # Less what is at the marks of a cell or below them.
        np.subtract.at(rest, place, row[at_stretch] + row[at_stretch + 1])
        row[at_rest] = rest
    used = (counts > 0).any(axis=0)
    return Atoms(counts[0][used], counts[1][used], every_low[used], every_high[used], is_mark[used])


def _union(a: Integers, b: Integers) -> Integers:
    """Keys in either of two ascending arrays, ascending."""
    both = np.concatenate((a, b))
    # Two ascending runs: a stable sort merges them.
    both.sort(kind="stable")
    first = np.ones(both.size, bool)
    np.not_equal(both[1:], both[:-1], out=first[1:])
    return both[first]


def _cells(keys: Integers) -> Cells:
    """The cells of these keys: the inverse of `Standardisation.order`."""
    return np.where(keys < 0, _NEGATIVE - keys - 1, keys).astype(np.uint32)


def _marks(standardisation: Standardisation, keys: Integers) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Places among the keys of the marks whose cells are there, and which marks; ascending.

    Marks whose cell neither profile has rows in would be empty atoms.
    """
    mark_keys = standardisation.mark_keys
    place = np.searchsorted(keys, mark_keys)
    present = np.flatnonzero(keys[np.minimum(place, keys.size - 1)] == mark_keys) if keys.size else place[:0]
    return place[present], present
