"""In which cell of its reference each value of each column lies, row by row: what counts per segment are made of.

What lives here: the cells of all columns laid end to end, and the cell of every row. What must not: counts, segments.

The cells are those that drift is measured on: between the deciles of a number's reference, missing ones last; the
categories of the reference, then others, then nulls. All their edges are marks of the column's lattice, so that what is
counted here for the rows of a segment is what its own whole profile would give, without its being kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.profiles.arrow_values import numbers
from monitor.profiles.categorical import category_places
from monitor.profiles.columns import Batch, ColumnSpec, row_uncertainty
from monitor.records import ModelSchema

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SegmentCells:
    """The cells of all columns of a reference, end to end in the order of its columns."""

    schema: ModelSchema
    columns: tuple[ColumnSpec, ...]

    @cached_property
    def edges(self) -> tuple[tuple[Floats, Floats], ...]:
        """Of each numeric column the values that end its cells (see `_edges`); nothing of a categorical one."""
        return tuple(_edges(spec.standardisation.deciles if spec.standardisation else ()) for spec in self.columns)

    @cached_property
    def sizes(self) -> Integers:
        """Cells of each column, int64 [C]: one more than there are edges, and missing; or others and nulls."""
        pairs = zip(self.columns, self.edges, strict=True)
        cells = [len(spec.categories or ()) + sum(part.size for part in edges) + 2 for spec, edges in pairs]
        return np.array(cells, dtype=np.int64)

    @cached_property
    def offsets(self) -> Integers:
        """First cell of each column, and after the last one the number of all, int64 [C + 1]."""
        return np.concatenate(([0], np.cumsum(self.sizes))).astype(np.int64)

    @property
    def total(self) -> int:
        """Cells of all columns together."""
        return int(self.offsets[-1])

    def places(self, batch: Batch) -> Iterator[tuple[int, Integers]]:
        """(number of the column, cell of every row within it, int64 [n]) of the columns that the batch has."""
        present = set(batch.schema.names)
        derived = row_uncertainty(self.schema, batch) if any(spec.source != "column" for spec in self.columns) else None
        for number, spec in enumerate(self.columns):
            if spec.standardisation is None:
                if spec.name in present:
                    yield number, category_places(batch.column(spec.name), spec.categories or ())
                continue
            if spec.source == "column":
                values = _every_row(batch.column(spec.name)) if spec.name in present else None
            else:
                values = None if derived is None else derived[spec.source]
            if values is not None:
                yield number, _places(values, *self.edges[number])


def _edges(deciles: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Values that belong to the cell below them, and those that are several deciles and so a cell by themselves."""
    values, repeats = np.unique(np.asarray(deciles, dtype=np.float64), return_counts=True)
    return values, values[repeats > 1]


def _places(values: Floats, every: Floats, heavy: Floats) -> Integers:
    places = np.searchsorted(every, values, side="left").astype(np.int64)
    if heavy.size:
        places += np.searchsorted(heavy, values, side="right")
    places[np.isnan(values)] = every.size + heavy.size + 1
    return places


def _every_row(column: pa.Array | pa.ChunkedArray) -> Floats | None:
    """float64 of every row, NaN where there is none; None where the type is no number and no time."""
    found = numbers(column)
    if found is None:
        return None
    if not found[1]:
        return found[0]
    values = np.full(len(column), np.nan)
    mask = pc.is_valid(column)
    mask = mask.combine_chunks() if isinstance(mask, pa.ChunkedArray) else mask
    values[np.asarray(mask.to_numpy(zero_copy_only=False), dtype=bool)] = found[0]
    return values
