"""The past once more: a replay ends in the windows that the daemon ended in, and passes through what was known when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.errors import OperatorError
from monitor.log.tables import ModelLog
from monitor.replay import Replay, ReplayRange, replay
from monitor.statistics.result import Estimate
from monitor.verdict import WindowResult
from tests.records_samples import CLASSES, labels, predictions
from tests.test_cycle import HOUR, MINUTE, START, WINDOWS, Bench, expected, make_bench, truth_for, value

DAY = 24 * HOUR


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    from tests.records_samples import MODEL

    made = make_bench(tmp_path, MODEL)
    settings = replace(made.settings, windows=replace(WINDOWS, window_seconds=(3600.0, 4 * 3600.0)))
    made.settings = made.cycle.settings = settings
    made.restart()
    yield made
    made.state.close()


def past(bench: Bench, **chosen: int | float) -> Replay:
    return replay(bench.settings, ModelLog(str(bench.root / "log"), "pets"), ReplayRange(**chosen))  # type: ignore[arg-type]


def latest(windows: list[WindowResult] | tuple[WindowResult, ...]) -> dict[tuple[float, int], WindowResult]:
    found: dict[tuple[float, int], WindowResult] = {}
    for window in sorted(windows, key=lambda item: item.revision):
        found[window.window.seconds, window.window.start] = window
    return found


def assert_equal(one: WindowResult, other: WindowResult) -> None:
    """Everything but the revision: integers exactly, floats within what another order of summation changes."""
    for name in ("model", "version", "window", "maturity", "predictions", "labels", "label_coverage"):
        assert getattr(one, name) == getattr(other, name), name
    groups = [(one.values, other.values), *((one.columns[name], other.columns[name]) for name in other.columns)]
    for left, right in groups:
        assert left.keys() == right.keys()
        for name, result in right.items():
            mine = left[name]
            if not isinstance(result, Estimate):
                assert mine == result
                continue
            assert isinstance(mine, Estimate)
            parts = ("value", "n", "lower", "upper", "p_value", "error_bound")
            for part in (part for part in parts if getattr(result, part) is not None):
                assert getattr(mine, part) == pytest.approx(getattr(result, part), rel=1e-9, abs=1e-12), (name, part)
    assert {name: verdict.state for name, verdict in one.verdicts.items()} == {
        name: verdict.state for name, verdict in other.verdicts.items()
    }


@pytest.mark.parametrize("seed", range(2))
def test_live_and_replay_end_in_the_same_windows(bench: Bench, seed: int) -> None:
    """Live: many small cycles and restarts, everything shuffled, repeated, corrected. Replay: the same log, in time."""
    chance = random.Random(seed)
    ids = [f"id-{place:03d}" for place in range(150)]
    batch = predictions(ids, start=START, step=180 * 1_000_000)
    truth = truth_for(ids)
    moments = {name: START + place * 180_000_000 for place, name in enumerate(ids)}
    events: list[pa.RecordBatch] = [batch.slice(place, 1) for place in range(150)]
    for name in ids:
        if chance.random() < 0.9:
            known = moments[name] + round(chance.expovariate(1 / (3 * HOUR)))
            events.append(labels([name], [truth[name]], time=known))
            if chance.random() < 0.2:
                events.append(labels([name], [chance.choice(CLASSES)], time=known + chance.randrange(6 * HOUR)))
    events += [predictions([name], start=moments[name] + 40 * MINUTE, seed=7) for name in chance.sample(ids, 20)]
    events += [labels([f"nobody-{place}"], ["cat"]) for place in range(5)]
    events += chance.sample(events, 30)
    chance.shuffle(events)
    now = START + 10 * HOUR
    for position in range(0, len(events), 80):
        bench.send(*events[position : position + 80], seen=now)
        bench.run(now)
        now += 7 * MINUTE
        if chance.random() < 0.3:
            bench.restart()
    report = bench.run(now + 3 * DAY)
    live, replayed = latest(bench.windows()), latest(past(bench).windows)
    assert live.keys() == replayed.keys()
    assert {window.maturity for window in live.values()} == {"final"}
    for key, window in live.items():
        assert_equal(window, replayed[key])
    again = past(bench).report
    assert again is not None
    # A label counts as matched in each pane that its prediction was repeated in, if the panes came in an odd order.
    for state in ("received", "orphan", "expired", "contradicted"):
        assert again.labels_total[state] == report.labels_total[state], state


def test_where_one_id_stands_for_many_predictions_and_labels_live_and_replay_say_the_same(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(60)]
    truth = truth_for(ids)
    bench.send(predictions(ids, start=START, step=MINUTE), predictions(["customer"] * 50, start=START, step=1))
    bench.send(labels(ids, list(truth.values()), time=START + 2 * HOUR))
    for second in range(50):
        bench.send(labels(["customer"], [CLASSES[second % 3]], time=START + 2 * HOUR + second * 1_000_000))
    report = bench.run(START + 30 * HOUR)
    replay = past(bench, step_seconds=3600.0)
    assert replay.report is not None
    for state in ("received", "matched", "corrected", "surplus"):
        assert replay.report.labels_total[state] == report.labels_total[state], state
    assert report.labels_total["surplus"] == 50 - 16
    live, replayed = latest(bench.windows()), latest(replay.windows)
    assert live.keys() == replayed.keys()
    for key, window in live.items():
        assert_equal(window, replayed[key])


def test_every_revision_says_what_was_known_then(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(60)]
    batch = predictions(ids, start=START, step=MINUTE)
    truth = truth_for(ids)
    changed = {name: CLASSES[(CLASSES.index(truth[name]) + 1) % 3] for name in ids[:20]}
    bench.send(labels(ids[:20], list(changed.values()), time=START + 8 * HOUR))
    bench.send(labels(ids, list(truth.values()), time=START + 3 * HOUR))
    bench.send(batch)
    windows = [window for window in past(bench, step_seconds=3600.0).windows if window.window.seconds == 3600]
    assert [(w.revision, w.maturity, w.labels) for w in windows] == [
        (0, "provisional", 0),
        (1, "final", 60),
        (2, "final", 60),
    ]
    assert value(windows[1], "accuracy") == pytest.approx(expected(batch, truth)[0], abs=1e-12)
    assert value(windows[2], "accuracy") == pytest.approx(expected(batch, truth | changed)[0], abs=1e-12)


def test_steps_change_how_often_a_window_is_revised_and_not_what_it_says_in_the_end(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(120)]
    truth = truth_for(ids)
    bench.send(predictions(ids, start=START, step=MINUTE))
    known = [START + 2 * HOUR + place * 10 * MINUTE for place in range(120)]
    bench.send(labels(ids, list(truth.values()), time=known))
    fine, coarse = past(bench, step_seconds=1800.0).windows, past(bench, step_seconds=86_400.0).windows
    assert len(fine) > len(coarse)
    fine_last, coarse_last = latest(fine), latest(coarse)
    assert fine_last.keys() == coarse_last.keys()
    for key, window in fine_last.items():
        assert_equal(window, coarse_last[key])


def test_labels_of_the_future_are_not_known_and_windows_that_are_cut_off_are_not_shown(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(240)]
    truth = truth_for(ids)
    bench.send(predictions(ids, start=START, step=MINUTE))
    bench.send(labels(ids, list(truth.values()), time=START + 20 * HOUR))
    whole = past(bench, until=START + 10 * HOUR).windows
    assert {(window.maturity, window.labels) for window in whole} == {("provisional", 0)}
    part = past(bench, start=START + HOUR, end=START + 3 * HOUR).windows
    hours = {(window.window.start - START) // HOUR for window in part}
    assert hours == {1, 2}
    assert {window.window.seconds for window in part} == {3600.0}


def test_windows_that_are_still_provisional_say_what_is_known_at_the_end(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(240)]
    truth = truth_for(ids)
    batch = predictions(ids, start=START, step=MINUTE)
    bench.send(batch, labels(ids[::2], [truth[name] for name in ids[::2]], time=START + 8 * HOUR))
    windows = past(bench, until=START + 10 * HOUR, step_seconds=3600.0).windows
    assert {(w.window.seconds, w.predictions, w.labels) for w in windows} == {(3600, 60, 30), (4 * 3600, 120, 60)}
    assert {(w.maturity, w.revision) for w in windows} == {("provisional", 0)}
    known = {name: truth[name] for name in ids[120::2]}
    assert value(windows[-1], "accuracy") == pytest.approx(expected(batch, known)[0], abs=1e-12)


def test_a_replay_changes_neither_the_log_nor_the_state(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(60)]
    bench.send(predictions(ids, start=START, step=MINUTE), labels(ids, list(truth_for(ids).values())))
    before = {path: path.stat().st_mtime_ns for path in (bench.root / "log").rglob("*")}
    past(bench)
    assert {path: path.stat().st_mtime_ns for path in (bench.root / "log").rglob("*")} == before
    assert bench.windows() == []


def test_a_range_without_predictions_is_refused_with_the_range_there_is(bench: Bench) -> None:
    with pytest.raises(OperatorError, match="there are no predictions to replay"):
        past(bench)
    bench.send(predictions(["a"], start=START))
    with pytest.raises(OperatorError, match="there are no predictions to replay") as refusal:
        past(bench, start=START + DAY, end=START + 2 * DAY)
    assert "expected a range within 2026-" in str(refusal.value)


def test_without_a_reference_there_is_nothing_to_replay_against(bench: Bench) -> None:
    bench.send(predictions(["a"], start=START))
    (bench.root / "reference.trueup").unlink()
    with pytest.raises(OperatorError, match="a replay needs a reference"):
        past(bench)
