"""Writes what every statistic of awkward columns was: python -m tests.golden.column_statistics

They were written before atoms were laid out without sorting, and say that no number changed. Write them anew only where
a definition changes, and say so in the changelog.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from monitor.profiles.model_profile import build_reference, profile_inputs
from monitor.records import ModelSchema
from monitor.statistics.result import Estimate
from monitor.statistics.summary import column_statistics

FILE = Path(__file__).parent / "column_statistics.json"
SCHEMA = ModelSchema("golden", "classification", ("no", "yes"))
REFERENCE_ROWS = 4_000
CURRENT_ROWS = (40, 700, 6_000)
Found = dict[str, dict[str, list[float | None] | str]]


def rows(start: int, count: int, shift: float) -> pa.Table:
    """Rows without chance: the same wherever they are made."""
    i = np.arange(start, start + count)
    first, second = (i * 0.6180339887498949) % 1, (i * 0.7548776662466927) % 1
    z = ndtri((first * 0.9999) + 0.00005) + shift
    p = 1 / (1 + np.exp(-4 * z))
    side = second < 0.5 + shift / 5
    numbers = {
        "normal": z,
        "lognormal": np.exp(z),
        "heavy": z / np.maximum(second, 1e-3),
        "offset": 1e9 + z,
        "integer": np.round(3 * z),
        "clustered": np.where(side, 1000.0, -1000.0) + 1e-3 * z,
        "bimodal": np.where(side, 0.999, 0.001) + 1e-5 * z,
        "zeros": np.where(second < 0.6 - shift / 5, 0.0, np.exp(z)),
        "large_integers": np.round(z * 10) + 2.0**40,
        "denormal": np.round(z * 10) * 5e-324,
        "huge": z * 1e307,
        "constant": np.full(count, 7.0),
        "was_constant": np.where(second < shift, 8.0, 7.0),
        "beyond_float32": np.where(second < 0.2, 1e200 * z, z),
        "infinite": np.where(second < 0.1, np.inf, np.where(second > 0.95, -np.inf, z)),
        "missing": np.where(second < 0.1 + shift / 4, np.nan, z),
        "empty": np.full(count, np.nan),
    }
    return pa.table(
        {
            "prediction": pa.array(np.where(p > 0.5, "yes", "no")),
            "p_no": 1 - p,
            "p_yes": p,
            **{f"f_{name}": values for name, values in numbers.items()},
            "f_null": pa.array(z, mask=second < 0.2),
            "f_city": pa.array([f"c{k}" for k in np.floor(40 * first**3 + 2 * shift).astype(int)]),
            "f_name": pa.array([f"n{k}" for k in np.minimum(1 / np.maximum(second, 1e-9), 1e6).astype(int)]),
            "f_member": pa.array(side),
        }
    )


def found() -> Found:
    """[value, p-value, error bound] or the reason, by column and number of rows, and statistic."""
    reference = build_reference(SCHEMA, rows(0, REFERENCE_ROWS, 0.0))
    answer: Found = {}
    for count in CURRENT_ROWS:
        for shift in (0.0, 0.3):
            profile = profile_inputs(reference, rows(100_000, count, shift))
            for column, results in column_statistics(reference, profile).items():
                answer[f"{column}, {count} rows, moved by {shift}"] = {
                    name: [result.value, result.p_value, result.error_bound]
                    if isinstance(result, Estimate)
                    else f"{result.reason} {result.n}"
                    for name, result in results.items()
                }
    return answer


if __name__ == "__main__":
    FILE.write_text(json.dumps(found(), indent=0) + "\n")
