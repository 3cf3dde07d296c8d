"""Files become references and profiles: the same from every kind of file, however cut and on however many cores."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import accuracy_score, log_loss

from monitor.engines.file_profiles import _hash, _sample, profile_of_file, read_labels, reference_of_file
from monitor.engines.plain_files import Unread, appeared_columns, differing_kinds, open_plain
from monitor.errors import RecordError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.model_profile import Profile, Reference, build_reference, profile_inputs
from monitor.profiles.numeric import NumericProfile
from monitor.statistics import summary
from monitor.statistics.result import Estimate
from tests.engines.plain_samples import CLASSES, FORMATS, plain_table, save


def counts(profile: Profile) -> dict[str, object]:
    """Every integer of a profile."""
    found: dict[str, object] = {"rows": profile.rows}
    for name, column in profile.columns.items():
        if isinstance(column, NumericProfile):
            parts = (column.cells, column.counts, column.below, column.equal)
            found[name] = [part.tolist() for part in parts] + [column.null, column.nan, column.minimum, column.maximum]
        else:
            assert isinstance(column, CategoricalProfile)
            found[name] = (column.categories, column.counts.tolist(), column.other, column.null, dict(column.new))
    return found


def damage(path: Path, name: str) -> None:
    """Nothing of a column is left after the first row group."""
    metadata = pq.read_metadata(path)
    with path.open("r+b") as file:
        for group in range(1, metadata.num_row_groups):
            place = metadata.schema.names.index(name)
            column = metadata.row_group(group).column(place)
            file.seek(column.dictionary_page_offset or column.data_page_offset)
            file.write(b"\xff" * column.total_compressed_size)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return reference_of_file(save(plain_table(3_000, 0), tmp_path_factory.mktemp("r") / "reference.parquet"))


@pytest.mark.parametrize("ending", FORMATS)
def test_every_kind_of_file_says_the_same(tmp_path: Path, reference: Reference, ending: str) -> None:
    file = open_plain(save(plain_table(2_000, 1, 0.3), tmp_path / f"current.{ending}"), reference)
    profile, outcome = profile_of_file(file, reference)
    table = plain_table(2_000, 1, 0.3)
    own = {"prediction", "label", *(f"p_{name}" for name in CLASSES)}
    renamed = table.rename_columns([name if name in own else f"f_{name}" for name in table.column_names])
    assert counts(profile) == counts(profile_inputs(reference, renamed))
    assert outcome is not None
    values = summary.outcome_statistics(reference, outcome)
    p = np.stack([table.column(f"p_{name}").to_numpy() for name in CLASSES], axis=1)
    truth = table.column("label").to_pylist()
    for name, exact in (
        ("accuracy", accuracy_score(truth, table.column("prediction").to_pylist())),
        ("cross_entropy", log_loss(truth, p, labels=list(CLASSES))),
    ):
        found = values[name]
        assert isinstance(found, Estimate)
        assert found.value == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_reference_is_the_same_from_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    table = plain_table(1_000, 0)
    built = reference_of_file(save(table, tmp_path / f"rows.{ending}"))
    plain = reference_of_file(save(table, tmp_path / "rows.parquet"))
    assert built.identity == plain.identity
    assert {spec.name: spec.kind for spec in built.columns} == {
        **dict.fromkeys(("f_age", "f_income", "f_clicks", "p_cat", "p_dog", "p_owl"), "numeric"),
        **{"f_city": "categorical", "f_member": "boolean", "f_seen": "timestamp", "prediction": "categorical"},
        **{"entropy": "numeric", "confidence": "numeric"},
    }


def test_row_groups_and_threads_do_not_matter(tmp_path: Path, reference: Reference) -> None:
    table, found = plain_table(5_000, 2), []
    for size in (100, 5_000):
        file = open_plain(save(table, tmp_path / f"rows{size}.parquet", size), reference)
        for threads in (1, 2, 4, 7):
            profile, outcome = profile_of_file(file, reference, threads=threads)
            assert outcome is not None
            found.append((counts(profile), outcome.rows))
    assert all(item == found[0] for item in found)


@pytest.mark.parametrize("threads", [2, 6])
def test_an_interrupt_does_not_wait_for_the_rest_of_a_file(tmp_path: Path, reference: Reference, threads: int) -> None:
    file = open_plain(save(plain_table(20_000, 2), tmp_path / "rows.parquet", 100), reference)
    before, seen = threading.active_count(), []

    def interrupt(rows: int) -> None:
        seen.append(rows)
        if threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile_of_file(file, reference, threads=threads, tick=interrupt)
    assert threading.active_count() == before
    assert sum(seen) < 10_000


def test_a_file_of_many_columns_is_read_in_smaller_batches(tmp_path: Path) -> None:
    wide = pa.table({f"c{number}": np.zeros(9_000) for number in range(600)})
    file = open_plain(save(wide, tmp_path / "wide.parquet"))
    rows = [batch.num_rows for batch in file.batches()]
    assert (sum(rows), max(rows)) == (9_000, 6_990)


def test_a_plain_table_without_ids_or_outputs_is_all_features(tmp_path: Path) -> None:
    path = save(plain_table(500, 0, outputs=False), tmp_path / "plain.csv")
    reference = reference_of_file(path)
    assert [spec.name for spec in reference.columns] == [
        "f_age",
        "f_income",
        "f_clicks",
        "f_city",
        "f_member",
        "f_seen",
    ]
    profile, outcome = profile_of_file(open_plain(path, reference), reference)
    assert (profile.rows, outcome) == (500, None)


def test_a_large_reference_is_fixed_by_a_sample_and_counts_every_row(tmp_path: Path) -> None:
    table = plain_table(6_000, 0, outputs=False)
    path = save(table, tmp_path / "rows.parquet", 700)
    sampled = reference_of_file(path, sample_rows=1_000)
    assert (sampled.sampled_rows, sampled.profile.rows) == (1_000, 6_000)
    again = reference_of_file(path, sample_rows=1_000)
    assert again.identity == sampled.identity
    exact = reference_of_file(path)
    assert exact.sampled_rows is None
    income = {spec.name: spec for spec in sampled.columns}["f_income"].standardisation
    assert income is not None
    values = table.column("income").to_numpy()
    # The outermost values are of all rows; the median is the sample's.
    assert (income.marks[0], income.marks[-1]) == (values.min(), values.max())
    assert income.centre == pytest.approx(np.median(values), rel=0.1)
    assert income.centre != np.median(values)


def test_the_sample_of_a_large_reference_holds_its_own_words_and_not_those_of_the_file(tmp_path: Path) -> None:
    """200,000 identifiers of 40 letters are 8 MB; the 5,000 rows of the sample once held on to all of them."""
    names = [f"{i:040d}" for i in range(200_000)]
    path = save(pa.table({"name": names, "x": np.arange(200_000.0)}), tmp_path / "rows.parquet", 20_000)
    sample, ends, rows = _sample(open_plain(path), 5_000, lambda _: None)
    assert (sample.num_rows, rows, ends) == (5_000, 200_000, {"f_x": (0.0, 199_999.0)})
    assert max(len(part.dictionary) for part in sample.column("f_name").chunks) <= 5_000
    every = np.arange(200_000, dtype=np.uint64)
    lowest = np.sort(np.argsort(_hash(every))[:5_000])
    assert sample.column("f_x").to_pylist() == lowest.tolist()
    assert sample.column("f_name").to_pylist() == [names[i] for i in lowest]


def test_labels_of_another_file_are_found_by_id_and_the_latest_counts(tmp_path: Path, reference: Reference) -> None:
    table = plain_table(1_000, 3)
    path = save(table.drop_columns(["label"]), tmp_path / "current.parquet")
    rng = np.random.default_rng(0)
    order = rng.permutation(900)
    ids, truth = table.column("prediction_id").to_numpy(False)[order], table.column("label").to_numpy(False)[order]
    wrong = np.array(["cat"] * 100)
    labels = pa.table(
        {
            "prediction_id": np.concatenate((ids, ids[:100], ["nobody"])),
            "label": np.concatenate((truth, wrong, ["owl"])),
            "label_time": np.concatenate((np.full(900, 2), np.full(100, 1), [3])),
        }
    )
    for ending in ("csv", "parquet"):
        found = read_labels(save(labels, tmp_path / f"labels.{ending}"))
        _, outcome = profile_of_file(open_plain(path, reference), reference, truth=found)
        assert outcome is not None
        accuracy = summary.outcome_statistics(reference, outcome)["accuracy"]
        assert isinstance(accuracy, Estimate)
        predicted = table.column("prediction").to_numpy(False)[order]
        assert (accuracy.n, accuracy.value) == (900, (predicted == truth).mean())


def test_labels_may_be_class_numbers_and_a_regressions_numbers_text(tmp_path: Path, reference: Reference) -> None:
    table = plain_table(300, 3)
    index = [CLASSES.index(name) for name in table.column("label").to_pylist()]
    file = tmp_path / "labels.csv"
    rows = zip(table.column("prediction_id").to_pylist(), index, strict=True)
    file.write_text("prediction_id,label\n" + "".join(f"{key},{value}\n" for key, value in rows))
    path = save(table.drop_columns(["label"]), tmp_path / "current.parquet")
    _, outcome = profile_of_file(open_plain(path, reference), reference, truth=read_labels(file))
    assert outcome is not None
    assert (outcome.rows, outcome.unusable) == (300, 0)
    numbers = tmp_path / "numbers.csv"
    numbers.write_text("x,prediction,label\n" + "".join(f"{i},{i},{i + 1}\n" for i in range(50)))
    regression = reference_of_file(numbers)
    assert regression.schema.task == "regression"
    assert summary.reference_values(regression)["mean_squared_error"] == 1.0


def test_columns_that_vanish_appear_or_change_their_kind_stop_nothing(tmp_path: Path, reference: Reference) -> None:
    table = plain_table(400, 4).drop_columns(["age", "clicks"])
    table = table.append_column("clicks", pa.array(["many"] * 400)).append_column("shoe", pa.array(range(400)))
    file = open_plain(save(table, tmp_path / "current.parquet"), reference)
    profile, _ = profile_of_file(file, reference)
    assert {"f_age", "f_clicks"} & set(profile.columns) == set()
    assert len(profile.columns) == len(reference.columns) - 2
    assert differing_kinds(file, reference) == {"f_clicks": ("numeric", "categorical")}
    assert appeared_columns(file, reference) == {"f_shoe": "numeric"}


def test_columns_that_no_profile_counts_are_not_read(tmp_path: Path, reference: Reference) -> None:
    table = plain_table(3_000, 4)
    extra = {"prediction_id": pa.array([f"{number:032x}" for number in range(3_000)]), "shoe": pa.array(range(3_000))}
    for name, column in extra.items():
        table = table.append_column(name, column)
    path = save(table, tmp_path / "current.parquet", 1_500)
    plain = counts(profile_of_file(open_plain(path, reference), reference)[0])
    for name in extra:
        damage(path, name)
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(path)
    assert counts(profile_of_file(open_plain(path, reference), reference)[0]) == plain


@pytest.mark.parametrize("threads", [1, 4])
def test_a_file_that_is_broken_further_on_is_named(tmp_path: Path, reference: Reference, threads: int) -> None:
    path = save(plain_table(3_000, 4), tmp_path / "current.parquet", 500)
    damage(path, "age")
    file = open_plain(path, reference)
    with pytest.raises(RecordError, match=r"current\.parquet: the file cannot be read"):
        profile_of_file(file, reference, threads=threads)
    with pytest.raises(RecordError, match=r"current\.parquet: the file cannot be read"):
        reference_of_file(path)


@pytest.mark.parametrize("ending", FORMATS)
def test_the_rows_of_a_file_that_shares_no_column_are_counted(
    tmp_path: Path, reference: Reference, ending: str
) -> None:
    rows = pa.table({"prediction_id": pa.array(["a", "b", "c"]), "shoe": pa.array([1, 2, 3])})
    profile, outcome = profile_of_file(open_plain(save(rows, tmp_path / f"c.{ending}"), reference), reference)
    assert (profile.rows, dict(profile.columns), outcome) == (3, {}, None)


def test_empty_and_broken_columns_stop_nothing(tmp_path: Path) -> None:
    odd = {
        "null": pa.nulls(50),
        "nan": np.full(50, np.nan),
        "infinite": np.full(50, np.inf),
        "one": np.ones(50),
        "empty_text": pa.array([""] * 50),
        "lists": pa.array([[1]] * 50),
        "bytes": pa.array([b"\xff"] * 50),
    }
    path = save(pa.table(odd), tmp_path / "odd.parquet")
    reference = reference_of_file(path)
    profile, _ = profile_of_file(open_plain(path, reference), reference)
    assert set(profile.columns) == {"f_null", "f_nan", "f_infinite", "f_one", "f_empty_text"}
    for results in summary.column_statistics(reference, profile).values():
        assert all(not isinstance(item, Estimate) or np.isfinite(item.value) for item in results.values())


def test_words_for_nothing_leave_a_column_of_numbers_or_times_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    words = ["NA", "?", "N/A", "None", "-", "#N/A"]
    lines = [
        f"{words[i % 6] if i % 3 == 0 else i},{'NA' if i % 5 == 0 else '2026-01-01'},{'NA' if i % 2 else 'DE'},NA"
        for i in range(300)
    ]
    path.write_text("age,day,country,none\n" + "\n".join(lines) + "\n")
    file = open_plain(path)
    assert file.kinds == {"age": "numeric", "day": "timestamp", "country": "categorical", "none": "categorical"}
    profile = reference_of_file(path).profile
    assert (profile.columns["f_age"].missing, profile.columns["f_day"].missing) == (100, 60)
    # Namibia.
    assert profile.columns["f_country"].missing == 0


@pytest.mark.parametrize(
    ("name", "content", "rows", "said"),
    [
        ("rows.ndjson", b'{"a": 1}\nnonsense\n{"a": 2}\n[3]\n', 2, "line 2: not JSON"),
        ("rows.json", b'[{"a": 1}, 7]', 1, "not a JSON object"),
        ("rows.csv", b"a,b\n1,2\n3\n4,5,6\n7,8\n", 2, "row 3: not as many values as columns"),
        ("latin.csv", b"a,b\n1,x\n2,caf\xe9\n", 1, "row 3: not UTF-8 text"),
    ],
)
def test_rows_that_cannot_be_read_are_counted_and_the_first_is_told(
    tmp_path: Path, name: str, content: bytes, rows: int, said: str
) -> None:
    path, unread = tmp_path / name, Unread()
    path.write_bytes(content)
    reference = reference_of_file(path, unread=unread)
    assert unread.rows == rows
    assert said in unread.first
    again = Unread()
    profile, _ = profile_of_file(open_plain(path, reference, unread=again), reference)
    assert (again.rows, profile.rows) == (rows, reference.profile.rows)


@pytest.mark.parametrize(("ending", "kind"), [("csv", np.int64), ("parquet", np.int8), ("parquet", np.float64)])
def test_zeros_and_ones_are_classes_and_other_numbers_are_not(tmp_path: Path, ending: str, kind: type) -> None:
    """What scikit-learn's classifiers say; taken for a regression, accuracy was a mean squared error."""
    flags = np.arange(400) % 2
    table = pa.table({"prediction": flags.astype(kind), "label": np.roll(flags, 3).astype(kind), "x": np.arange(400.0)})
    schema = open_plain(save(table, tmp_path / f"m.{ending}")).schema
    assert (schema.task, schema.classes) == ("classification", ("0", "1"))
    one = table.set_column(1, "label", pa.array(np.zeros(400).astype(kind)))
    assert open_plain(save(one, tmp_path / f"one.{ending}")).schema.classes == ("0", "1")
    for name, column in (("counts", np.arange(400) % 3), ("probabilities", np.linspace(0, 1, 400))):
        other = table.set_column(0, "prediction", pa.array(column))
        assert open_plain(save(other, tmp_path / f"{name}.{ending}")).schema.task == "regression"
    late = table.set_column(0, "prediction", pa.array(np.append(flags[1:], 2).astype(kind)))
    assert open_plain(save(late, tmp_path / f"late.{ending}")).schema.task == "regression"
    asked = open_plain(save(table, tmp_path / f"asked.{ending}"), task="regression")
    assert asked.schema.task == "regression"


