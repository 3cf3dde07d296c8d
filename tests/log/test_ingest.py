"""Spool segments reach the log exactly once; what the log cannot take is set aside, counted, and stops nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.errors import OperatorError
from monitor.log.ingest import Progress, ingest
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog, check_model_name
from monitor.records import ModelSchema
from tests.records_samples import EPOCH, MODEL, labels, predictions

FAR = EPOCH + 10**12


class SetAside:
    def __init__(self) -> None:
        self.kept: list[tuple[str, str, str, pa.Table]] = []

    def __call__(self, model: str, kind: str, reason: str, rows: pa.Table) -> None:
        self.kept.append((model, kind, reason, rows))


def spooled(root: Path, *batches: pa.RecordBatch, writer: str = "w") -> None:
    spool = SpoolWriter(root, writer=writer)
    for batch in batches:
        spool.append(batch)
    spool.close()


def run(tmp_path: Path, aside: SetAside | None = None) -> Progress:
    return ingest(
        [tmp_path / "spool"], str(tmp_path / "log"), future_limit=lambda _: FAR, set_aside=aside or SetAside()
    )


def logged(tmp_path: Path, model: str = "pets", table: str = "predictions") -> list[str]:
    rows = ModelLog(str(tmp_path / "log"), model).read(table, ["prediction_id"])  # type: ignore[arg-type]
    return [] if rows is None else sorted(rows.column("prediction_id").to_pylist())


def test_predictions_and_labels_reach_their_tables_and_the_spool_is_emptied(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a", "b"]), labels(["a"], ["cat"]))
    progress = run(tmp_path)
    assert logged(tmp_path) == ["a", "b"]
    assert logged(tmp_path, table="labels") == ["a"]
    assert progress.rows["pets", "predictions"] == 2
    assert progress.newest == {("pets", "w"): EPOCH + 1_000_000}
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_segment_that_was_committed_but_not_removed_is_not_ingested_again(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a"]))
    shutil.copytree(tmp_path / "spool", tmp_path / "copy")
    run(tmp_path)
    shutil.copytree(tmp_path / "copy", tmp_path / "spool", dirs_exist_ok=True)
    run(tmp_path)
    assert logged(tmp_path) == ["a"]


def test_every_row_carries_a_growing_sequence_that_survives_compaction(tmp_path: Path) -> None:
    for index in range(4):
        spooled(tmp_path / "spool", predictions([f"id-{index}"]), writer=f"w{index}")
        run(tmp_path)
    log = ModelLog(str(tmp_path / "log"), "pets")
    before = log.read("predictions", ["prediction_id", "ingest_sequence"])
    assert log.compact("predictions", minimum_files=2) > 0
    after = log.read("predictions", ["prediction_id", "ingest_sequence"])
    assert before is not None
    assert after is not None
    assert before.sort_by("prediction_id") == after.sort_by("prediction_id")
    assert len(set(before.column("ingest_sequence").to_pylist())) == 4
    newest = log.read("predictions", ["prediction_id"], after=pc.max(before.column("ingest_sequence")).as_py() - 1)
    assert newest is not None
    assert newest.column("prediction_id").to_pylist() == ["id-3"]


def test_a_prediction_from_the_future_is_set_aside_and_moves_nothing(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["now", "2099"], events=[EPOCH, FAR + 1]))
    aside = SetAside()
    progress = run(tmp_path, aside)
    assert logged(tmp_path) == ["now"]
    assert progress.rejected["pets", "future_event_time"] == 1
    assert progress.newest == {("pets", "w"): EPOCH}
    assert aside.kept[0][3].column("prediction_id").to_pylist() == ["2099"]


def test_a_feature_that_changes_its_type_is_set_aside_and_the_prediction_stays(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a"]))
    run(tmp_path)
    batch = predictions(["b"])
    position = batch.schema.get_field_index("f_age")
    changed = pa.RecordBatch.from_arrays(
        [pa.array(["forty"]) if index == position else column for index, column in enumerate(batch.columns)],
        schema=batch.schema.set(position, pa.field("f_age", pa.string())),
    )
    spooled(tmp_path / "spool", changed, writer="x")
    aside = SetAside()
    progress = run(tmp_path, aside)
    assert logged(tmp_path) == ["a", "b"]
    assert progress.rejected["pets", "column_type_changed"] == 1
    assert aside.kept[0][3].to_pylist() == [{"prediction_id": "b", "f_age": "forty"}]


def test_integers_are_kept_as_float64_and_never_rounded_into_the_old_type(tmp_path: Path) -> None:
    batch = predictions(["a"])
    position = batch.schema.get_field_index("f_age")
    whole = batch.set_column(position, pa.field("f_age", pa.int64()), pa.array([40]))
    whole = whole.replace_schema_metadata(batch.schema.metadata)
    spooled(tmp_path / "spool", whole, predictions(["b"]))
    run(tmp_path)
    rows = ModelLog(str(tmp_path / "log"), "pets").read("predictions", ["f_age"])
    assert rows is not None
    assert rows.schema.field("f_age").type == pa.float64()
    assert batch.num_rows == 1
    assert 40.0 in rows.column("f_age").to_pylist()


def test_a_new_feature_is_added_and_older_rows_lack_it(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a"]))
    run(tmp_path)
    batch = predictions(["b"])
    grown = batch.append_column("f_height", pa.array([1.8])).replace_schema_metadata(batch.schema.metadata)
    spooled(tmp_path / "spool", grown, writer="x")
    run(tmp_path)
    rows = ModelLog(str(tmp_path / "log"), "pets").read("predictions", ["prediction_id", "f_height"])
    assert rows is not None
    assert rows.sort_by("prediction_id").column("f_height").to_pylist() == [None, 1.8]


def test_a_feature_that_a_version_no_longer_sends_is_absent_and_the_older_rows_keep_it(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a"]))
    run(tmp_path)
    spooled(tmp_path / "spool", without(predictions(["b"], version="2"), "f_age"), writer="x")
    progress = run(tmp_path)
    assert progress.rejected == {}
    rows = ModelLog(str(tmp_path / "log"), "pets").read("predictions", ["prediction_id", "f_age", "f_city"])
    assert rows is not None
    ages = dict(zip(rows.column("prediction_id").to_pylist(), rows.column("f_age").to_pylist(), strict=True))
    assert ages["a"] is not None
    assert ages["b"] is None
    assert rows.column("f_city").null_count == 0


def test_text_that_comes_as_a_dictionary_is_text_in_the_log_whatever_came_first(tmp_path: Path) -> None:
    for turn, (first, second) in enumerate((("plain", "coded"), ("coded", "plain"))):
        root = tmp_path / str(turn)
        for kind in (first, second):
            batch = predictions([kind])
            position = batch.schema.get_field_index("f_city")
            if kind == "coded":
                words = batch.column("f_city").dictionary_encode()
                metadata = batch.schema.metadata
                batch = batch.set_column(position, "f_city", words).replace_schema_metadata(metadata)
            spooled(root / "spool", batch, writer=kind)
            assert run(root).rejected == {}
        rows = ModelLog(str(root / "log"), "pets").read("predictions", ["f_city"])
        assert rows is not None
        assert set(rows.column("f_city").to_pylist()) <= {"Rome", "Oslo"}
        assert rows.num_rows == 2


def without(batch: pa.RecordBatch, column: str) -> pa.RecordBatch:
    return batch.drop_columns([column]).replace_schema_metadata(batch.schema.metadata)


def test_a_model_whose_table_cannot_be_written_keeps_its_segments_and_stops_no_other(tmp_path: Path) -> None:
    other = ModelSchema("plants", "classification", ("oak", "elm"))
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "pets").write_text("a file where the folder should be")
    spooled(tmp_path / "spool", predictions(["a"]), writer="pets-server")
    spooled(tmp_path / "spool", predictions(["b"], model=other), writer="plants-server")
    progress = run(tmp_path)
    assert logged(tmp_path, "plants") == ["b"]
    assert any(error.startswith("model pets: predictions cannot be written") for error in progress.errors)
    (tmp_path / "log" / "pets").unlink()
    run(tmp_path)
    assert logged(tmp_path) == ["a"]


def test_a_damaged_segment_gives_what_it_has_and_the_loss_is_counted(tmp_path: Path) -> None:
    spooled(tmp_path / "spool", predictions(["a"]), predictions(["b"]))
    [segment] = (tmp_path / "spool" / "w").glob("*.segment")
    segment.write_bytes(segment.read_bytes()[:-3])
    progress = run(tmp_path)
    assert logged(tmp_path) == ["a"]
    assert progress.damaged_bytes > 0
    assert "torn frame" in progress.errors[0]


@pytest.mark.parametrize("name", ["../etc", "a/b", ".hidden", "", "x" * 101])
def test_a_model_name_cannot_leave_its_folder(name: str) -> None:
    with pytest.raises(OperatorError, match="not a model name"):
        check_model_name(name)


def test_a_batch_of_an_impossible_model_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    evil = ModelSchema("../evil", "classification", ("x", "y"))
    spooled(tmp_path / "spool", predictions(["a"], model=evil), predictions(["b"], model=MODEL))
    progress = run(tmp_path)
    assert progress.rejected["", "unknown_batch"] == 1
    assert logged(tmp_path) == ["b"]
    assert not (tmp_path / "evil").exists()
