"""`trueup compare --segment` and `reference build --segment`: the rows of each value by themselves, worst first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, f1_score

from monitor.comparison import compare, record
from monitor.engines.file_profiles import profile_of_file, read_labels, reference_of_file
from monitor.engines.plain_files import open_plain
from monitor.errors import RecordError
from monitor.profiles.codec import load_reference
from tests.daemon_process import run_command
from tests.engines.plain_samples import FORMATS, plain_table, save


def damaged(rows: int, seed: int, city: str) -> pa.Table:
    """Rows whose labels, of one city, are those of other rows; stores are numbers with leading zeros."""
    table = plain_table(rows, seed)
    random = np.random.default_rng(seed)
    label = np.array(table.column("label").to_pylist())
    own = np.array(table.column("city").to_pylist()) == city
    label[own] = random.permutation(label[own])
    table = table.set_column(table.column_names.index("label"), "label", pa.array(label))
    return table.append_column("store", pa.array([f"00{k}" for k in random.integers(1, 4, rows)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    save(damaged(2_000, 0, "nowhere"), path / "reference.parquet")
    current = damaged(1_500, 1, "Rome")
    save(current.drop_columns(["label"]), path / "current.csv")
    save(current.select(["prediction_id", "label"]), path / "labels.ndjson")
    return path


def test_each_value_has_the_numbers_of_its_rows_and_the_damaged_one_comes_first(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    files = (folder / "reference.parquet", folder / "current.csv", "--labels", folder / "labels.ndjson")
    done = run_command("compare", *files, "--segment", "city", "--segment", "store", "--html", page, "--json")
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert list(content["segments"]) == ["city", "store"]
    assert next(iter(content["segments"]["city"])) == "Rome"
    assert set(content["segments"]["store"]) == {"001", "002", "003"}
    assert "city" not in content["columns"]
    current, then = damaged(1_500, 1, "Rome").to_pandas(), damaged(2_000, 0, "nowhere").to_pandas()
    for segment in ("city", "store"):
        for value, own in current.groupby(segment):
            found = content["segments"][segment][value]
            before = then[then[segment] == value]
            accuracy = accuracy_score(own["label"], own["prediction"])
            known = accuracy_score(before["label"], before["prediction"])
            assert (found["predictions"], found["labels"]) == (len(own), len(own))
            assert found["reference_predictions"] == len(before)
            assert found["values"]["accuracy"]["value"] == pytest.approx(accuracy, abs=1e-9)
            assert found["values"]["accuracy"]["reference"] == pytest.approx(known, abs=1e-9)
            assert found["values"]["f1"]["value"] == pytest.approx(
                f1_score(own["label"], own["prediction"], average="macro"), abs=1e-9
            )
            assert found["excess"] == pytest.approx(len(own) * (known - accuracy), abs=1e-6)
    text = page.read_text()
    assert "<h2>Segments, worst first</h2>" in text
    assert text.index("city=Rome") < text.index("city=Oslo")


def test_a_reference_that_was_built_with_segments_compares_by_them_and_says_which(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.trueup"
    built = run_command(
        "reference", "build", "--from", folder / "reference.parquet", "--out", out, "--segment", "city", "--json"
    )
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["segments"] == {"city": ["Bonn", "Oslo", "Rome"]}
    assert [spec.name for spec in load_reference(out).segments] == ["city"]
    shown = run_command("compare", out, folder / "current.csv", "--labels", folder / "labels.ndjson")
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if "segments, worst first" in line)
    assert "city=Rome" in "".join(lines[start : start + 5])
    refused = run_command("compare", out, folder / "current.csv", "--segment", "store")
    assert refused.returncode == 2
    assert "the reference is not told apart by a segment (got store)" in refused.stderr.replace("\n", " ")


def test_a_column_that_is_not_there_is_refused(folder: Path) -> None:
    done = run_command("compare", folder / "reference.parquet", folder / "current.csv", "--segment", "country")
    assert done.returncode == 2
    assert "no such column to tell rows apart by" in done.stderr.replace("\n", " ")


def test_a_column_without_a_value_is_refused_and_the_reference_says_how_many_rows_were_asked(
    folder: Path, tmp_path: Path
) -> None:
    table = damaged(600, 0, "nowhere").append_column("country", pa.nulls(600, pa.string()))
    path = save(table, tmp_path / "reference.parquet")
    done = run_command("compare", path, folder / "current.csv", "--segment", "city", "--segment", "country")
    assert done.returncode == 2
    told = " ".join(done.stderr.split())
    assert "no value to tell rows apart by" in told
    assert "(expected values of country, got none)" in told
    with pytest.raises(RecordError, match="got none in a sample of 500 rows"):
        reference_of_file(path, segments=["country"], sample_rows=500)


@pytest.mark.parametrize("ending", FORMATS)
def test_every_kind_of_file_gives_the_same_segments(ending: str, tmp_path: Path) -> None:
    table, plain = damaged(400, 3, "Rome"), save(damaged(400, 3, "Rome"), tmp_path / "rows.parquet")
    reference = reference_of_file(plain, segments=["city", "store"])
    path = save(table, tmp_path / f"same.{ending}")
    profile, outcome = profile_of_file(open_plain(path, reference), reference)
    found = record(compare(reference, profile, outcome))["segments"]
    assert {name: value["predictions"] for name, value in found["store"].items()} == {
        name: table.column("store").to_pylist().count(name) for name in ("001", "002", "003")
    }
    assert all(value["excess"] == pytest.approx(0.0, abs=1e-9) for value in found["city"].values())


def test_labels_of_another_file_and_samples_of_large_ones_know_their_segment(folder: Path) -> None:
    path = folder / "reference.parquet"
    whole = reference_of_file(path, segments=["city"])
    sampled = reference_of_file(path, segments=["city"], sample_rows=500)
    assert whole.profile.segments["city"].rows.tolist() == sampled.profile.segments["city"].rows.tolist()
    current = open_plain(folder / "current.csv", whole)
    _, outcome = profile_of_file(current, whole, truth=read_labels(folder / "labels.ndjson"))
    assert outcome is not None
    cities = damaged(1_500, 1, "Rome").column("city").to_pylist()
    assert outcome.segments["city"].rows.tolist() == [cities.count(name) for name in ("Bonn", "Oslo", "Rome")] + [0, 0]
