"""`trueup deadletters`: from a rejected record to the log, once its cause is mended."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from monitor.commands.adding import add_labels
from monitor.commands.deadletters import feed, show
from monitor.config import load_config
from monitor.log.spool import SpoolWriter
from monitor.pipeline import Pipeline
from tests.daemon_process import free_port, write_config
from tests.records_samples import predictions


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    return dict(json.loads(capsys.readouterr().out))


def ingested(config: Path) -> Pipeline:
    pipeline = Pipeline(load_config(config), clock=time.time)
    pipeline.ingest()
    return pipeline


def test_labels_of_a_wrong_name_are_fed_once_the_name_is_mapped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, free_port())
    file = tmp_path / "labels.ndjson"
    rows = [{"prediction_id": "a", "truth": "cat"}, {"prediction_id": "b", "truth": "unicorn"}]
    file.write_text("\n".join(json.dumps(row) for row in [{"prediction_id": "c", "label": "owl"}, *rows]))
    add_labels(file, config, as_json=True)
    assert answer(capsys)["reasons"] == {"missing_value": 2}
    content = yaml.safe_load(config.read_text())
    content["models"]["pets"]["columns"] = {"map": {"label": "truth"}}
    config.write_text(yaml.safe_dump(content))
    feed(config, as_json=True)
    assert answer(capsys) == {"fed": 1, "kept": 1, "reasons": {"unknown_class": 1}}
    show(config, as_json=True)
    [left] = list(answer(capsys)["dead_letters"])  # type: ignore[call-overload]
    assert json.loads(left["original"])["prediction_id"] == "b"
    pipeline = ingested(config)
    labels = pipeline.models["pets"].log.read("labels", ["prediction_id", "label"])
    pipeline.close()
    assert labels is not None
    assert sorted(map(tuple, (row.values() for row in labels.to_pylist()))) == [("a", "cat"), ("c", "owl")]


def test_a_feature_that_changed_its_type_is_shown_with_its_value_and_a_record_of_the_future_is_fed_when_it_is_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_config(tmp_path, free_port())
    soon = round((time.time() + 3_600) * 1e6)
    writer = SpoolWriter(tmp_path / "trueup-data" / "spool", writer="server")
    writer.append(predictions(["a"]))
    batch = predictions(["b"])
    position = batch.schema.get_field_index("f_age")
    writer.append(
        pa.RecordBatch.from_arrays(
            [pa.array(["forty"]) if index == position else column for index, column in enumerate(batch.columns)],
            schema=batch.schema.set(position, pa.field("f_age", pa.string())),
        )
    )
    writer.append(predictions(["early"], events=[soon]))
    writer.close()
    pipeline = ingested(config)
    with pipeline.state.transaction(write=False) as state:
        assert state.counters("pets", "rejected") == {"column_type_changed": 1, "future_event_time": 1}
        assert state.counters("pets", "rejected by source") == {"spool": 2}
    pipeline.close()
    show(config, original=True)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {"prediction_id": "b", "f_age": "forty"}
    assert (lines[1]["prediction_id"], lines[1]["s_region"]) == ("early", batch.column("s_region")[0].as_py())

    content = yaml.safe_load(config.read_text())
    content["models"]["pets"]["future_guard"] = "2h"
    config.write_text(yaml.safe_dump(content))
    feed(config, as_json=True)
    assert answer(capsys) == {"fed": 1, "kept": 1, "reasons": {"column_type_changed": 1}}
    pipeline = ingested(config)
    rows = pipeline.models["pets"].log.read("predictions", ["prediction_id", "f_age"])
    pipeline.close()
    assert rows is not None
    logged = {row["prediction_id"]: row["f_age"] for row in rows.to_pylist()}
    assert set(logged) == {"a", "b", "early"}
    assert (logged["b"], logged["early"]) == (None, pytest.approx(lines[1]["f_age"], abs=0))
    feed(config)
    assert "still not taken: column_type_changed" in capsys.readouterr().out


def test_the_table_counts_by_model_source_and_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, free_port())
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label\na,unicorn\nb,dragon\nc,cat\n")
    add_labels(file, config, as_json=True)
    capsys.readouterr()
    show(config, reason="unknown_class")
    shown = capsys.readouterr().out
    assert "unknown_class" in shown
    assert "unicorn" in shown
    show(config, model="others", as_json=True)
    assert answer(capsys) == {"dead_letters": []}
