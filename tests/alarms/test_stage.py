"""Alarms through real cycles: quiet traffic is quiet, drift and errors fire, and evidence is consumed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.alarms.overview import alarm_overview
from monitor.alarms.transitions import AlarmSettings, Reason, State
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import Check, Threshold
from tests.alarm_bench import (
    ACCURACY,
    CROSS_ENTROPY,
    OBSERVE_SECONDS,
    PSI,
    START,
    STEP,
    AlarmBench,
    settings,
    traffic,
    truth,
)

Make = Callable[..., AlarmBench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[AlarmBench] = []

    def build(*checks: Check, **changes: object) -> AlarmBench:
        root = tmp_path / str(len(made))
        root.mkdir()
        made.append(AlarmBench(root, settings(root, *checks, **changes)))
        return made[-1]

    yield build
    for bench in made:
        bench.state.close()


def test_quiet_traffic_raises_no_alarm_and_has_consumed_every_observation(make: Make) -> None:
    bench = make(PSI, ACCURACY, CROSS_ENTROPY)
    for part in range(2):
        batches = [traffic(number) for number in range(part * 12, part * 12 + 12)]
        bench.send(*batches, *(truth(batch, 0.1) for batch in batches))
        reports = bench.run(part * 12 + 12).alarms
    assert {report.check: report.alarm.state for report in reports} == dict.fromkeys(
        (PSI.metric, "accuracy", "cross_entropy"), State.INACTIVE
    )
    assert all(report.alarm.fired == 0 for report in reports)
    drift = next(report for report in reports if report.check == PSI.metric)
    assert drift.observations == 24
    assert drift.alarm.window_end == START + 24 * STEP


def test_drift_fires_names_the_column_and_resolves_when_it_is_back(make: Make) -> None:
    bench = make(PSI)
    bench.send(*(traffic(number) for number in range(4)))
    assert bench.alarm(4).alarm.state is State.INACTIVE
    bench.send(*(traffic(number, shift=0.8) for number in range(4, 7)))
    fired = bench.alarm(7)
    assert fired.alarm.state is State.FIRING
    assert fired.alarm.effect is not None
    assert fired.alarm.effect > fired.alarm.tolerance == 0.1
    assert fired.explanation is not None
    assert [column["column"] for column in fired.explanation["columns"]] == ["age"]
    assert fired.explanation["columns"][0]["movement"] == "higher"
    assert fired.explanation["since"] == START + 4 * STEP
    assert "Drift is not damage" in fired.explanation["text"]
    bench.send(*(traffic(number) for number in range(7, 9)))
    resolved = bench.alarm(9)
    assert (resolved.alarm.state, resolved.alarm.fired, resolved.observations) == (State.RESOLVED, 1, 1)
    later = bench.cycle.run(START + 9 * STEP + 3_600_000_000 + 240_000_000).alarms[0]
    assert (later.alarm.state, later.explanation) == (State.INACTIVE, None)


def test_a_cycle_that_catches_up_comes_to_the_same_alarms_as_cycles_that_did_not_have_to(make: Make) -> None:
    step_by_step, at_once = make(PSI), make(PSI)
    shifts = [0, 0, 0, 0.8, 0.8, 0.8, 0, 0]
    for number, shift in enumerate(shifts):
        step_by_step.send(traffic(number, shift=shift))
        step_by_step.run(number + 1)
    at_once.send(*(traffic(number, shift=shift) for number, shift in enumerate(shifts)))
    at_once.run(len(shifts))
    assert step_by_step.tables()["evidence"] == at_once.tables()["evidence"]
    ours, theirs = step_by_step.alarm(8).alarm, at_once.alarm(8).alarm
    assert (ours.state, ours.fired, ours.effect) == (theirs.state, theirs.fired, theirs.effect)
    assert (theirs.state, theirs.fired) == (State.RESOLVED, 1)


def test_errors_that_rise_fire_and_say_from_what_to_what(make: Make) -> None:
    bench = make(ACCURACY)
    good = [traffic(number) for number in range(4)]
    bench.send(*good, *(truth(batch, 0.1) for batch in good))
    assert bench.alarm(4, "accuracy").alarm.state is State.INACTIVE
    bad = [traffic(number) for number in range(4, 7)]
    bench.send(*bad, *(truth(batch, 0.25) for batch in bad))
    fired = bench.alarm(7, "accuracy")
    assert fired.alarm.state is State.FIRING
    assert fired.alarm.effect == pytest.approx(0.15, abs=0.05)
    assert fired.explanation is not None
    assert fired.explanation["text"].startswith("Errors rose from 10.")
    assert fired.risk is not None
    assert (fired.risk["name"], fired.risk["n"]) == ("errors", 7 * 400)
    assert fired.risk["lower"] < fired.risk["value"] == pytest.approx((4 * 0.1 + 3 * 0.25) / 7, abs=0.02)
    assert "Labels show damage" in fired.explanation["text"]
    well = [traffic(number) for number in range(7, 9)]
    bench.send(*well, *(truth(batch, 0.1) for batch in well))
    assert bench.alarm(9, "accuracy").alarm.state is State.RESOLVED


def only_in(region: str, batch: pa.RecordBatch, changed: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of `changed` where they are of this region, else those of the batch."""
    mask = pa.array([own == region for own in batch.column("s_region").to_pylist()])
    columns = [pc.if_else(mask, new, old) for new, old in zip(changed.columns, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def errors_in(region: str, batch: pa.RecordBatch, error: float) -> pa.RecordBatch:
    """Labels that are wrong at this rate in one region, and in a tenth of the rows elsewhere."""
    usual, changed = truth(batch, 0.1), truth(batch, error)
    mask = pa.array([own == region for own in batch.column("s_region").to_pylist()])
    place = usual.schema.get_field_index("label")
    values = pc.if_else(mask, changed.column("label"), usual.column("label"))
    return usual.set_column(place, usual.schema.field(place), values)


@pytest.mark.parametrize("error", [0.0, 0.9])
def test_late_labels_of_an_older_window_do_not_explain_a_firing_alarm(make: Make, error: float) -> None:
    bench = make(ACCURACY, segments=("region",))
    good = [traffic(number) for number in range(4)]
    late = errors_in("north", good[1].slice(300), error)
    known = [truth(good[1], 0.1).slice(0, 300), *(truth(good[number], 0.1) for number in (0, 2, 3))]
    bench.send(*good, *known)
    bench.run(4)
    bad = [traffic(number) for number in range(4, 7)]
    bench.send(*bad, *(errors_in("south", batch, 0.5) for batch in bad))
    fired = bench.alarm(7, "accuracy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert "It lies in region=south (" in fired.explanation["text"]
    bench.send(late)
    cycle = bench.cycle.run(START + 7 * STEP + 240_000_000)
    assert [result.window.end for result in cycle.published] == [START + 2 * STEP]
    [after] = cycle.alarms
    assert (after.alarm.state, after.alarm.reason) == (State.FIRING, Reason.OLDER_WINDOW)
    assert after.explanation is not None
    # The labels do count as evidence: the text is made anew, and is still of the window that the alarm rests on.
    assert after.explanation["text"] != fired.explanation["text"]
    assert list(after.explanation["segments"]) == list(fired.explanation["segments"])
    assert list(after.explanation["quality"]) == list(fired.explanation["quality"])
    assert after.measured == fired.measured
    assert "It lies in region=south (" in after.explanation["text"]
    assert "Labels show damage" in after.explanation["text"]
    assert "Drift is not damage" not in after.explanation["text"]


def test_late_predictions_of_an_older_window_do_not_explain_a_firing_drift(make: Make) -> None:
    bench = make(PSI, segments=("region",))
    bench.send(*(traffic(number) for number in range(4)))
    bench.run(4)
    bench.send(*(only_in("north", traffic(number), traffic(number, shift=2.0)) for number in range(4, 7)))
    fired = bench.alarm(7)
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert any(number["estimated"] for number in fired.explanation["quality"])
    late = traffic(1, name="late", seed=1)
    bench.send(only_in("south", late, traffic(1, name="late", seed=1, shift=3.0)))
    cycle = bench.cycle.run(START + 7 * STEP + 240_000_000)
    assert [result.window.end for result in cycle.published] == [START + 2 * STEP]
    [after] = cycle.alarms
    assert (after.alarm.state, after.alarm.reason) == (State.FIRING, Reason.OLDER_WINDOW)
    assert after.explanation is not None
    assert after.explanation["text"] == fired.explanation["text"]
    assert list(after.explanation["quality"]) == list(fired.explanation["quality"])


def test_labels_of_an_older_window_after_the_drift_began_still_tell_of_its_damage(make: Make) -> None:
    bench = make(PSI)
    bench.send(*(traffic(number) for number in range(4)))
    bench.run(4)
    moved = [traffic(number, shift=0.8) for number in range(4, 7)]
    bench.send(*moved)
    assert bench.alarm(7).alarm.state is State.FIRING
    bench.send(truth(moved[1], 0.5))
    [after] = bench.cycle.run(START + 7 * STEP + 240_000_000).alarms
    assert after.alarm.reason is Reason.OLDER_WINDOW
    assert after.measured["window_end"] == START + 6 * STEP
    assert after.explanation is not None
    assert "Labels show damage" in after.explanation["text"]


def test_errors_of_one_region_are_explained_by_it(make: Make) -> None:
    bench = make(ACCURACY, segments=("region",))
    good = [traffic(number) for number in range(4)]
    bench.send(*good, *(truth(batch, 0.1) for batch in good))
    assert bench.alarm(4, "accuracy").alarm.state is State.INACTIVE
    wrong = right = 0
    for number in range(4, 7):
        batch = traffic(number)
        regions, labelled = batch.column("s_region").to_pylist(), errors_in("south", batch, 0.5)
        labels = labelled.column("label")
        bench.send(batch, labelled)
        # Only the last window is explained.
        answers = batch.column("prediction").to_pylist()
        south = [a == t for a, t, r in zip(answers, labels.to_pylist(), regions, strict=True) if r == "south"]
        right, wrong = sum(south), len(south) - sum(south)
    fired = bench.alarm(7, "accuracy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    first, second = fired.explanation["segments"]
    assert (first["segment"], first["value"], first["n"]) == ("region", "south", right + wrong)
    assert first["now"] == pytest.approx(right / (right + wrong), abs=1e-12)
    assert first["part"] > 0.8
    assert first["part"] + second["part"] == pytest.approx(1.0)
    assert "It lies in region=south (" in fired.explanation["text"]
    # What is known stays known in cycles that judge no window, and a state that is opened again.
    bench.restart()
    again = bench.cycle.run(START + 7 * STEP + 240_000_000).alarms[0]
    assert again.explanation is not None
    assert list(again.explanation["segments"]) == list(fired.explanation["segments"])


def test_a_drift_of_one_region_is_explained_by_it_and_takes_no_further_alarm(make: Make) -> None:
    bench, plain = make(PSI, segments=("region",)), make(PSI)
    batches = [traffic(number) for number in range(4)]
    moved = [only_in("north", traffic(number), traffic(number, shift=2.0)) for number in range(4, 7)]
    for one in (bench, plain):
        one.send(*batches)
        one.run(4)
        one.send(*moved)
    fired, alone = bench.alarm(7), plain.alarm(7)
    assert fired.explanation is not None
    first = fired.explanation["segments"][0]
    assert (first["segment"], first["value"], first["metric"]) == ("region", "north", "age PSI beyond chance")
    assert first["part"] > 0.9
    assert "It lies in region=north (" in fired.explanation["text"]
    assert (fired.alarm.log_evidence, fired.share) == (alone.alarm.log_evidence, alone.share)
    assert alone.explanation is not None
    assert alone.explanation["segments"] == ()


def test_losses_that_rise_fire(make: Make) -> None:
    bench = make(CROSS_ENTROPY)
    batches = [traffic(number) for number in range(5)]
    bench.send(*batches, *(truth(batch, 0.5) for batch in batches))
    fired = bench.alarm(5, "cross_entropy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert "Cross-entropy above its" in fired.explanation["text"]


def test_a_corrected_label_changes_the_effect_and_never_the_evidence(make: Make) -> None:
    bench = make(ACCURACY)
    batches = [traffic(number) for number in range(4)]
    bench.send(*batches, *(truth(batch, 0.1) for batch in batches))
    before = bench.alarm(4, "accuracy")
    evidence = bench.tables()["evidence"]
    corrected = truth(batches[-1], 0.6, seed=1)
    later = corrected.column("label_time").cast("int64").to_numpy() + 5
    place = corrected.schema.get_field_index("label_time")
    field = corrected.schema.field(place)
    bench.send(corrected.set_column(place, field, pa.array(later).cast(field.type)))
    after = bench.alarm(5, "accuracy")
    assert bench.tables()["evidence"] == evidence
    assert after.alarm.effect is not None
    assert before.alarm.effect is not None
    assert after.alarm.effect > before.alarm.effect + 0.3
    assert after.alarm.window_end == before.alarm.window_end
    assert after.alarm.revision > before.alarm.revision
    assert (after.alarm.state, after.alarm.reason) == (State.PENDING, Reason.EFFECT_WITHOUT_EVIDENCE)


def test_a_late_prediction_revises_the_window_and_never_the_evidence(make: Make) -> None:
    bench = make(PSI)
    bench.send(*(traffic(number) for number in range(3)))
    bench.run(3)
    evidence, before = bench.tables()["evidence"], bench.alarm(3).alarm
    bench.send(traffic(2, shift=3.0, name="late"))
    after = bench.alarm(4).alarm
    assert bench.tables()["evidence"] == evidence
    assert after.window_end == before.window_end
    assert after.effect is not None
    assert after.effect > 0.1 > (before.effect or 0.0)
    assert after.state is State.PENDING


def test_a_state_reopened_between_any_two_cycles_is_the_same_byte_for_byte(make: Make) -> None:
    checks = (PSI, ACCURACY, CROSS_ENTROPY)
    steady, killed = make(*checks), make(*checks)
    for number in range(6):
        shift = 0.8 if 2 <= number < 4 else 0.0
        batch = traffic(number, shift=shift)
        for bench in (steady, killed):
            bench.send(batch, truth(batch, 0.3 if shift else 0.1))
            bench.run(number + 1)
        killed.restart()
        assert steady.tables() == killed.tables()
    assert {report.alarm.fired for report in steady.run(6).alarms} == {1}


def test_a_failed_cycle_consumes_no_evidence(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make(PSI, ACCURACY)
    batches = [traffic(number) for number in range(3)]
    bench.send(*batches, *(truth(batch, 0.1) for batch in batches))

    def broken(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(type(bench.cycle), "_report", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        bench.run(3)
    assert bench.tables() == {"evidence": [], "alarms": []}
    monkeypatch.undo()
    assert {report.check: report.observations for report in bench.run(3).alarms} == {PSI.metric: 3, "accuracy": 1}


def test_labels_of_part_of_a_season_wait_until_they_span_it(make: Make) -> None:
    season = ObservationSettings(4 * OBSERVE_SECONDS, OBSERVE_SECONDS)
    bench = make(ACCURACY, observations=season)
    for number in range(3):
        batch = traffic(number)
        bench.send(batch, truth(batch, 0.5))
        assert bench.alarm(number + 1, "accuracy").observations == 0
    batch = traffic(3)
    bench.send(batch, truth(batch, 0.5))
    assert bench.alarm(4, "accuracy").observations == 1


def test_inputs_are_observed_by_whole_seasons(make: Make) -> None:
    bench = make(PSI, observations=ObservationSettings(4 * OBSERVE_SECONDS, OBSERVE_SECONDS))
    bench.send(*(traffic(number) for number in range(7)))
    assert bench.alarm(7).observations == 1
    bench.send(traffic(7))
    assert bench.alarm(8).observations == 2


def test_by_phase_a_daily_cycle_is_learnt_and_a_drift_on_top_of_it_fires(make: Make) -> None:
    phased = ObservationSettings(2 * OBSERVE_SECONDS, OBSERVE_SECONDS, "phase")
    bench = make(PSI, observations=phased)
    cycle = [0.7, -0.7]
    bench.send(*(traffic(number, shift=cycle[number % 2]) for number in range(22)))
    quiet = bench.alarm(22)
    assert quiet.alarm.state is State.PENDING  # each phase is off the reference, which is no evidence
    assert quiet.observations == 8
    bench.send(*(traffic(number, shift=cycle[number % 2] + 1.6) for number in range(22, 26)))
    fired = bench.alarm(26)
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert fired.explanation["columns"][0]["column"] == "age"
    # That of the phase with most evidence.
    assert fired.explanation["since"] in (START + 22 * STEP, START + 23 * STEP)


def test_two_versions_share_the_budget_and_a_retired_one_gives_its_part_back(make: Make) -> None:
    bench = make(PSI)
    bench.send(traffic(0))
    alone = bench.alarm(1)
    bench.send(traffic(1), traffic(1, version="2"))
    both = bench.run(2).alarms
    assert [report.version for report in both] == ["1", "2"]
    assert {report.share.run_length for report in both} == {2 * alone.share.run_length}
    bench.send(*(traffic(number, version="2") for number in range(2, 5)))
    [left] = bench.run(5).alarms
    assert (left.version, left.share.run_length) == ("2", alone.share.run_length)
    assert {row[1] for rows in bench.tables().values() for row in rows} == {"2"}


def test_a_check_that_is_taken_out_of_the_configuration_leaves_nothing_behind(make: Make) -> None:
    bench = make(PSI, ACCURACY)
    bench.send(traffic(0))
    assert len(bench.run(1).alarms) == 2
    bench.restart(checks=settings(bench.root, PSI).checks)
    bench.send(traffic(1))
    [left] = bench.run(2).alarms
    assert (left.check, left.observations) == (PSI.metric, 2)


def test_a_learnt_limit_is_what_the_first_windows_showed_and_then_a_drift_past_it_fires(make: Make) -> None:
    learnt = Check(PSI.metric, Threshold("above", 0.0, learnt=True))
    bench = make(learnt)
    bench.send(*(traffic(number) for number in range(10)))
    assert bench.run(10).alarms == ()
    assert bench.run(10).rolling[0].verdicts[PSI.metric].state == "insufficient"
    told = alarm_overview(bench.settings, bench.cycle.references, bench.state)
    assert told["unwatched"] == {"1": {PSI.metric: "its limit is being learnt"}}
    bench.send(*(traffic(number) for number in range(10, 21)))
    bench.run(21)
    bench.restart()
    bench.send(traffic(21))
    quiet = bench.alarm(22).alarm
    assert quiet.state is State.INACTIVE
    assert quiet.tolerance is not None
    assert 0.01 < quiet.tolerance < 0.1
    assert alarm_overview(bench.settings, bench.cycle.references, bench.state)["unwatched"] == {}
    bench.send(*(traffic(number, shift=0.5) for number in range(22, 26)))
    fired = bench.alarm(26).alarm
    assert (fired.state, fired.tolerance) == (State.FIRING, quiet.tolerance)


def test_a_cycle_without_news_changes_no_byte(make: Make) -> None:
    bench = make(PSI, ACCURACY)
    batches = [traffic(number, shift=0.8) for number in range(1)]
    bench.send(*batches, *(truth(batch, 0.1) for batch in batches))
    assert bench.alarm(1).alarm.reason is Reason.EFFECT_AND_EVIDENCE
    bench.run(1)
    before = bench.tables()
    bench.run(1)
    assert bench.tables() == before


def test_an_alarm_holds_off_for_as_long_as_it_is_told(make: Make) -> None:
    bench = make(PSI, alarms=AlarmSettings(holdoff_seconds=1.5 * OBSERVE_SECONDS))
    states = []
    for number in range(3):
        bench.send(traffic(number, shift=0.8))
        alarm = bench.alarm(number + 1).alarm
        states.append((alarm.state, alarm.reason))
    assert states == [
        (State.PENDING, Reason.HOLDING_OFF),
        (State.PENDING, Reason.HOLDING_OFF),
        (State.FIRING, Reason.EFFECT_AND_EVIDENCE),
    ]
