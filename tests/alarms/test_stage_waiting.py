"""Alarms that wait, through real cycles: for as long as they are told, and for nothing else."""

from __future__ import annotations

from monitor.alarms.transitions import AlarmSettings, Reason, State
from tests.alarm_bench import OBSERVE_SECONDS, PSI, Make, traffic


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
