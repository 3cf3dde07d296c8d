"""Dead letters are taken again as their source would have been understood; what is still wrong says why."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa

from monitor.log.dead_letters import DeadLetter
from monitor.log.feeding import take_again
from monitor.log.roles import SourceRules
from monitor.pipeline import set_aside_rows
from monitor.records import EMBEDDING_DIMENSION_KEY
from tests.records_samples import MODEL, predictions

RULES = SourceRules(MODEL, segments=("region",), version="1", features={"age": pa.float64(), "city": pa.string()})
NOW = 1_790_000_000_000_000


def letter(original: bytes | dict[str, object], **changes: str) -> DeadLetter:
    text = original if isinstance(original, bytes) else json.dumps(original).encode()
    made = DeadLetter("2026-09-01T00:00:00Z", "http", "pets", "label", "unknown_class", "m", text)
    return replace(made, **changes)  # type: ignore[arg-type]


def test_good_ones_are_taken_and_the_others_say_why() -> None:
    good = letter({"prediction_id": "a", "label": "cat"})
    bad = letter({"prediction_id": "b", "label": "unicorn"})
    torn = letter(b'{"prediction_id": ')
    fed = take_again([bad, good, torn], RULES, now=NOW)
    assert fed.taken == [good]
    assert [batch.column("prediction_id").to_pylist() for batch in fed.batches] == [["a"]]
    assert sorted(fed.kept, key=str) == sorted([(bad, "unknown_class"), (torn, "malformed")], key=str)


def test_a_label_without_a_time_was_known_when_it_was_rejected() -> None:
    given = {"prediction_id": "b", "label": "cat", "label_time": "2026-08-01T00:00:00Z"}
    fed = take_again([letter({"prediction_id": "a", "label": "cat"}), letter(given)], RULES, now=NOW)
    times = [moment.isoformat() for batch in fed.batches for moment in batch.column("label_time").to_pylist()]
    assert times == ["2026-09-01T00:00:00+00:00", "2026-08-01T00:00:00+00:00"]


def test_rows_of_a_csv_file_are_text_that_may_mean_numbers() -> None:
    record = {"prediction_id": "a", "event_time": "2026-01-31T12:00:00Z", "prediction": "cat", "age": "40.5"}
    fed = take_again([letter(record, kind="prediction", source="file pets.csv")], RULES, now=NOW)
    assert fed.batches[0].column("f_age").to_pylist() == [40.5]
    fed = take_again([letter(record, kind="prediction", source="http /v1/predictions")], RULES, now=NOW)
    assert [why for _, why in fed.kept] == ["wrong_type"]


def test_one_whose_columns_clash_does_not_hold_up_the_others() -> None:
    clash = letter({"prediction_id": "a", "id": "b", "label": "cat"})
    rules = replace(RULES, column_map={"id": "prediction_id", "key": "prediction_id"})
    good = letter({"key": "c", "label": "dog"})
    fed = take_again([clash, good], rules, now=NOW)
    assert good in fed.taken


def test_rows_that_the_log_refused_come_back_with_their_embedding() -> None:
    batch = predictions(["a"])
    field = pa.field("embedding", pa.binary(), metadata={EMBEDDING_DIMENSION_KEY: b"2"})
    vector = pa.array([bytes.fromhex("003c0040")])
    table = pa.Table.from_batches([batch]).append_column(field, vector)
    [row] = set_aside_rows("future_event_time", table, NOW)
    fed = take_again([letter(row.original, kind="prediction", source="spool")], RULES, now=NOW)
    assert fed.kept == []
    again = fed.batches[0]
    assert again.column("embedding").equals(vector)
    assert again.select(["prediction_id", "event_time", "f_age", "f_city", "s_region", "p_cat"]).to_pylist() == (
        batch.select(["prediction_id", "event_time", "f_age", "f_city", "s_region", "p_cat"]).to_pylist()
    )


def test_values_of_a_column_that_changed_its_type_stay() -> None:
    value = letter({"prediction_id": "a", "f_age": "forty"}, kind="prediction", reason="column_type_changed")
    fed = take_again([value], RULES, now=NOW)
    assert (fed.taken, fed.kept) == ([], [(value, "column_type_changed")])
