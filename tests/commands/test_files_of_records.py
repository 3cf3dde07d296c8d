"""`predictions add` and `labels add`: what is taken, what is refused, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.log.dead_letters import read_dead_letters
from tests.daemon_process import free_port, run_command, write_config


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, free_port())


def test_a_label_file_without_the_id_column_is_refused_with_the_columns_it_has(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request,label\na,cat\n")
    done = run_command("labels", "add", file, "--config", config)
    assert done.returncode == 2
    assert "no column holds the prediction_id" in done.stderr
    assert "got columns label, request" in done.stderr
    assert "Name it: --map id=COLUMN" in done.stderr


def test_a_column_that_is_called_otherwise_can_be_mapped(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request,label\na,cat\n")
    done = run_command("labels", "add", file, "--config", config, "--map", "id=request", "--json")
    assert json.loads(done.stdout)["accepted"] == 1


def test_good_records_beside_bad_ones_are_taken_and_the_bad_are_kept(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.ndjson"
    file.write_text(
        '{"prediction_id": "a", "label": "cat"}\n'
        '{"prediction_id": "b", "label": "unicorn"}\n'
        "{broken\n"
        '{"prediction_id": "c", "label": "owl"}\n'
    )
    done = run_command("labels", "add", file, "--config", config)
    assert done.returncode == 0
    said = done.stderr.splitlines()
    assert said[0].startswith("line 2, label: unknown class (expected one of cat, dog, owl, got 'unicorn'")
    assert said[1].startswith("line 3: not JSON")
    letters = read_dead_letters(tmp_path / "trueup-data" / "dead-letters" / "files")
    assert {letter.original for letter in letters} == {b'{"prediction_id": "b", "label": "unicorn"}', b"{broken"}


def test_a_file_of_which_nothing_could_be_taken_fails(config: Path, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label\na,unicorn\n")
    done = run_command("labels", "add", file, "--config", config)
    assert done.returncode == 2
    assert "no record was taken (got 1 rejected)" in done.stderr


def test_a_file_that_is_not_there_is_named(config: Path, tmp_path: Path) -> None:
    done = run_command("labels", "add", tmp_path / "nothing.csv", "--config", config)
    assert done.returncode == 2
    assert "nothing.csv" in done.stderr


def test_which_model_is_asked_where_there_are_several(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    text = config.read_text().replace("models:\n", "models:\n  price: {task: regression}\n")
    config.write_text(text)
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label\na,1.5\n")
    done = run_command("labels", "add", file, "--config", config)
    assert "which model? (expected --model with one of pets, price)" in done.stderr
    assert run_command("labels", "add", file, "--config", config, "--model", "price").returncode == 0
    wrong = run_command("labels", "add", file, "--config", config, "--model", "house")
    assert "no such model in the configuration (expected pets, price, got house)" in wrong.stderr
