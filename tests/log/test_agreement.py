"""Rows are brought to the types of their table where nothing is lost by it; all else is refused with its reason."""

from __future__ import annotations

import pyarrow as pa
import pytest

from monitor.log.agreement import alike, sift
from monitor.records import TIMESTAMP
from tests.records_samples import EPOCH, labels, predictions

FAR = EPOCH + 10**12


def rows(*ids: str, **columns: pa.Array) -> pa.Table:
    """Predictions with some columns replaced or added."""
    table = pa.Table.from_batches([predictions(list(ids))])
    for name, values in columns.items():
        position = table.schema.get_field_index(name)
        table = table.append_column(name, values) if position < 0 else table.set_column(position, name, values)
    return table


KNOWN = rows("a").schema.remove_metadata()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pa.array([1, 2], pa.int8()), [1.0, 2.0]),
        (pa.array([2**60, 2], pa.uint64()), [float(2**60), 2.0]),
        (pa.array([0.5, 2], pa.float16()), [0.5, 2.0]),
        (pa.nulls(2), [None, None]),
    ],
)
def test_numbers_of_any_width_become_float64(given: pa.Array, expected: list[float | None]) -> None:
    for known in (KNOWN, None):
        if known is None and pa.types.is_null(given.type):
            continue
        good, refused = sift(rows("a", "b", f_age=given), "predictions", known, FAR)
        assert refused == []
        assert good.schema.field("f_age").type == pa.float64()
        assert good.column("f_age").to_pylist() == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_text_in_any_encoding_becomes_text(kind: pa.DataType) -> None:
    words = pa.array(["Rome", None]).cast(kind)
    for known in (KNOWN, None):
        good, refused = sift(rows("a", "b", f_city=words), "predictions", known, FAR)
        assert refused == []
        assert good.schema.field("f_city").type == pa.string()
        assert good.column("f_city").to_pylist() == ["Rome", None]


def test_dictionaries_that_differ_from_frame_to_frame_keep_their_words() -> None:
    parts = [
        rows(name, f_city=pa.array([word]).dictionary_encode()).to_batches()[0]
        for name, word in (("a", "Rome"), ("b", "Oslo"))
    ]
    [table] = alike(parts)
    good, _ = sift(table, "predictions", KNOWN, FAR)
    assert good.column("f_city").to_pylist() == ["Rome", "Oslo"]


@pytest.mark.parametrize(
    "changed", [pa.array(["40", None]), pa.array([True, False]), pa.array([[1.0], [2.0]]), pa.array([b"x", b"y"])]
)
def test_a_changed_type_leaves_the_prediction_and_sets_the_values_aside(changed: pa.Array) -> None:
    good, [refusal] = sift(rows("a", "b", f_age=changed), "predictions", KNOWN, FAR)
    assert good.column("prediction_id").to_pylist() == ["a", "b"]
    assert good.column("f_age").to_pylist() == [None, None]
    assert refusal.reason == "column_type_changed"
    there = [value for value in changed.to_pylist() if value is not None]
    assert refusal.rows.column("f_age").to_pylist() == there


def test_a_new_feature_of_a_type_that_is_none_is_refused_and_not_added() -> None:
    good, [refusal] = sift(rows("a", f_list=pa.array([[1.0, 2.0]])), "predictions", KNOWN, FAR)
    assert "f_list" not in good.column_names
    assert (refusal.reason, refusal.rows.to_pylist()) == ("wrong_type", [{"prediction_id": "a", "f_list": [1.0, 2.0]}])


def test_a_new_feature_without_a_value_is_left_out_for_its_type_is_not_known() -> None:
    good, refused = sift(rows("a", f_new=pa.nulls(1)), "predictions", KNOWN, FAR)
    assert refused == []
    assert "f_new" not in good.column_names


def test_rows_without_what_every_row_needs_are_refused_as_a_whole() -> None:
    bad = rows("a", "b", version=pa.array(["1", None]))
    good, [refusal] = sift(bad, "predictions", KNOWN, FAR)
    assert good.column("prediction_id").to_pylist() == ["a"]
    assert refusal.reason == "missing_value"
    assert refusal.rows.column("f_age").to_pylist() == bad.column("f_age").to_pylist()[1:]
    for broken, reason in (
        (bad.drop_columns(["event_time"]), "missing_value"),
        (rows("a", "b", event_time=pa.array(["x", "y"])), "column_type_changed"),
        (rows("a", "b", prediction=pa.nulls(2)), "missing_value"),
        (rows("a", "b", prediction=pa.array([1.0, 2.0])), "column_type_changed"),
    ):
        good, [refusal] = sift(broken, "predictions", KNOWN, FAR)
        assert (good.num_rows, refusal.rows.num_rows, refusal.reason) == (0, 2, reason)


def test_times_in_another_unit_are_the_same_times() -> None:
    coarse = pa.array([EPOCH // 1000], pa.int64()).cast(pa.timestamp("ms", tz="UTC"))
    for known in (KNOWN, None):
        good, refused = sift(rows("a", event_time=coarse), "predictions", known, FAR)
        assert refused == []
        assert good.schema.field("event_time").type == TIMESTAMP
        assert good.column("event_time").cast(pa.int64()).to_pylist() == [EPOCH]


def test_a_time_without_a_zone_is_refused_even_by_an_empty_table() -> None:
    naive = pa.array([EPOCH], pa.int64()).cast(pa.timestamp("us"))
    good, [refusal] = sift(rows("a", event_time=naive), "predictions", None, FAR)
    assert (good.num_rows, refusal.reason) == (0, "column_type_changed")


def test_a_row_with_two_faults_is_refused_once() -> None:
    table = rows("a", "b", "c", version=pa.array([None, "1", "1"]))
    late = pa.array([FAR + 1, FAR + 1, EPOCH], pa.int64()).cast(TIMESTAMP)
    table = table.set_column(2, "event_time", late)
    good, refused = sift(table, "predictions", KNOWN, FAR)
    assert good.column("prediction_id").to_pylist() == ["c"]
    assert [(item.reason, item.rows.column("prediction_id").to_pylist()) for item in refused] == [
        ("missing_value", ["a"]),
        ("future_event_time", ["b"]),
    ]


def test_labels_may_be_of_the_future_and_need_no_event_time() -> None:
    table = pa.Table.from_batches([labels(["a"], ["cat"], time=FAR + 1)])
    good, refused = sift(table, "labels", None, FAR)
    assert (good.num_rows, refused) == (1, [])
