"""Evidence through real cycles: it is consumed once, whole seasons at a time, whatever is corrected, late or fails."""

from __future__ import annotations

import pyarrow as pa
import pytest

from monitor.alarms.transitions import Reason, State
from monitor.statistics.seasons import ObservationSettings
from tests.alarm_bench import ACCURACY, CROSS_ENTROPY, OBSERVE_SECONDS, PSI, START, STEP, Make, traffic, truth


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
