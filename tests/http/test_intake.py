"""Records of many requests are converted together, and each request hears of its own."""

from __future__ import annotations

from typing import Any

import orjson
import pyarrow as pa
import pytest

from monitor.errors import RecordError
from monitor.http.intake import Intake, Records
from monitor.log.conversion import Parsed
from monitor.log.roles import SourceRules
from monitor.log.sources import alike, convert_body, read_body
from tests.records_samples import MODEL

RULES = SourceRules(MODEL, version="1")
NOW = 1_790_000_000_000_000
GOOD = {"prediction_id": "a", "event_time": "2026-01-31T12:00:00Z", "prediction": "cat", "age": 3}


def request(*rows: dict[str, Any], together: bool = True) -> Records:
    body = read_body(orjson.dumps(rows), "json")
    part = alike(body, "prediction", lambda _: RULES) if together else None
    assert together == (part is not None)
    return part or convert_body(body, "prediction", lambda _: RULES, now=NOW)


def handled(*requests: Records) -> tuple[list[list[Parsed] | Exception], list[pa.RecordBatch]]:
    written: list[pa.RecordBatch] = []
    return Intake(written.extend, lambda: NOW).handle(requests), written


def test_alike_requests_become_one_batch_and_each_hears_of_its_own_rows() -> None:
    bad = GOOD | {"prediction": "cow"}
    outcomes, written = handled(
        request(GOOD), request(GOOD, bad), request(bad, together=True), request(GOOD | {"prediction_id": "d"})
    )
    assert [batch.num_rows for batch in written] == [3]
    assert written[0].column("prediction_id").to_pylist() == ["a", "a", "d"]
    told = [outcome[0] for outcome in outcomes if not isinstance(outcome, Exception)]
    assert [(part.accepted, [row.line for row in part.rejected]) for part in told] == [
        (1, []),
        (1, [2]),
        (0, [1]),
        (1, []),
    ]
    assert told[1].rejected[0].message.startswith("line 2, prediction: unknown class")


def test_a_request_of_another_shape_is_converted_apart() -> None:
    outcomes, written = handled(request(GOOD), request(GOOD | {"age": "old"}), request(GOOD | {"age": 4.5}))
    assert [batch.schema.field("f_age").type for batch in written] == [pa.float64(), pa.string()]
    assert [batch.num_rows for batch in written] == [2, 1]
    assert all(not isinstance(outcome, Exception) and outcome[0].rejected == [] for outcome in outcomes)


def test_columns_that_make_no_sense_are_the_error_of_their_requests_only() -> None:
    outcomes, written = handled(request(GOOD), request(GOOD | {"f_age": 1}))
    assert isinstance(outcomes[1], RecordError)
    assert str(outcomes[1]) == "the request: two columns hold f_age (got age and f_age)"
    assert not isinstance(outcomes[0], Exception)
    assert [batch.num_rows for batch in written] == [1]


def test_where_none_is_good_nothing_is_written() -> None:
    def write(_: list[pa.RecordBatch]) -> None:
        raise AssertionError

    [outcome] = Intake(write, lambda: NOW).handle([request({"age": 1})])
    assert not isinstance(outcome, Exception)
    assert outcome[0].rejected[0].reason == "missing_id"


def test_what_the_disk_says_is_the_error_of_all() -> None:
    def write(_: list[pa.RecordBatch]) -> None:
        raise OSError("disk")

    with pytest.raises(OSError, match="disk"):
        Intake(write, lambda: NOW).handle([request(GOOD), request(GOOD, GOOD | {"new": 1}, together=False)])
