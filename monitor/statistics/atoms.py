"""Two numeric profiles laid beside each other, from the lowest value to the highest.

What lives here: the atoms of a lattice, counts on them, where they lie. What must not: distances.

An atom is what the lattice tells apart: a cell, or, where it holds marks of the reference, the marks themselves
(points) and the open stretches between them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.profiles.lattice import Cells, Floats, Integers
from monitor.profiles.numeric import NumericProfile


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


def atoms(reference: NumericProfile, current: NumericProfile) -> Atoms:
    """Common atoms of two profiles of one standardisation."""
    standardisation = reference.standardisation
    cells = np.union1d(reference.cells, current.cells).astype(np.uint32)
    cells = cells[np.argsort(standardisation.order(cells), kind="stable")]
    low, high = standardisation.edges(cells)
    keys = standardisation.order(cells)
    mark_keys = standardisation.order(standardisation.mark_cells)
    place = np.searchsorted(keys, mark_keys)
    # Marks whose cell neither profile has rows in would be empty atoms.
    present = np.flatnonzero(keys[np.minimum(place, cells.size - 1)] == mark_keys) if cells.size else place[:0]
    place, position = place[present], standardisation.mark_positions[present]
    own = [_own(cells, profile, place, present) for profile in (reference, current)]
    # A mark and the stretch below it, up to the mark before it in the same cell.
    same = np.concatenate((np.zeros(min(1, place.size), bool), place[1:] == place[:-1]))
    before = np.where(same, np.concatenate((position[:1], position[:-1])), low[place])
    stretch = low.copy()
    # What is left of a cell begins at its last mark.
    stretch[place] = position
    every_low = np.concatenate((stretch, np.minimum(before, position), position))
    every_high = np.concatenate((np.maximum(high, stretch), position, position))
    is_mark = np.arange(every_low.size) >= cells.size + place.size
    cell_of = np.concatenate((np.arange(cells.size), place, place))
    turn = np.arange(place.size)
    within = np.concatenate((np.full(cells.size, 2 * place.size), 2 * turn, 2 * turn + 1))
    order = np.lexsort((within, cell_of))
    r, c = (
        np.concatenate((rest, profile.below[present], profile.equal[present]))[order]
        for rest, profile in zip(own, (reference, current), strict=True)
    )
    used = (r > 0) | (c > 0)
    return Atoms(r[used], c[used], every_low[order][used], every_high[order][used], is_mark[order][used])


def _own(cells: Cells, profile: NumericProfile, place: npt.NDArray[np.intp], marks: npt.NDArray[np.intp]) -> Integers:
    """Counts per cell, less what is at its marks or below them."""
    standardisation = profile.standardisation
    counts = np.zeros(cells.size, np.int64)
    counts[np.searchsorted(standardisation.order(cells), standardisation.order(profile.cells))] = profile.counts
    np.subtract.at(counts, place, (profile.below + profile.equal)[marks])
    return counts
