"""Profile of a numeric column: counts on a float lattice fixed by the reference, and exact sums.

What lives here: the standardisation, cell arithmetic, build and merge. What must not: statistics, reading of tables.

A value's cell is the top `bits` bits of float32((x − centre) / scale): sign, exponent and the first bits of the
mantissa. Cells are at most 2^-(bits-9) of a value's distance from the centre wide (1/128 at 16 bits), so no bin edges
are stored, and every profile of the same standardisation merges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
BASE_BITS = 16
# Below this many rows sorting the cells beats counting into 65,536 of them.
_SPARSE_ROWS = 5_000
# A cell with more than this share of the reference, over differing values, asks for a finer lattice.
_HEAVY_CELL = 0.005
_MAXIMUM_BITS = 24


@dataclass(frozen=True)
class Standardisation:
    """Centre and scale of the lattice, and how many of float32's bits name a cell (16 to 24)."""

    centre: float
    scale: float
    bits: int = BASE_BITS

    @classmethod
    def of(cls, values: Floats) -> Standardisation:
        """From finite reference values: median; IQR, else p99 − p1, else max |x − median|, else 1."""
        if values.size == 0:
            return cls(0.0, 1.0)
        p01, p25, centre, p75, p99 = np.quantile(values, [0.01, 0.25, 0.5, 0.75, 0.99])
        for scale in (p75 - p25, p99 - p01, float(np.max(np.abs(values - centre)))):
            if np.isfinite(scale) and scale > 0:
                break
        else:
            scale = 1.0
        found = cls(float(centre), float(scale))
        while found.bits < _MAXIMUM_BITS and _is_too_coarse(values, found):
            found = cls(found.centre, found.scale, found.bits + 2)
        return found

    def cells(self, values: Floats) -> npt.NDArray[np.uint32]:
        """Cell of every finite value, shape as given, uint32 < 2^bits."""
        standardised = (values - self.centre) / self.scale
        np.clip(standardised, -_FLOAT32_MAX, _FLOAT32_MAX, out=standardised)
        standardised += 0.0  # −0.0 becomes 0.0: one value, one cell
        words = standardised.astype(np.float32).view(np.uint32)
        return np.right_shift(words, np.uint32(32 - self.bits))

    def edges(self, cells: npt.NDArray[np.uint32]) -> tuple[Floats, Floats]:
        """Lowest and highest value of each cell, in the column's own units."""
        shift = np.uint32(32 - self.bits)
        low = np.left_shift(cells.astype(np.uint32), shift)
        high = low | np.uint32((1 << int(shift)) - 1)
        near = np.clip(np.nan_to_num(low.view(np.float32).astype(np.float64), posinf=_FLOAT32_MAX), None, _FLOAT32_MAX)
        far = high.view(np.float32).astype(np.float64)
        far = np.where(np.isfinite(far), far, np.copysign(_FLOAT32_MAX, near))
        a, b = near * self.scale + self.centre, far * self.scale + self.centre
        return np.minimum(a, b), np.maximum(a, b)

    def order(self, cells: npt.NDArray[np.uint32]) -> Integers:
        """A key by which cells sort as their values do: negative ones descend with the bits."""
        sign = np.uint32(1 << (self.bits - 1))
        negative = (cells & sign) != 0
        magnitude = (cells & (sign - np.uint32(1))).astype(np.int64)
        return np.where(negative, -magnitude - 1, magnitude)


@dataclass(frozen=True, eq=False)
class NumericProfile:
    """Mergeable summary of a numeric column.

    `cells` (uint32, ascending) and `counts` (int64) hold the finite values; `null`, `nan`, `positive_infinity` and
    `negative_infinity` count what has no place on the lattice. Sums are about the reference's centre, in float64:
    `total` Σd, `absolute` Σ|d|, `squares` Σd² with d = x − centre. `minimum`/`maximum` are ±inf for an empty profile.
    """

    standardisation: Standardisation
    cells: npt.NDArray[np.uint32]
    counts: Integers
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
        return cls(standardisation, np.empty(0, np.uint32), np.empty(0, np.int64))

    @classmethod
    def build(cls, values: npt.NDArray[Any], standardisation: Standardisation, *, null: int = 0) -> NumericProfile:
        """Profile of values (any real dtype, nulls already taken out and counted in `null`)."""
        floats = np.asarray(values, dtype=np.float64)
        finite = np.isfinite(floats)
        nan = positive = negative = 0
        if not finite.all():
            nan = int(np.isnan(floats).sum())
            positive = int(np.isposinf(floats).sum())
            negative = int(np.isneginf(floats).sum())
            floats = floats[finite]
        if floats.size == 0:
            empty = cls.empty(standardisation)
            return cls(standardisation, empty.cells, empty.counts, null, nan, positive, negative)
        cells, counts = _count(standardisation.cells(floats), standardisation.bits)
        with np.errstate(over="ignore"):
            distance = floats - standardisation.centre
            squares = float(np.dot(distance, distance))
            return cls(
                standardisation,
                cells,
                counts,
                null,
                nan,
                positive,
                negative,
                float(distance.sum()),
                float(np.abs(distance).sum()),
                squares,
                float(floats.min()),
                float(floats.max()),
            )

    @property
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
                expected=str(self.standardisation),
                got=str(other.standardisation),
            )
        cells, counts = merge_counts(self.cells, self.counts, other.cells, other.counts)
        return NumericProfile(
            self.standardisation,
            cells,
            counts,
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

    def ordered(self) -> tuple[npt.NDArray[np.uint32], Integers]:
        """Cells and counts from the lowest value to the highest."""
        order = np.argsort(self.standardisation.order(self.cells), kind="stable")
        return self.cells[order], self.counts[order]


def merge_counts(
    cells_a: npt.NDArray[np.uint32], counts_a: Integers, cells_b: npt.NDArray[np.uint32], counts_b: Integers
) -> tuple[npt.NDArray[np.uint32], Integers]:
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


def _count(cells: npt.NDArray[np.uint32], bits: int) -> tuple[npt.NDArray[np.uint32], Integers]:
    if cells.size < _SPARSE_ROWS or bits > BASE_BITS:
        unique, counts = np.unique(cells, return_counts=True)
        return unique.astype(np.uint32), counts.astype(np.int64)
    dense = np.bincount(cells, minlength=1 << bits)
    used = np.flatnonzero(dense)
    return used.astype(np.uint32), dense[used].astype(np.int64)


def _is_too_coarse(values: Floats, standardisation: Standardisation) -> bool:
    cells = standardisation.cells(values)
    unique, counts = np.unique(cells, return_counts=True)
    for cell in unique[counts > _HEAVY_CELL * values.size]:
        inside = values[cells == cell]
        if inside.min() != inside.max():
            return True
    return False
