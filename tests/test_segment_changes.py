"""A segment that is declared on a running model: what was learnt and published before stays as true as it was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.label_join import LabelSettings
from monitor.log.maintenance import maintain
from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference, profile_inputs, profile_outcomes
from monitor.statistics.result import Absent, Estimate
from monitor.statistics.segments import segment_statistics
from monitor.verdict import Check, CheckSettings, Threshold, WindowResult
from monitor.windows import WindowSettings
from tests.profiles.segment_samples import segmented
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, START, Bench, make_bench

DAY = 24 * HOUR
WEEK = START // (7 * DAY) * 7 * DAY
DAYS = 28
ACCURACY = CheckSettings(values=(Check("accuracy", None, Threshold("below", 0, learnt=True)),), minimum_labels=10)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A model without segments and a prediction an hour: right in 0.9 of them for 20 days, and then in 0.3."""
    made = make_bench(tmp_path, MODEL)
    plain = pa.Table.from_batches([predictions([f"r{i}" for i in range(500)], seed=99)]).drop_columns(["s_region"])
    truth = pa.array([CLASSES[place % 3] for place in range(500)])
    save_reference(build_reference(MODEL, plain.append_column("label", truth)), tmp_path / "reference.trueup")
    windows = WindowSettings(3_600, (86_400.0, 7 * 86_400.0), 600.0, 60.0)
    made.settings = replace(
        made.settings, windows=windows, labels=LabelSettings(horizon_seconds=86_400.0, minimum=1), checks=ACCURACY
    )
    made.restart()
    ids = [f"i{place:04d}" for place in range(DAYS * 24)]
    batch = predictions(ids, start=WEEK, step=HOUR)
    right = np.random.default_rng(0).random(len(ids)) < np.repeat([0.9, 0.3], [20 * 24, 8 * 24])
    answers = batch.column("prediction").to_pylist()
    truths = [answer if hit else CLASSES[CLASSES.index(answer) - 1] for answer, hit in zip(answers, right, strict=True)]
    now = WEEK + DAYS * DAY + HOUR
    made.send(batch, seen=now)
    made.send(labels(ids, truths, time=now), seen=now)
    made.run(now)
    made.run(now + 2 * DAY)
    yield made
    made.state.close()


def latest(bench: Bench, seconds: float) -> dict[int, WindowResult]:
    found = (window for window in bench.windows() if window.window.seconds == seconds)
    return {(window.window.start - WEEK) // DAY: window for window in found}


def declare(bench: Bench) -> None:
    bench.settings = replace(bench.settings, segments=("region",), segment_values={"region": ("north", "south")})
    bench.restart()
    bench.run(WEEK + DAYS * DAY + HOUR + 2 * DAY)


def test_learnt_limits_are_of_whole_windows_and_stay(bench: Bench) -> None:
    before = {day: window.verdicts["accuracy"] for day, window in latest(bench, 86_400.0).items()}
    assert {before[day].state for day in range(21, 28)} == {"critical"}
    declare(bench)
    after = latest(bench, 86_400.0)
    assert {day: after[day].verdicts["accuracy"] for day in range(21, 28)} == {
        day: before[day] for day in range(21, 28)
    }
    assert all(after[day].segments["region"] for day in range(21, 28))


def test_a_final_window_is_not_published_again_of_the_part_that_the_log_still_has(bench: Bench) -> None:
    before = latest(bench, 7 * 86_400.0)
    assert [before[day].predictions for day in (0, 7, 14, 21)] == [168] * 4
    maintain(bench.cycle.log, WEEK + (DAYS + 2) * DAY, retention_seconds=14.0 * 86_400)
    declare(bench)
    after = latest(bench, 7 * 86_400.0)
    assert [after[day].predictions for day in (0, 7, 14, 21)] == [168] * 4
    # The third week began before the oldest day of the log, the fourth is there as a whole.
    assert [after[day].revision for day in (0, 7, 14, 21)] == [1, 1, 1, 2]
    assert set(after[21].segments["region"]) == {"north", "south"}


def test_labels_that_were_joined_without_their_segment_are_stated_and_no_coverage_is_made_of_them() -> None:
    schema, table = segmented("classification", 600, 1)
    table = table.drop_columns(["s_device"]).filter(table.column("s_region").is_valid())
    reference = build_reference(schema, table)
    outcomes = profile_outcomes(reference, table.drop_columns(["s_region"]))
    found = segment_statistics(reference, profile_inputs(reference, table), outcomes)["region"]
    assert sum(value.labels for value in found.values()) == table.num_rows
    assert (found["(missing)"].predictions, found["(missing)"].labels) == (0, table.num_rows)
    assert isinstance(found["(missing)"].values["label_coverage"], Absent)
    covered = found["eu"].values["label_coverage"]
    assert isinstance(covered, Estimate)
    assert covered.value == 0
