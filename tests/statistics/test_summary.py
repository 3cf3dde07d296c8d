"""The statistics of a column, all together: the numbers are what they were, to the last digits."""

from __future__ import annotations

import json

import pytest

from tests.golden.column_statistics import FILE, found


def test_every_statistic_of_awkward_columns_is_what_it_was() -> None:
    expected, now = json.loads(FILE.read_text()), found()
    assert set(now) == set(expected)
    for column, results in now.items():
        assert set(results) == set(expected[column]), column
        for name, result in results.items():
            was = expected[column][name]
            if isinstance(result, str) or isinstance(was, str):
                assert result == was, (column, name)
                continue
            for number, old in zip(result, was, strict=True):
                same = number == old if number is None or old is None else number == pytest.approx(old, rel=1e-12)
                assert same or abs(number - old) < 1e-15, (column, name)
