"""What segments cost: build, bytes and reading of panes, and evaluation of a window, with and without them.

    python -m benchmarks.segments

25 columns (20 numeric, 5 categorical) and three class probabilities, panes of 3,000 rows of which all are labelled; one
segment of 20 values, and none. Processor time of one core; the median of five.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import reduce

import numpy as np
import pyarrow as pa

from monitor.evaluation import evaluate_window
from monitor.profiles.codec import decode_outcome, decode_profile, encode_outcome, encode_profile
from monitor.profiles.model_profile import (
    Profile,
    Reference,
    build_reference,
    profile_inputs,
    profile_outcomes,
    with_segments,
)
from monitor.profiles.outcome import OutcomeProfile
from monitor.records import ModelSchema
from monitor.settings import ModelSettings
from monitor.window_codec import encode_window
from monitor.windows import Window

ROWS, PANES, VALUES = 3_000, 48, 20
SCHEMA = ModelSchema("segments", "classification", ("a", "b", "c"))


def rows(count: int, seed: int) -> pa.Table:
    """Predictions with labels."""
    random = np.random.default_rng(seed)
    p = random.dirichlet(np.ones(3), count)
    names = np.array(SCHEMA.classes)
    return pa.table(
        {
            "prediction": names[p.argmax(axis=1)],
            **{name: p[:, k] for k, name in enumerate(SCHEMA.probability_columns)},
            **{f"f_n{k}": random.normal(k, 1 + k, count) for k in range(20)},
            **{f"f_c{k}": np.array(["x", "y", "z", "w"])[random.integers(0, 4, count)] for k in range(5)},
            "label": names[random.integers(0, 3, count)],
            "s_region": np.array([f"r{k:02d}" for k in range(VALUES)])[random.integers(0, VALUES, count)],
        }
    )


def seconds(function: Callable[[], object], times: int = 5) -> float:
    """Median processor time of a call."""
    spent = []
    for _ in range(times):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return statistics.median(spent)


def measure(reference: Reference) -> dict[str, float]:
    """Every figure of one reference."""
    tables = [rows(ROWS, seed) for seed in range(PANES)]
    inputs = [encode_profile(profile_inputs(reference, table)) for table in tables]
    outcomes = [encode_outcome(profile_outcomes(reference, table)) for table in tables]

    def merged() -> tuple[Profile, OutcomeProfile]:
        return (
            reduce(Profile.merge, (decode_profile(data, reference) for data in inputs)),
            reduce(OutcomeProfile.merge, (decode_outcome(data, reference) for data in outcomes)),
        )

    profile, outcome = merged()
    settings, window = ModelSettings("segments"), Window(0, 3_600_000_000, 3_600.0)

    def evaluated() -> str:
        result = evaluate_window(settings, "1", reference, window, profile, outcome, maturity="final", revision=1)
        return encode_window(result)

    evaluated()
    return {
        "build a pane, inputs (ms)": 1e3 * seconds(lambda: encode_profile(profile_inputs(reference, tables[0]))),
        "build a pane, outcomes (ms)": 1e3 * seconds(lambda: encode_outcome(profile_outcomes(reference, tables[0]))),
        "bytes of a pane (kB)": (len(inputs[0]) + len(outcomes[0])) / 1e3,
        f"read and merge {PANES} panes (ms)": 1e3 * seconds(merged),
        "evaluate a window (ms)": 1e3 * seconds(evaluated),
        "bytes of a window (kB)": len(evaluated()) / 1e3,
    }


def main() -> None:
    """Print the table."""
    told_apart = build_reference(SCHEMA, rows(20_000, 99))
    plain, segmented = measure(with_segments(told_apart, ())), measure(told_apart)
    print(f"| of {ROWS:,} rows, {VALUES} values | without | with | ratio |\n| --- | --- | --- | --- |")
    for name, figure in plain.items():
        print(f"| {name} | {figure:.1f} | {segmented[name]:.1f} | {segmented[name] / figure:.2f} |")


if __name__ == "__main__":
    main()
