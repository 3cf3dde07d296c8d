"""The local engine: which rows win, which files are read, where an id is found."""

from __future__ import annotations

import itertools
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.engines import local
from monitor.engines.local import find, pane_ranges, read_panes, touched_panes
from monitor.engines.winners import unique_outcomes, unique_predictions
from monitor.log.tables import SEQUENCE, LogFile, ModelLog
from tests.records_samples import EPOCH, labels, predictions

PANE = 300_000_000
START = EPOCH // PANE * PANE


def table(*batches: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches(list(batches))


@pytest.fixture
def log(tmp_path: Path) -> ModelLog:
    return ModelLog(str(tmp_path / "log"), "pets")


def append(log: ModelLog, *batches: pa.RecordBatch, into: str = "predictions") -> int:
    sequence = log.append(into, table(*batches), {})  # type: ignore[arg-type]
    assert sequence is not None
    return sequence


def test_of_repeats_the_earliest_wins_in_whatever_order_they_come() -> None:
    batches = [predictions(["a", "b"], start=START + offset, seed=seed) for seed, offset in enumerate((5, 0, 9))]
    kept = {
        tuple(sorted(map(str, unique_predictions(table(*order)).to_pylist())))
        for order in itertools.permutations(batches)
    }
    assert len(kept) == 1
    winners = unique_predictions(table(*batches)).to_pylist()
    assert [row["event_time"].timestamp() * 1e6 % 1e6 for row in winners] == [0, 0]


def test_contradicting_repeats_of_one_moment_have_one_winner_by_content() -> None:
    first, second = predictions(["a"], start=START, seed=1), predictions(["a"], start=START, seed=2)
    [winner] = {str(unique_predictions(table(*order)).to_pylist()) for order in ([first, second], [second, first])}
    assert winner in {str(first.to_pylist()), str(second.to_pylist())}


def test_a_winner_elsewhere_takes_the_row_away() -> None:
    rows = table(predictions(["a", "b"], start=START, step=0))
    assert unique_predictions(rows, {"a": START - 1}).column("prediction_id").to_pylist() == ["b"]
    assert unique_predictions(rows, {"a": START}).num_rows == 2


def matched(ids: list[str], values: list[str], time: int) -> pa.Table:
    truth = table(labels(ids, values, time=time)).select(["prediction_id", "label", "label_time"])
    return table(predictions(ids, start=START)).join(truth, keys="prediction_id", join_type="inner")


def test_the_newest_label_wins_and_of_one_moment_one_by_content() -> None:
    parts = [matched(["a"], ["cat"], EPOCH), matched(["a"], ["dog"], EPOCH + 9), matched(["a"], ["owl"], EPOCH + 9)]
    winners = {
        unique_outcomes(pa.concat_tables(order)).column("label").to_pylist()[0]
        for order in itertools.permutations(parts)
    }
    assert len(winners) == 1
    assert winners < {"dog", "owl"}


def test_panes_are_counted_by_version_among_new_rows_only(log: ModelLog) -> None:
    first = append(log, predictions(["a", "b"], start=START, step=PANE))
    second = append(log, predictions(["c"], start=START + 7), predictions(["d"], start=START, version="2"))
    assert touched_panes(log, "predictions", 300, after=0, until=second) == {
        "1": {START: 2, START + PANE: 1},
        "2": {START: 1},
    }
    assert touched_panes(log, "predictions", 300, after=first, until=second) == {"1": {START: 1}, "2": {START: 1}}
    assert touched_panes(log, "predictions", 300, after=second, until=second) == {}


def file(rows: int, start: int, end: int) -> LogFile:
    return LogFile("x", rows, 0, None, None, (start, end), None)


def test_panes_are_read_together_as_long_as_their_rows_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CHUNK_ROWS", 100)
    starts = [START + place * PANE for place in range(6)]
    files = [file(40, start, start + PANE - 1) for start in starts]
    ranges = pane_ranges("1", starts, 300, files)
    assert [len(found.starts) for found in ranges] == [2, 2, 2]
    assert [found.start for found in ranges] == starts[::2]
    assert [found.end for found in ranges] == [start + 2 * PANE for start in starts[::2]]


def test_of_a_file_over_many_panes_each_takes_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "CHUNK_ROWS", 100)
    starts = [START + place * PANE for place in range(6)]
    whole = file(300, START, START + 6 * PANE - 1)
    assert [len(found.starts) for found in pane_ranges("1", starts, 300, [whole])] == [2, 2, 2]
    assert [len(found.starts) for found in pane_ranges("1", starts, 300, [file(101, START, START)])] == [1, 5]


