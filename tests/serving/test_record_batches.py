"""Records become batches of the shared schema; privacy rules hold; bad records harm no others."""

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import OperatorError
from monitor.records import EMBEDDING_DIMENSION_KEY, ModelSchema, describe, prediction_schema
from serving.record_batches import BatchBuilder, Privacy, Record, RecordShape
from tests.serving.spooled import MODEL, SHAPE

KEY = b"sixteen bytes or more"


def record(**changes: Any) -> Record:
    values: dict[str, Any] = {
        "prediction_id": "a",
        "event_time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "prediction": "cat",
        "probabilities": np.array([0.75, 0.25]),
        "features": {"brightness": 0.1, "camera": "north"},
        "segments": {"region": "eu"},
        "embedding": np.array([1.0, -2.5, 0.333], dtype=np.float32),
        "latency_seconds": 0.01,
        "request_id": "r",
    }
    return Record(**(values | changes))


def built(builder: BatchBuilder, *records: Record) -> list[dict[str, Any]]:
    batch, refused = builder.build(records)
    assert refused == []
    assert batch is not None
    return batch.to_pylist()


def test_a_batch_has_the_shared_schema_and_says_whose_it_is() -> None:
    batch, _ = BatchBuilder(SHAPE).build([record()])
    assert batch is not None
    expected = prediction_schema(MODEL, SHAPE.features, SHAPE.segments, 3)
    assert batch.schema.equals(expected, check_metadata=True)
    assert describe(batch.schema) == ("prediction", MODEL)
    assert batch.schema.field("embedding").metadata[EMBEDDING_DIMENSION_KEY] == b"3"


def test_every_value_arrives_as_it_was_given() -> None:
    [row] = built(BatchBuilder(SHAPE), record())
    embedding = np.frombuffer(row.pop("embedding"), "<f2")
    assert row == {
        "prediction_id": "a",
        "version": "v1",
        "event_time": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "prediction": "cat",
        "p_cat": 0.75,
        "p_dog": 0.25,
        "f_brightness": 0.1,
        "f_camera": "north",
        "s_region": "eu",
        "latency_seconds": 0.01,
        "request_id": "r",
    }
    assert embedding.tolist() == np.array([1.0, -2.5, 0.333], dtype="<f2").tolist()


def test_what_is_missing_is_null() -> None:
    absent = dict.fromkeys(["probabilities", "features", "segments", "embedding", "latency_seconds", "request_id"])
    [row] = built(BatchBuilder(SHAPE), record(**absent))
    assert {name for name, value in row.items() if value is not None} == {
        "prediction_id",
        "version",
        "event_time",
        "prediction",
    }
    [row, _] = built(BatchBuilder(SHAPE), record(features={"brightness": 1.0}, segments={}), record())
    assert (row["f_brightness"], row["f_camera"], row["s_region"]) == (1.0, None, None)


def test_times_are_kept_to_the_microsecond_in_utc() -> None:
    berlin = timezone(timedelta(hours=1))
    times = [1_700_000_000_123_457, datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=berlin)]
    rows = built(BatchBuilder(SHAPE), *(record(event_time=time) for time in times))
    assert rows[0]["event_time"] == datetime(2023, 11, 14, 22, 13, 20, 123457, tzinfo=UTC)
    assert rows[1]["event_time"] == datetime(2025, 12, 31, 23, 0, 0, 1, tzinfo=UTC)


def test_a_regression_logs_its_value() -> None:
    shape = RecordShape(ModelSchema("angle", "regression"), "v2", {})
    [row] = built(BatchBuilder(shape), record(prediction=0.1 + 0.2, probabilities=None))
    assert row["prediction"] == 0.1 + 0.2
    assert row["version"] == "v2"


@pytest.mark.parametrize(
    "bad",
    [
        {"prediction_id": 7},
        {"prediction_id": None},
        {"event_time": datetime(2026, 1, 1)},  # noqa: DTZ001  # without a time zone, which is the point
        {"event_time": None},
        {"prediction": 3.5},
        {"probabilities": [0.5]},
        {"probabilities": ["x", "y"]},
        {"features": {"brightness": "bright"}},
        {"features": 3},
        {"embedding": np.zeros(4)},
        {"embedding": "none"},
        {"latency_seconds": "slow"},
    ],
    ids=str,
)
def test_a_bad_record_is_refused_with_a_reason_and_the_others_go_through(bad: dict[str, Any]) -> None:
    records = [record(prediction_id="first"), record(**bad), record(prediction_id="last")]
    batch, refused = BatchBuilder(SHAPE).build(records)
    assert batch is not None
    assert batch.column("prediction_id").to_pylist() == ["first", "last"]
    assert len(refused) == 1
    assert "Error: " in refused[0] or "Invalid: " in refused[0]


def test_only_bad_records_give_no_batch() -> None:
    batch, refused = BatchBuilder(SHAPE).build([record(prediction_id=None)] * 2)
    assert batch is None
    assert len(refused) == 2


def test_an_embedding_beyond_float16_becomes_infinite_without_a_warning() -> None:
    [row] = built(BatchBuilder(SHAPE), record(embedding=np.array([1e6, 0.0, -1e6])))
    assert np.frombuffer(row["embedding"], "<f2").tolist() == [np.inf, 0.0, -np.inf]


def test_excluded_columns_are_not_in_the_schema() -> None:
    privacy = Privacy(exclude=("camera", "region", "embedding", "request_id", "latency_seconds"))
    [row] = built(BatchBuilder(SHAPE, privacy), record())
    assert list(row) == ["prediction_id", "version", "event_time", "prediction", "p_cat", "p_dog", "f_brightness"]


def test_a_hashed_column_hides_its_values_and_keeps_them_apart() -> None:
    builder = BatchBuilder(SHAPE, Privacy(hashed=("camera", "region", "brightness"), key=KEY))
    rows = built(builder, record(), record(features={"camera": "south", "brightness": 0.1}), record(features={}))
    assert rows[0]["f_camera"] != rows[1]["f_camera"]
    assert rows[0]["f_brightness"] == rows[1]["f_brightness"]
    assert rows[2]["f_camera"] is None
    assert "north" not in str(rows)
    assert len(rows[0]["s_region"]) == 32
    [other] = built(BatchBuilder(SHAPE, Privacy(hashed=("camera",), key=KEY + b"!")), record())
    assert other["f_camera"] != rows[0]["f_camera"]


def test_a_name_shared_by_feature_and_segment_means_both() -> None:
    shape = dataclasses.replace(SHAPE, features={"region": pa.string()})
    [row] = built(BatchBuilder(shape, Privacy(exclude=("region",))), record())
    assert not [name for name in row if "region" in name]


@pytest.mark.parametrize("name", ["prediction", "prediction_id", "p_cat", "customer"])
def test_a_rule_for_a_column_that_cannot_be_excluded_is_an_error(name: str) -> None:
    with pytest.raises(OperatorError, match=rf"^columns: exclude: no column .*expected names among .*, got {name}\)"):
        BatchBuilder(SHAPE, Privacy(exclude=("camera", name)))


@pytest.mark.parametrize("key", [None, b"short"])
def test_hashing_without_a_secret_key_is_an_error(key: bytes | None) -> None:
    with pytest.raises(OperatorError, match=r"secret key.*at least 16 bytes.*Set TRUEUP_HASH_KEY"):
        BatchBuilder(SHAPE, Privacy(hashed=("camera",), key=key))
