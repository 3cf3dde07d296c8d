"""Alarms through real cycles: quiet traffic is quiet, drift and errors fire, and what is not watched is gone."""

from __future__ import annotations

import pytest

from monitor.alarms.overview import alarm_overview
from monitor.alarms.transitions import Reason, State
from monitor.verdict import Check, Threshold
from tests.alarm_bench import ACCURACY, CROSS_ENTROPY, PSI, START, STEP, Make, settings, traffic, truth


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


def test_losses_that_rise_fire(make: Make) -> None:
    bench = make(CROSS_ENTROPY)
    batches = [traffic(number) for number in range(5)]
    bench.send(*batches, *(truth(batch, 0.5) for batch in batches))
    fired = bench.alarm(5, "cross_entropy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert "Cross-entropy above its" in fired.explanation["text"]


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
