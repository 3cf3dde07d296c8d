"""`trueup compare` and `trueup reference build`: what people, machines and browsers get, and what is refused."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.profiles.codec import load_reference
from tests.daemon_process import run_command
from tests.engines.plain_samples import plain_table, save


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files")
    save(plain_table(1_500, 0), path / "reference.parquet")
    current = plain_table(1_200, 1, 0.7)
    save(current.drop_columns(["label"]), path / "current.csv")
    save(current.select(["prediction_id", "label"]), path / "labels.ndjson")
    return path


class Page(HTMLParser):
    """What a page fetches, runs and shows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_two_files_give_every_statistic_and_verdict_as_json_and_as_a_page(folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    labels = folder / "labels.ndjson"
    done = run_command(
        "compare", folder / "reference.parquet", folder / "current.csv", "--labels", labels, "--html", page, "--json"
    )
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["columns"]["age"]["verdict"]["state"] == "critical"
    assert content["columns"]["member"]["verdict"]["state"] == "ok"
    assert content["performance"]["accuracy"]["n"] == 1_200
    assert content["performance"]["accuracy"]["reference"] > 0.4
    assert {"precision", "recall", "f1", "auroc"} == set(next(iter(content["classes"].values())))
    assert sum(results["recall"]["n"] for results in content["classes"].values()) == 1_200
    assert "assumes no concept drift" in content["performance"]["estimated_accuracy"]["detail"]
    shown = Page(page.read_text())
    assert shown.links == []
    assert "script" not in shown.tags
    assert shown.tags.count("svg") == len(content["columns"])
    assert shown.tags.count("article") == len(content["columns"])
    assert {"Classes, lowest F1 first", *content["classes"]} <= set(shown.words)
    assert any("assumes no concept drift" in word for word in shown.words)


def test_a_built_reference_gives_what_its_file_gave(folder: Path, tmp_path: Path) -> None:
    built = tmp_path / "m.trueup"
    done = run_command("reference", "build", "--from", folder / "reference.parquet", "--out", built, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"], said["labelled_rows"], said["sampled_rows"]) == (1_500, 1_500, None)
    assert said["identity"] == load_reference(built).identity
    answers = [
        run_command("compare", reference, folder / "current.csv", "--json").stdout
        for reference in (built, folder / "reference.parquet")
    ]
    assert json.loads(answers[0]) == json.loads(answers[1])


def test_the_table_is_worst_first_and_critical_columns_can_fail_a_pipeline(folder: Path) -> None:
    done = run_command("compare", folder / "reference.parquet", folder / "current.csv", "--fail-on-critical")
    assert done.returncode == 1
    states = [
        word for line in done.stdout.splitlines() for word in line.split() if word in ("critical", "warning", "ok")
    ]
    order = ["critical", "warning", "ok"]
    assert states == sorted(states, key=order.index)
    assert states[0] == "critical"


def test_the_terminal_shows_every_class_and_what_the_numbers_assume(folder: Path) -> None:
    arguments = (folder / "reference.parquet", folder / "current.csv", "--labels", folder / "labels.ndjson")
    machine = json.loads(run_command("compare", *arguments, "--json").stdout)["classes"]
    done = run_command("compare", *arguments)
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in done.stdout.splitlines()]
    shown = {cells[0]: cells[1:] for cells in lines if len(cells) == 6}
    assert {name: cells[3] for name, cells in shown.items()} == {
        name: f"{results['f1']['value']:.6g}" for name, results in machine.items()
    }
    assert "99.73 % (estimates without labels)" in done.stdout
    assert "assumes no concept drift" in done.stdout


def test_labels_that_find_no_row_are_told(folder: Path, tmp_path: Path) -> None:
    strangers = tmp_path / "labels.csv"
    strangers.write_text("prediction_id,label\nnobody,cat\nnowhere,dog\n")
    done = run_command("compare", folder / "reference.parquet", folder / "current.csv", "--labels", strangers, "--json")
    assert "0 of 1,200 rows found their label among 2 in labels.csv" in done.stderr
    dataset = json.loads(done.stdout)["dataset"]
    assert (dataset["task"], dataset["labelled_rows"]) == ("classification", 0)


def test_labels_of_classes_that_the_reference_lacks_are_told(folder: Path, tmp_path: Path) -> None:
    table = plain_table(300, 1)
    labels = ["a zebra" if i < 100 else name for i, name in enumerate(table.column("label").to_pylist())]
    now = save(table.set_column(table.column_names.index("label"), "label", [labels]), tmp_path / "now.parquet")
    done = run_command("compare", folder / "reference.parquet", now, "--json")
    assert "100 of 300 labelled rows are not scored: their prediction or label is missing or is none" in done.stderr
    content = json.loads(done.stdout)
    assert (content["dataset"]["labelled_rows"], content["dataset"]["unscored_rows"]) == (300, 100)
    assert content["performance"]["accuracy"]["n"] == 200


def test_a_file_that_cannot_be_written_is_named(folder: Path, tmp_path: Path) -> None:
    place, source = tmp_path / "nowhere" / "out", folder / "reference.parquet"
    for command in (
        ("compare", source, source, "--html", place),
        ("reference", "build", "--from", source, "--out", place),
    ):
        done = run_command(*command)
        assert (done.returncode, done.stderr.splitlines()[-1]) == (
            2,
            f"error: {place}: the file cannot be written (got No such file or directory)",
        )


def test_rows_that_cannot_be_read_are_told_to_people_and_machines(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    content = (folder / "current.csv").read_text().splitlines(keepends=True)
    broken.write_text("".join([*content[:5], "too few\n", *content[5:]]))
    page = tmp_path / "out.html"
    done = run_command("compare", folder / "reference.parquet", broken, "--json", "--html", page)
    assert done.returncode == 0, done.stderr
    told = "broken.csv: left out, because it cannot be read: 1 row: row 6: not as many values as columns"
    assert told in done.stderr
    dataset = json.loads(done.stdout)["dataset"]
    assert (dataset["reference_rows_unread"], dataset["current_rows_unread"]) == (0, 1)
    assert "cannot be read: 0 rows of the reference, 1 now" in page.read_text()


def test_names_and_values_are_text_on_the_page_whatever_they_hold(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    table = pa.table({evil: [f"{evil}&{i % 3}" for i in range(400)], "x": range(400)})
    path, page = save(table, tmp_path / "rows.parquet"), tmp_path / "out.html"
    assert run_command("compare", path, path, "--html", page).returncode == 0
    shown = Page(page.read_text())
    assert "script" not in shown.tags
    assert evil in shown.words


def test_what_cannot_be_compared_is_said_in_one_line(folder: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 no")
    for arguments, said in (
        ((folder / "gone.csv", folder / "current.csv"), "gone.csv: the file cannot be read"),
        ((folder / "reference.parquet", damaged), "damaged.parquet: the file cannot be read"),
        (
            (folder / "reference.parquet", folder / "current.csv", "--labels", folder / "current.csv"),
            "no column holds the label",
        ),
    ):
        done = run_command("compare", *arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
