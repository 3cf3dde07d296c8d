"""Arrow columns as numbers: every type that is one, nulls apart, nothing raised for those that are none."""

from __future__ import annotations

import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from monitor.profiles.arrow_values import column_kind, numbers

DAY = datetime.date(2026, 1, 2)
NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
SECONDS = NOON.timestamp()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([1.5, None, float("nan")]), [1.5, float("nan")]),
        (pa.array([1.5, None], pa.float32()), [1.5]),
        (pa.array([2, None], pa.int64()), [2.0]),
        (pa.array([2, None], pa.uint8()), [2.0]),
        (pa.array([True, False, None]), [1.0, 0.0]),
        (pa.array([Decimal("1.25"), None]), [1.25]),
        (pa.array([NOON, None], pa.timestamp("ns", tz="UTC")), [SECONDS]),
        (pa.array([NOON.replace(tzinfo=None), None], pa.timestamp("s")), [SECONDS]),
        (pa.array([DAY, None], pa.date32()), [SECONDS - 43_200]),
        (pa.array([DAY, None], pa.date64()), [SECONDS - 43_200]),
        (pa.array([datetime.time(1, 0, 0, 500), None]), [3600.0005]),
        (pa.array([datetime.timedelta(seconds=1.5), None]), [1.5]),
        (pa.array([2.5, None, 2.5]).dictionary_encode(), [2.5, 2.5]),
        (pa.array([None, None], pa.string()), []),
        (pa.chunked_array([pa.array([1.0]), pa.array([None, 3.0])]), [1.0, 3.0]),
        (pa.chunked_array([], pa.float64()), []),
        (pa.array([0.0, None, 1.0, 2.0, None])[1:4], [1.0, 2.0]),
    ],
    ids=str,
)
def test_numbers_and_times_are_float64_and_nulls_are_counted(
    column: pa.Array | pa.ChunkedArray, values: list[float]
) -> None:
    found = numbers(column)
    assert found is not None
    np.testing.assert_array_equal(found[0], values)
    assert found == (found[0], column.null_count)


def test_long_columns_with_nulls_keep_exactly_what_is_there() -> None:
    rng = np.random.default_rng(0)
    values, mask = rng.normal(size=1_003), rng.random(1_003) < 0.3
    for start in (0, 1, 7, 8, 500):
        found = numbers(pa.array(values, mask=mask)[start:])
        assert found is not None
        np.testing.assert_array_equal(found[0], values[start:][~mask[start:]])


@pytest.mark.parametrize(
    "column", [pa.array(["a"]), pa.array([b"a"]), pa.array([[1]]), pa.chunked_array([["a"], [None]])], ids=str
)
def test_what_is_no_number_says_so(column: pa.Array) -> None:
    assert numbers(column) is None


def test_every_type_has_a_kind_or_none() -> None:
    assert column_kind(pa.int8()) == column_kind(pa.decimal128(5, 2)) == column_kind(pa.float16()) == "numeric"
    assert (
        column_kind(pa.date32())
        == column_kind(pa.timestamp("ms", "UTC"))
        == column_kind(pa.duration("s"))
        == "timestamp"
    )
    assert column_kind(pa.bool_()) == "boolean"
    assert column_kind(pa.string()) == column_kind(pa.dictionary(pa.int8(), pa.large_string())) == "categorical"
    assert column_kind(pa.list_(pa.int8())) is None
    assert column_kind(pa.binary()) is None
    assert column_kind(pa.month_day_nano_interval()) is None
