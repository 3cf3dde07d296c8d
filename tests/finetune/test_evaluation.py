"""The manifest's numbers are those of scikit-learn and SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax
from sklearn import metrics

from finetune.evaluation import classification_metrics, regression_metrics, softmax

CLASSES = ("a", "b", "c", "d")


@pytest.fixture
def random():
    return np.random.default_rng(5)


def test_softmax_is_scipys_and_survives_large_logits(random):
    logits = random.normal(0, 30, (50, 4)).astype(np.float32)
    np.testing.assert_allclose(softmax(logits), scipy_softmax(logits.astype(np.float64), axis=1), rtol=1e-13)
    assert softmax(np.array([[1e4, -1e4]])).tolist() == [[1.0, 0.0]]


def test_classification_metrics_are_those_of_scikit_learn(random):
    labels = random.integers(0, 4, 300)
    probabilities = softmax(random.normal(0, 2, (300, 4)) + 2 * np.eye(4)[labels])
    found = classification_metrics(probabilities, labels, CLASSES)
    predicted = probabilities.argmax(axis=1)
    assert found["n"] == 300
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted), abs=1e-12)
    assert found["cross_entropy"] == pytest.approx(metrics.log_loss(labels, probabilities), abs=1e-12)
    precision, recall, _, n = metrics.precision_recall_fscore_support(labels, predicted)
    for index, name in enumerate(CLASSES):
        expected = {"n": n[index], "precision": precision[index], "recall": recall[index]}
        assert found["per_class"][name] == pytest.approx(expected, abs=1e-12)


def test_a_class_that_never_occurs_has_no_recall_and_a_sure_mistake_is_finite():
    probabilities = np.array([[1.0, 0.0], [1.0, 0.0]])
    found = classification_metrics(probabilities, np.array([0, 0]), ("a", "b"))
    assert found["per_class"]["b"] == {"n": 0, "precision": None, "recall": None}
    wrong = classification_metrics(probabilities, np.array([1, 1]), ("a", "b"))
    assert wrong["cross_entropy"] == pytest.approx(-np.log(1e-15))


def test_regression_metrics_are_those_of_scikit_learn(random):
    labels, values = random.normal(0, 9, 200), random.normal(0, 9, 200)
    found = regression_metrics(values, labels)
    assert found["mean_squared_error"] == pytest.approx(metrics.mean_squared_error(labels, values), rel=1e-12)
    assert found["root_mean_squared_error"] == pytest.approx(metrics.root_mean_squared_error(labels, values), rel=1e-12)
    assert found["mean_absolute_error"] == pytest.approx(metrics.mean_absolute_error(labels, values), rel=1e-12)
