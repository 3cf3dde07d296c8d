"""The float lattice of a numeric column: which cell a value falls in, fixed once by the reference.

What lives here: the standardisation, cell arithmetic, the look-up tables for counting. What must not: how a
standardisation is chosen (`standardise`), counts, statistics, Arrow.

A value x has the position z = float32((axis(x) − centre) / scale), and its cell is the first 16 bits of z: sign,
exponent and 7 bits of mantissa, so a cell is at most 1/128 of the value's distance from the centre wide and no bin
edges are stored. Two things sharpen it where the reference shows that it is too coarse:

- *Refined cells.* A cell that holds more than 0.5 % of the reference in differing values is split by up to 16 more of
  z's bits, alone: tight clusters far from the centre keep their shape, and all other values cost what they cost before.
- *Marks.* Exact values of the reference at which cells are cut into below, equal and above: its deciles (so counts
  between deciles are exact, not binned), single values that more than 0.5 % of the rows have (so discrete columns are
  exact), its minimum and maximum (so what lies outside its range is exact).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Cells = npt.NDArray[np.uint32]
Axis = Literal["value", "logit"]

FLOAT32_MAX = float(np.finfo(np.float32).max)
COARSE_CELLS = 1 << 16
# Probabilities are laid out on the logit, clipped to ±16 (1e-7): near 0 and 1 is where a classifier's drift shows.
LOGIT_LIMIT = 16.0
# The coarse cell of −0.0 and of what rounds to it; counted with cell 0.
NEGATIVE_ZERO = 0x8000
_ULP = 2.0**-24


@dataclass(frozen=True)
class Standardisation:
    """Axis, centre and scale of a column's lattice, its refined cells, and its marks.

    `centre` and `scale` are on the axis (of the logit for probabilities), `marks` and `deciles` are values of the
    column itself, ascending. `refined` pairs a coarse cell with the number of further bits (1–16) that split it.
    `deciles` are the nine deciles of the finite reference values, repeats included; each is a mark too.
    """

    centre: float
    scale: float
    axis: Axis = "value"
    refined: tuple[tuple[int, int], ...] = ()
    marks: tuple[float, ...] = ()
    deciles: tuple[float, ...] = ()

    def positions(self, values: Floats) -> npt.NDArray[np.float32]:
        """z of every finite value, float32 of the same shape, clipped to float32's range."""
        return self.exact_positions(values).astype(np.float32)

    def exact_positions(self, values: Floats) -> Floats:
        """(axis(x) − centre) / scale before it is rounded to float32, clipped to float32's range."""
        with np.errstate(over="ignore", under="ignore"):
            z = (on_axis(values, self.axis) - self.centre) / self.scale
            return np.asarray(np.clip(z, -FLOAT32_MAX, FLOAT32_MAX, out=z))

    def cells(self, values: Floats) -> Cells:
        """Cell of every finite value: the lowest |z| in it as float32 bits, uint32; −0.0 and 0.0 share cell 0."""
        words = self.positions(values).view(np.uint32)
        coarse = words >> np.uint32(16)
        words &= ~np.uint32(0) << (16 - self.extra_bits[coarse]).astype(np.uint32)
        words[coarse == NEGATIVE_ZERO] = 0
        return words

    def edges(self, cells: Cells) -> tuple[Floats, Floats]:
        """Lowest and highest exact position that rounds into each cell, in units of the scale from the centre."""
        near = cells.view(np.float32).astype(np.float64)
        free = (16 - self.extra_bits[cells >> np.uint32(16)]).astype(np.uint32)
        with np.errstate(invalid="ignore"):
            far = (cells + (np.uint32(1) << free)).view(np.float32).astype(np.float64)
        far = np.where(np.isfinite(far), far, np.copysign(FLOAT32_MAX, near))
        near = near * (1 - _ULP)
        # Cell 0 also holds the positions that round to −0.0 in its resolution.
        low = np.where(cells == 0, -far, np.minimum(near, far))
        return low, np.maximum(near, far)

    def order(self, cells: Cells) -> Integers:
        """A key by which cells sort as their values do: float32 bits with negative ones descending."""
        magnitude = (cells & np.uint32(0x7FFFFFFF)).astype(np.int64)
        return np.where(cells >> np.uint32(31) != 0, -magnitude - 1, magnitude)

    @cached_property
    def extra_bits(self) -> npt.NDArray[np.uint8]:
        """Bits that split each coarse cell further, uint8 [65536]; 0 for most."""
        bits = np.zeros(COARSE_CELLS, dtype=np.uint8)
        for cell, extra in self.refined:
            bits[cell] = extra
        return bits

    @cached_property
    def layout(self) -> Layout:
        """The tables by which values are counted; built on first use."""
        return Layout.of(self)

    @cached_property
    def mark_values(self) -> Floats:
        """The marks, float64 [M]."""
        return np.asarray(self.marks, dtype=np.float64)

    @cached_property
    def mark_cells(self) -> Cells:
        """The cell of every mark, uint32 [M]."""
        return self.cells(self.mark_values)

    @cached_property
    def mark_keys(self) -> Integers:
        """Where the cell of every mark stands in `order`, int64 [M], ascending."""
        return self.order(self.mark_cells)

    @cached_property
    def mark_positions(self) -> Floats:
        """The exact position of every mark, float64 [M]."""
        return self.exact_positions(self.mark_values)


