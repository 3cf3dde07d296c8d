"""Small, valid record batches for tests of the shell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from monitor.records import TIMESTAMP, ModelSchema, label_schema, prediction_schema

CLASSES = ("cat", "dog", "owl")
MODEL = ModelSchema("pets", "classification", CLASSES)
EPOCH = 1_790_000_000_000_000  # microseconds; 2026-09-21 in UTC


def predictions(
    ids: Sequence[str],
    *,
    model: ModelSchema = MODEL,
    version: str = "1",
    start: int = EPOCH,
    step: int = 1_000_000,
    seed: int = 0,
    events: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """A prediction batch with random probabilities and two features."""
    random = np.random.default_rng(seed)
    n = len(ids)
    schema = prediction_schema(model, {"age": pa.float64(), "city": pa.string()}, ["region"])
    times = np.asarray(events) if events is not None else start + np.arange(n) * step
    columns: dict[str, object] = {
        "prediction_id": list(ids),
        "version": [version] * n,
        "event_time": pa.array(times, pa.int64()).cast(TIMESTAMP),
        "f_age": random.normal(40, 10, n),
        "f_city": random.choice(["Rome", "Oslo"], n).tolist(),
        "s_region": random.choice(["north", "south"], n).tolist(),
        "latency_seconds": random.random(n),
        "request_id": [None] * n,
    }
    if model.task == "classification":
        p = random.dirichlet(np.ones(len(model.classes)), n)
        columns["prediction"] = [model.classes[i] for i in p.argmax(1)]
        columns |= {name: p[:, i] for i, name in enumerate(model.probability_columns)}
    else:
        columns["prediction"] = random.normal(0, 1, n)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]  # type: ignore[arg-type]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def labels(
    ids: Sequence[str],
    values: Sequence[object],
    *,
    model: ModelSchema = MODEL,
    time: int | Sequence[int] = EPOCH + 3_600_000_000,
    events: Sequence[int] | None = None,
) -> pa.RecordBatch:
    """A label batch."""
    schema = label_schema(model)
    n = len(ids)
    times = [time] * n if isinstance(time, int) else list(time)
    columns = [
        pa.array(list(ids), pa.string()),
        pa.array(list(values), model.output_type),
        pa.array(times, pa.int64()).cast(TIMESTAMP),
        pa.array(["test"] * n, pa.string()),
        pa.array([None] * n if events is None else list(events), pa.int64()).cast(TIMESTAMP),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
