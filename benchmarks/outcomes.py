"""What realised and estimated performance of 1 M predictions × 10 classes costs: from Parquet, as a whole process.

Run: python -m benchmarks.outcomes [ROWS]

The work: predictions and labels in two files, labels shuffled, 5 % missing, 1 % repeated; join by id, then accuracy,
cross-entropy, macro F1, one-against-the-rest AUROC and ECE of the labelled rows, and the performance estimated without
labels (CBPE) of all of them, with a labelled reference of 100,000 rows. One process does it with trueup's profiles (its
reference frozen in a file, as in use; what making that costs stands below), one by hand with pandas and scikit-learn;
both print what they found, and the table says how far they are apart. Seconds on the clock, and of the processor: these
are the fairer ones where the machine has other things to do.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

CLASSES = tuple(f"class {k}" for k in range(10))
SHARES = (0.22, 0.18, 0.15, 0.12, 0.1, 0.08, 0.06, 0.04, 0.03, 0.02)
REFERENCE_ROWS = 100_000
REPEATS = 3
# Rows that are read, joined and profiled together; profiles of stretches are merged, as those of panes are.
STRETCH_ROWS = 65_536
# Seconds of the clock and of the processor, measured on 2026-11-23 on two such cores with the same work. NannyML once
# for realised and once for estimated performance; neither has all of it (no cross-entropy, no ECE; no estimate).
PEERS = {
    "NannyML 0.13.1, realised": (28.6, 28.9),
    "NannyML 0.13.1, CBPE": (27.9, 28.1),
    "NannyML 0.13.1, both": (56.5, 57.0),
    "Evidently 0.7.23, four metrics": (52.5, 52.3),
}


def write(folder: Path, name: str, rows: int, seed: int, skill: float) -> None:
    """Predictions and labels of one period: `<name>_predictions.parquet` and `<name>_labels.parquet`."""
    rng = np.random.default_rng(seed)
    label = rng.choice(10, rows, p=SHARES)
    z = rng.standard_normal((rows, 10)) * 1.3
    z[np.arange(rows), label] += skill
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    ids = rng.permutation(rows * 4)[:rows].astype(np.int64) + 10_000_000_000

    def named(index: np.ndarray) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(pa.array(index, pa.int8()), pa.array(CLASSES))

    columns = {"prediction_id": ids, "prediction": named(p.argmax(axis=1))}
    columns |= {f"p_{name}": p[:, k] for k, name in enumerate(CLASSES)}
    pq.write_table(pa.table(columns), folder / f"{name}_predictions.parquet", compression="lz4")
    kept = np.flatnonzero(rng.random(rows) >= 0.05)
    order = rng.permutation(np.concatenate([kept, rng.choice(kept, rows // 100, replace=False)]))
    table = pa.table({"prediction_id": ids[order], "label": named(label[order])})
    pq.write_table(table, folder / f"{name}_labels.parquet", compression="lz4")


class Phases:
    """Seconds of the named parts of a process."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, name: str) -> None:
        """The part that ends now."""
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def labels_of(folder: Path, name: str) -> pa.Array:
    """The label of every prediction, null where none came: the first of repeated ones, as the others take."""
    import pyarrow.compute as pc

    ids = pq.read_table(folder / f"{name}_predictions.parquet", columns=["prediction_id"]).column(0)
    labels = pq.read_table(folder / f"{name}_labels.parquet")
    place = pc.index_in(ids, value_set=labels.column("prediction_id"))
    return labels.column("label").combine_chunks().take(place.combine_chunks())


def batches(folder: Path, name: str) -> Iterator[pa.Table]:
    """Outputs of the predictions in stretches, with their labels."""
    labels, start = labels_of(folder, name), 0
    file = pq.ParquetFile(folder / f"{name}_predictions.parquet")
    columns = [column for column in file.schema_arrow.names if column != "prediction_id"]
    for batch in file.iter_batches(STRETCH_ROWS, columns=columns):
        table = pa.Table.from_batches([batch])
        yield table.append_column("label", labels.slice(start, batch.num_rows))
        start += batch.num_rows


