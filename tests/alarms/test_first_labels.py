"""Evidence batches: each prediction's first label once, whatever is repeated, corrected or appended twice."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from monitor.alarms import first_labels as module
from monitor.alarms.first_labels import first_labels
from monitor.log.tables import ModelLog
from tests.records_samples import EPOCH, labels, predictions

DAY = 86_400_000_000


@pytest.fixture
def log(tmp_path: Path) -> ModelLog:
    return ModelLog(str(tmp_path), "pets")


def append(log: ModelLog, ids: list[str], *, version: str = "1", start: int = EPOCH, value: str = "cat") -> int:
    """One commit to `matched`."""
    answered = pa.Table.from_batches([predictions(ids, version=version, start=start)])
    truth = pa.Table.from_batches([labels(ids, [value] * len(ids))]).drop_columns(["event_time"])
    rows = answered.join(truth, "prediction_id", join_type="inner")
    sequence = log.append("matched", rows, {f"test {log.last_sequence('matched')}": 1})
    assert sequence is not None
    return sequence


def found(log: ModelLog, after: int, until: int | None = None) -> list[tuple[str, list[str]]]:
    until = log.last_sequence("matched") if until is None else until
    return [
        (version, sorted(rows.column("prediction_id").to_pylist()))
        for version, rows in first_labels(log, after=after, until=until)
    ]


def test_nothing_new_is_nothing(log: ModelLog) -> None:
    assert found(log, 0) == []
    last = append(log, ["a"])
    assert found(log, last) == []


def test_first_labels_come_by_version(log: ModelLog) -> None:
    append(log, ["a", "b"])
    append(log, ["a"], version="2")
    assert found(log, 0) == [("1", ["a", "b"]), ("2", ["a"])]


def test_a_correction_brings_no_first_label_but_a_prediction_beside_it_does(log: ModelLog) -> None:
    first = append(log, ["a", "b"])
    append(log, ["b", "c"], value="dog")
    assert found(log, first) == [("1", ["c"])]


def test_rows_that_a_killed_cycle_appended_are_found_again_and_once(log: ModelLog) -> None:
    """It was killed before its cursor moved: the next one sees both commits as new."""
    append(log, ["a"])
    append(log, ["a", "b"])
    [(_, ids)] = found(log, 0)
    assert sorted(set(ids)) == ["a", "b"]


def test_a_repeat_of_a_labelled_prediction_in_another_pane_is_not_its_first_label(log: ModelLog) -> None:
    first = append(log, ["a"], start=EPOCH)
    append(log, ["a"], start=EPOCH - DAY // 2)
    assert found(log, first) == []


def test_another_versions_label_does_not_use_up_ours(log: ModelLog) -> None:
    first = append(log, ["a"], version="2")
    append(log, ["a"], version="1")
    assert found(log, first) == [("1", ["a"])]


def test_a_long_backlog_is_taken_in_stretches_with_the_same_result(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ids in (["a", "b"], ["b", "c"], ["d"], ["a", "e"]):
        append(log, ids)
    [(_, whole)] = found(log, 0)
    monkeypatch.setattr(module, "CHUNK_ROWS", 2)
    parts = found(log, 0)
    assert len(parts) > 1
    taken = [name for _, ids in parts for name in ids]
    assert sorted(taken) == sorted(set(whole)) == ["a", "b", "c", "d", "e"]


def test_compaction_changes_no_answer(log: ModelLog) -> None:
    sequences = [append(log, [f"{place}-{i}" for i in range(3)] + ["same"]) for place in range(4)]
    before = [found(log, low, high) for low, high in zip([0, *sequences[:-1]], sequences, strict=True)]
    assert log.compact("matched", minimum_files=2) > 0
    assert [found(log, low, high) for low, high in zip([0, *sequences[:-1]], sequences, strict=True)] == before
