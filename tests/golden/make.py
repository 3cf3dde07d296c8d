"""Writes the golden files of the present format: python -m tests.golden.make

A released format's files are never written again: they stand for what users have on their disks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from monitor.profiles.codec import encode_outcome, encode_profile, encode_reference
from monitor.profiles.model_profile import build_reference, profile_inputs, profile_outcomes
from monitor.records import TIMESTAMP, ModelSchema

FOLDER = Path(__file__).parent / "format1"
SCHEMA = ModelSchema("golden", "classification", ("no", "yes"))
MEASURED = ModelSchema("golden", "regression")


def rows(start: int, count: int) -> pa.Table:
    """Rows without chance: files must not depend on a generator."""
    i = np.arange(start, start + count)
    p = (1 + i % 17) / 19
    times = pa.array(1_790_000_000_000_000 + i * 1_000_000, pa.int64())
    return pa.table(
        {
            "prediction": pa.array(np.where(p > 0.5, "yes", "no")),
            "p_no": 1 - p,
            "p_yes": p,
            "f_amount": pa.array((i * i % 1_009) / 8, mask=i % 50 == 0),
            "f_city": pa.array([("Oslo", "Rome", "Bonn")[k] for k in i * 7 % 3]),
            "f_member": pa.array(i % 4 == 0),
            "f_seen": times.cast(TIMESTAMP),
            "label": pa.array(np.where(i % 3 == 0, "yes", "no")),
            "event_time": times.cast(TIMESTAMP),
            "label_time": pa.array(1_790_000_000_000_000 + i * 1_000_500, pa.int64()).cast(TIMESTAMP),
        }
    )


def measured(start: int, count: int) -> pa.Table:
    """Rows of a regression whose error grows with its column; without chance as well."""
    i = np.arange(start, start + count)
    level = i % 10
    wave = (i * 37 % 101 - 50) / 50
    return pa.table(
        {
            "prediction": 20.0 + level + wave * (1 + level),
            "f_level": level.astype(np.float64),
            "label": 20.0 + level,
        }
    )


def embedded(start: int, count: int) -> pa.Table:
    """Rows with embeddings of six numbers, some without one."""
    i = np.arange(start, start + count)
    vectors = np.round(np.sin(np.outer(i, np.arange(1, 7))) * 8) / 8
    values = [None if k % 50 == 0 else row.tobytes() for k, row in zip(i, vectors.astype("<f2"), strict=True)]
    ids = [f"golden-{k}" for k in i]
    return pa.table({"prediction_id": ids, "prediction": i % 7 / 7, "embedding": pa.array(values, pa.binary())})


def told_apart(start: int, count: int) -> pa.Table:
    """The rows of a classification with a segment, one of whose values is called other; some have none."""
    names = ["eu", "us", "eu", "other", "eu", "us", "eu", "us", None, "eu", "other", "eu"]
    return rows(start, count).append_column("s_region", pa.array([names[k % 12] for k in range(start, start + count)]))


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    reference, current = build_reference(SCHEMA, rows(0, 400)), rows(200, 300)
    (FOLDER / "reference.trueup").write_bytes(encode_reference(reference))
    (FOLDER / "profile.bin").write_bytes(encode_profile(profile_inputs(reference, current)))
    (FOLDER / "outcome.bin").write_bytes(encode_outcome(profile_outcomes(reference, current)))
    reference, current = build_reference(MEASURED, measured(0, 400)), measured(200, 300)
    (FOLDER / "regression_reference.trueup").write_bytes(encode_reference(reference))
    (FOLDER / "regression_profile.bin").write_bytes(encode_profile(profile_inputs(reference, current)))
    (FOLDER / "regression_outcome.bin").write_bytes(encode_outcome(profile_outcomes(reference, current)))
    reference, current = build_reference(MEASURED, embedded(0, 400)), embedded(200, 300)
    (FOLDER / "embedding_reference.trueup").write_bytes(encode_reference(reference))
    (FOLDER / "embedding_profile.bin").write_bytes(encode_profile(profile_inputs(reference, current)))
    reference, current = build_reference(SCHEMA, told_apart(0, 400)), told_apart(200, 300)
    (FOLDER / "segment_reference.trueup").write_bytes(encode_reference(reference))
    (FOLDER / "segment_profile.bin").write_bytes(encode_profile(profile_inputs(reference, current)))
    (FOLDER / "segment_outcome.bin").write_bytes(encode_outcome(profile_outcomes(reference, current)))


if __name__ == "__main__":
    main()