def test_the_row_numbers_of_data_frames_are_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": range(100)}, index=range(500, 600))
    frame.to_csv(tmp_path / "nameless.csv")
    pd.read_csv(tmp_path / "nameless.csv").to_csv(tmp_path / "unnamed.csv", index=False)
    frame.sample(frac=1, random_state=0).to_parquet(tmp_path / "rows.parquet")
    for name in ("nameless.csv", "unnamed.csv", "rows.parquet"):
        assert [spec.name for spec in reference_of_file(tmp_path / name).columns] == ["f_x"]


@pytest.mark.parametrize("ending", ["json", "ndjson", "csv"])
def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path: Path, ending: str) -> None:
    path = save(plain_table(50, 0), tmp_path / f"rows.{ending}")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    unread = Unread()
    assert reference_of_file(path, unread=unread).profile.rows == 50
    assert unread.rows == 0


def test_json_that_ends_too_early_is_named_with_its_place(tmp_path: Path) -> None:
    path = save(plain_table(50, 0), tmp_path / "rows.json")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecordError, match=r"rows\.json, line 1, column \d+: not JSON"):
        reference_of_file(path)


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_fields_that_are_separated_by_something_else_are_told(tmp_path: Path, mark: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"age{mark}city\n40{mark}Oslo\n")
    with pytest.raises(RecordError, match="expected fields separated by commas"):
        open_plain(path)


