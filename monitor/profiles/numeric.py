"""Profile of a numeric column: counts on a float lattice fixed by the reference, exact at its marks, and exact sums.

What lives here: the profile, its build, merge and order. What must not: statistics, reading of tables.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError
from monitor.profiles.lattice import (
    COARSE_CELLS,
    FLOAT32_MAX,
    NEGATIVE_ZERO,
    Cells,
    Floats,
    Integers,
    Layout,
    Standardisation,
    on_axis,
)

# Values that are counted in one go: few enough for a core's caches, many enough that calls cost little.
_CHUNK = 1 << 15
# Below this many rows sorting the cells beats counting into 65,536 of them.
_SPARSE_ROWS = 5_000
# Values whose cells wait to be counted together, 512 kB: setting up 65,536 counts then costs them next to nothing.
_WAITING_VALUES = 1 << 18
# Where the sign, exponent and first bits of a float32 lie among its two halves.
_HIGH = 1 if sys.byteorder == "little" else 0


@dataclass(frozen=True, eq=False)
class NumericProfile:
    """Mergeable summary of a numeric column.

    `cells` (uint32, ascending) and `counts` (int64) hold the finite values; `null`, `nan`, `positive_infinity` and
    `negative_infinity` count what has no place on the lattice. Of the values in the cell of a mark, `equal` (int64 [M])
    counts those equal to it, `below` (int64 [M]) those below it and above the mark before it in the same cell. Sums are
    about the reference's centre, in float64: `total` Σd, `absolute` Σ|d|, `squares` Σd² with d = axis(x) − centre.
    `minimum`/`maximum` are ±inf for an empty profile.
    """

    standardisation: Standardisation
    cells: Cells
    counts: Integers
    below: Integers
    equal: Integers
    null: int = 0
    nan: int = 0
    positive_infinity: int = 0
    negative_infinity: int = 0
    total: float = 0.0
    absolute: float = 0.0
    squares: float = 0.0
    minimum: float = float("inf")
    maximum: float = float("-inf")

    @classmethod
    def empty(cls, standardisation: Standardisation) -> NumericProfile:
        """The identity of `merge`."""
        marks = np.zeros(len(standardisation.marks), np.int64)
        return cls(standardisation, np.empty(0, np.uint32), np.empty(0, np.int64), marks, marks)

    @classmethod
    def build(cls, values: npt.NDArray[Any], standardisation: Standardisation, *, null: int = 0) -> NumericProfile:
        """Profile of values (any real dtype, nulls already taken out and counted in `null`)."""
        tally = NumericTally(standardisation)
        tally.add(values, null=null)
        return tally.profile()

    @cached_property
    def finite(self) -> int:
        """How many values lie on the lattice."""
        return int(self.counts.sum())

    @property
    def missing(self) -> int:
        """Nulls and NaNs."""
        return self.null + self.nan

    @property
    def rows(self) -> int:
        """Every row, whatever it held."""
        return self.finite + self.missing + self.positive_infinity + self.negative_infinity

    def merge(self, other: NumericProfile) -> NumericProfile:
        """Profile of both sets of rows; refuses (DefectError) a partner of another standardisation."""
        if other.standardisation != self.standardisation:
            raise DefectError(
                "profiles of different references cannot be merged",
                expected=_named(self.standardisation),
                got=_named(other.standardisation),
            )
        cells, counts = merge_counts(self.cells, self.counts, other.cells, other.counts)
        return NumericProfile(
            self.standardisation,
            cells,
            counts,
            self.below + other.below,
            self.equal + other.equal,
            self.null + other.null,
            self.nan + other.nan,
            self.positive_infinity + other.positive_infinity,
            self.negative_infinity + other.negative_infinity,
            self.total + other.total,
            self.absolute + other.absolute,
            self.squares + other.squares,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
        )

    def counts_to_marks(self) -> tuple[Integers, Integers]:
        """Finite values below each mark, and at most equal to it; exact, int64 [M] each."""
        return self._to_marks

    @cached_property
    def in_order(self) -> tuple[Integers, Integers]:
        """Where the cells stand (`Standardisation.order`), ascending, and their counts.

        Cells ascend as unsigned numbers: first those above the centre, upwards, then those below it, downwards.
        """
        keys = self.standardisation.order(self.cells)
        above = int(np.searchsorted(self.cells, np.uint32(1 << 31)))
        return (
            np.concatenate((keys[above:][::-1], keys[:above])),
            np.concatenate((self.counts[above:][::-1], self.counts[:above])),
        )

    @cached_property
    def _to_marks(self) -> tuple[Integers, Integers]:
        keys, counts = self.in_order
        before = np.concatenate(([0], np.cumsum(counts)))
        start = before[np.searchsorted(keys, self.standardisation.mark_keys, side="left")]
        inside = np.cumsum(self.below + self.equal)
        layout = self.standardisation.layout
        # What the groups of marks before this one hold is in `start` already.
        earlier = np.repeat(np.concatenate(([0], inside))[layout.group_first], layout.group_size)
        up_to = start + inside - earlier
        return up_to - self.equal, up_to


class NumericTally:
    """Counts of a numeric column while its values arrive.

    Not safe for several threads: each has its own, and their profiles are merged.
    """

    def __init__(self, standardisation: Standardisation) -> None:
        self.standardisation = standardisation
        layout = standardisation.layout
        self._layout: Layout = layout
        # Coarse cells of values, as they are until there are so many that counting all 65,536 cells costs little.
        self._waiting: list[npt.NDArray[np.uint16]] = []
        self._waiting_values = 0
        self._coarse: Integers | None = None
        # By slot: below its mark, equal to it, above it. `_only` counts values that are in no coarse count.
        self._sides = np.zeros((layout.limit.size, 3), np.int64)
        self._only = np.zeros(layout.limit.size, np.int64)
        self._parts = np.zeros(layout.parts.size, np.int64)
        # In slots that are refined or hold several marks: below each mark and equal to it, by turns.
        self._marks = np.zeros(2 * layout.marks.size, np.int64)
        self.null = self.nan = self.positive_infinity = self.negative_infinity = 0
        self._total = self._absolute = self._squares = 0.0
        self._minimum, self._maximum = float("inf"), float("-inf")

    def add(self, values: npt.NDArray[Any], *, null: int = 0) -> None:
        """Count values (any real dtype); `null` of them had none and are not among `values`."""
        self.null += null
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            for start in range(0, len(values), _CHUNK):
                self._add(np.asarray(values[start : start + _CHUNK], dtype=np.float64))

    def _add(self, values: Floats) -> None:
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            values = self._take_out_what_is_not_finite(values)
            if values.size == 0:
                return
            low, high = float(values.min()), float(values.max())
        self._minimum, self._maximum = min(self._minimum, low), max(self._maximum, high)
        z = on_axis(values, self.standardisation.axis) - self.standardisation.centre
        self._total += float(z.sum())
        # Not z @ z: a linear algebra library wakes threads for it that wait for each other.
        self._squares += float(np.einsum("i,i->", z, z))
        self._absolute += float(np.abs(z).sum())
        z /= self.standardisation.scale
        if self._may_overflow(low, high):
            np.clip(z, -FLOAT32_MAX, FLOAT32_MAX, out=z)
        words = z.astype(np.float32).view(np.uint32)
        coarse = words.view(np.uint16)[_HIGH::2].copy()
        slot = self._layout.special.take(coarse)
        # Of truth values NumPy finds the true ones seven times as fast as of numbers those that are not 0.
        second = np.flatnonzero(slot > 0)
        # A column of few values is counted at its marks only: counts of one cell again and again wait for each other.
        only = 2 * second.size > values.size
        self._count_coarse(coarse[slot == 0] if only else coarse)
        if second.size == values.size:
            self._look_closer(values, words, slot.astype(np.intp), only)
        elif second.size:
            self._look_closer(values[second], words[second], slot[second].astype(np.intp), only)

    def _may_overflow(self, low: float, high: float) -> bool:
        """Whether a position between those of two values is beyond float32's range."""
        cells = self.standardisation
        farthest = max(abs(low - cells.centre), abs(high - cells.centre)) / cells.scale
        # Not `>=`: what is no number must be clipped too.
        return cells.axis == "value" and not farthest < FLOAT32_MAX

    def _take_out_what_is_not_finite(self, values: Floats) -> Floats:
        finite = np.isfinite(values)
        odd = values[~finite]
        nan = int(np.isnan(odd).sum())
        positive = int((odd > 0).sum())
        self.nan += nan
        self.positive_infinity += positive
        self.negative_infinity += odd.size - nan - positive
        return values[finite]

    def _count_coarse(self, coarse: npt.NDArray[np.uint16]) -> None:
        self._waiting.append(coarse)
        self._waiting_values += coarse.size
        if self._waiting_values >= _WAITING_VALUES:
            self._flush()

    def _flush(self) -> None:
        counts = np.bincount(np.concatenate(self._waiting), minlength=COARSE_CELLS)
        self._coarse = counts if self._coarse is None else np.add(self._coarse, counts, out=self._coarse)
        self._waiting.clear()
        self._waiting_values = 0

    def _look_closer(self, values: Floats, words: Cells, slot: npt.NDArray[np.intp], only: bool) -> None:
        layout = self._layout
        limit = layout.limit.take(slot)
        code = 3 * slot
        code += values > limit
        code += values >= limit
        sides = np.bincount(code, minlength=self._sides.size).reshape(-1, 3)
        self._sides += sides
        if only:
            self._only += sides.sum(axis=1)
        if layout.has_complex:
            rest = np.flatnonzero(layout.is_complex.take(slot))
            if rest.size:
                self._look_closest(values[rest], words[rest], slot[rest])

    def _look_closest(self, values: Floats, words: Cells, slot: npt.NDArray[np.intp]) -> None:
        layout = self._layout
        group = layout.group.take(slot)
        if layout.parts.size:
            split = np.flatnonzero(layout.first_part.take(slot) >= 0)
            within = (words[split] & np.uint32(0xFFFF)) >> (np.uint32(16) - layout.extra_bits.take(slot[split]))
            part = layout.first_part.take(slot[split]) + within
            self._parts += np.bincount(part, minlength=layout.parts.size)
            group[split] = layout.part_group.take(part)
            marked = np.flatnonzero(group >= 0)
            values, group = values[marked], group[marked]
        mark = layout.group_first.take(group)
        several = np.flatnonzero(layout.group_size.take(group) > 1)
        if several.size:
            # The first mark that is not below the value, or the last of the group.
            found = np.searchsorted(layout.marks, values[several], side="left")
            last = mark[several] + layout.group_size.take(group[several]) - 1
            mark[several] = np.minimum(found, last)
        limit = layout.marks.take(mark)
        inside = values <= limit
        code = 2 * mark[inside] + (values[inside] == limit[inside])
        self._marks += np.bincount(code, minlength=self._marks.size)

    def profile(self) -> NumericProfile:
        """The profile of everything added so far."""
        layout = self._layout
        coarse, counts = self._coarse_counts()
        used_parts = np.flatnonzero(self._parts)
        cells = np.concatenate((coarse.astype(np.uint32) << np.uint32(16), layout.parts[used_parts]))
        counts = np.concatenate((counts, self._parts[used_parts]))
        if used_parts.size:
            order = np.argsort(cells, kind="stable")
            cells, counts = cells[order], counts[order]
        marks = self._marks.reshape(-1, 2).copy()
        simple = layout.simple_slots
        marks[layout.group_first[layout.group[simple]]] += self._sides[simple, :2]
        return NumericProfile(
            self.standardisation,
            cells,
            counts,
            marks[:, 0].copy(),
            marks[:, 1].copy(),
            self.null,
            self.nan,
            self.positive_infinity,
            self.negative_infinity,
            self._total,
            self._absolute,
            self._squares,
            self._minimum,
            self._maximum,
        )

    def _coarse_counts(self) -> tuple[npt.NDArray[np.intp], Integers]:
        """Coarse cells that are not refined and hold values, ascending, and how many."""
        if self._coarse is None and self._waiting_values < _SPARSE_ROWS:
            every = np.concatenate((*self._waiting, np.empty(0, np.uint16)))
            every[every == NEGATIVE_ZERO] = 0
            few, counts = np.unique(every, return_counts=True)
            cells = few.astype(np.intp)
        else:
            if self._waiting:
                self._flush()
            assert self._coarse is not None
            dense = self._coarse.copy()
            dense[0] += dense[NEGATIVE_ZERO]
            dense[NEGATIVE_ZERO] = 0
            cells = np.flatnonzero(dense)
            counts = dense[cells]
        own = np.flatnonzero(self._only)
        if own.size:
            cells = np.concatenate((cells, self._layout.slot_cell[own]))
            counts = np.concatenate((counts, self._only[own]))
            cells, place = np.unique(cells, return_inverse=True)
            counts = np.bincount(place, weights=counts).astype(np.int64)
        if self.standardisation.refined:
            kept = ~np.isin(cells, [cell for cell, _ in self.standardisation.refined])
            cells, counts = cells[kept], counts[kept]
        return cells, counts.astype(np.int64)


def merge_counts(cells_a: Cells, counts_a: Integers, cells_b: Cells, counts_b: Integers) -> tuple[Cells, Integers]:
    """Sum of two sparse histograms with ascending cells."""
    if cells_a.size == 0:
        return cells_b, counts_b
    if cells_b.size == 0:
        return cells_a, counts_a
    if cells_a.size == cells_b.size and np.array_equal(cells_a, cells_b):
        return cells_a, counts_a + counts_b
    cells = np.concatenate((cells_a, cells_b))
    order = np.argsort(cells, kind="stable")
    cells, counts = cells[order], np.concatenate((counts_a, counts_b))[order]
    first = np.flatnonzero(np.concatenate(([True], cells[1:] != cells[:-1])))
    return cells[first], np.add.reduceat(counts, first)


def _named(standardisation: Standardisation) -> str:
    shown = f"{standardisation.axis} about {standardisation.centre!r} in {standardisation.scale!r}"
    return f"{shown}, {len(standardisation.refined)} refined cells, {len(standardisation.marks)} marks"
