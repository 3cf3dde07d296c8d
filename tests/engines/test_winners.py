"""Of repeats the same row wins as a comparison one by one, by the order of docs/semantics.md, chooses."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.engines import winners
from monitor.engines.winners import (
    content_codes,
    content_hashes,
    crowded_labels,
    unique_outcomes,
    unique_predictions,
)
from monitor.log.tables import SEQUENCE
from monitor.records import TIMESTAMP

NUMBERS = st.sampled_from([None, 0.0, -0.0, 1.0, float("nan"), float("inf")])
ROW = st.fixed_dictionaries(
    {
        "prediction_id": st.sampled_from(["a", "b", "c"]),
        "event_time": st.integers(0, 1),
        "prediction": st.sampled_from(["cat", "dog", None]),
        "p_cat": NUMBERS,
        "f_size": NUMBERS,
        "s_region": st.sampled_from(["eu", "us", None]),
        "s_device": st.sampled_from(["phone", None]),
        "f_kind": st.sampled_from(["x", "y", None]),
        "f_whole": st.sampled_from([True, False, None]),
        "embedding": st.sampled_from([b"", b"\0\1", None]),
        "label": st.sampled_from(["cat", "dog"]),
        "label_time": st.integers(0, 1),
        SEQUENCE: st.integers(1, 9),
    }
)
KINDS = {
    "event_time": TIMESTAMP,
    "label_time": TIMESTAMP,
    "p_cat": pa.float64(),
    "f_size": pa.float32(),
    "f_whole": pa.bool_(),
    "embedding": pa.binary(),
    SEQUENCE: pa.int64(),
}
ROWS = st.lists(ROW, max_size=12)


def table(rows: list[dict[str, Any]], without: tuple[str, ...] = ()) -> pa.Table:
    names = [
        "prediction_id",
        "event_time",
        "prediction",
        "p_cat",
        "f_size",
        "f_kind",
        "f_whole",
        "s_region",
        "s_device",
    ]
    names += [name for name in ("embedding", "label", "label_time", SEQUENCE) if name not in without]
    return pa.table({name: pa.array([row[name] for row in rows], KINDS.get(name, pa.string())) for name in names})


def digest(row: dict[str, Any], names: list[str]) -> bytes:
    return hashlib.blake2b(repr(tuple(row[name] for name in sorted(names))).encode(), digest_size=16).digest()


def segments(row: dict[str, Any]) -> tuple[bool, bytes]:
    """Rows that say nothing of their segments come last."""
    names = [name for name in row if name.startswith("s_")]
    return all(row[name] is None for name in names), digest(row, names)


def identity(row: dict[str, Any]) -> str:
    return repr(row)


@given(ROWS)
def test_the_winning_prediction_is_the_smallest_by_time_output_and_all(rows: list[dict[str, Any]]) -> None:
    data = table(rows, without=("label", "label_time"))
    best: dict[str, tuple[Any, int, str]] = {}
    for place, row in enumerate(data.to_pylist()):
        sent = [name for name in row if name != SEQUENCE]
        rank = (row["event_time"], digest(row, ["prediction", "p_cat"]), segments(row), digest(row, sent))
        if row["prediction_id"] not in best or rank < best[row["prediction_id"]][0]:
            best[row["prediction_id"]] = (rank, place, identity(row))
    expected = [text for _, _, text in sorted(best.values(), key=lambda item: item[1])]
    assert [identity(row) for row in unique_predictions(data).to_pylist()] == expected


@given(ROWS)
def test_the_winning_outcome_is_the_smallest_prediction_with_the_newest_label(rows: list[dict[str, Any]]) -> None:
    data = table(rows)
    best: dict[str, tuple[Any, Any, int, str]] = {}
    for place, row in enumerate(data.to_pylist()):
        inputs = [name for name in row if name.startswith("f_")]
        prediction = (row["event_time"], digest(row, ["prediction", "p_cat"]), segments(row), digest(row, inputs))
        label = (row["label_time"], digest(row, ["label"]))
        known = best.get(row["prediction_id"])
        if known is None or prediction < known[0] or (prediction == known[0] and label > known[1]):
            best[row["prediction_id"]] = (prediction, label, place, identity(row))
    expected = [text for _, _, _, text in sorted(best.values(), key=lambda item: item[2])]
    assert [identity(row) for row in unique_outcomes(data).to_pylist()] == expected


@given(ROWS)
def test_contents_have_one_code_where_they_have_one_digest(rows: list[dict[str, Any]]) -> None:
    data = table(rows)
    for columns in (["p_cat"], ["f_size", "f_kind"], data.column_names):
        pairs = set(zip(content_codes(data, columns).tolist(), content_hashes(data, columns), strict=True))
        assert len({code for code, _ in pairs}) == len({name for _, name in pairs}) == len(pairs)


@pytest.mark.parametrize("kind", [pa.null(), pa.dictionary(pa.int32(), pa.string()), pa.int8(), pa.uint64()])
def test_contents_of_any_type_are_told_apart(kind: pa.DataType) -> None:
    values = [None, None] if kind == pa.null() else ["x", "y"] if pa.types.is_dictionary(kind) else [1, 2]
    rows = pa.table({"f": pa.array([*values, *values], kind)})
    codes = content_codes(rows, ["f"])
    assert np.unique(codes).size == len(set(values))
    assert codes[:2].tolist() == codes[2:].tolist()


def test_repeats_that_say_the_same_need_no_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> list[bytes]:
        raise AssertionError("rows that say the same were told apart")

    monkeypatch.setattr("monitor.engines.winners.content_hashes", refuse)
    ids = [f"{number % 1_000:04d}" for number in range(2_000)]
    times = pa.array(np.arange(2_000) % 1_000).cast(TIMESTAMP)
    rows = pa.table({"prediction_id": ids, "event_time": times, "prediction": ["cat"] * 2_000})
    assert unique_predictions(rows).num_rows == 1_000
    labelled = rows.append_column("label", pa.array(["cat"] * 1_000 + ["dog"] * 1_000))
    late = pa.array([0] * 1_000 + [1] * 1_000).cast(TIMESTAMP)
    winners = unique_outcomes(labelled.append_column("label_time", late))
    assert winners.column("label").unique().to_pylist() == ["dog"]


@pytest.mark.parametrize("region", ["us", "eu", "south", "north"])
def test_a_corrected_label_wins_over_one_that_was_joined_before_segments_were_written_down(region: str) -> None:
    rows = pa.table(
        {
            "prediction_id": ["a", "a"],
            "event_time": pa.array([0, 0], TIMESTAMP),
            "prediction": ["cat", "cat"],
            "s_region": [None, region],
            "label": ["dog", "cat"],
            "label_time": pa.array([1, 2], TIMESTAMP),
        }
    )
    assert unique_outcomes(rows).column("label").to_pylist() == ["cat"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["cat", "dog", "owl"]), st.integers(0, 4)), max_size=60),
    st.integers(1, 6),
)
def test_of_an_id_with_very_many_labels_the_newest_different_ones_count(
    rows: list[tuple[str, str, int]], most: int
) -> None:
    ids, labels, times = (list(part) for part in zip(*rows, strict=True)) if rows else ([], [], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winners, "MOST_LABELS", most)
        found = crowded_labels(pa.array(ids, pa.string()), pa.array(labels, pa.string()), np.array(times, np.int64))
    crowded = {name for name in ids if ids.count(name) > most}
    assert (found is not None) == bool(crowded)
    if found is None:
        return
    kept = [row for row, counts in zip(rows, found[0].tolist(), strict=True) if counts]
    assert [row for row in kept if row[0] not in crowded] == [row for row in rows if row[0] not in crowded]
    surplus = 0
    for name in crowded:
        every = sorted({row for row in rows if row[0] == name}, key=lambda row: -row[2])
        mine = [row for row in kept if row[0] == name]
        assert len(mine) == len(set(mine)) == min(len(every), most)
        # As new as the newest that there are.
        assert sorted(row[2] for row in mine) == sorted(row[2] for row in every[:most])
        surplus += max(len(every) - most, 0)
    assert found[1] == surplus
