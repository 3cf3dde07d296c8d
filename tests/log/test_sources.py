"""Files and request bodies become batches of the log; bad rows are told apart and the good beside them go through."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import RecordError
from monitor.log.conversion import Parsed
from monitor.log.json_rows import Row
from monitor.log.roles import SourceRules
from monitor.log.sources import Alike, Body, RulesOf, alike, convert_alike, convert_body, frames, read_body, read_file
from monitor.records import EMBEDDING_DIMENSION_KEY, Kind, ModelSchema, describe, label_schema
from monitor.settings import ModelSettings
from tests.records_samples import MODEL, predictions

RULES = SourceRules(MODEL, segments=("region",), version="1")
PRICE = ModelSchema("price", "regression")
NOW = 1_790_000_000_000_000
GOOD = {"prediction_id": "a", "event_time": "2026-01-31T12:00:00Z", "prediction": "cat"}


def parse_body(content: bytes, body_format: Any, kind: Kind, rules: RulesOf, *, now: int) -> list[Parsed]:
    return convert_body(read_body(content, body_format), kind, rules, now=now)


def body(rows: Sequence[Any], kind: Kind = "prediction", rules: SourceRules = RULES) -> Parsed:
    content = b"\n".join(json.dumps(row).encode() for row in rows)
    return merged(parse_body(content, "ndjson", kind, lambda _: rules, now=NOW))


def merged(results: Sequence[Parsed]) -> Parsed:
    batches = [result.batch for result in results if result.batch is not None]
    rejected = [row for result in results for row in result.rejected]
    return Parsed(pa.concat_batches(batches) if batches else None, rejected)


def file(path: Path, kind: Kind = "prediction", rules: SourceRules = RULES) -> Parsed:
    return merged(list(read_file(path, kind, rules, now=NOW)))


def values(parsed: Parsed, column: str) -> list[Any]:
    assert parsed.batch is not None, [row.message for row in parsed.rejected]
    return parsed.batch.column(column).to_pylist()  # type: ignore[no-any-return]


def reasons(parsed: Parsed) -> list[tuple[str, int]]:
    return [(row.reason.value, row.line) for row in parsed.rejected]


def test_what_was_logged_can_be_read_back_from_every_kind_of_file(tmp_path: Path) -> None:
    batch = predictions([f"{index}" for index in range(50)])
    table = pa.Table.from_batches([batch]).drop_columns(["request_id"])
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    pa.feather.write_feather(table, str(tmp_path / "a.feather"), compression="zstd")
    with pa.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    pa.csv.write_csv(table, tmp_path / "a.csv")
    lines = [json.dumps(row, default=lambda moment: moment.isoformat()) for row in table.to_pylist()]
    (tmp_path / "a.ndjson").write_text("\n".join(lines))
    (tmp_path / "a.json").write_text(f"[{','.join(lines)}]")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress((tmp_path / "a.csv").read_bytes()))
    names = ["a.parquet", "a.feather", "a.arrow", "a.csv", "a.ndjson", "a.json", "a.jsonl.gz", "a.csv.gz"]
    for name in names:
        parsed = file(tmp_path / name)
        assert parsed.rejected == [], name
        assert parsed.batch is not None
        assert describe(parsed.batch.schema) == ("prediction", MODEL)
        assert parsed.batch.select(batch.schema.names).equals(batch), name


def test_everything_that_has_no_role_is_a_feature_of_its_type() -> None:
    parsed = body([GOOD | {"age": 3, "city": "Rome", "new": True, "region": "north", "f_size": 1.5, "empty": None}])
    assert parsed.batch is not None
    types = {field.name: field.type for field in parsed.batch.schema if field.name.startswith(("f_", "s_"))}
    text, number = pa.string(), pa.float64()
    assert types == {"f_age": number, "f_city": text, "f_new": pa.bool_(), "f_size": number, "s_region": text}


def test_columns_can_be_mapped_and_excluded() -> None:
    settings = ModelSettings("pets", column_map={"request_id": "id", "ts": "time"}, excluded_columns=("ssn",))
    rules = SourceRules.of(MODEL, settings, version="7")
    row = {"request_id": "r1", "ts": GOOD["event_time"], "prediction": "dog", "ssn": "1", "prediction_id": "x"}
    parsed = body([row], rules=rules)
    assert values(parsed, "prediction_id") == ["r1"]
    assert values(parsed, "version") == ["7"]
    assert parsed.batch is not None
    assert not any(name.startswith("f_") for name in parsed.batch.schema.names)


def test_features_segments_and_probabilities_may_be_nested() -> None:
    row = GOOD | {"features": {"model": 3}, "segments": {"region": "north"}, "probabilities": [0.2, 0.3, 0.5]}
    parsed = body([row, row | {"probabilities": {"cat": 0.5, "dog": 0.25, "owl": 0.25}}])
    assert values(parsed, "f_model") == [3.0, 3.0]
    assert values(parsed, "s_region") == ["north", "north"]
    assert values(parsed, "p_owl") == [0.5, 0.25]


def test_without_a_class_the_likeliest_is_the_prediction() -> None:
    row = {"prediction_id": "a", "event_time": GOOD["event_time"], "p_cat": 0.2, "p_dog": 0.5, "p_owl": 0.3}
    assert values(body([row]), "prediction") == ["dog"]


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"prediction_id": None}, "missing_id", "line 2, prediction_id: is missing"),
        (
            {"prediction_id": " a"},
            "bad_id",
            "line 2, prediction_id: not a prediction id (expected 1 to 200 printable ASCII characters, got ' a')",
        ),
        (
            {"prediction_id": 1.5},
            "wrong_type",
            "line 2, prediction_id: of the wrong type (expected text, got 1.5)",
        ),
        ({"event_time": None}, "missing_value", "line 2, event_time: is missing"),
        (
            {"event_time": "2026-02-30T00:00:00Z"},
            "bad_time",
            "line 2, event_time: not a time (expected an RFC 3339 time such as 2026-01-31T12:00:00Z, from 1970 to 2262,"
            " got '2026-02-30T00:00:00Z')",
        ),
        (
            {"event_time": "2026-01-31T12:00:00"},
            "naive_time",
            "line 2, event_time: a time without an offset from UTC (expected an RFC 3339 time such as"
            " 2026-01-31T12:00:00Z, or columns.timezone in the configuration, got '2026-01-31T12:00:00')",
        ),
        (
            {"prediction": "cow"},
            "unknown_class",
            "line 2, prediction: unknown class (expected one of cat, dog, owl, got 'cow')",
        ),
        ({"prediction": None, "p_cat": None}, "missing_value", "line 2, prediction: is missing"),
        (
            {"p_cat": 0.5, "p_dog": 0.5},
            "bad_probabilities",
            "line 2, probabilities: a class has no probability (expected one for every class, got 'owl')",
        ),
        (
            {"p_cat": 0.5, "p_dog": 0.5, "p_owl": 0.2},
            "bad_probabilities",
            "line 2, probabilities: the probabilities do not add up (expected 1 within 0.001, got 1.2)",
        ),
        (
            {"p_cat": 1.5, "p_dog": -0.25, "p_owl": -0.25},
            "bad_probabilities",
            "line 2, probabilities: not a probability (expected from 0 to 1, got 1.5)",
        ),
        (
            {"p_cat": "1", "p_dog": 0, "p_owl": 0},
            "wrong_type",
            "line 2, p_cat: of the wrong type (expected a number, got '1')",
        ),
        ({"age": "old"}, "wrong_type", "line 2, age: of the wrong type (expected a number, got 'old')"),
        ({"age": True}, "wrong_type", "line 2, age: of the wrong type (expected a number, got True)"),
        (
            {"model": "other"},
            "unknown_model",
            "line 2, model: a record of another model (expected pets, got 'other')",
        ),
    ],
)
def test_a_bad_prediction_is_told_and_those_beside_it_go_through(
    change: dict[str, Any], reason: str, message: str
) -> None:
    full = GOOD | {"age": 1.0, "p_cat": 0.5, "p_dog": 0.25, "p_owl": 0.25}
    bad = {key: value for key, value in full.items() if not (key.startswith("p_") and "p_cat" in change)} | change
    parsed = body([full, bad, full | {"prediction_id": "c"}])
    assert [(row.reason.value, row.message, row.line) for row in parsed.rejected] == [(reason, message, 2)]
    assert json.loads(parsed.rejected[0].original) == bad
    assert values(parsed, "prediction_id") == ["a", "c"]


def test_a_feature_keeps_the_type_it_is_known_by() -> None:
    rules = SourceRules(MODEL, version="1", features={"age": pa.float64(), "zip": pa.string()})
    parsed = body([GOOD | {"age": "x"}, GOOD | {"zip": 7}, GOOD | {"age": 1, "zip": "0123"}], rules=rules)
    assert reasons(parsed) == [("wrong_type", 1), ("wrong_type", 2)]
    assert values(parsed, "f_zip") == ["0123"]


def test_a_feature_may_be_infinite_but_an_output_may_not(tmp_path: Path) -> None:
    table = {"prediction_id": ["a", "b"], "event_time": [GOOD["event_time"]] * 2, "prediction": [1.0, np.inf]}
    pa.parquet.write_table(pa.table(table | {"x": [np.nan, -np.inf]}), tmp_path / "a.parquet")
    parsed = file(tmp_path / "a.parquet", rules=SourceRules(PRICE, version="1"))
    assert [row.message for row in parsed.rejected] == [
        "row 2, prediction: not finite (expected a finite number, got inf)"
    ]
    assert np.isnan(values(parsed, "f_x")[0])


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00+00:00"),
        ("2026-01-31t12:00:00.25z", "2026-01-31T12:00:00.250000+00:00"),
        ("2026-01-31 12:00:00+02:00", "2026-01-31T10:00:00+00:00"),
        ("2026-01-31T12:00-0530", "2026-01-31T17:30:00+00:00"),
        ("2026-01-31T12:00:00.123456789Z", "2026-01-31T12:00:00.123456+00:00"),
    ],
)
def test_times_are_read_as_the_standard_writes_them(written: str, expected: str) -> None:
    # The day that does not exist sends the whole column down the slow way; both must say the same.
    for others in ([], [GOOD | {"event_time": "2026-02-30T00:00:00Z"}]):
        parsed = body([GOOD | {"event_time": written}, *others])
        assert [moment.isoformat() for moment in values(parsed, "event_time")] == [expected]


def test_numbers_are_times_where_their_unit_is_declared() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)
    for unit, number in (("s", moment.timestamp()), ("ms", round(moment.timestamp() * 1e3)), ("us", 1769860800500000)):
        rules = SourceRules(MODEL, version="1", epoch_unit=unit)  # type: ignore[arg-type]
        assert values(body([GOOD | {"event_time": number}], rules=rules), "event_time") == [moment]
        assert reasons(body([GOOD | {"event_time": -1}], rules=rules)) == [("bad_time", 1)]
        assert reasons(body([GOOD | {"event_time": 10**18}], rules=rules)) == [("bad_time", 1)]
    assert "or a number where columns.epoch says its unit" in body([GOOD | {"event_time": 5}]).rejected[0].message


def test_a_declared_zone_reads_naive_times_but_not_those_that_its_clock_skipped_or_repeated() -> None:
    rules = SourceRules(MODEL, version="1", timezone="Europe/Berlin")
    written = ["2026-07-01T12:00:00", "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00"]
    parsed = body([GOOD | {"event_time": text} for text in written], rules=rules)
    assert [moment.isoformat() for moment in values(parsed, "event_time")] == [
        "2026-07-01T10:00:00+00:00",
        "2026-10-25T01:30:00+00:00",
    ]
    assert reasons(parsed) == [("naive_time", 2), ("naive_time", 3)]
    assert "the clock in Europe/Berlin skipped or repeated this time" in parsed.rejected[0].message


def test_naive_times_of_arrow_need_a_zone_too(tmp_path: Path) -> None:
    naive = pa.array([datetime(2026, 7, 1, 12)], pa.timestamp("ns"))  # noqa: DTZ001
    table = pa.table({"prediction_id": ["a"], "prediction": ["cat"], "event_time": naive})
    pa.parquet.write_table(table, tmp_path / "a.parquet")
    assert reasons(file(tmp_path / "a.parquet")) == [("naive_time", 1)]
    rules = SourceRules(MODEL, version="1", timezone="UTC")
    assert values(file(tmp_path / "a.parquet", rules=rules), "event_time") == [datetime(2026, 7, 1, 12, tzinfo=UTC)]


def test_labels_come_by_name_or_index_and_are_known_from_now_on() -> None:
    rows = [{"prediction_id": "a", "label": "dog"}, {"prediction_id": 7, "label": 2, "label_time": GOOD["event_time"]}]
    rules = SourceRules(MODEL, source="desk")
    parsed = body([*rows, {"prediction_id": "c", "label": 3}, {"prediction_id": "d"}], "label", rules)
    assert parsed.batch is not None
    assert parsed.batch.schema.equals(label_schema(MODEL), check_metadata=True)
    assert values(parsed, "prediction_id") == ["a", "7"]
    assert values(parsed, "label") == ["dog", "owl"]
    assert values(parsed, "label_time") == [
        datetime.fromtimestamp(NOW / 1e6, UTC),
        datetime(2026, 1, 31, 12, tzinfo=UTC),
    ]
    assert values(parsed, "source") == ["desk", "desk"]
    assert reasons(parsed) == [("unknown_class", 3), ("missing_value", 4)]
    assert parsed.rejected[0].message == "line 3, label: unknown class (expected one of cat, dog, owl, got '3')"


def test_a_number_is_a_name_where_classes_are_called_by_numbers() -> None:
    digits = SourceRules(ModelSchema("digits", "classification", ("1", "2", "3")))
    parsed = body([{"prediction_id": "a", "label": 1}, {"prediction_id": "b", "label": 0}], "label", digits)
    assert values(parsed, "label") == ["1"]
    assert reasons(parsed) == [("unknown_class", 2)]


def test_labels_of_a_regression_are_finite_numbers() -> None:
    rows = [
        {"prediction_id": "a", "label": 1},
        {"prediction_id": "b", "label": "2"},
        {"prediction_id": "c", "label": 2.5},
    ]
    parsed = body(rows, "label", SourceRules(PRICE))
    assert values(parsed, "label") == [1.0, 2.5]
    assert [row.message for row in parsed.rejected] == ["line 2, label: of the wrong type (expected a number, got '2')"]


def test_lines_that_are_no_records_are_told_by_their_line() -> None:
    content = b'{"prediction_id": "a", "label": "cat"}\n\nnonsense\n[1]\r\n{"prediction_id": "b", "label": "owl"}\r\n'
    parsed = merged(parse_body(content, "ndjson", "label", lambda _: RULES, now=NOW))
    assert values(parsed, "prediction_id") == ["a", "b"]
    assert [(row.reason.value, row.line, row.original) for row in parsed.rejected] == [
        ("malformed", 3, b"nonsense"),
        ("malformed", 4, b"[1]\r"),
    ]
    assert parsed.rejected[0].message.startswith("line 3: not JSON: ")


def test_records_of_several_models_come_in_one_body() -> None:
    known = {"pets": SourceRules(MODEL), "price": SourceRules(PRICE)}
    rows = [{"model": "pets", "label": "cat"}, {"model": "price", "label": 2}, {"model": "x", "label": 2}, {"label": 1}]
    content = json.dumps([row | {"prediction_id": "a"} for row in rows]).encode()
    results = parse_body(content, "json", "label", lambda name: known.get(name or ""), now=NOW)
    assert [describe(result.batch.schema)[1].model for result in results if result.batch] == ["pets", "price"]
    assert [row.message for result in results for row in result.rejected] == [
        "line 3: unknown model 'x'",
        "line 4: names no model",
    ]


@pytest.mark.parametrize("name", ["a.csv", "a.ndjson", "a.parquet"])
def test_a_label_file_without_the_id_names_its_columns_and_how_to_map_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = pa.table({"uid": ["a"], "label": ["cat"]})
    if name.endswith("csv"):
        pa.csv.write_csv(table, path)
    elif name.endswith("parquet"):
        pa.parquet.write_table(table, path)
    else:
        path.write_text('{"uid": "a", "label": "cat"}')
    with pytest.raises(RecordError) as caught:
        file(path, "label")
    assert str(caught.value) == (
        f"{path}: no column holds the prediction_id (expected a column prediction_id, got columns label, uid)."
        " Name it: --map id=COLUMN"
    )
    rules = SourceRules(MODEL, column_map={"uid": "id"})
    assert values(file(path, "label", rules), "label") == ["cat"]


def test_a_prediction_file_needs_a_version_from_somewhere(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(json.dumps(GOOD))
    with pytest.raises(RecordError, match="no column holds the version"):
        file(tmp_path / "a.ndjson", rules=SourceRules(MODEL))


def test_rows_of_a_csv_file_are_counted_with_its_header_and_past_bad_ones(tmp_path: Path) -> None:
    text = (
        "\ufeffprediction_id,label,note\n"  # row 1
        'a,cat,"two\nlines"\n'
        "b\n"
        "c,cow,\n"
        'd,1,""\n'
        "e,owl,x,y\n"
        ",owl,\n"
    ).encode() + b"f,\xff,\ng,owl,z\n"
    (tmp_path / "a.csv").write_bytes(text)
    parsed = file(tmp_path / "a.csv", "label")
    assert values(parsed, "prediction_id") == ["a", "d", "g"]
    assert values(parsed, "label") == ["cat", "dog", "owl"]
    assert sorted(reasons(parsed), key=lambda item: item[1]) == [
        ("malformed", 3),
        ("unknown_class", 4),
        ("malformed", 6),
        ("missing_id", 7),
        ("malformed", 8),
    ]
    messages = {row.line: row.message for row in parsed.rejected}
    assert messages[3] == "row 3: not as many values as columns (expected 3, got 1)"
    assert messages[8] == "row 8: not UTF-8 text"
    assert {row.line: row.original for row in parsed.rejected}[4] == b'{"prediction_id": "c", "label": "cow"}'


def test_types_of_csv_features_are_those_of_the_first_rows(tmp_path: Path) -> None:
    rows = "".join(f"{index},2026-01-31T12:00:00Z,cat,{index / 2},TRUE,x{index}\n" for index in range(20))
    (tmp_path / "a.csv").write_text("prediction_id,event_time,prediction,age,new,city\n" + rows)
    parsed = file(tmp_path / "a.csv")
    assert parsed.batch is not None
    assert [parsed.batch.schema.field(name).type for name in ("f_age", "f_new", "f_city")] == [
        pa.float64(),
        pa.bool_(),
        pa.string(),
    ]


def test_a_long_file_is_read_in_chunks_with_whole_numbers_of_rows(tmp_path: Path) -> None:
    rows = [f'{{"prediction_id": "{index}", "label": {"3" if index == 24_000 else "1"}}}' for index in range(25_000)]
    (tmp_path / "a.ndjson").write_text("\n".join(rows) + "\n")
    parts = list(read_file(tmp_path / "a.ndjson", "label", RULES, now=NOW))
    assert [part.accepted for part in parts] == [10_000, 10_000, 4_999]
    assert reasons(merged(parts)) == [("unknown_class", 24_001)]


def test_embeddings_are_kept_in_half_precision_and_all_of_one_length(tmp_path: Path) -> None:
    rows = [GOOD | {"embedding": [1.5, -2.0]}, GOOD | {"embedding": [1.0]}, GOOD | {"embedding": [1e6, 0]}, GOOD]
    parsed = body(rows)
    assert parsed.batch is not None
    field = parsed.batch.schema.field("embedding")
    assert field.metadata == {EMBEDDING_DIMENSION_KEY: b"2"}
    assert np.frombuffer(values(parsed, "embedding")[0], "<f2").tolist() == [1.5, -2.0]
    assert values(parsed, "embedding")[1] is None
    assert [row.message for row in parsed.rejected] == [
        "line 2, embedding: not an embedding of this model (expected 2 numbers)",
        "line 3, embedding: an embedding is not finite (expected numbers up to 65504)",
    ]
    pa.parquet.write_table(pa.Table.from_batches([parsed.batch]), tmp_path / "a.parquet")
    again = file(tmp_path / "a.parquet")
    assert values(again, "embedding") == values(parsed, "embedding")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", b"", "not a kind of file that holds records (expected a name ending in .csv, .ndjson"),
        ("a.parquet.gz", b"", "not a kind of file that holds records"),
        ("a.parquet", b"PAR1 is not enough", "the file cannot be read"),
        ("a.arrow", b"nonsense", "the file cannot be read"),
        ("a.csv", b"", "an empty file (expected a line with the names of the columns)"),
        ("a.csv.gz", b"not gzip", "the file cannot be read"),
        ("a.csv", b"a,a\n1,2\n", "two columns have the same name (got 'a')"),
        ("a.csv", b"id,prediction_id\n1,2\n", "two columns hold prediction_id (got id and also)"),
        ("a.json", b"[1", "not JSON"),
        ("a.json", b"7", "not a record (expected a JSON object, or a list of objects, got 7)"),
        ("a.ndjson", b"x" * 9_000_000, "a line is too long (expected at most 4194304 bytes)"),
        ("a.csv", ("x," * 3000).encode() + b"y\n" + ("1," * 3000).encode() + b"1\n", "too many columns"),
    ],
)
def test_a_file_of_no_use_is_one_clear_error(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = tmp_path / name
    rules = RULES
    if "two columns hold" in message:
        content = b"id,also,label\n1,2,cat\n"
        rules = SourceRules(MODEL, column_map={"id": "id", "also": "id"})
    path.write_bytes(content)
    with pytest.raises(RecordError) as caught:
        file(path, "label", rules)
    assert message in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"no\.csv: the file cannot be read \(got .*No such file"):
        file(tmp_path / "no.csv")


def test_frames_hold_at_most_a_thousand_rows_of_one_schema() -> None:
    pets = [predictions([f"{batch}-{row}" for row in range(700)]) for batch in range(3)]
    other = predictions(["x"], model=PRICE)
    made = frames([pets[0], other, pets[1], pets[2]])
    assert [batch.num_rows for batch in made] == [1000, 1000, 100, 1]
    ids = [name for batch in made[:3] for name in batch.column("prediction_id").to_pylist()]
    assert ids == [f"{batch}-{row}" for batch in range(3) for row in range(700)]


NAMES = st.sampled_from(
    [
        *("prediction_id", "event_time", "prediction", "label", "p_cat", "p_dog", "p_owl", "version", "embedding"),
        *("model", "features", "probabilities", "segments", "region", "age", "latency_seconds", "label_time", "source"),
    ]
)
ATOMS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
LIKELY = st.sampled_from(["cat", "2026-01-31T12:00:00Z", "2026-01-31", "2026-13-01T00:00Z", 0.5, 2, 0, 1e300, 2**63])
JSON = st.recursive(
    ATOMS | LIKELY, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3)
)
ROWS = st.lists(st.dictionaries(NAMES, JSON, max_size=8) | JSON, max_size=5)
ANY_RULES = st.builds(
    SourceRules,
    st.sampled_from([MODEL, PRICE]),
    st.just(("region",)),
    version=st.sampled_from([None, "1"]),
    timezone=st.sampled_from([None, "Europe/Berlin"]),
    epoch_unit=st.sampled_from([None, "s", "ms"]),
)
KINDS = st.sampled_from(["prediction", "label"])


@given(ROWS, ANY_RULES, KINDS)
def test_every_row_of_any_body_is_taken_or_rejected(rows: list[Any], rules: SourceRules, kind: Kind) -> None:
    content = json.dumps(rows).encode()
    try:
        results = parse_body(content, "json", kind, lambda _: rules, now=NOW)
    except RecordError:
        return
    assert sum(result.accepted + len(result.rejected) for result in results) == len(rows)
    for result in results:
        if result.batch is not None:
            result.batch.validate(full=True)


SIMILAR = st.fixed_dictionaries(
    {"prediction_id": st.sampled_from(["a", "b", " ", 7, 2**60, 1.0]), "prediction": st.sampled_from(["cat", "x", 1])},
    optional={
        "event_time": st.sampled_from(["2026-01-31T12:00:00Z", "2026-02-30T12:00:00Z", 5]),
        "p_cat": st.sampled_from([0.5, 1]),
        "age": st.sampled_from([1, 1.5, "x", None, True, [1.0]]),
        "probabilities": st.lists(st.sampled_from([0.5, 0, 1]), min_size=3, max_size=3),
        "embedding": st.lists(st.sampled_from([1, 0.5, 1e9]), max_size=2),
    },
)


@given(st.lists(SIMILAR, min_size=1, max_size=8))
def test_converted_together_every_row_is_what_it_would_be_alone(rows: list[dict[str, Any]]) -> None:
    shapes: dict[Any, list[Alike]] = {}
    for row in rows:
        part = alike(Body([Row(row, 1)], []), "prediction", lambda _: RULES)
        assert part is not None
        shapes.setdefault(part.shape, []).append(part)
    for parts in shapes.values():
        try:
            together = convert_alike(parts, now=NOW)
        except RecordError as error:
            with pytest.raises(RecordError, match=error.what):
                convert_alike(parts[:1], now=NOW)
            continue
        for part, result in zip(parts, together, strict=True):
            [alone] = convert_alike([part], now=NOW)
            assert [row.reason for row in result.rejected] == [row.reason for row in alone.rejected]
            assert (result.batch is None) == (alone.batch is None)
            if result.batch is not None:
                assert result.batch.equals(alone.batch, check_metadata=True)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,\n\r 01eabc\\u', max_size=80).map(str.encode), KINDS)
def test_any_bytes_are_a_body_or_our_own_error(content: bytes, kind: Kind) -> None:
    parse_body(content, "ndjson", kind, lambda _: RULES, now=NOW)
    try:
        parse_body(content, "json", kind, lambda _: RULES, now=NOW)
    except RecordError as error:
        assert error.what in ("not JSON", "not a record", "too many columns", "not a column name")


@given(
    st.binary(max_size=200) | st.text(alphabet='",\n\r ab01', max_size=80).map(str.encode),
    st.sampled_from([".csv", ".arrow"]),
)
def test_any_bytes_are_a_file_or_our_own_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{ending}"
    path.write_bytes(b"prediction_id,label,x\n" + content if ending == ".csv" else content)
    try:
        for part in read_file(path, "label", RULES, now=NOW):
            assert part.batch is not None or part.rejected
    except RecordError as error:
        assert str(path) in str(error)
