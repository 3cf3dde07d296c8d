"""Many labels are joined in one pass, with the same matches as a search in every file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from monitor import matching
from monitor.engines import hash_join, identifiers, local, winners
from monitor.label_join import LabelSettings
from monitor.log.tables import ModelLog
from monitor.matching import Matching, match_labels
from tests.records_samples import CLASSES, EPOCH, labels, predictions

HOUR = 3_600_000_000
SETTINGS = LabelSettings(horizon_seconds=86_400)
NOBODY = pa.array([], pa.string())


@pytest.fixture
def log(tmp_path: Path) -> ModelLog:
    return ModelLog(str(tmp_path / "log"), "pets")


def add(log: ModelLog, batch: pa.RecordBatch, table: str = "predictions") -> int:
    sequence = log.append(table, pa.Table.from_batches([batch]), {})  # type: ignore[arg-type]
    assert sequence is not None
    return sequence


def matches(log: ModelLog, monkeypatch: pytest.MonkeyPatch, *, many: bool, **given: Any) -> tuple[Matching, set[Any]]:
    """What a run says, and the rows it added to `matched`, less bookkeeping."""
    before = log.last_sequence("matched")
    with monkeypatch.context() as patch:
        patch.setattr(matching, "MANY_LABELS", 0 if many else 10**9)
        limits = {"after": 0, "until": 10**9, "predictions_until": 10**9, "pending": NOBODY, **given}
        found = match_labels(log, SETTINGS, **limits)
    rows = log.read("matched", None, after=before)
    listed = [] if rows is None else rows.drop_columns(["ingest_sequence"]).to_pylist()
    return found, {tuple(sorted(row.items())) for row in listed}


def both(log: ModelLog, monkeypatch: pytest.MonkeyPatch, **given: Any) -> tuple[Matching, set[Any]]:
    few = matches(log, monkeypatch, many=False, **given)
    many = matches(log, monkeypatch, many=True, **given)
    assert many == few
    return many


def test_versions_repeats_late_columns_and_labels_without_a_prediction(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(3)
    ids = [f"id-{place:03d}" for place in range(200)]
    add(log, predictions(ids[:150], step=HOUR // 10))
    add(log, predictions(ids[100:], version="2", start=EPOCH + 100 * HOUR))
    grown = predictions(["grown"]).append_column("f_new", pa.array([1.0]))
    add(log, grown)
    chosen = [*random.choice(ids, 150).tolist(), "grown", "nobody"]
    add(log, labels(chosen, random.choice(CLASSES, len(chosen)).tolist(), time=EPOCH + 90 * HOUR), "labels")
    found, rows = both(log, monkeypatch)
    assert found.labels == len(chosen)
    assert "nobody" in found.waiting
    assert len(rows) > 100
    assert {dict(row)["version"] for row in rows} == {"1", "2"}


def test_only_the_stretch_that_was_asked_for_is_joined(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    first = add(log, predictions(["a", "b", "c"]))
    add(log, predictions(["d"]))
    seen = add(log, labels(["a"], ["cat"]), "labels")
    new = add(log, labels(["b", "d"], ["dog", "dog"]), "labels")
    add(log, labels(["c"], ["owl"]), "labels")
    found, rows = both(log, monkeypatch, after=seen, until=new, predictions_until=first)
    assert (found.labels, found.waiting) == (2, frozenset({"d"}))
    assert {dict(row)["prediction_id"] for row in rows} == {"b"}


def test_a_label_much_older_than_its_prediction_is_of_something_else(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(log, predictions(["near", "far"], events=[EPOCH + 23 * HOUR, EPOCH + 25 * HOUR]))
    add(log, labels(["near", "far"], ["cat", "cat"], time=EPOCH), "labels")
    found, rows = both(log, monkeypatch)
    assert {dict(row)["prediction_id"] for row in rows} == {"near"}
    assert found.waiting == {"far"}


def test_who_waited_and_is_found_is_told(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, predictions(["a", "b"]))
    add(log, labels(["a", "b", "c"], ["cat", "cat", "cat"]), "labels")
    found, _ = both(log, monkeypatch, pending=pa.array(["a", "c", "x"]))
    assert (found.resolved, found.waiting) == ({"a"}, {"c"})


def test_labels_that_bring_the_event_time_read_only_the_files_of_that_time(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(log, predictions(["a"], start=EPOCH))
    add(log, predictions(["a"], start=EPOCH + 5 * HOUR))
    add(log, labels(["a"], ["cat"], time=EPOCH + 6 * HOUR, events=[EPOCH + 5 * HOUR]), "labels")
    _, rows = both(log, monkeypatch)
    assert len(rows) == 1


def test_what_is_written_is_in_order_of_event_time(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    ids = [f"{place:04d}" for place in range(1_000)]
    add(log, predictions(ids))
    add(log, labels(random.permutation(ids).tolist(), ["cat"] * 1_000), "labels")
    matches(log, monkeypatch, many=True)
    rows = log.read("matched", ["event_time"])
    assert rows is not None
    times = rows.column("event_time").cast(pa.int64()).to_pylist()
    assert times == sorted(times)


def test_without_predictions_every_label_waits(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, labels(["a"], ["cat"]), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.waiting, rows) == ({"a"}, set())


def test_ids_of_any_characters_are_joined_after_a_rewrite(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = ["it's", "x" * 200, '"quoted"', "a b"]
    add(log, predictions([*odd, "gone"]))
    log.delete("predictions", "prediction_id = 'gone'")
    add(log, labels(odd, ["cat"] * 4), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.waiting, len(rows)) == (frozenset(), 4)


@pytest.mark.parametrize("change", ["small parts", "colliding hashes"])
def test_parts_and_collisions_do_not_matter(log: ModelLog, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    if change == "small parts":
        # One file of labels at a time, and every row group of predictions for itself.
        for name in ("_IDS_AT_ONCE", "_TEXT_AT_ONCE", "_LABELS_AT_ONCE", "PART_ROWS"):
            monkeypatch.setattr(hash_join, name, 1)
    else:
        honest = identifiers.hashes
        monkeypatch.setattr(identifiers, "hashes", lambda ids: honest(ids) % np.uint64(3) << np.uint64(50))
    random = np.random.default_rng(5)
    ids = [f"id-{place}" for place in range(60)]
    for version in ("1", "2"):
        for start in (0, 20, 40):
            add(log, predictions(ids[start : start + 30], version=version, step=HOUR // 60))
    for _ in range(3):
        chosen = [*random.choice(ids, 25).tolist(), "nobody"]
        add(log, labels(chosen, random.choice(CLASSES, 26).tolist(), time=EPOCH + HOUR), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.labels, found.waiting) == (78, frozenset({"nobody"}))
    assert {dict(row)["version"] for row in rows} == {"1", "2"}


@pytest.mark.parametrize("limit", ["_IDS_AT_ONCE", "_TEXT_AT_ONCE"])
def test_labels_of_one_stretch_are_looked_for_as_many_at_once_as_there_is_room_for(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    monkeypatch.setattr(hash_join, limit, 40)
    ids = [f"id-{place:03d}" for place in range(90)]
    add(log, predictions(ids))
    for start in range(0, 90, 9):
        # The first have the event time of their prediction with them, the others not.
        events = [EPOCH + place * 1_000_000 for place in range(start, start + 9)] if start < 27 else None
        add(log, labels([*ids[start : start + 8], "nobody"], ["cat"] * 9, events=events), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.waiting, {dict(row)["prediction_id"] for row in rows}) == ({"nobody"}, {*ids} - {*ids[8::9]})


def test_where_ids_name_many_predictions_and_labels_not_each_is_joined_with_each(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"customer-{place % 3}" for place in range(300)]
    add(log, predictions([*ids, "alone"]))
    for start in range(0, 300, 100):
        newer = EPOCH + HOUR * (1 + start // 100)
        batch = labels(ids[start : start + 100], [CLASSES[(start + place) % 3] for place in range(100)], time=newer)
        moments = pa.array([newer + place for place in range(100)]).cast(batch.schema.field("label_time").type)
        add(log, batch.set_column(batch.schema.get_field_index("label_time"), "label_time", moments), "labels")
    add(log, labels(["alone"], ["owl"], time=EPOCH + HOUR), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.labels, found.waiting, found.surplus) == (301, frozenset(), 300 - 3 * 16)
    assert len(rows) <= 300 * 16 + 1
    # The newest label of all is among those that count.
    times = {int(dict(row)["label_time"].timestamp() * 1e6) for row in rows}
    assert max(times) == EPOCH + 3 * HOUR + 99
    monkeypatch.setattr(hash_join, "MOST_LABELS", 1_000)
    monkeypatch.setattr(winners, "MOST_LABELS", 1_000)
    everything, rows_of_all = both(log, monkeypatch)
    assert (everything.surplus, len(rows_of_all)) == (0, 3 * 100 * 100 + 1)
    assert rows < rows_of_all


def test_who_has_a_prediction_by_another_label_does_not_wait(log: ModelLog, monkeypatch: pytest.MonkeyPatch) -> None:
    add(log, predictions(["a"], events=[EPOCH + 25 * HOUR]))
    add(log, labels(["a"], ["cat"], time=EPOCH), "labels")
    add(log, labels(["a"], ["dog"], time=EPOCH + 26 * HOUR), "labels")
    found, rows = both(log, monkeypatch)
    assert (found.waiting, len(rows)) == (frozenset(), 1)


@pytest.mark.parametrize("many", [True, False])
def test_ids_are_read_once_and_other_columns_only_where_a_prediction_was_found(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    for day in range(4):
        add(log, predictions([f"{place}-{day}" for place in range(9)], start=EPOCH + day * HOUR))
    add(log, labels(["3-1", "4-2", "5-9"], ["cat"] * 3, time=EPOCH + 9 * HOUR), "labels")
    read: Counter[str] = Counter()
    honest = local.read_group

    def counting(parquet: Any, group: int, names: Sequence[str], known: pa.Schema) -> pa.Table:
        if "latency_seconds" in parquet.schema_arrow.names:
            read.update(names)
        return honest(parquet, group, names, known)

    monkeypatch.setattr(local, "read_group", counting)
    monkeypatch.setattr(hash_join, "read_group", counting)
    _, rows = matches(log, monkeypatch, many=many)
    assert {dict(row)["prediction_id"] for row in rows} == {"3-1", "4-2"}
    assert (read["prediction_id"], read["prediction"]) == (4, 2)