@dataclass(frozen=True, eq=False)
class Layout:
    """Look-up tables: which coarse cells need a second look, and what it is.

    `special` uint16 [65536]: 0, or the slot of a coarse cell that is refined or holds marks. Per slot (from 1; entry 0
    means nothing): `slot_cell` intp, the coarse cell; `extra_bits` uint32 and `first_part` int64 (−1: not refined)
    number its parts among `parts` uint32 (their cells); `group` int64, the group of marks in it (−1: none).
    `part_group` int64 is that of every part. A group is the marks that share one cell: `group_first` and `group_size`
    int64, indices into the ascending `marks`. Most slots are *simple*, unrefined with one mark: `limit` float64 is that
    mark (NaN for the others), and `is_complex` bool tells the others.
    """

    special: npt.NDArray[np.uint16]
    slot_cell: npt.NDArray[np.intp]
    extra_bits: npt.NDArray[np.uint32]
    first_part: Integers
    group: Integers
    limit: Floats
    is_complex: npt.NDArray[np.bool_]
    parts: Cells
    part_group: Integers
    group_first: Integers
    group_size: Integers
    marks: Floats

    @classmethod
    def of(cls, standardisation: Standardisation) -> Layout:
        """Tables of a standardisation."""
        marks, mark_cells = standardisation.mark_values, standardisation.mark_cells
        is_first = np.ones(marks.size, dtype=bool)
        is_first[1:] = mark_cells[1:] != mark_cells[:-1]
        starts = np.flatnonzero(is_first)
        group_cells, sizes = mark_cells[starts], np.diff(np.append(starts, marks.size))
        refined = dict(standardisation.refined)
        coarse = np.concatenate((group_cells >> np.uint32(16), np.fromiter(refined, np.uint32, len(refined))))
        # With counts, as NumPy imports its masked arrays (40 ms) to find unique values alone.
        coarse = np.unique(coarse, return_counts=True)[0]
        slot_cell = np.concatenate(([0], coarse)).astype(np.intp)
        special = np.zeros(COARSE_CELLS, dtype=np.uint16)
        special[slot_cell[1:]] = np.arange(1, slot_cell.size)
        special[NEGATIVE_ZERO] = special[0]
        extra = np.array([0, *(refined.get(cell, 0) for cell in coarse.tolist())], dtype=np.uint32)
        count = np.where(extra > 0, 1 << extra.astype(np.int64), 0)
        first = np.where(extra > 0, np.cumsum(count) - count, -1)
        names = [
            np.uint32(cell << 16) | (np.arange(1 << bits, dtype=np.uint32) << np.uint32(16 - bits))
            for cell, bits in zip(slot_cell.tolist(), extra.tolist(), strict=True)
            if bits
        ]
        parts = np.concatenate(names) if names else np.empty(0, np.uint32)
        group = np.full(slot_cell.size, -1, dtype=np.int64)
        part_group = np.full(parts.size, -1, dtype=np.int64)
        for number, cell in enumerate(group_cells.tolist()):
            slot = int(special[cell >> 16])
            if extra[slot]:
                part_group[first[slot] + ((cell & 0xFFFF) >> (16 - int(extra[slot])))] = number
            else:
                group[slot] = number
        simple = np.zeros(slot_cell.size, dtype=bool)
        simple[group >= 0] = sizes[group[group >= 0]] == 1
        limit = np.full(slot_cell.size, np.nan)
        limit[simple] = marks[starts[group[simple]]]
        is_complex = ~simple
        is_complex[0] = False
        return cls(special, slot_cell, extra, first, group, limit, is_complex, parts, part_group, starts, sizes, marks)

    @cached_property
    def simple_slots(self) -> npt.NDArray[np.intp]:
        """Slots that are not refined and hold one mark."""
        return np.flatnonzero(~np.isnan(self.limit))

    @cached_property
    def has_complex(self) -> bool:
        """Whether any slot is refined or holds several marks."""
        return bool(self.is_complex.any())


def on_axis(values: npt.NDArray[Any], axis: Axis) -> Floats:
    """Values as the lattice sees them: themselves, or ln(p / (1 − p)) clipped to ±16 (p outside 0–1 at the ends)."""
    if axis == "value":
        return values.astype(np.float64, copy=False)
    with np.errstate(divide="ignore"):
        p = np.clip(values, 0.0, 1.0)
        return np.asarray(np.clip(np.log(p) - np.log1p(-p), -LOGIT_LIMIT, LOGIT_LIMIT), dtype=np.float64)


def from_axis(values: Floats, axis: Axis) -> Floats:
    """The column's own values of points on its axis: the inverse of `on_axis` away from its clipped ends."""
    if axis == "value":
        return values
    return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)
