"""Ids in bulk: hashes tell texts apart, repeats are exact whatever the hashes are, sets count each id once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.engines import identifiers
from monitor.engines.identifiers import (
    IdentifierIndex,
    IdentifierSet,
    TextRoom,
    hashes,
    ranked,
    repeated,
    text_bytes,
)

NAMES = st.lists(st.text(max_size=20), max_size=40)


def listed(ids: list[str]) -> dict[str, list[int]]:
    """Rows of every id that repeats, one by one."""
    counts = Counter(ids)
    return {name: [row for row, other in enumerate(ids) if other == name] for name in counts if counts[name] > 1}


def found(ids: list[str]) -> dict[str, list[int]]:
    """The same by `repeated`."""
    result = repeated(pa.array(ids, pa.string()))
    groups: dict[int, list[int]] = {}
    for row, code in zip(*(part.tolist() for part in result), strict=True) if result is not None else ():
        groups.setdefault(code, []).append(row)
    named = {ids[rows[0]]: rows for rows in groups.values()}
    assert len(named) == len(groups)
    return named


@given(NAMES)
def test_rows_that_repeat_are_found(ids: list[str]) -> None:
    assert found(ids) == listed(ids)


@given(NAMES, st.sampled_from([1, 2, 7]))
def test_rows_that_repeat_are_found_where_hashes_collide(ids: list[str], kinds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        honest = identifiers.hashes
        patch.setattr(identifiers, "hashes", lambda column: honest(column) % np.uint64(kinds) << np.uint64(40))
        assert found(ids) == listed(ids)


@given(NAMES, st.integers(0, 5), st.sampled_from([0, 1]))
def test_a_hash_is_of_the_text_alone(ids: list[str], skipped: int, lane: int) -> None:
    whole = hashes(pa.array(ids, pa.string()), lane)
    assert hashes(pa.array(ids, pa.string()).slice(skipped), lane).tolist() == whole[skipped:].tolist()
    assert [int(hashes(pa.array([name], pa.string()), lane)[0]) for name in ids] == whole.tolist()
    assert hashes(pa.array(ids, pa.large_string()), lane).tolist() == whole.tolist()


@pytest.mark.parametrize("form", ["{}", "{:08x}", "{:032x}", "request-{}/0", "{:036d}-0"])
def test_neighbouring_numbers_have_hashes_like_random_ones(form: str) -> None:
    ids = pa.array([form.format(number) for number in range(100_000)])
    first, second = hashes(ids), hashes(ids, 1)
    for hashed in (first, second):
        assert np.unique(hashed).size == len(ids)
        for shift in (0, 28, 56):
            cells = np.bincount((hashed >> np.uint64(shift) & np.uint64(255)).astype(np.int64), minlength=256)
            # χ² of 255 degrees of freedom: within 6 standard deviations.
            assert abs(np.square(cells - len(ids) / 256).sum() / (len(ids) / 256) - 255) < 6 * np.sqrt(2 * 255)
    upper = [(hashed >> np.uint64(32)).astype(np.float64) for hashed in (first, second)]
    assert abs(np.corrcoef(upper)[0, 1]) < 0.02


def test_ranking_keeps_every_row_and_orders_hashes() -> None:
    hashed = np.random.default_rng(1).integers(0, 2**64, 1_000, dtype=np.uint64)
    keys, rows = ranked(hashed)
    assert sorted(rows.tolist()) == list(range(1_000))
    assert rows.tolist() == np.argsort(hashed).tolist()
    assert (keys[:-1] <= keys[1:]).all()
    assert (hashed[rows] - keys < 1_024).all()


@given(st.lists(NAMES, max_size=5), NAMES)
def test_a_set_counts_distinct_ids(parts: list[list[str]], left_out: list[str]) -> None:
    ids = IdentifierSet()
    for part in parts:
        ids.add(pa.array(part, pa.string()))
    every = {name for part in parts for name in part}
    assert ids.count() == len(every)
    assert ids.count(set(left_out)) == len(every - set(left_out))


def shared(ids: list[str], others: list[str]) -> list[tuple[int, int]]:
    """(row among the others, row among the ids) of all that are the same, one by one."""
    return [(row, mine) for row, other in enumerate(others) for mine, name in enumerate(ids) if name == other]


def shared_by_index(ids: list[str], others: list[str]) -> tuple[list[int], list[tuple[int, int]]]:
    theirs, mine = IdentifierIndex(pa.array(ids, pa.string())).pairs(pa.array(others, pa.string()))
    return theirs.tolist(), sorted(zip(theirs.tolist(), mine.tolist(), strict=True))


@given(NAMES, NAMES, st.integers(0, 20))
def test_an_index_finds_every_pair_of_the_same_text(ids: list[str], others: list[str], common: int) -> None:
    others = others + ids[:common]
    theirs, found = shared_by_index(ids, others)
    assert found == shared(ids, others)
    assert theirs == sorted(theirs)


@given(NAMES, NAMES, st.sampled_from([1, 2, 7]), st.sampled_from([0, 40, 60]))
def test_an_index_finds_them_where_hashes_collide(ids: list[str], others: list[str], kinds: int, shift: int) -> None:
    others = others + ids[::2]
    with pytest.MonkeyPatch.context() as patch:
        honest = identifiers.hashes
        patch.setattr(identifiers, "hashes", lambda text: honest(text) % np.uint64(kinds) << np.uint64(shift))
        assert shared_by_index(ids, others)[1] == shared(ids, others)


def test_an_index_of_more_ids_than_are_hashed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identifiers, "_HASHED_AT_ONCE", 1_024)
    places = np.random.default_rng(1).permutation(20_000)
    ids = pa.array([f"id-{place}" for place in places.tolist()])
    theirs, mine = IdentifierIndex(ids).pairs(pa.array([f"id-{place}" for place in range(10_000, 30_000)]))
    assert theirs.tolist() == list(range(10_000))
    assert places[mine].tolist() == list(range(10_000, 20_000))


@given(st.lists(NAMES, max_size=5), st.integers(0, 3))
def test_room_takes_text_in_as_long_as_there_is_some(parts: list[list[str]], skipped: int) -> None:
    arrays = [pa.array(part, pa.string()).slice(skipped) for part in parts]
    rows, size = sum(map(len, arrays)), sum(map(text_bytes, arrays))
    assert size == sum(len(name.encode()) for part in parts for name in part[skipped:])
    room = TextRoom(rows, size)
    assert all(room.add(array) for array in arrays)
    assert not room.add(pa.array([""]))
    assert room.array().to_pylist() == [name for part in parts for name in part[skipped:]]
    small = TextRoom(rows + 2, size)
    assert small.add(pa.concat_arrays([pa.array([], pa.string()), *arrays]))
    assert not small.add(pa.array(["x"]))
    assert small.add(pa.array([""]))
    assert len(small.array()) == rows + 1


@given(st.lists(st.sampled_from("abcd"), max_size=30), st.integers(1, 8))
def test_an_index_knows_whether_an_id_is_there_very_often(ids: list[str], times: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identifiers, "_HASHED_AT_ONCE", 4)
        index = IdentifierIndex(pa.array(ids, pa.string()))
        assert index.may_repeat_over(times) == any(ids.count(name) > times for name in ids)
