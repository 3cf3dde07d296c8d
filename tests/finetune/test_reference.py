"""The rows of a reference have the shape of served predictions, and hold what the programs said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import softmax
from sklearn import metrics

from finetune.export import Answers
from finetune.reference import reference_table
from monitor.profiles.model_profile import build_reference
from monitor.records import ModelSchema, prediction_schema
from monitor.statistics.summary import reference_values
from serving.image_features import FEATURE_NAMES, image_features
from tests.finetune.images import colours

CREATED = datetime(2026, 11, 24, 14, 30, tzinfo=UTC)
CLASSES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return colours(tmp_path_factory.mktemp("data") / "colours").items


@pytest.fixture(scope="module")
def answers(items):
    random = np.random.default_rng(8)
    truth = np.array([CLASSES.index(item.label) for item in items])
    logits = random.normal(0, 1.5, (len(items), 3)) + 2 * np.eye(3)[truth]
    return Answers(logits.astype(np.float32), random.normal(0, 1, (len(items), 5)).astype(np.float32))


def test_the_columns_are_those_of_a_prediction_batch_and_the_label(items, answers):
    schema = ModelSchema("colours", "classification", CLASSES)
    table = reference_table(schema, "v1", items, answers, CREATED)
    served = prediction_schema(schema, dict.fromkeys(FEATURE_NAMES, pa.float64()), embedding_dimension=5)
    assert table.schema.equals(served.append(pa.field("label", pa.string())), check_metadata=True)
    assert set(table.column("event_time").to_pylist()) == {CREATED}
    assert set(table.column("version").to_pylist()) == {"v1"}
    assert table.column("label").to_pylist() == [item.label for item in items]


def test_every_row_holds_the_programs_answer_and_the_images_features(items, answers):
    table = reference_table(ModelSchema("colours", "classification", CLASSES), "v1", items, answers, CREATED)
    probabilities = np.column_stack([table.column(f"p_{name}").to_numpy() for name in CLASSES])
    np.testing.assert_allclose(probabilities, softmax(answers.outputs.astype(np.float64), axis=1), rtol=1e-13)
    assert table.column("prediction").to_pylist() == [CLASSES[i] for i in answers.outputs.argmax(axis=1)]
    embedding = np.frombuffer(table.column("embedding")[7].as_py(), dtype="<f2")
    np.testing.assert_array_equal(embedding, answers.embeddings[7].astype(np.float16))
    row = table.slice(7, 1).to_pylist()[0]
    assert {name: row[f"f_{name}"] for name in FEATURE_NAMES} == image_features(items[7].image())


def test_the_monitor_reads_scikit_learns_numbers_from_it(items, answers):
    schema = ModelSchema("colours", "classification", CLASSES)
    reference = build_reference(schema, reference_table(schema, "v1", items, answers, CREATED))
    labels = [item.label for item in items]
    predicted = [CLASSES[i] for i in answers.outputs.argmax(axis=1)]
    probabilities = softmax(answers.outputs.astype(np.float64), axis=1)
    values = reference_values(reference)
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-9)
    assert values["cross_entropy"] == pytest.approx(metrics.log_loss(labels, probabilities), abs=1e-9)


def test_a_regressions_rows_hold_the_value_and_the_number_it_should_have_been(items):
    numbers = tuple(replace(item, label=float(index)) for index, item in enumerate(items))
    values = np.arange(len(items), dtype=np.float32)[:, None] + 0.5
    schema = ModelSchema("brightness", "regression")
    answers = Answers(values, np.zeros((len(items), 5), np.float32))
    table = reference_table(schema, "v1", numbers, answers, CREATED)
    assert table.column("prediction").type == table.column("label").type == pa.float64()
    np.testing.assert_array_equal(table.column("prediction").to_numpy() - table.column("label").to_numpy(), 0.5)
    assert reference_values(build_reference(schema, table))["mean_squared_error"] == pytest.approx(0.25, abs=1e-9)
