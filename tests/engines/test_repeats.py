"""First labels, corrections and repeats are counted the same in whatever order and portions rows come."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from monitor.engines.repeats import Tally
from monitor.log.tables import SEQUENCE
from tests.records_samples import EPOCH, labels, predictions


def with_sequence(rows: pa.Table, sequence: int) -> pa.Table:
    return rows.append_column(SEQUENCE, pa.array([sequence] * rows.num_rows, pa.int64()))


def prediction(name: str, seed: int, sequence: int) -> pa.Table:
    return with_sequence(pa.Table.from_batches([predictions([name], seed=seed)]), sequence)


def label(name: str, value: str, time: int, sequence: int) -> pa.Table:
    truth = pa.Table.from_batches([labels([name], [value], time=EPOCH + time)])
    return with_sequence(truth.select(["prediction_id", "label", "label_time"]), sequence)


def test_a_repeat_is_identical_or_conflicting() -> None:
    rows = pa.concat_tables(
        [prediction("a", 1, 1), prediction("a", 1, 2), prediction("a", 2, 2), prediction("b", 1, 2)]
    )
    tally = Tally(0, 0)
    tally.note_predictions(rows)
    assert (tally.identical, tally.conflicting) == (1, 1)
    later = Tally(2, 0)
    later.note_predictions(rows)
    assert (later.identical, later.conflicting) == (0, 0)


def test_a_first_label_is_matched_and_another_value_of_another_time_corrects_it() -> None:
    rows = pa.concat_tables([label("a", "cat", 1, 1), label("a", "dog", 2, 2), label("b", "cat", 1, 2)])
    tally = Tally(0, 1)
    tally.note_labels(rows)
    assert (tally.matched.count(), tally.matched.count(["b"])) == (1, 0)
    assert (tally.corrected, tally.contradicted) == ({"a": 1}, {})


def test_two_values_of_one_time_contradict_each_other() -> None:
    rows = pa.concat_tables([label("a", "cat", 1, 1), label("a", "dog", 1, 2)])
    tally = Tally(0, 1)
    tally.note_labels(rows)
    assert (tally.matched.count(), tally.corrected, tally.contradicted) == (0, {"a": 1}, {"a": 1})


def test_the_same_label_again_or_confirmed_later_changes_nothing() -> None:
    rows = pa.concat_tables([label("a", "cat", 1, 1), label("a", "cat", 1, 2), label("a", "cat", 5, 2)])
    tally = Tally(0, 1)
    tally.note_labels(rows)
    assert (tally.matched.count(), tally.corrected, tally.contradicted) == (0, {}, {})


def counted_one_by_one(rows: list[dict[str, Any]], after: int) -> tuple[set[str], dict[str, int], dict[str, int]]:
    """The definitions, row by row: ids with a first label, other values, contradictions."""
    matched, corrected, contradicted = set(), {}, {}
    for name in {row["prediction_id"] for row in rows if row[SEQUENCE] > after}:
        now = [row for row in rows if row["prediction_id"] == name]
        before = [row for row in now if row[SEQUENCE] <= after]
        if not before:
            matched.add(name)
        for target, change in ((corrected, others), (contradicted, contradictions)):
            if change(now) > change(before):
                target[name] = change(now) - change(before)
    return matched, corrected, contradicted


def others(rows: list[dict[str, Any]]) -> int:
    return max(len({row["label"] for row in rows}) - 1, 0)


def contradictions(rows: list[dict[str, Any]]) -> int:
    return len({(row["label_time"], row["label"]) for row in rows}) - len({row["label_time"] for row in rows})


EVENTS = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["cat", "dog", "owl"]), st.integers(0, 2)), min_size=1, max_size=8
)


@given(EVENTS, st.data())
def test_counts_do_not_depend_on_order_and_portions(events: list[tuple[str, str, int]], data: st.DataObject) -> None:
    def total(order: list[tuple[str, str, int]], cuts: set[int]) -> tuple[int, int, int]:
        rows: list[pa.Table] = []
        sums = [0, 0, 0]
        for cycle, position in enumerate(sorted({*cuts, len(order)}), 1):
            rows += [label(*event, cycle) for event in order[len(rows) : position]]
            tally = Tally(0, cycle - 1)
            if rows:
                tally.note_labels(pa.concat_tables(rows))
            for place, found in enumerate(
                (tally.matched.count(), *(sum(x.values()) for x in (tally.corrected, tally.contradicted)))
            ):
                sums[place] += found
        return sums[0], sums[1], sums[2]

    shuffled = data.draw(st.permutations(events))
    cuts = data.draw(st.sets(st.integers(0, len(events))))
    assert total(shuffled, cuts) == total(events, set())


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from(["cat", "dog"]), st.integers(0, 2), st.integers(1, 3)),
        min_size=1,
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_labels_are_counted_as_their_definitions_say(events: list[tuple[str, str, int, int]], after: int) -> None:
    rows = pa.concat_tables([label(*event) for event in events])
    tally = Tally(0, after)
    tally.note_labels(rows)
    matched, corrected, contradicted = counted_one_by_one(rows.to_pylist(), after)
    assert (tally.matched.count(), tally.matched.count(matched)) == (len(matched), 0)
    assert (tally.corrected, tally.contradicted) == (corrected, contradicted)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=12),
    st.integers(0, 3),
)
def test_repeats_are_counted_as_their_definitions_say(events: list[tuple[str, int, int]], after: int) -> None:
    rows = pa.concat_tables([prediction(*event) for event in events])
    tally = Tally(after, 0)
    tally.note_predictions(rows)

    def counted(chosen: list[tuple[str, int, int]]) -> tuple[int, int]:
        distinct = {(name, seed) for name, seed, _ in chosen}
        return len(chosen) - len(distinct), len(distinct) - len({name for name, _ in distinct})

    now, before = counted(events), counted([event for event in events if event[2] <= after])
    assert (tally.identical, tally.conflicting) == (now[0] - before[0], now[1] - before[1])


def test_a_label_counts_once_for_all_versions_and_panes() -> None:
    tally = Tally(0, 0)
    for names in (["a", "b"], ["b", "c"], ["a"]):
        tally.note_labels(pa.concat_tables([label(name, "cat", 1, 1) for name in names]))
    assert (tally.matched.count(), tally.matched.count(["a", "x"])) == (3, 2)