def test_a_file_of_which_no_row_can_be_read_says_why(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(b"a,b\n1,caf\xe9\n2,caf\xe9\n")
    with pytest.raises(RecordError, match="2 that cannot be read, the first: row 2: not UTF-8 text"):
        open_plain(path)


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.xlsx", "gone.parquet"])
def test_files_that_are_none_are_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name != "gone.parquet":
        path.write_bytes(b"" if name == "rows.csv" else b"nonsense")
    with pytest.raises(RecordError, match=name):
        reference_of_file(path)


def test_a_file_without_rows_is_no_reference(tmp_path: Path) -> None:
    for ending in ("parquet", "csv"):
        path = save(plain_table(0, 0, outputs=False), tmp_path / f"rows.{ending}")
        with pytest.raises(RecordError, match=r"no rows|needs rows"):
            reference_of_file(path)


def test_two_columns_of_one_feature_are_refused(tmp_path: Path) -> None:
    path = save(pa.table({"age": [1.0], "f_age": [2.0]}), tmp_path / "rows.parquet")
    with pytest.raises(RecordError, match="two columns hold the feature age"):
        open_plain(path)


def test_the_reference_of_a_file_is_that_of_its_table(tmp_path: Path) -> None:
    table = plain_table(800, 5)
    built = reference_of_file(save(table, tmp_path / "m.parquet"))
    own = {"prediction", "label", "prediction_id", "event_time", *built.schema.probability_columns}
    renamed = table.rename_columns([name if name in own else f"f_{name}" for name in table.column_names])
    assert build_reference(built.schema, renamed).identity == built.identity
