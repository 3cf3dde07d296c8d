"""Labelled rows of both tasks with two segments, for tests of segments."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from monitor.records import ModelSchema
from tests.profiles.outcome_samples import REGRESSION, classified, regressed, schema_of

REGIONS = ("eu", "us", "other", "apac")
SHARES = (0.5, 0.3, 0.15, 0.05)


def segmented(task: str, rows: int, seed: int) -> tuple[ModelSchema, pa.Table]:
    """Rows with the segments region (one of them called other, a twentieth null) and device (23 kinds)."""
    rng = np.random.default_rng(seed)
    schema = schema_of(3) if task == "classification" else REGRESSION
    table = classified(rows, 3, seed) if task == "classification" else regressed(rows, seed)
    if task == "classification":
        table = table.append_column("f_amount", pa.array(rng.lognormal(3, 1, rows), mask=rng.random(rows) < 0.1))
        table = table.append_column("f_whole", pa.array(rng.integers(0, 4, rows)))
        table = table.append_column("f_city", pa.array(rng.choice(["Oslo", "Rome", "Bonn"], rows)))
        # A row without all of its probabilities, and one whose answer no class is called by.
        column = table.column_names.index("p_c1")
        table = table.set_column(column, "p_c1", pa.array(table.column("p_c1").to_numpy(), mask=np.arange(rows) == 7))
        answers = table.column("prediction").to_pylist()
        answers[11] = "nobody"
        table = table.set_column(table.column_names.index("prediction"), "prediction", pa.array(answers))
    regions = np.array(REGIONS)[rng.choice(4, rows, p=SHARES)]
    devices = [f"d{k:02d}" for k in rng.integers(0, 23, rows)]
    table = table.append_column("s_region", pa.array(regions, mask=rng.random(rows) < 0.05))
    return schema, table.append_column("s_device", pa.array(devices))
