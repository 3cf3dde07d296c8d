"""Categorical profiles: exact counts, bounded names of new categories, and any Arrow type that has a text."""

from __future__ import annotations

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import DefectError
from monitor.profiles.categorical import (
    MAXIMUM_CATEGORIES,
    MAXIMUM_NEW,
    CategoricalProfile,
    reference_categories,
)

KNOWN = ("Oslo", "Rome")


def content(profile: CategoricalProfile) -> tuple[object, ...]:
    return profile.counts.tolist(), profile.other, profile.null, dict(profile.new), profile.new_error


def test_every_value_is_counted_once_as_known_other_or_null() -> None:
    values = pa.array(["Rome", "Rome", "Oslo", "Bonn", None, ""])
    profile = CategoricalProfile.build(values, KNOWN)
    assert content(profile) == ([1, 2], 2, 1, {"": 1, "Bonn": 1}, 0)
    assert (profile.rows, profile.missing) == (6, 1)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["1", "0", None, "7"]),
        pa.array([1, 0, None, 7], pa.int8()),
        pa.array([1.0, 0.0, None, 7.0]),
        pa.array(["1", "0", None, "7"]).dictionary_encode(),
        pa.array(["1", "0", None, "7"], pa.large_string()),
        pa.array(["1", "0", None, "7"], pa.string_view()),
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array(["1", "0", None, "7"])),
        pa.chunked_array([pa.array(["1", "0"]), pa.array([None, "7"], pa.string())]),
    ],
    ids=["text", "integer", "float", "dictionary", "large", "view", "null in dictionary", "chunks"],
)
def test_the_type_of_a_column_does_not_matter(values: pa.Array) -> None:
    assert content(CategoricalProfile.build(values, ("0", "1"))) == ([1, 1], 1, 1, {"7": 1}, 0)


def test_truth_values_are_categories_and_what_has_no_text_is_other_without_a_name() -> None:
    truth = CategoricalProfile.build(pa.array([True, False, None, True]), ("false", "true"))
    assert content(truth) == ([1, 2], 0, 1, {}, 0)
    for odd in (pa.array([[1], None]), pa.array([b"\xff", None]), pa.array([{"a": 1}, None])):
        assert content(CategoricalProfile.build(odd, KNOWN)) == ([0, 0], 1, 1, {}, 0)
    assert content(CategoricalProfile.build(pa.nulls(3), KNOWN)) == ([0, 0], 0, 3, {}, 0)
    assert content(CategoricalProfile.build(pa.array([], pa.string()), KNOWN)) == ([0, 0], 0, 0, {}, 0)


def test_any_split_and_order_gives_the_same_counts_and_names() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([*KNOWN, *(f"new{i:03d}" for i in range(MAXIMUM_NEW))], 5_000)
    whole = CategoricalProfile.build(pa.array(values), KNOWN)
    assert len(whole.new) == MAXIMUM_NEW
    for seed in range(3):
        parts = np.array_split(np.random.default_rng(seed).permutation(values), 7)
        profiles = [CategoricalProfile.build(pa.array(part), KNOWN) for part in parts]
        assert content(reduce(CategoricalProfile.merge, profiles)) == content(whole)
        assert content(reduce(CategoricalProfile.merge, profiles[::-1])) == content(whole)
        merged = reduce(CategoricalProfile.merge, profiles)
        assert list(merged.new) == list(whole.new)
    a, b, c = profiles[:3]
    assert content(a.merge(b).merge(c)) == content(a.merge(b.merge(c)))
    assert content(a.merge(CategoricalProfile.empty(KNOWN))) == content(a)


def test_a_million_new_categories_take_bounded_room_and_the_frequent_are_named() -> None:
    rng = np.random.default_rng(1)
    frequent = np.repeat([f"often{i}" for i in range(5)], 20_000)
    values = rng.permutation(np.concatenate((np.arange(1_000_000).astype(str), frequent)))
    profiles = [CategoricalProfile.build(pa.array(part), KNOWN) for part in np.array_split(values, 20)]
    profile = reduce(CategoricalProfile.merge, profiles)
    assert profile.other == values.size
    assert len(profile.new) <= MAXIMUM_NEW
    true = Counter(frequent.tolist())
    # Misra and Gries: nothing is off by more than a (k + 1)-th of the rows.
    assert profile.new_error <= values.size / (MAXIMUM_NEW + 1)
    for name, count in true.items():
        assert profile.new[name] <= count <= profile.new[name] + profile.new_error


def test_a_reference_keeps_its_most_frequent_categories_in_the_order_of_their_names() -> None:
    values = pa.chunked_array([pa.array(["b", "a", "a", None]), pa.array(["c"])])
    assert reference_categories(values) == ("a", "b", "c")
    many = pa.array(np.concatenate([[f"{i:05d}"] * (1 + (i >= 2_000)) for i in range(2_000 + MAXIMUM_CATEGORIES)]))
    kept = reference_categories(many)
    assert (len(kept), kept[0]) == (MAXIMUM_CATEGORIES, "02000")
    assert reference_categories(pa.array([], pa.string())) == reference_categories(pa.nulls(4)) == ()


def test_profiles_with_other_categories_are_refused() -> None:
    with pytest.raises(DefectError, match="different references cannot be merged"):
        CategoricalProfile.empty(KNOWN).merge(CategoricalProfile.empty(("Rome",)))
