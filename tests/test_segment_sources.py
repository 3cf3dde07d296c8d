"""Where the values of a segment come from: the reference, the configuration, or what was learnt, and who is told so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.diagnosis import segment_findings
from monitor.log.tables import ModelLog
from monitor.profiles.codec import load_reference, save_reference
from monitor.profiles.model_profile import (
    build_reference,
    complete_reference,
    draft_reference,
    profile_inputs,
    profile_outcomes,
    with_segments,
)
from monitor.profiles.segments import OTHER, SegmentSpec
from monitor.replay import ReplayRange, replay
from monitor.segment_values import LEARN_ROWS, learnt_values, with_learnt_values
from monitor.statistics.result import Absent, Reason
from monitor.statistics.segments import DRIFT
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, START, truth_for
from tests.test_segment_windows import assert_equal_segments, found, in_regions, latest, opened


def without_regions(root: Path) -> None:
    """The reference of the bench, as if its rows had had no segment."""
    path = root / "reference.trueup"
    save_reference(with_segments(load_reference(path), ()), path)


def null_regions(root: Path) -> None:
    """A reference of rows that have the column, and no value in it."""
    save_reference(build_reference(MODEL, regionless()), root / "reference.trueup")


def kept_null_regions(root: Path) -> None:
    """The same as it was built when a segment without values was kept."""
    rows = regionless()
    draft = replace(draft_reference(MODEL, rows), segments=(SegmentSpec("region", ()),))
    kept = complete_reference(draft, profile_inputs(draft, rows), profile_outcomes(draft, rows))
    assert "region" in kept.profile.segments
    save_reference(kept, root / "reference.trueup")


def regionless() -> pa.Table:
    ids = [f"r{place}" for place in range(500)]
    rows = pa.Table.from_batches([in_regions(predictions(ids, seed=99), [None] * 500)])
    return rows.append_column("label", pa.array([CLASSES[place % 3] for place in range(500)]))


@pytest.mark.parametrize("reference", [without_regions, null_regions, kept_null_regions])
def test_configured_values_are_told_apart_where_the_reference_has_none_and_drift_says_why_it_is_absent(
    tmp_path: Path, reference: Callable[[Path], None]
) -> None:
    bench = opened(tmp_path, segment_values={"region": ("south", "west")})
    reference(tmp_path)
    ids = [f"id-{place:03d}" for place in range(200)]
    batch, truth = predictions(ids, start=START, step=1_000_000), truth_for(ids)
    bench.send(batch, labels(ids, list(truth.values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    values = bench.windows()[-1].segments["region"]
    south = np.array(batch.column("s_region").to_pylist()) == "south"
    assert {name: value.predictions for name, value in values.items()} == {"south": south.sum(), OTHER: (~south).sum()}
    right = np.array([truth[name] for name in ids]) == np.array(batch.column("prediction").to_pylist())
    assert found(values["south"].values["accuracy"]) == pytest.approx(right[south].mean(), abs=1e-12)
    detail = "the reference is not told apart by region"
    assert values["south"].values[DRIFT] == Absent(Reason.NO_REFERENCE, int(south.sum()), detail)
    assert values["south"].reference_predictions is None
    bench.state.close()


def test_values_are_learnt_once_and_stay_over_restarts_and_in_a_replay(tmp_path: Path) -> None:
    bench = opened(tmp_path)
    without_regions(tmp_path)
    ids = [f"id-{place:04d}" for place in range(LEARN_ROWS + 400)]
    regions = [f"r{place % 25:02d}" if place % 2 else "r00" for place in range(len(ids))]
    batch = in_regions(predictions(ids, start=START, step=2_000_000), regions)
    bench.send(batch.slice(0, 400))
    bench.run(START + HOUR)
    with bench.state.transaction(write=False) as state:
        assert learnt_values(state, "pets") == {}
    bench.restart()
    bench.send(batch.slice(400, 700))
    bench.run(START + 2 * HOUR)
    with bench.state.transaction(write=False) as state:
        learnt = learnt_values(state, "pets")["region"]
    assert len(learnt) == 20
    assert "r00" in learnt
    bench.restart()
    # A value that appears later is one of the others, however frequent it becomes.
    rest = in_regions(batch.slice(1100, 300), ["new"] * 300)
    bench.send(rest)
    bench.run(START + 3 * HOUR)
    bench.run(START + 4 * HOUR)
    values = latest(bench.windows())[START].segments["region"]
    assert "new" not in values
    assert values[OTHER].predictions >= 300
    assert sum(value.predictions for value in values.values()) == len(ids)
    known = with_learnt_values(bench.settings, bench.state)
    assert known.segment_values == {"region": learnt}
    log = ModelLog(str(tmp_path / "log"), "pets")
    assert_equal_segments(latest(bench.windows())[START], latest(replay(known, log, ReplayRange()).windows)[START])
    # What no daemon has told it, a replay learns as the daemon did.
    alone = latest(replay(bench.settings, log, ReplayRange()).windows)[START]
    assert_equal_segments(latest(bench.windows())[START], alone)
    bench.state.close()


def test_doctor_says_what_is_not_known_of_a_segment(tmp_path: Path) -> None:
    bench = opened(tmp_path)
    told = bench.cycle.references
    told.refresh()
    reference = told.get("1")
    assert reference is not None
    assert segment_findings(bench.settings, reference) == []
    [learning] = segment_findings(bench.settings, with_segments(reference, ()))
    assert "learnt from the first 1,000 predictions with one" in learning.text
    [undrifted] = segment_findings(bench.settings, with_segments(reference, (SegmentSpec("region", ("a",)),)))
    assert "no drift per value (trueup reference build --segment region)" in undrifted.text
    bench.state.close()
