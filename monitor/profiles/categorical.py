"""Profile of a categorical column: a count per category of the reference, others, nulls, and the new ones seen most.

What lives here: build and merge. What must not: statistics, reading of tables.

Counts of the reference's categories, of others and of nulls are exact. Names among the others are kept in bounded room
by the algorithm of Misra and Gries (1982), which merges (Agarwal et al., 2012): a kept count is at most `new_error`
below the true one, and every name with more rows than that is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DefectError

Integers = npt.NDArray[np.int64]

# Categories of the reference that keep a count of their own, by frequency; rarer ones are `other`.
MAXIMUM_CATEGORIES = 1_000
# New categories kept by name.
MAXIMUM_NEW = 256


@dataclass(frozen=True, eq=False)
class CategoricalProfile:
    """Mergeable summary of a categorical column.

    `counts` (int64) is per category of `categories`, in their order; `other` counts every value outside them, of which
    `new` names the most frequent: their true counts are at most `new_error` more. `null` counts nulls.
    """

    categories: tuple[str, ...]
    counts: Integers
    other: int
    null: int
    new: Mapping[str, int]
    new_error: int = 0

    @classmethod
    def empty(cls, categories: tuple[str, ...]) -> CategoricalProfile:
        """The identity of `merge`."""
        return cls(categories, np.zeros(len(categories), np.int64), 0, 0, {})

    @classmethod
    def build(cls, values: pa.Array | pa.ChunkedArray, categories: tuple[str, ...]) -> CategoricalProfile:
        """Profile of a string, boolean, whole number or dictionary column; values of another type count as other."""
        tally = CategoricalTally(categories)
        for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
            tally.add(chunk)
        return tally.profile()

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
        new, lost = _bounded(names)
        return CategoricalProfile(
            self.categories,
            self.counts + other.counts,
            self.other + other.other,
            self.null + other.null,
            new,
            self.new_error + other.new_error + lost,
        )


class CategoricalTally:
    """Counts of a categorical column while its values arrive."""

    def __init__(self, categories: tuple[str, ...]) -> None:
        self.categories = categories
        self._known = pa.array(categories, pa.string())
        # One entry more for values that are none of the categories.
        self._counts = np.zeros(len(categories) + 1, np.int64)
        self._null = 0
        self._new: dict[str, int] = {}
        self._new_error = 0

    def add(self, values: pa.Array) -> None:
        """Count values; those of a type without text (bytes, lists) are `other` without a name."""
        encoded = _encoded(values) if values.null_count < len(values) else None
        if encoded is None:
            self._null += values.null_count
            self._counts[-1] += len(values) - values.null_count
            return
        self._null += encoded.null_count
        indices = encoded.indices.drop_null() if encoded.indices.null_count else encoded.indices
        entries = np.bincount(indices.to_numpy(zero_copy_only=False), minlength=len(encoded.dictionary))
        place = pc.index_in(encoded.dictionary, value_set=self._known).fill_null(len(self.categories))
        position = place.to_numpy(zero_copy_only=False)
        # Whole numbers in float64 are exact far beyond the rows of a batch.
        self._counts += np.bincount(position, weights=entries, minlength=self._counts.size).astype(np.int64)
        new = np.flatnonzero((position == len(self.categories)) & (entries > 0))
        if new.size:
            self._count_new(encoded.dictionary, new, entries[new])

    def _count_new(self, names: pa.Array, place: npt.NDArray[np.intp], counts: Integers) -> None:
        if place.size > MAXIMUM_NEW:
            # The same as for a merge, before a name becomes a Python string.
            lost = int(np.partition(counts, -MAXIMUM_NEW - 1)[-MAXIMUM_NEW - 1])
            place, counts = place[counts > lost], counts[counts > lost] - lost
            self._new_error += lost
        for name, count in zip(names.take(pa.array(place)).to_pylist(), counts.tolist(), strict=True):
            self._new[name] = self._new.get(name, 0) + count
        self._new, lost = _bounded(self._new)
        self._new_error += lost

    def profile(self) -> CategoricalProfile:
        """The profile of everything added so far."""
        counts, new = self._counts[:-1].copy(), dict(sorted(self._new.items()))
        return CategoricalProfile(self.categories, counts, int(self._counts[-1]), self._null, new, self._new_error)


def _encoded(values: pa.Array) -> pa.DictionaryArray | None:
    """Values as a dictionary of text; None where they have no text."""
    dictionary = pa.types.is_dictionary(values.type)
    kind = values.type.value_type if dictionary else values.type
    if pa.types.is_floating(kind):
        # 1.0 is what a data frame makes of the class 1 as soon as a value is missing.
        values, dictionary = _whole_numbers(values.cast(pa.float64())), False
    elif pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return None
    try:
        if not dictionary:
            return (values if pa.types.is_string(values.type) else values.cast(pa.string())).dictionary_encode()
        names = values.dictionary
        if not pa.types.is_string(names.type):
            values = pa.DictionaryArray.from_arrays(values.indices, names.cast(pa.string()))
        if values.dictionary.null_count:
            # A null entry of the dictionary is a null; to be told before they are counted.
            return values.cast(pa.string()).dictionary_encode()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None
    return values


def _whole_numbers(values: pa.Array) -> pa.Array:
    floats = np.asarray(values.to_numpy(zero_copy_only=False), dtype=np.float64)
    whole = np.isfinite(floats) & (np.abs(floats) < 2**53) & (floats == np.floor(floats))
    if not (whole | np.isnan(floats)).all():
        return values
    return pa.array(np.where(whole, floats, 0).astype(np.int64), mask=~whole)


def category_places(values: pa.Array | pa.ChunkedArray, categories: tuple[str, ...]) -> Integers:
    """Place of every row among the categories, int64 [n]: their number for any other value, one more for a null."""
    other, null = len(categories), len(categories) + 1
    known = pa.array(categories, pa.string())
    parts = [np.empty(0, np.int64)]
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        encoded = _encoded(chunk) if chunk.null_count < len(chunk) else None
        if encoded is None:
            valid = np.asarray(chunk.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
            parts.append(np.where(valid, other, null).astype(np.int64))
            continue
        entries = pc.index_in(encoded.dictionary, value_set=known).fill_null(other).to_numpy(zero_copy_only=False)
        lookup = np.append(np.asarray(entries, dtype=np.int64), null)
        parts.append(lookup[encoded.indices.fill_null(lookup.size - 1).to_numpy(zero_copy_only=False)])
    return np.concatenate(parts)


def reference_categories(values: pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
    """Categories that get a count of their own: the most frequent, ties by name, in the order of their names."""
    order = sorted(category_counts(values).items(), key=lambda item: (-item[1], item[0]))
    return tuple(sorted(name for name, _ in order[:MAXIMUM_CATEGORIES]))


def category_counts(values: pa.Array | pa.ChunkedArray) -> dict[str, int]:
    """How many rows have each value; nulls, and values of a type without text, are none."""
    counted: dict[str, int] = {}
    for chunk in values.chunks if isinstance(values, pa.ChunkedArray) else [values]:
        encoded = _encoded(chunk) if len(chunk) > chunk.null_count else None
        if encoded is None:
            continue
        entries = np.bincount(encoded.indices.drop_null().to_numpy(), minlength=len(encoded.dictionary))
        for name, count in zip(encoded.dictionary.to_pylist(), entries.tolist(), strict=True):
            if count:
                counted[name] = counted.get(name, 0) + count
    return counted


def _bounded(names: dict[str, int]) -> tuple[dict[str, int], int]:
    """The names that may be kept, with what each count (and that of every name dropped) was lowered by."""
    if len(names) <= MAXIMUM_NEW:
        # In the order of the names: equal profiles have equal bytes, in whatever order they were merged.
        return dict(sorted(names.items())), 0
    lost = sorted(names.values())[-MAXIMUM_NEW - 1]
    return {name: count - lost for name, count in sorted(names.items()) if count > lost}, lost
