"""How many records a second one core moves from the spool into the prediction log, and in how much memory.

`python -m benchmarks.ingest [--records 1000000] [--embedding]`. Records have 25 features, 10 probabilities and
time-ordered ids, in frames of 1,000; with `--embedding` 1,280 float16 values too. Making the spool is not measured.
Every run is a process of its own, pinned to one core.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.memory import peak_mebibytes
from monitor.log.ingest import ingest
from monitor.log.spool import SpoolSettings, SpoolWriter
from monitor.records import TIMESTAMP, ModelSchema, prediction_schema

FRAME = 1_000
FEATURES, CLASSES, DIMENSION = 25, 10, 1_280
START = 1_790_000_000_000_000
MODEL = ModelSchema("bench", "classification", tuple(f"class-{k}" for k in range(CLASSES)))


def batch(number: int, random: np.random.Generator, *, embedding: bool) -> pa.RecordBatch:
    """One frame; its event times follow the frame before."""
    kinds = {f"feature_{k:02d}": pa.string() if k % 5 == 4 else pa.float64() for k in range(FEATURES)}
    schema = prediction_schema(MODEL, kinds, ["region"], DIMENSION if embedding else None)
    times = START + (number * FRAME + np.arange(FRAME)) * 1_000
    p = random.dirichlet(np.ones(CLASSES), FRAME)
    columns: dict[str, object] = {
        "prediction_id": [f"{t:015x}-{random.integers(2**48):012x}" for t in times.tolist()],
        "version": ["1"] * FRAME,
        "event_time": pa.array(times).cast(TIMESTAMP),
        "prediction": [MODEL.classes[k] for k in p.argmax(1).tolist()],
        "s_region": random.choice(["north", "south"], FRAME).tolist(),
        "latency_seconds": random.random(FRAME),
        "request_id": pa.nulls(FRAME, pa.string()),
        "embedding": [row.tobytes() for row in random.normal(size=(FRAME, DIMENSION)).astype("<f2")]
        if embedding
        else None,
    }
    columns |= {name: p[:, k] for k, name in enumerate(MODEL.probability_columns)}
    for name, kind in kinds.items():
        values = random.normal(size=FRAME) if kind == pa.float64() else random.choice(["a", "b", "c"], FRAME).tolist()
        columns[f"f_{name}"] = values
    return pa.RecordBatch.from_arrays([pa.array(columns[item.name], item.type) for item in schema], schema=schema)


def fill(root: Path, records: int, *, embedding: bool) -> None:
    """A spool of that many records, in segments of the usual size; no number or id is there twice."""
    random = np.random.default_rng(1)
    writer = SpoolWriter(root, SpoolSettings(fsync="never", segment_seconds=1e9, maximum_bytes=1 << 40), writer="bench")
    frames = [batch(number, random, embedding=embedding) for number in range(20)]
    for number in range(records // FRAME):
        writer.append(_moved(frames[number % len(frames)], number))
    writer.close()


def _moved(frame: pa.RecordBatch, number: int) -> pa.RecordBatch:
    times = START + (number * FRAME + np.arange(FRAME)) * 1_000

    def moved(item: pa.Field, array: pa.Array) -> pa.Array:
        if item.name == "event_time":
            return pa.array(times).cast(TIMESTAMP)
        if item.name == "prediction_id":
            names = zip(times.tolist(), array.to_pylist(), strict=True)
            return pa.array([f"{time:015x}{old[15:]}" for time, old in names])
        return pc.multiply(array, 1 + number * 1e-9) if item.type == pa.float64() else array

    arrays = [moved(item, array) for item, array in zip(frame.schema, frame.columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=frame.schema)


def measure(root: Path) -> None:
    """Ingest what is in the spool below `root`, and print records a second and the highest memory."""
    started, worked = time.perf_counter(), time.process_time()
    progress = ingest(
        [root / "spool"], str(root / "log"), future_limit=lambda _: 2**62, set_aside=lambda *_: sys.exit("refused rows")
    )
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    if progress.errors:
        sys.exit("; ".join(progress.errors))
    rows = sum(progress.rows.values())
    memory = peak_mebibytes()
    stored = sum(path.stat().st_size for path in (root / "log").rglob("*.parquet"))
    print(
        f"{rows:>12,} records {seconds:>8.2f} s {rows / seconds:>10,.0f} records/s "
        f"({worked:.2f} s and {rows / worked:,.0f} records/s of processor time) {memory:>6,.0f} MiB peak "
        f"{stored / rows:>6,.0f} bytes/record in the log"
    )


def main() -> None:
    """Fill a spool and measure its ingest in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--embedding", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        fill(root / "spool", options.records, embedding=options.embedding)
        core = {min(os.sched_getaffinity(0))}
        subprocess.run(
            [sys.executable, "-m", "benchmarks.ingest", "--measure", folder],
            check=True,
            preexec_fn=lambda: os.sched_setaffinity(0, core),
        )


if __name__ == "__main__":
    main()
