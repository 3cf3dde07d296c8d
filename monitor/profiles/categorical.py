"""Profile of a categorical column: a count per category of the reference, others, nulls, and the new ones seen most.

What lives here: build and merge. What must not: statistics, reading of tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DefectError

Integers = npt.NDArray[np.int64]

# Categories of the reference that keep a count of their own, by frequency; rarer ones are `other`.
MAXIMUM_CATEGORIES = 1_000
# New categories kept by name (space-saving: the counts of names beyond this are upper bounds).
MAXIMUM_NEW = 32


@dataclass(frozen=True, eq=False)
class CategoricalProfile:
    """Mergeable summary of a categorical column.

    `counts` (int64) is per category of `categories`, in their order; `other` counts every value outside them, of which
    `new` names the most frequent (a merge may drop the rarest names, never a count); `null` counts nulls.
    """

    categories: tuple[str, ...]
    counts: Integers
    other: int
    null: int
    new: Mapping[str, int]

    @classmethod
    def empty(cls, categories: tuple[str, ...]) -> CategoricalProfile:
        """The identity of `merge`."""
        return cls(categories, np.zeros(len(categories), np.int64), 0, 0, {})

    @classmethod
    def build(cls, values: pa.Array | pa.ChunkedArray, categories: tuple[str, ...]) -> CategoricalProfile:
        """Profile of a string, boolean or dictionary column."""
        counted = category_counts(values)
        null = counted.pop(None, 0)
        counts = np.array([counted.pop(name, 0) for name in categories], dtype=np.int64)
        return cls(categories, counts, sum(counted.values()), null, _most(counted.items()))  # type: ignore[arg-type]

    @property
    def rows(self) -> int:
        """Every row, whatever it held."""
        return int(self.counts.sum()) + self.other + self.null

    @property
    def missing(self) -> int:
        """Nulls."""
        return self.null

    def merge(self, other: CategoricalProfile) -> CategoricalProfile:
        """Profile of both sets of rows; refuses (DefectError) a partner with other categories."""
        if other.categories != self.categories:
            raise DefectError("profiles of different references cannot be merged", got="other categories")
        names = {name: self.new.get(name, 0) + other.new.get(name, 0) for name in {*self.new, *other.new}}
        return CategoricalProfile(
            self.categories,
            self.counts + other.counts,
            self.other + other.other,
            self.null + other.null,
            _most(names.items()),
        )


def category_counts(values: pa.Array | pa.ChunkedArray) -> dict[str | None, int]:
    """How often each value occurs, as text; None for nulls."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not pa.types.is_string(values.type):
        values = values.cast(pa.string())
    table = pc.value_counts(values)
    return dict(zip(table.field("values").to_pylist(), table.field("counts").to_pylist(), strict=True))


def reference_categories(values: pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
    """Categories that get a count of their own: the most frequent, ties by name, in the order of their names."""
    counted = [(name, count) for name, count in category_counts(values).items() if name is not None]
    counted.sort(key=lambda item: (-item[1], item[0]))
    return tuple(sorted(name for name, _ in counted[:MAXIMUM_CATEGORIES]))


def _most(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    # Ties by name, so that the order of merges does not matter among equals.
    return dict(sorted(items, key=lambda item: (-item[1], item[0]))[:MAXIMUM_NEW])