def make_reference(folder: Path) -> dict[str, object]:
    """The reference file, with its calibrators and all cells of drift."""
    phases = Phases()
    from monitor.profiles.codec import save_reference
    from monitor.profiles.model_profile import build_reference
    from monitor.records import ModelSchema

    rows = pa.concat_tables(batches(folder, "reference"), promote_options="none").unify_dictionaries()
    schema = ModelSchema("bench", "classification", CLASSES)
    save_reference(build_reference(schema, rows), folder / "reference.trueup")
    phases.done("all")
    return {"values": {}, "phases": phases.seconds}


class WithoutPandas(MetaPathFinder):
    """Makes `import pandas` fail."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002
        """Nothing, and nobody else is asked for pandas."""
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def with_trueup(folder: Path) -> dict[str, object]:
    """Profiles and statistics of this project."""
    phases = Phases()
    # As `pip install trueup` has it: pandas is no dependency, and pyarrow would import it wherever it is installed.
    sys.meta_path.insert(0, WithoutPandas())
    import pyarrow.compute as pc

    from monitor.profiles.codec import load_reference
    from monitor.profiles.model_profile import Profile, empty_outcome, profile_outcomes
    from monitor.profiles.outcome_builder import estimated_classes
    from monitor.statistics.summary import estimated_statistics, outcome_statistics

    phases.done("import")
    reference = load_reference(folder / "reference.trueup")
    calibrators = reference.estimators.calibrators
    assert calibrators is not None
    realised, inputs = empty_outcome(reference), Profile.empty(reference)
    for rows in batches(folder, "current"):
        estimated = estimated_classes(reference.schema, calibrators, rows)
        inputs = inputs.merge(Profile(reference.identity, rows.num_rows, {}, estimated))
        labelled = rows.filter(pc.is_valid(rows.column("label")))
        realised = realised.merge(profile_outcomes(reference, labelled))
    phases.done("read, join and profile")
    found = outcome_statistics(reference, realised) | estimated_statistics(reference, inputs)
    phases.done("statistics")
    names = ("accuracy", "cross_entropy", "f1", "auroc", "expected_calibration_error")
    wanted = (*names, "estimated_accuracy", "estimated_f1", "estimated_auroc")
    return {"values": {name: found[name].value for name in wanted}, "phases": phases.seconds}  # type: ignore[union-attr]


def with_scikit_learn(folder: Path) -> dict[str, object]:
    """The same by hand."""
    phases = Phases()
    from sklearn import metrics
    from sklearn.isotonic import IsotonicRegression

    phases.done("import")
    columns = [f"p_{name}" for name in CLASSES]

    def merged(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        predictions = pq.read_table(folder / f"{name}_predictions.parquet").to_pandas()
        labels = pq.read_table(folder / f"{name}_labels.parquet").to_pandas().drop_duplicates("prediction_id")
        rows = predictions.merge(labels, on="prediction_id", how="inner")
        label = rows["label"].cat.codes.to_numpy()
        return predictions[columns].to_numpy(), label, rows["prediction"].cat.codes.to_numpy(), rows[columns].to_numpy()

    _, label, _, p = merged("reference")
    calibrators = [IsotonicRegression(out_of_bounds="clip").fit(p[:, k], label == k) for k in range(10)]
    top = p.argmax(axis=1)
    tops = [IsotonicRegression(out_of_bounds="clip").fit(p[top == k, k], label[top == k] == k) for k in range(10)]
    phases.done("reference")
    everyone, label, predicted, p = merged("current")
    phases.done("read and join")
    hit, confidence = label == predicted, p.max(axis=1)
    cell = np.minimum((confidence * 20).astype(np.int64), 19)
    gaps = np.abs(np.bincount(cell, confidence, 20) - np.bincount(cell, hit, 20))
    values = {
        "accuracy": metrics.accuracy_score(label, predicted),
        "cross_entropy": metrics.log_loss(label, p),
        "f1": metrics.f1_score(label, predicted, average="macro"),
        "auroc": metrics.roc_auc_score(label, p, multi_class="ovr"),
        "expected_calibration_error": gaps.sum() / len(label),
    }
    phases.done("realised")
    rows = np.arange(len(everyone))
    c = np.stack([calibrators[k].predict(everyone[:, k]) for k in range(10)], axis=1)
    areas = [_fractional_area(everyone[:, k], c[:, k]) for k in range(10)]
    chosen = everyone.argmax(axis=1)
    own = np.empty(len(everyone))
    for k in range(10):
        own[chosen == k] = tops[k].predict(everyone[chosen == k, k])
    c[rows, chosen] = 0
    c *= ((1 - own) / np.maximum(c.sum(axis=1), 1e-300))[:, None]
    c[rows, chosen] = own
    hits = np.bincount(chosen, own, 10)
    values["estimated_accuracy"] = own.mean()
    values["estimated_f1"] = (2 * hits / (c.sum(axis=0) + np.bincount(chosen, minlength=10))).mean()
    values["estimated_auroc"] = np.mean(areas)
    phases.done("estimated")
    return {"values": {name: float(value) for name, value in values.items()}, "phases": phases.seconds}


def _fractional_area(score: np.ndarray, positive: np.ndarray) -> float:
    order = np.argsort(score)
    positive = positive[order]
    negative = 1 - positive
    below = np.cumsum(negative) - negative / 2
    return float((below * positive).sum() / positive.sum() / negative.sum())


@dataclass(frozen=True)
class Run:
    """One process: seconds of the clock and of the processor, peak memory in MB, and what it said."""

    seconds: float
    processor: float
    memory: float
    said: dict[str, dict[str, float]]


def measured(side: str, folder: Path) -> Run:
    """Run one side as a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.outcomes", "--side", side, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{side} failed with {process.returncode}")
    seconds = time.perf_counter() - started
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, json.loads(said))


