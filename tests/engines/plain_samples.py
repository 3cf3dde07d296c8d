"""Plain tables as people have them, and the same table in every kind of file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

CLASSES = ("cat", "dog", "owl")
START = 1_790_000_000_000_000
FORMATS = ("parquet", "arrow", "csv", "csv.gz", "ndjson", "json")


def plain_table(rows: int, seed: int, shift: float = 0.0, *, outputs: bool = True) -> pa.Table:
    """Features of every kind; with `outputs` a classifier's predictions, ids and event times."""
    rng = np.random.default_rng(seed)
    x = rng.normal(shift, 1, rows)
    z = np.stack([x + rng.normal(0, 1, rows), rng.normal(shift, 1, rows), rng.normal(0, 1, rows)], axis=1)
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    names = np.array(CLASSES)
    label = names[np.array([rng.choice(3, p=row) for row in p], dtype=int)] if outputs else names[:0]
    columns: dict[str, object] = {
        "age": pa.array(np.round(40 + 10 * x), mask=rng.random(rows) < 0.05 + shift / 10),
        "income": np.exp(10 + x / 2),
        "clicks": rng.poisson(2 + shift, rows),
        "city": rng.choice(["Oslo", "Rome", "Bonn"], rows, p=[0.5 - shift / 5, 0.3, 0.2 + shift / 5]),
        "member": rng.random(rows) < 0.3,
        "seen": pa.array(START + rng.integers(0, 10**12, rows)).cast(pa.timestamp("us", "UTC")),
    }
    if outputs:
        columns |= {
            "prediction_id": [f"{seed}-{i}" for i in range(rows)],
            "event_time": pa.array(START + np.arange(rows) * 10**6).cast(pa.timestamp("us", "UTC")),
            "prediction": names[p.argmax(axis=1)],
            **{f"p_{name}": p[:, i] for i, name in enumerate(CLASSES)},
            "label": label,
        }
    return pa.table(columns)


def save(table: pa.Table, path: Path, row_group_size: int = 100_000) -> Path:
    """The table in the kind of file that the path's ending says."""
    ending = path.name.partition(".")[2]
    if ending == "parquet":
        pq.write_table(table, path, row_group_size=row_group_size)
    elif ending == "arrow":
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table, row_group_size)
    elif ending.startswith("csv"):
        with (
            pa.CompressedOutputStream(str(path), "gzip") if ending.endswith("gz") else pa.OSFile(str(path), "wb") as out
        ):
            pa.csv.write_csv(table, out)
    else:
        rows = [
            {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in row.items()}
            for row in table.to_pylist()
        ]
        text = json.dumps(rows) if ending == "json" else "".join(json.dumps(row) + "\n" for row in rows)
        path.write_text(text)
    return path
