"""Ids in bulk: hashes tell texts apart, repeats are exact whatever the hashes are, sets count each id once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.engines import identifiers
from monitor.engines.identifiers import IdentifierSet, hashes, ranked, repeated

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