def main(rows: int) -> None:
    """Write the files, run both sides, print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: the memory of this one would count as the peak of those that it starts.
        subprocess.run([sys.executable, "-m", "benchmarks.outcomes", "--write", name, str(rows)], check=True)
        made = measured("reference", folder)
        ours = min((measured("trueup", folder) for _ in range(REPEATS)), key=lambda run: run.processor)
        theirs = measured("scikit-learn", folder)
    print(f"{rows:,} predictions × 10 classes, from Parquet, whole process       clock  processor")
    for title, run in (("trueup", ours), ("trueup, making the reference", made), ("scikit-learn by hand", theirs)):
        parts = ", ".join(f"{name} {value:.2f}" for name, value in run.said["phases"].items())
        print(f"{title:32} {run.seconds:7.2f} s {run.processor:7.2f} s {run.memory:6.0f} MB  ({parts})")
    for peer, (clock, processor) in PEERS.items():
        ratio = f"{processor / ours.processor:.0f} times the processor time of trueup" if rows == 1_000_000 else ""
        print(f"{peer:32} {clock:7.2f} s {processor:7.2f} s  at 1,000,000 rows  {ratio}")
    for name, value in ours.said["values"].items():
        other = theirs.said["values"][name]
        print(f"{name:32} {value:.6f}  {other:.6f}  difference {value - other:+.1e}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--side"]:
        sides: dict[str, Callable[[Path], dict[str, object]]] = {
            "reference": make_reference,
            "trueup": with_trueup,
            "scikit-learn": with_scikit_learn,
        }
        print(json.dumps(sides[sys.argv[2]](Path(sys.argv[3]))))
    elif sys.argv[1:2] == ["--write"]:
        write(Path(sys.argv[2]), "reference", REFERENCE_ROWS, 12, 2.2)
        write(Path(sys.argv[2]), "current", int(sys.argv[3]), 11, 2.0)
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
