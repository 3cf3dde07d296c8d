"""A quick look at embeddings: from lists in files to a verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.comparison import ColumnComparison, compare
from monitor.profiles.model_profile import Reference, build_reference, profile_inputs
from monitor.records import EMBEDDING, ModelSchema
from tests.daemon_process import run_command
from tests.profiles.embedding_samples import Floats, activations, draw

SCHEMA = ModelSchema("m", "regression")


def rows(vectors: Floats) -> pa.Table:
    ages = np.random.default_rng(len(vectors)).normal(40, 10, len(vectors))
    lists = pa.array(vectors.astype(np.float32).tolist(), pa.list_(pa.float32()))
    return pa.table({"f_age": ages, EMBEDDING: lists})


def without(vectors: Floats, missing: int) -> pa.Table:
    """The first rows lack their embedding."""
    lists = [None] * missing + vectors[missing:].astype(np.float32).tolist()
    table = rows(vectors)
    return table.set_column(1, EMBEDDING, pa.array(lists, pa.list_(pa.float32())))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(SCHEMA, rows(activations(draw(1_000, 1))))


def looked_at(reference: Reference, table: pa.Table) -> ColumnComparison:
    comparison = compare(reference, profile_inputs(reference, table))
    [column] = [column for column in comparison.columns if column.name == EMBEDDING]
    return column


def test_embeddings_of_one_distribution_are_ok(reference: Reference) -> None:
    column = looked_at(reference, rows(activations(draw(1_000, 2))))
    assert (column.kind, column.verdict.state, column.verdict.reason) == ("embedding", "ok", "")


def test_moved_embeddings_are_critical_and_say_how_much(reference: Reference) -> None:
    column = looked_at(reference, rows(activations(16 - draw(1_000, 2))))
    assert column.verdict.state == "critical"
    assert "distribution moved (MMD²" in column.verdict.reason
    assert "a linear classifier tells it from the reference (AUROC 1.00)" in column.verdict.reason


def test_missing_embeddings_are_told(reference: Reference) -> None:
    table = rows(activations(draw(1_000, 2)))
    half = pa.concat_tables(
        [table.slice(0, 500), table.slice(500).drop_columns([EMBEDDING])], promote_options="default"
    )
    column = looked_at(reference, half)
    assert (column.verdict.state, column.verdict.reason) == ("critical", "50.0% more values missing")


def test_a_few_more_missing_embeddings_may_be_chance(reference: Reference) -> None:
    """30 % of the reference's rows lack one. Of 400 rows 36.75 % do by chance in one case of seventy (the score test of
    two proportions, p = 0.014), of 1,000 rows 37 % in one of a thousand."""
    lossy = build_reference(SCHEMA, without(activations(draw(1_000, 1)), 300))
    few = looked_at(lossy, without(activations(draw(400, 2)), 147))
    many = looked_at(lossy, without(activations(draw(1_000, 2)), 370))
    assert (few.verdict.state, few.verdict.reason) == ("ok", "")
    assert (many.verdict.state, many.verdict.reason) == ("warning", "7.0% more values missing")


def test_another_length_a_lost_column_and_a_new_one_are_told(reference: Reference) -> None:
    longer = looked_at(reference, rows(activations(draw(300, 2), 300)))
    assert longer.verdict.reason == "has another length: the reference's have 200 numbers"
    lost = looked_at(reference, rows(activations(draw(300, 2))).drop_columns([EMBEDDING]))
    assert (lost.verdict.state, lost.verdict.reason) == ("critical", "the column has vanished")
    bare = build_reference(SCHEMA, rows(draw(300, 1)).drop_columns([EMBEDDING]))
    new = looked_at(bare, rows(draw(300, 2)))
    assert (new.verdict.state, new.verdict.reason) == ("warning", "the reference has no embeddings, or too few")


def test_few_embeddings_say_nothing(reference: Reference) -> None:
    assert looked_at(reference, rows(activations(draw(20, 2)))).verdict.state == "insufficient"
    column = looked_at(reference, rows(activations(draw(100, 2))))
    assert column.verdict.reason == "100 embeddings, at least 200 needed"


def test_the_command_compares_lists_in_files(tmp_path: Path) -> None:
    pq.write_table(rows(activations(draw(1_000, 1))), tmp_path / "reference.parquet")
    pq.write_table(rows(activations(draw(900, 2)) * 0.7), tmp_path / "current.parquet", row_group_size=250)
    page = tmp_path / "out.html"
    done = run_command(
        "compare", tmp_path / "reference.parquet", tmp_path / "current.parquet", "--html", page, "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["columns"][EMBEDDING]
    assert (found["kind"], found["verdict"]["state"]) == ("embedding", "critical")
    assert found["maximum_mean_discrepancy"]["n"] == 900
    assert found["maximum_mean_discrepancy"]["p_value"] < 1e-6
    assert found["domain_classifier_auroc"]["value"] > 0.9
    assert {"MMD²", "Fréchet", "classifier AUROC"} <= set(re.findall(r"<td>([^<]+)</td>", page.read_text("utf-8")))