def test_a_pane_without_rows_is_read_as_empty(log: ModelLog) -> None:
    append(log, predictions(["a"], start=START))
    wanted = pane_ranges("1", {START, START + PANE, START - PANE}, 300, log.files("predictions"))
    found = {start: rows.num_rows for part in wanted for start, rows in read_panes(log, "predictions", part, 300, None)}
    assert found == {START - PANE: 0, START: 1, START + PANE: 0}
    [nothing] = pane_ranges("7", {START}, 300, [])
    assert [rows.num_rows for _, rows in read_panes(log, "predictions", nothing, 300, None)] == [0]


def test_rows_of_a_pane_are_found_in_whatever_order_they_were_logged(log: ModelLog) -> None:
    append(log, predictions(["c", "d"], start=START + PANE))
    append(log, predictions(["a", "b"], start=START))
    [wanted] = pane_ranges("1", {START, START + PANE}, 300, log.files("predictions"))
    found = {
        start: sorted(rows.column("prediction_id").to_pylist())
        for start, rows in read_panes(log, "predictions", wanted, 300, None)
    }
    assert found == {START: ["a", "b"], START + PANE: ["c", "d"]}


def test_an_id_is_found_with_the_columns_asked_for_and_up_to_a_sequence(log: ModelLog) -> None:
    first = append(log, predictions(["a", "b"], start=START))
    append(log, predictions(["a"], start=START + PANE, version="2"))
    wanted = pa.array(["a", "x"])
    both = find(log, "predictions", wanted, ["version", SEQUENCE])
    assert both is not None
    assert sorted(both.column("version").to_pylist()) == ["1", "2"]
    early = find(log, "predictions", wanted, ["version"], until=first)
    assert early is not None
    assert early.to_pylist() == [{"prediction_id": "a", "version": "1"}]
    assert find(log, "predictions", pa.array(["x"]), ["version"]) is None
    assert find(log, "labels", wanted, ["label"]) is None
    assert find(log, "predictions", pa.array([], pa.string()), ["version"]) is None


def test_a_sequence_limit_holds_within_a_file_that_compaction_made(log: ModelLog) -> None:
    first = append(log, predictions(["a"], start=START))
    append(log, predictions(["b"], start=START))
    log.compact("predictions", minimum_files=2)
    assert len(log.files("predictions")) == 1
    found = find(log, "predictions", pa.array(["a", "b"]), [], until=first)
    assert found is not None
    assert found.column("prediction_id").to_pylist() == ["a"]


def test_files_outside_the_ids_or_the_time_are_not_opened(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    append(log, predictions(["a1", "a9"], start=START))
    append(log, predictions(["b1", "b9"], start=START + 10 * PANE))
    opened: list[str] = []
    original = local._find_in_file

    def spy(file: LogFile, *arguments: object) -> pa.Table | None:
        opened.append(file.uri)
        return original(file, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "_find_in_file", spy)
    assert find(log, "predictions", pa.array(["b5", "c"]), []) is None
    assert len(opened) == 1
    find(log, "predictions", pa.array(["a1", "b1"]), [], start=START + 9 * PANE)
    assert len(opened) == 2
    assert find(log, "predictions", pa.array(["zz"]), []) is None
    assert len(opened) == 2


def test_a_column_that_a_file_does_not_have_yet_is_null(log: ModelLog) -> None:
    old = predictions(["a"], start=START)
    append(log, old.drop_columns(["s_region"]))
    append(log, predictions(["b"], start=START))
    found = find(log, "predictions", pa.array(["a", "b"]), ["s_region"])
    assert found is not None
    by_id = {row["prediction_id"]: row["s_region"] for row in found.to_pylist()}
    assert by_id["a"] is None
    assert by_id["b"] in ("north", "south")
