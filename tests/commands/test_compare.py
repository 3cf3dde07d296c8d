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
    shown = Page(page.read_text())
    assert shown.links == []
    assert "script" not in shown.tags
    assert shown.tags.count("svg") == len(content["columns"])
    assert shown.tags.count("article") == len(content["columns"])


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
