"""Late labels in one go: joining them and computing all outcome statistics, beside a hand-written DuckDB query.

`python -m benchmarks.late_labels [--rows 1000000]`. Predictions of 10 classes in the log, one every 10 ms; then their
labels, shuffled, 5 % missing, 1 % repeated. `cycle` is what a cycle does: match the labels, write the matched
rows durably, rebuild the outcomes of every pane, merge them, compute every statistic; `compute` is the join and the
outcome profile alone. The query reads the same files of
the log and gives accuracy, macro F1, cross-entropy and calibration error. Every run is a process of its own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.memory import peak_mebibytes
from monitor.log.tables import ModelLog
from monitor.records import TIMESTAMP, ModelSchema, label_schema, prediction_schema

CLASSES = 10
START = 1_790_000_000_000_000
STEP = 10_000  # µs
PART = 250_000
MODEL = ModelSchema("bench", "classification", tuple(f"class-{k}" for k in range(CLASSES)))
SHARES = np.array([0.22, 0.18, 0.15, 0.12, 0.10, 0.08, 0.06, 0.04, 0.03, 0.02])


def identifiers(places: np.ndarray) -> list[str]:
    """Ids of 32 characters that do not tell the time."""
    mixed = places.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return [f"{value:016x}{place:016x}" for value, place in zip(mixed.tolist(), places.tolist(), strict=True)]


def predictions(start: int, rows: int, random: np.random.Generator) -> tuple[pa.Table, np.ndarray]:
    """Some predictions and the truth of each."""
    truth = random.choice(CLASSES, rows, p=SHARES)
    z = random.standard_normal((rows, CLASSES)) * 1.3
    z[np.arange(rows), truth] += 2.0
    p = np.exp(z - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    places = np.arange(start, start + rows)
    names = pa.array(MODEL.classes)
    columns: dict[str, object] = {
        "prediction_id": identifiers(places),
        "version": pa.repeat(pa.scalar("1"), rows),
        "event_time": pa.array(START + places * STEP).cast(TIMESTAMP),
        "prediction": names.take(pa.array(p.argmax(1))),
        "latency_seconds": random.random(rows),
        "request_id": pa.nulls(rows, pa.string()),
        **{name: p[:, k] for k, name in enumerate(MODEL.probability_columns)},
    }
    return pa.table([columns[item.name] for item in prediction_schema(MODEL)], schema=prediction_schema(MODEL)), truth


def fill(folder: Path, rows: int) -> None:
    """The log of a model whose labels have all just come."""
    random = np.random.default_rng(1)
    log = ModelLog(str(folder / "log"), MODEL.model)
    truth = np.empty(rows, dtype=np.int64)
    for number, start in enumerate(range(0, rows, PART)):
        table, truth[start : start + PART] = predictions(start, min(PART, rows - start), random)
        log.append("predictions", table, {"bench": number + 1})
    kept = np.flatnonzero(random.random(rows) >= 0.05)
    order = random.permutation(np.concatenate([kept, random.choice(kept, rows // 100, replace=False)]))
    for number, start in enumerate(range(0, order.size, PART)):
        places = order[start : start + PART]
        arrived = START + places * STEP + random.integers(1, 86_400_000_000, places.size)
        columns = [
            pa.array(identifiers(places)),
            pa.array(MODEL.classes).take(pa.array(truth[places])),
            pa.array(arrived).cast(TIMESTAMP),
            pa.repeat(pa.scalar("bench"), places.size),
            pa.nulls(places.size, TIMESTAMP),
        ]
        log.append("labels", pa.table(columns, schema=label_schema(MODEL)), {"bench": number + 1})


def ours(folder: Path) -> str:
    """What a cycle does with new labels; returns some of the numbers."""
    from monitor.engines.local import touched_panes
    from monitor.engines.repeats import Tally
    from monitor.label_join import LabelSettings
    from monitor.matching import match_labels
    from monitor.pane_builder import rebuild_outcomes
    from monitor.profiles.codec import decode_outcome
    from monitor.profiles.model_profile import build_reference, empty_outcome
    from monitor.statistics.summary import outcome_statistics
    from monitor.windows import WindowSettings

    held_out, truth = predictions(0, 20_000, np.random.default_rng(2))
    reference = build_reference(MODEL, held_out.append_column("label", pa.array(MODEL.classes).take(pa.array(truth))))
    log = ModelLog(str(folder / "log"), MODEL.model)
    windows = WindowSettings()
    started, before = time.perf_counter(), time.process_time()
    match_labels(
        log,
        LabelSettings(),
        after=0,
        until=log.last_sequence("labels"),
        predictions_until=log.last_sequence("predictions"),
        pending=pa.array([], pa.string()),
    )
    matched = time.perf_counter()
    matching_worked = time.process_time() - before
    panes = touched_panes(log, "matched", windows.pane_seconds, after=0, until=log.last_sequence("matched"))
    merged = empty_outcome(reference)
    for pane in rebuild_outcomes(log, reference, "1", set(panes["1"]), windows, {}, Tally(0, 0)):
        merged = merged.merge(decode_outcome(pane.profile, reference))
    values = outcome_statistics(reference, merged)
    ended, worked = time.perf_counter(), time.process_time() - before
    return (
        f"{ended - started:7.2f} s ({worked:5.2f} s of processor time)  {len(values)} statistics  "
        f"{merged.rows:,} labelled  {_some(values)}  match {matched - started:.2f} s ({matching_worked:.2f} s), "
        f"outcomes of {len(panes['1'])} panes {ended - matched:.2f} s"
    )


def compute(folder: Path) -> str:
    """The same join and the same outcomes, straight on: nothing is written, there are no panes."""
    from monitor.engines.hash_join import join_labels
    from monitor.engines.winners import unique_outcomes
    from monitor.matching import output_columns
    from monitor.profiles.model_profile import build_reference, empty_outcome, profile_outcomes
    from monitor.statistics.summary import outcome_statistics

    held_out, truth = predictions(0, 20_000, np.random.default_rng(2))
    reference = build_reference(MODEL, held_out.append_column("label", pa.array(MODEL.classes).take(pa.array(truth))))
    log = ModelLog(str(folder / "log"), MODEL.model)
    started, before = time.perf_counter(), time.process_time()
    merged = empty_outcome(reference)
    limits = {"after": 0, "until": 10**9, "predictions_until": 10**9, "horizon": 14 * 86_400_000_000}
    # One prediction's labels are told apart within a part, since there is no pane to bring them together.
    for part in join_labels(log, output_columns(log), **limits, part_rows=100_000, labels_at_once=10**9):
        merged = merged.merge(profile_outcomes(reference, unique_outcomes(part.rows)))
    values = outcome_statistics(reference, merged)
    taken, worked = time.perf_counter() - started, time.process_time() - before
    return (
        f"{taken:7.2f} s ({worked:5.2f} s of processor time)  {len(values)} statistics  {merged.rows:,} labelled  "
        f"{_some(values)}"
    )


def _some(values: Mapping[str, object]) -> dict[str, float]:
    return {name: round(values[name].value, 6) for name in ("accuracy", "cross_entropy", "f1")}  # type: ignore[attr-defined]


def theirs(folder: Path) -> str:
    """The query somebody would write by hand, over the same files."""
    import duckdb

    log = ModelLog(str(folder / "log"), MODEL.model)
    files = {table: [file.uri for file in log.files(table)] for table in ("predictions", "labels")}
    chosen = " ".join(f"when '{name}' then p_{name.replace('-', '_')}" for name in MODEL.classes)
    renamed = ", ".join(f'"p_{name}" as p_{name.replace("-", "_")}' for name in MODEL.classes)
    query = f"""
        with l as (select prediction_id, any_value(label) as y from read_parquet({files["labels"]}) group by 1),
        p as (select prediction_id, prediction as h, {renamed} from read_parquet({files["predictions"]})),
        k as (select h, y, case y {chosen} end as own, case h {chosen} end as top from p join l using (prediction_id))
        select y, h, least(floor(top * 20), 19)::int as b, count(*) as n, sum(-ln(greatest(own, 1e-15))) as loss,
            sum(top) as confidence from k group by all"""
    started, before = time.perf_counter(), time.process_time()
    rows = duckdb.connect().execute(query).fetchnumpy()
    y, h, n = (np.asarray(rows[name]) for name in ("y", "h", "n"))
    total = int(n.sum())
    names = sorted(set(MODEL.classes))
    hits = np.array([n[(y == name) & (h == name)].sum() for name in names], dtype=float)
    f1 = np.mean([2 * hit / (n[y == name].sum() + n[h == name].sum()) for hit, name in zip(hits, names, strict=True)])
    found = {"accuracy": round(hits.sum() / total, 6), "cross_entropy": round(rows["loss"].sum() / total, 6)}
    taken, worked = time.perf_counter() - started, time.process_time() - before
    numbers = {name: float(value) for name, value in (found | {"f1": round(f1, 6)}).items()}
    return f"{taken:7.2f} s ({worked:5.2f} s of processor time)  4 statistics  {total:,} labelled  {numbers}"


def main() -> None:
    """Fill a log, then measure both on it, three times each in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--measure", nargs=2, metavar=("WHOSE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        text = {"compute": compute, "cycle": ours, "duckdb": theirs}[options.measure[0]](Path(options.measure[1]))
        peak = peak_mebibytes()
        print(f"{options.measure[0]:7} {peak:6,.0f} MiB {text}", flush=True)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, options.rows)
        for _ in range(options.repeats):
            for whose in ("duckdb", "compute", "cycle"):
                subprocess.run([sys.executable, "-m", "benchmarks.late_labels", "--measure", whose, name], check=True)
                shutil.rmtree(folder / "log" / MODEL.model / "matched", ignore_errors=True)


if __name__ == "__main__":
    main()
