"""Answers from raw outputs: exact softmax, rows that fail alone, ids."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax

from monitor.errors import DefectError, RecordError
from monitor.records import ModelSchema
from serving.answers import Answer, answer_json, answers, check_prediction_id, item_ids, softmax
from serving.manifest import ServedModel

MOMENT = datetime(2026, 1, 31, 12, 0, 0, 500, tzinfo=UTC)


def model(task: str = "classification", classes: tuple[str, ...] = ("cat", "dog", "owl")) -> ServedModel:
    schema = ModelSchema("animals", task, classes if task == "classification" else ())  # type: ignore[arg-type]
    return ServedModel(schema, "v1", 4, (), "p", "m", {})


def test_softmax_equals_scipy_in_double_precision() -> None:
    logits = np.random.default_rng(1).normal(0, 30, (50, 7)).astype(np.float32)
    found = softmax(logits)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, scipy_softmax(logits.astype(np.float64), axis=1), rtol=1e-14)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-15)


def test_softmax_of_large_logits_does_not_overflow() -> None:
    assert softmax(np.array([[1e30, 0.0], [-1e30, -1e30]])).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_the_class_is_the_most_probable_and_keeps_its_name() -> None:
    [first, second] = answers(model(), np.array([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]], np.float32))
    assert isinstance(first, Answer)
    assert isinstance(second, Answer)
    assert (first.prediction, second.prediction) == ("dog", "cat")
    body = answer_json(model(), first, "x", MOMENT)
    assert list(body["probabilities"]) == ["cat", "dog", "owl"]
    assert body["probabilities"]["dog"] == pytest.approx(math.exp(2) / (1 + math.exp(2) + math.exp(1)), rel=1e-15)
    assert {key: body[key] for key in ("class", "prediction_id", "model", "version")} == {
        "class": "dog",
        "prediction_id": "x",
        "model": "animals",
        "version": "v1",
    }


def test_a_regression_answers_its_value() -> None:
    [answer] = answers(model("regression"), np.array([[1.25]], np.float32))
    assert isinstance(answer, Answer)
    assert answer_json(model("regression"), answer, "x", MOMENT) == {
        "value": 1.25,
        "prediction_id": "x",
        "model": "animals",
        "version": "v1",
        "event_time": "2026-01-31T12:00:00.000500Z",
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_fails_alone(bad: float) -> None:
    [good, failed] = answers(model(), np.array([[0.0, 0.0, 1.0], [0.0, bad, 0.0]], np.float32))
    assert isinstance(good, Answer)
    assert isinstance(failed, DefectError)
    assert str(failed) == "model 'animals' version 'v1': the model gave no finite numbers for this image"


def test_no_rows_give_no_answers() -> None:
    assert answers(model(), np.empty((0, 3), np.float32)) == []


def test_a_program_of_another_width_is_a_defect() -> None:
    with pytest.raises(DefectError, match=r"another shape than its manifest.*expected \[N, 3\], got \[2, 4\]"):
        answers(model(), np.zeros((2, 4)))


@pytest.mark.parametrize("good", ["a", "x" * 200, "order 7/line 2", "~!@#$%^&*()_+{}|:<>?"])
def test_a_printable_id_is_taken_as_it_is(good: str) -> None:
    assert check_prediction_id(good) == good


@pytest.mark.parametrize(
    "bad", ["", "x" * 201, "tab\there", "new\nline", "nul\0", "é", "\u202eright", " edge", "edge "]
)
def test_another_id_is_refused(bad: str) -> None:
    with pytest.raises(RecordError, match=r"^X-Prediction-Id: not a prediction id \(expected 1 to 200 printable ASCII"):
        check_prediction_id(bad)


def test_several_images_share_an_id_and_one_keeps_it() -> None:
    assert item_ids("a", 1) == ["a"]
    assert item_ids("a", 3) == ["a-0", "a-1", "a-2"]
