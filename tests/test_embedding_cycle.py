"""Embeddings on the whole way: spool, log, panes, state, window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference, profile_inputs
from monitor.records import EMBEDDING, EMBEDDING_DIMENSION_KEY
from monitor.settings import ModelSettings
from monitor.statistics.result import Absent, Estimate, Reason
from monitor.statistics.summary import column_statistics
from tests.profiles.embedding_samples import Floats, activations, draw
from tests.records_samples import MODEL, predictions
from tests.test_cycle import LABELS, START, WINDOWS, Bench, opened

SECOND = 1_000_000


def embedded(prefix: str, vectors: Floats, *, start: int = START) -> pa.RecordBatch:
    """Predictions, one a second, with these embeddings."""
    batch = predictions([f"{prefix}{i}" for i in range(len(vectors))], start=start, step=SECOND)
    field = pa.field(EMBEDDING, pa.binary(), metadata={EMBEDDING_DIMENSION_KEY: str(vectors.shape[1]).encode()})
    values = pa.array([row.tobytes() for row in vectors.astype("<f2")], pa.binary())
    schema = batch.schema.append(field)
    return pa.RecordBatch.from_arrays([*batch.columns, values], schema=schema)


@pytest.mark.parametrize("moved", [False, True], ids=["the same", "moved"])
def test_a_window_says_whether_the_embedding_drifted(tmp_path: Path, moved: bool) -> None:
    rows = pa.Table.from_batches([embedded("r", activations(draw(800, 1)))])
    reference = build_reference(MODEL, rows)
    save_reference(reference, tmp_path / "reference.trueup")
    settings = ModelSettings("pets", reference=tmp_path / "reference.trueup", windows=WINDOWS, labels=LABELS)
    state, cycle = opened(tmp_path, settings)
    bench = Bench(tmp_path, settings, state, cycle)
    current = embedded("a", activations(draw(1_000, 2)) * (0.9 if moved else 1.0))
    # In three panes, by two cycles; the last rows only move the watermark past the hour.
    bench.send(current.slice(0, 700))
    bench.run(START + 700 * SECOND)
    bench.send(current.slice(700), embedded("z", activations(draw(1, 3)), start=START + 2 * 3_600 * SECOND))
    report = bench.run(START + 2 * 3_600 * SECOND)
    (window,) = [result for result in report.published if result.window.start <= START < result.window.end]
    found = window.columns[EMBEDDING]
    direct = column_statistics(reference, profile_inputs(reference, pa.Table.from_batches([current])))[EMBEDDING]
    for name, expected in direct.items():
        result = found[name]
        assert isinstance(result, Estimate)
        assert isinstance(expected, Estimate)
        assert result.n == expected.n == 1_000
        assert result.value == pytest.approx(expected.value, rel=1e-6, abs=1e-9)
    p_value = found["maximum_mean_discrepancy_p_value"]
    assert isinstance(p_value, Estimate)
    assert (p_value.value < 0.001) == moved
    state.close()


def test_a_version_whose_embedding_got_longer_says_so(tmp_path: Path) -> None:
    rows = pa.Table.from_batches([embedded("r", np.random.default_rng(0).normal(0, 1, (100, 8)))])
    save_reference(build_reference(MODEL, rows), tmp_path / "reference.trueup")
    settings = ModelSettings("pets", reference=tmp_path / "reference.trueup", windows=WINDOWS, labels=LABELS)
    state, cycle = opened(tmp_path, settings)
    bench = Bench(tmp_path, settings, state, cycle)
    bench.send(embedded("a", np.ones((50, 16))))
    (rolling,) = [result for result in bench.run(START + 60 * SECOND).rolling if result.window.seconds == 3_600]
    absent = rolling.columns[EMBEDDING]["maximum_mean_discrepancy"]
    assert absent == Absent(Reason.DIMENSION_DIFFERS, 50, "the reference's have 8 numbers")
    state.close()
