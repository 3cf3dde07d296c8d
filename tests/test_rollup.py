"""Old panes become coarser, and windows neither notice nor lose the right to be revised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.rollup import RollUp
from monitor.settings import ModelSettings
from monitor.statistics.seasons import ObservationSettings
from monitor.windows import MICROSECONDS, WindowSettings
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, MINUTE, START, WINDOWS, Bench, expected, make_bench, truth_for, value

IDS = [f"id-{place:03d}" for place in range(120)]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path, MODEL)
    made.settings = replace(made.settings, windows=replace(WINDOWS, window_seconds=(3600.0, 7200.0)))
    made.restart()
    yield made
    made.state.close()


def panes(bench: Bench) -> list[tuple[int, int]]:
    with bench.state.transaction(write=False) as state:
        return [
            ((pane.start - START) // MINUTE, (pane.end - pane.start) // MINUTE)
            for pane in state.panes("pets", "1", "inputs", 0, 2**60)
        ]


def test_panes_of_two_days_ago_become_hours_and_no_window_changes(bench: Bench) -> None:
    batch = predictions(IDS, start=START, step=MINUTE)
    truth = truth_for(IDS)
    bench.send(batch, labels(IDS, list(truth.values())))
    bench.run(START + 3 * HOUR)
    bench.run(START + 4 * HOUR)
    before = bench.windows()
    assert [length for _, length in panes(bench)] == [5] * 24
    bench.send(predictions(["new"], start=START + 50 * HOUR))
    bench.run(START + 51 * HOUR)
    bench.run(START + 52 * HOUR)
    assert panes(bench) == [(0, 60), (60, 60), (50 * 60, 5)]
    assert [window for window in bench.windows() if window.window.start < START + 2 * HOUR] == before


def test_a_late_record_before_a_coarse_pane_rebuilds_the_whole_of_it(bench: Bench) -> None:
    batch = predictions(IDS, start=START, step=MINUTE)
    truth = truth_for(IDS)
    bench.send(batch.slice(0, 119), labels(IDS, list(truth.values())))
    bench.send(predictions(["new"], start=START + 50 * HOUR))
    bench.run(START + 51 * HOUR)
    bench.run(START + 52 * HOUR)
    assert panes(bench)[:2] == [(0, 60), (60, 60)]
    changed = truth | {name: CLASSES[(CLASSES.index(truth[name]) + 1) % 3] for name in IDS[:5]}
    bench.send(labels(IDS[:5], [changed[name] for name in IDS[:5]], time=START + 51 * HOUR), batch.slice(119, 1))
    bench.run(START + 53 * HOUR)
    assert panes(bench) == [(0, 60), (60, 60), (50 * 60, 5)]
    latest = {(w.window.seconds, w.window.start): w for w in bench.windows()}
    for hour in (0, 1):
        window, rows = latest[3600.0, START + hour * HOUR], batch.slice(hour * 60, 60)
        assert (window.predictions, window.labels, window.maturity) == (60, 60, "final")
        accuracy, loss = expected(rows, changed)
        assert value(window, "accuracy") == pytest.approx(accuracy, abs=1e-12)
        assert value(window, "cross_entropy") == pytest.approx(loss, abs=1e-9)


def rollup(windows: tuple[float, ...], pane: float = 300.0) -> RollUp:
    settings = ModelSettings("pets", windows=WindowSettings(pane_seconds=pane, window_seconds=windows))
    return RollUp(replace(settings, observations=ObservationSettings(season_seconds=None)))


@pytest.mark.parametrize(
    ("windows", "pane", "grains"),
    [
        ((3600.0, 86_400.0), 300.0, [3600]),
        ((3600.0,), 3600.0, []),
        ((1800.0, 3600.0), 300.0, []),
        ((5400.0,), 300.0, []),
        ((7200.0,), 2400.0, []),
    ],
)
def test_a_grain_that_some_window_is_too_fine_for_is_not_used(
    windows: tuple[float, ...], pane: float, grains: list[int]
) -> None:
    assert [grain // MICROSECONDS for _, grain in rollup(windows, pane).levels] == grains


def test_days_are_used_where_every_window_and_observation_lasts_whole_days() -> None:
    settings = ModelSettings("pets", windows=WindowSettings(window_seconds=(86_400.0, 604_800.0)))
    assert [grain // MICROSECONDS for _, grain in RollUp(settings).levels] == [3600, 86_400]
