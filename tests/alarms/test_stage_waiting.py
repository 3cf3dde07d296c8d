"""Alarms that wait, through real cycles: for as long as they are told, and for nothing else."""

from __future__ import annotations

from monitor.alarms.transitions import AlarmSettings, Reason, State
from tests.alarm_bench import ACCURACY, OBSERVE_SECONDS, PSI, START, STEP, AlarmBench, Make, traffic, truth

MINUTE = 60_000_000


def older_window_only(bench: AlarmBench, now: int, end: int) -> tuple[State, Reason]:
    """The alarm after a cycle that has news of one window, which ends at `end` and is older than the alarm's."""
    cycle = bench.cycle.run(now)
    assert [result.window.end for result in cycle.published] == [end]
    [report] = cycle.alarms
    assert report.alarm.window_end == end + STEP
    return report.alarm.state, report.alarm.reason


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


def test_a_hold_off_and_a_keep_firing_run_out_while_older_windows_are_still_revised(make: Make) -> None:
    bench = make(PSI, alarms=AlarmSettings(holdoff_seconds=900, keep_firing_seconds=900))
    moved = [traffic(number, shift=0.8) for number in range(2)]
    bench.send(*moved)
    held = bench.alarm(2)
    assert (held.alarm.state, held.alarm.reason) == (State.PENDING, Reason.HOLDING_OFF)
    assert held.alarm.alarming_since is not None
    # Labels of the first window come minute by minute, as they do where they take longer than a window.
    states = []
    for minute in (5, 10, 15):
        bench.send(truth(moved[0].slice(20 * minute, 100), 0.1))
        states.append(older_window_only(bench, held.alarm.alarming_since + minute * MINUTE, START + STEP))
    assert states == [
        (State.PENDING, Reason.HOLDING_OFF),
        (State.PENDING, Reason.HOLDING_OFF),
        (State.FIRING, Reason.EFFECT_AND_EVIDENCE),
    ]
    quiet = traffic(2)
    bench.send(quiet)
    calm = bench.alarm(4).alarm
    assert (calm.state, calm.reason) == (State.FIRING, Reason.KEPT_FIRING)
    assert calm.calm_since is not None
    states = []
    for minute in (5, 10, 15):
        bench.send(truth(moved[1].slice(20 * minute, 100), 0.1))
        states.append(older_window_only(bench, calm.calm_since + minute * MINUTE, START + 2 * STEP))
    assert states == [
        (State.FIRING, Reason.KEPT_FIRING),
        (State.FIRING, Reason.KEPT_FIRING),
        (State.RESOLVED, Reason.BACK_INSIDE),
    ]


def test_evidence_that_comes_with_labels_of_an_older_window_fires_in_the_same_cycle(make: Make) -> None:
    bench = make(ACCURACY)
    good, older, newer = (traffic(number) for number in range(3))
    bench.send(good, older, newer, truth(good, 0.1), truth(newer.slice(0, 200), 0.2))
    waiting = bench.alarm(3, "accuracy").alarm
    assert (waiting.state, waiting.reason) == (State.PENDING, Reason.EFFECT_WITHOUT_EVIDENCE)
    bench.send(truth(older, 0.3))
    now = START + 3 * STEP + 4 * MINUTE
    assert older_window_only(bench, now, START + 2 * STEP) == (State.FIRING, Reason.EFFECT_AND_EVIDENCE)
