"""Labelled predictions for tests of outcomes: a classifier that is too sure of itself, a regression with hard rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from monitor.records import TIMESTAMP, ModelSchema
from tests.records_samples import EPOCH

REGRESSION = ModelSchema("m", "regression")


def schema_of(classes: int) -> ModelSchema:
    return ModelSchema("m", "classification", tuple(f"c{k}" for k in range(classes)))


def classified(
    rows: int, classes: int, seed: int, *, sharpness: float = 1.6, skill: float = 1.5, shares: list[float] | None = None
) -> pa.Table:
    """Rows whose probabilities would be right at `sharpness` 1; above it the model is overconfident."""
    rng = np.random.default_rng(seed)
    schema = schema_of(classes)
    label = rng.choice(classes, rows, p=shares)
    z = rng.normal(0, 1, (rows, classes)) + skill * np.eye(classes)[label]
    # Of two unit normals `skill` apart, skill × z is the log-likelihood ratio.
    z *= skill * sharpness
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    names = np.array(schema.classes)
    events = EPOCH + rng.integers(0, 3_600_000_000, rows)
    return pa.table(
        {
            "prediction": names[p.argmax(axis=1)],
            **{name: p[:, k] for k, name in enumerate(schema.probability_columns)},
            "label": names[label],
            "event_time": pa.array(events, pa.int64()).cast(TIMESTAMP),
            "label_time": pa.array(events + rng.integers(1, 10**10, rows), pa.int64()).cast(TIMESTAMP),
        }
    )


def regressed(rows: int, seed: int, *, hard: float = 0.2, offset: float = 50.0) -> pa.Table:
    """Rows whose error has a standard deviation of 3 where `f_hard` is yes (a share `hard`), else of 1."""
    rng = np.random.default_rng(seed)
    difficult = rng.random(rows) < hard
    truth = offset + rng.normal(0, 10, rows)
    events = EPOCH + rng.integers(0, 3_600_000_000, rows)
    return pa.table(
        {
            "prediction": truth + rng.normal(0, 1, rows) * np.where(difficult, 3.0, 1.0),
            "f_hard": np.where(difficult, "yes", "no"),
            "f_noise": pa.array(rng.normal(0, 1, rows), mask=rng.random(rows) < 0.05),
            "label": truth,
            "event_time": pa.array(events, pa.int64()).cast(TIMESTAMP),
            "label_time": pa.array(events + rng.integers(1, 10**10, rows), pa.int64()).cast(TIMESTAMP),
        }
    )


def probabilities(table: pa.Table, classes: int) -> np.ndarray:
    """float64 [n, K]."""
    return np.stack([table.column(f"p_c{k}").to_numpy() for k in range(classes)], axis=1)
