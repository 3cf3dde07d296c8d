"""Columns of plain files mean the same in every kind of file: ids, times, and numbers that become text further on."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.engines.file_profiles import profile_of_file, read_labels, reference_of_file
from monitor.engines.plain_files import open_plain
from monitor.errors import RecordError
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import ClassificationSums
from monitor.statistics import summary
from monitor.statistics.result import Estimate
from tests.engines.plain_samples import save

ROWS = 400
ENDINGS = ("csv", "ndjson", "parquet")
IDS = {
    "leading zeros": [f"{i:05d}" for i in range(ROWS)],
    "numbers beyond float64": [str(1_234_567_890_123_456_789 + i) for i in range(ROWS)],
    "whole numbers": list(range(ROWS)),
    "like powers of ten": [f"{i}e{i % 7}" for i in range(ROWS)],
    "times": [f"2024-01-{1 + i % 28:02d}T00:00:{i // 28:02d}" for i in range(ROWS)],
    "spaces": [f" {i}" if i % 2 else f"{i} " for i in range(ROWS)],
    "combining characters": [("e\u0301" if i % 2 else "\u00e9") + str(i // 2) for i in range(ROWS)],
    "long": ["x" * 300 + str(i) for i in range(ROWS)],
}


def outputs() -> tuple[list[str], list[str]]:
    rng = np.random.default_rng(0)
    label = rng.choice(["a", "b"], ROWS)
    wrong = rng.random(ROWS) < 0.2
    return label.tolist(), np.where(wrong, np.where(label == "a", "b", "a"), label).tolist()


def labelled(predictions: Path, labels: Path) -> tuple[int, int]:
    """Rows that found their label, and how many of those were right."""
    outcome = reference_of_file(predictions, labels=labels).outcome
    if outcome is None:
        return 0, 0
    assert isinstance(outcome.sums, ClassificationSums)
    return outcome.rows, outcome.sums.hits


@pytest.mark.parametrize("kind", IDS)
def test_labels_are_found_by_the_id_as_it_is_written_whatever_the_files(tmp_path: Path, kind: str) -> None:
    label, prediction = outputs()
    order = np.random.default_rng(1).permutation(ROWS)
    right = sum(a == b for a, b in zip(label, prediction, strict=True))
    rows = pa.table({"prediction_id": IDS[kind], "x": np.arange(ROWS), "prediction": prediction})
    truth = pa.table({"prediction_id": IDS[kind], "label": label}).take(pa.array(order))
    for one in ENDINGS:
        for other in ENDINGS:
            files = save(rows, tmp_path / f"rows.{one}"), save(truth, tmp_path / f"labels.{other}")
            assert labelled(*files) == (ROWS, right), (one, other)


@pytest.mark.parametrize(
    "kind", [pa.float64(), pa.int32(), pa.large_string(), pa.string_view(), pa.binary(), pa.decimal128(19, 0)]
)
def test_ids_of_other_types_are_those_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    label, prediction = outputs()
    right = sum(a == b for a, b in zip(label, prediction, strict=True))
    is_number = not (pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_binary(kind))
    numbers = pa.array(range(10**9, 10**9 + ROWS))
    ids = numbers.cast(kind) if is_number else numbers.cast(pa.string()).cast(kind)
    rows = save(pa.table({"prediction_id": ids, "prediction": prediction}), tmp_path / "rows.parquet")
    frame = pd.DataFrame({"prediction_id": numbers.to_pandas(), "label": label})
    for name, changed in (("whole", frame), ("data_frame", frame.astype({"prediction_id": float}))):
        path = tmp_path / f"{name}.csv"
        changed.to_csv(path, index=False)
        assert labelled(rows, path) == (ROWS, right)


def test_ids_that_can_be_none_are_refused_with_their_type(tmp_path: Path) -> None:
    table = pa.table({"prediction_id": [[1], [2]], "label": ["a", "b"]})
    with pytest.raises(RecordError, match=r"labels\.parquet: not prediction ids \(expected text or whole numbers, got"):
        read_labels(save(table, tmp_path / "labels.parquet"))


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_latest_label_is_that_of_a_sort_by_time_and_row_and_one_without_a_time_is_older(
    tmp_path: Path, ending: str
) -> None:
    rng = np.random.default_rng(5)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    times = [
        None if rng.random() < 0.2 else start + datetime.timedelta(hours=int(rng.integers(20))) for _ in range(3_000)
    ]
    frame = pd.DataFrame(
        {
            "prediction_id": [f"i{number}" for number in rng.integers(0, 600, 3_000)],
            "label": rng.choice(["a", "b"], 3_000),
            "label_time": pd.Series(times, dtype="datetime64[us, UTC]"),
        }
    )
    found = read_labels(save(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / f"labels.{ending}"))
    ordered = frame.sort_values("label_time", kind="stable", na_position="first")
    expected = ordered.groupby("prediction_id").label.last().to_dict()
    columns = (found.column(name).to_pylist() for name in ("prediction_id", "label"))
    assert dict(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "date"])
def test_delays_are_in_seconds_whatever_the_unit_of_the_times(tmp_path: Path, ending: str, unit: str) -> None:
    label, prediction = outputs()
    day = 86_400
    event = pa.array(1_790_000_000 // day * day + np.arange(ROWS) * day)
    kind = pa.date32() if unit == "date" else pa.timestamp(unit, "UTC")
    times = [pa.array(np.asarray(event) + extra).cast(pa.timestamp("s", "UTC")).cast(kind) for extra in (0, day)]
    outcome = {"prediction": prediction, "label": label, "event_time": times[0], "label_time": times[1]}
    reference = reference_of_file(save(pa.table(outcome), tmp_path / f"rows.{ending}"))
    assert reference.outcome is not None
    found = summary.outcome_statistics(reference, reference.outcome)["label_delay_seconds"]
    assert isinstance(found, Estimate)
    assert (found.value, found.n) == (day, ROWS)


@pytest.mark.parametrize("ending", ENDINGS)
def test_times_of_which_the_unit_is_unknown_give_no_delay(tmp_path: Path, ending: str) -> None:
    label, prediction = outputs()
    for times in (np.arange(ROWS), [f"{1 + i % 28:02d}.01.2024" for i in range(ROWS)]):
        outcome = {"prediction": prediction, "label": label, "event_time": times, "label_time": times}
        reference = reference_of_file(save(pa.table(outcome), tmp_path / f"rows.{ending}"))
        assert reference.outcome is not None
        assert reference.outcome.delays.finite == 0


@pytest.mark.parametrize("ending", ["csv", "ndjson"])
def test_a_time_that_is_none_costs_its_row_and_nanoseconds_cost_nothing(tmp_path: Path, ending: str) -> None:
    days = ["2024-02-30" if i % 50 == 0 else f"2024-03-{1 + i % 28:02d}" for i in range(ROWS)]
    precise = [f"2024-03-{1 + i % 28:02d}T10:00:00.{i:09d}Z" for i in range(ROWS)]
    profile = reference_of_file(save(pa.table({"day": days, "precise": precise}), tmp_path / f"rows.{ending}")).profile
    counted = profile.columns["f_day"], profile.columns["f_precise"]
    assert [column.missing for column in counted] == [8, 0]
    assert all(isinstance(column, NumericProfile) and column.rows == ROWS for column in counted)


@pytest.mark.parametrize(
    ("first", "later"), [(1.5, "text"), ("text", True), ([1.0], 3), (3, {"a": 1}), (True, 3), ("text", {"a": 1})]
)
def test_what_becomes_another_kind_further_on_in_json_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: object, later: object
) -> None:
    monkeypatch.setattr("monitor.log.files.CHUNK_ROWS", 100)
    path = tmp_path / "rows.ndjson"
    path.write_text("".join(json.dumps({"x": first if i < 300 else later, "y": i}) + "\n" for i in range(400)))
    reference = reference_of_file(path)
    own = reference.profile.columns.get("f_x")
    assert own is None or (own.rows, own.missing) == (400, 100)
    assert reference.profile.columns["f_y"].missing == 0
    again, _ = profile_of_file(open_plain(path, reference), reference)
    assert again.columns.keys() == reference.profile.columns.keys()
    assert own is None or again.columns["f_x"].missing == 100


def test_truth_values_among_numbers_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitor.log.files.CHUNK_ROWS", 100)
    path = tmp_path / "rows.ndjson"
    path.write_text("".join(json.dumps({"x": 0 if i < 300 else True}) + "\n" for i in range(400)))
    column = reference_of_file(path).profile.columns["f_x"]
    assert isinstance(column, NumericProfile)
    assert (column.missing, column.total) == (0, 100.0)


def test_a_parquet_file_with_a_column_of_nothing_is_still_read(tmp_path: Path) -> None:
    table = pa.table({"prediction_id": pa.nulls(ROWS), "x": np.arange(ROWS)})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert reference_of_file(tmp_path / "rows.parquet").profile.rows == ROWS
