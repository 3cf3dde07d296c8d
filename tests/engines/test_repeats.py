"""First labels, corrections and repeats are counted the same in whatever order and portions rows come."""

from __future__ import annotations

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
    assert (tally.matched, tally.corrected, tally.contradicted) == ({"b"}, {"a": 1}, {})


def test_two_values_of_one_time_contradict_each_other() -> None:
    rows = pa.concat_tables([label("a", "cat", 1, 1), label("a", "dog", 1, 2)])
    tally = Tally(0, 1)
    tally.note_labels(rows)
    assert (tally.matched, tally.corrected, tally.contradicted) == (set(), {"a": 1}, {"a": 1})


def test_the_same_label_again_or_confirmed_later_changes_nothing() -> None:
    rows = pa.concat_tables([label("a", "cat", 1, 1), label("a", "cat", 1, 2), label("a", "cat", 5, 2)])
    tally = Tally(0, 1)
    tally.note_labels(rows)
    assert (tally.matched, tally.corrected, tally.contradicted) == (set(), {}, {})


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
                (len(tally.matched), *(sum(x.values()) for x in (tally.corrected, tally.contradicted)))
            ):
                sums[place] += found
        return sums[0], sums[1], sums[2]

    shuffled = data.draw(st.permutations(events))
    cuts = data.draw(st.sets(st.integers(0, len(events))))
    assert total(shuffled, cuts) == total(events, set())
