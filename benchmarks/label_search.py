"""How labels without an event time find their predictions: strategies beside each other, in parts of a full rescan.

`python -m benchmarks.label_search [--rows 1000000]`. A log of 30 days, one file a day, ids ordered by time (as UUIDs of
version 7 are) or random; 10,000 labels of one day (clustered) or of all days (spread). A rescan reads the columns that
an outcome needs of every row; the strategies find the same rows:

- `find`: the log's way for few labels. Files by the statistics of their ids, row groups by the hashes that are kept
  beside the log, then their id column, then the other columns of row groups with a hit.
- `first find`: the same where no hashes are kept yet. It reads the id column of every file that the statistics leave,
  and keeps its hashes.
- `id scan`: the id column of every file, nothing else: the bound for labels spread over all days.
- `join`: the log's way for many labels. The id column of every file whose range of ids overlaps the labels', then the
  other columns of row groups with a hit.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from monitor.engines.hash_join import join_labels
from monitor.engines.local import find
from monitor.log.hash_places import hash_file
from monitor.log.tables import ModelLog
from monitor.matching import output_columns
from monitor.records import TIMESTAMP, ModelSchema, label_schema, prediction_schema

DAYS, LABELS, CLASSES = 30, 10_000, 10
DAY = 86_400_000_000
START = 1_789_948_800_000_000
MODEL = ModelSchema("bench", "classification", tuple(f"class-{k}" for k in range(CLASSES)))
SEARCHED = ("prediction_id", "version", "event_time", "prediction", *MODEL.probability_columns)


def identifiers(times: np.ndarray, random: np.random.Generator, *, ordered: bool) -> pa.Array:
    """32 hexadecimal digits; `ordered` begin with the time, as UUIDs of version 7 do."""
    high = times.astype(">u8") if ordered else random.integers(0, 2**63, times.size).astype(">u8")
    raw = np.concatenate([high.view("u1").reshape(-1, 8), random.integers(0, 256, (times.size, 8), "u1")], axis=1)
    digits = np.frombuffer(b"0123456789abcdef", "u1")
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=2).reshape(-1)
    offsets = np.arange(times.size + 1, dtype=np.int32) * 32
    return pa.Array.from_buffers(pa.string(), times.size, [None, pa.py_buffer(offsets), pa.py_buffer(text)])


def fill(folder: Path, rows: int, *, ordered: bool) -> ModelLog:
    """The log, a day at a time."""
    random = np.random.default_rng(1)
    log = ModelLog(str(folder), MODEL.model)
    schema = prediction_schema(MODEL)
    for day in range(DAYS):
        count = rows // DAYS
        times = START + day * DAY + np.arange(count) * (DAY // count)
        values = random.random((CLASSES, count))
        columns: dict[str, object] = {
            "prediction_id": identifiers(times, random, ordered=ordered),
            "version": pa.repeat(pa.scalar("1"), count),
            "event_time": pa.array(times).cast(TIMESTAMP),
            "prediction": pa.array(MODEL.classes).take(pa.array(values.argmax(0))),
            "latency_seconds": values[0],
            "request_id": pa.nulls(count, pa.string()),
            **{name: values[k] for k, name in enumerate(MODEL.probability_columns)},
        }
        log.append("predictions", pa.table([columns[item.name] for item in schema], schema=schema), {"b": day + 1})
    return log


def wanted(log: ModelLog, *, spread: bool) -> pa.Array:
    """Ids of 10,000 predictions of one day, or of all."""
    random = np.random.default_rng(2)
    files = sorted(log.files("predictions"), key=lambda file: file.uri)
    chosen = files if spread else files[DAYS // 2 : DAYS // 2 + 1]
    parts = []
    for file in chosen:
        ids = pq.read_table(file.uri, columns=["prediction_id"], partitioning=None).column("prediction_id")
        parts.append(ids.take(pa.array(random.choice(len(ids), LABELS // len(chosen), replace=False))))
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks]).combine_chunks()


def rescan(log: ModelLog, ids: pa.Array) -> int:
    """All rows of the searched columns, and those of the ids."""
    found = 0
    for file in log.files("predictions"):
        rows = pq.read_table(file.uri, columns=list(SEARCHED), partitioning=None)
        found += rows.filter(pc.is_in(rows.column("prediction_id"), value_set=ids)).num_rows
    return found


def id_scan(log: ModelLog, ids: pa.Array) -> int:
    """Only how many there are."""
    found = 0
    for file in log.files("predictions"):
        column = pq.read_table(file.uri, columns=["prediction_id"], partitioning=None).column("prediction_id")
        found += pc.sum(pc.is_in(column, value_set=ids)).as_py() or 0
    return int(found)


def by_first_find(log: ModelLog, ids: pa.Array) -> int:
    """`engines.local.find`, with no hashes kept."""
    for file in log.files("predictions"):
        kept = hash_file(log, "predictions", file)
        assert kept is not None
        kept.unlink(missing_ok=True)
    return by_find(log, ids)


def by_find(log: ModelLog, ids: pa.Array) -> int:
    """`engines.local.find`."""
    rows = find(log, "predictions", ids, output_columns(log))
    return 0 if rows is None else rows.num_rows


def by_join(log: ModelLog, _: pa.Array) -> int:
    """`engines.hash_join`, which finds the labels in the log."""
    newest = log.last_sequence("labels")
    limits = {"after": newest - 1, "until": newest, "predictions_until": 10**9, "horizon": DAYS * DAY}
    return sum(part.rows.num_rows for part in join_labels(log, output_columns(log), **limits))


def add_labels(log: ModelLog, ids: pa.Array) -> None:
    """Labels of these ids, for those who find them in the log."""
    columns: dict[str, object] = {
        "prediction_id": ids,
        "label": pa.repeat(pa.scalar(MODEL.classes[0]), len(ids)),
        "label_time": pa.repeat(pa.scalar(START + DAYS * DAY), len(ids)).cast(TIMESTAMP),
        "source": pa.nulls(len(ids), pa.string()),
        "event_time": pa.nulls(len(ids), TIMESTAMP),
    }
    schema = label_schema(MODEL)
    log.append("labels", pa.table([columns[item.name] for item in schema], schema=schema), {})


def measured(search: Callable[[ModelLog, pa.Array], int], log: ModelLog, ids: pa.Array) -> tuple[float, float]:
    """Wall and processor time of the quicker of two runs; all labels have to be found."""
    best = (float("inf"), float("inf"))
    for _ in range(2):
        wall, processor = time.perf_counter(), time.process_time()
        found = search(log, ids)
        best = min(best, (time.perf_counter() - wall, time.process_time() - processor), key=lambda pair: pair[1])
        assert found >= LABELS // DAYS * DAYS, found
    return best


def main() -> None:
    """Print one line for each strategy and kind of log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ids", choices=("time-ordered", "random", "both"), default="both")
    options = parser.parse_args()
    rows = options.rows
    print("| rows | ids | labels | strategy | wall s | processor s | of a rescan |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for ordered in [options.ids == "time-ordered"] if options.ids != "both" else [True, False]:
        with tempfile.TemporaryDirectory() as name:
            log = fill(Path(name) / "log", rows, ordered=ordered)
            for spread in (False, True):
                ids = wanted(log, spread=spread)
                add_labels(log, ids)
                strategies: dict[str, Callable[[ModelLog, pa.Array], int]] = {
                    "rescan": rescan,
                    "id scan": id_scan,
                    "first find": by_first_find,
                    "find": by_find,
                    "join": by_join,
                }
                whole = 0.0
                for strategy, search in strategies.items():
                    wall, processor = measured(search, log, ids)
                    whole = whole or processor
                    kind, where = "time-ordered" if ordered else "random", "spread" if spread else "one day"
                    print(
                        f"| {rows:,} | {kind} | {where} | {strategy} | {wall:.3f} | {processor:.3f} | "
                        f"{100 * processor / whole:.1f} % |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
