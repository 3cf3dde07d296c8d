"""The evidence behind one check: observations, waiting labels, phases, and an exact restart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from monitor.alarms import evidence as ev
from monitor.errors import OperatorError
from monitor.statistics.drift_model import drift_model
from monitor.statistics.evidence_counts import CellReference
from monitor.statistics.labelled_risk import risk_changed, risk_exceeds, risk_reference
from monitor.statistics.seasons import ObservationSettings
from monitor.statistics.sequential import composite_evidence
from monitor.windows import Window

HOUR = 3_600_000_000
DAY = 24 * HOUR
OFF = ObservationSettings(None)
DAILY = ObservationSettings()
RISKS = risk_reference(["errors"], [200], [2_000])
CELLS = CellReference(("x", "y"), (3, 2), (3, 0), np.array([400, 300, 300, 700, 300]))


def window(number: int, length: int = DAY) -> Window:
    return Window(number * length, (number + 1) * length, length / 1e6)


def batch(errors: int, rows: int = 100) -> np.ndarray:
    return np.array([errors, rows - errors])


class TestInputs:
    def test_an_observation_is_consumed_and_remembers_when_it_began(self) -> None:
        state = ev.observe_inputs(ev.fresh(CELLS), CELLS.counts, window(7))
        assert (state.counts.starts, state.begun) == ((1,), (7 * DAY,))
        assert state.counts.total.tolist() == CELLS.counts.tolist()

    def test_a_stretch_without_rows_is_no_observation(self) -> None:
        state = ev.fresh(CELLS)
        assert ev.observe_inputs(state, np.zeros(5, np.int64), window(0)) is state

    def test_begun_follows_the_starts_that_live(self) -> None:
        state = ev.fresh(CELLS)
        for number in range(40):
            state = ev.observe_inputs(state, CELLS.counts, window(number))
        assert state.begun == tuple((number - 1) * DAY for number in state.counts.starts)

    def test_what_is_weighed_is_the_composite_evidence_of_the_counts(self) -> None:
        state = ev.observe_inputs(ev.fresh(CELLS), np.array([300, 400, 300, 700, 300]), window(3))
        model = drift_model(CELLS)
        weighed = ev.weigh_drift(state, model)
        assert weighed.evidence == composite_evidence(state.counts, model)
        assert weighed.begun == {1: 3 * DAY}
        assert ev.since_start([state], weighed.evidence, CELLS).tolist() == [300, 400, 300, 700, 300]


class TestLabels:
    def test_without_a_season_labels_are_an_observation_at_once_and_one_an_hour(self) -> None:
        state = ev.take_labels(ev.fresh(RISKS), batch(10), (0, 1), now=0, settings=OFF)
        state = ev.take_labels(state, batch(10), (0, 1), now=HOUR - 1, settings=OFF)
        assert (state.counts.observations, int(state.counts.total.sum())) == (1, 200)
        state = ev.take_labels(state, batch(10), (0, 1), now=HOUR, settings=OFF)
        assert (state.counts.observations, state.waiting) == (2, None)

    def test_with_a_season_they_wait_until_their_predictions_span_one(self) -> None:
        state = ev.take_labels(ev.fresh(RISKS), batch(10), (0, 12 * HOUR), now=0, settings=DAILY)
        assert state.counts.observations == 0
        state = ev.take_labels(state, batch(10), (11 * HOUR, 24 * HOUR), now=1, settings=DAILY)
        assert (state.counts.observations, state.begun, state.waiting) == (1, (0,), None)
        assert int(state.counts.total.sum()) == 200

    def test_a_nightly_delivery_of_a_whole_day_does_not_wait(self) -> None:
        state = ev.take_labels(ev.fresh(RISKS), batch(10), (0, DAY - 300_000_000), now=26 * HOUR, settings=DAILY)
        assert state.counts.observations == 1

    def test_what_never_spans_a_season_waits_for_one_and_no_longer(self) -> None:
        state = ev.take_labels(ev.fresh(RISKS), batch(10), (0, HOUR), now=0, settings=DAILY)
        assert ev.settle_labels(state, DAY - 1, DAILY) is state
        assert ev.settle_labels(state, DAY, DAILY).counts.observations == 1

    def test_however_many_deliveries_span_a_season_one_observation_a_day_is_opened(self) -> None:
        state = ev.fresh(RISKS)
        for minute in range(3 * 24 * 4):
            state = ev.take_labels(state, batch(1, 10), (0, 3 * DAY), now=minute * HOUR // 4, settings=DAILY)
        assert state.counts.observations == 3
        assert int(state.counts.total.sum()) == 3 * 24 * 4 * 10

    def test_a_batch_without_usable_labels_says_nothing(self) -> None:
        state = ev.fresh(RISKS)
        assert ev.take_labels(state, batch(0, 0), (0, 1), now=0, settings=OFF) is state

    def test_evidence_of_a_risk_is_the_mean_of_both_detectors(self) -> None:
        state = ev.take_labels(ev.fresh(RISKS), batch(25), (0, 1), now=0, settings=OFF)
        weighed = ev.weigh_risk(state, RISKS, 0.01, 1.0).evidence
        both = [risk_changed(state.counts, RISKS), risk_exceeds(state.counts, RISKS, 0.01)]
        assert math.exp(weighed.log_evidence) == pytest.approx(np.mean([math.exp(e.log_evidence) for e in both]))

    def test_quiet_labels_alarm_no_more_often_than_promised(self) -> None:
        """Runs to a limit of 100 observations are longer than 100 in the mean, over references and streams."""
        rng, lengths = np.random.default_rng(11), []
        for _ in range(20):
            risks = risk_reference(["errors"], [int(rng.binomial(2_000, 0.1))], [2_000])
            state, length = ev.fresh(risks), 0
            while length < 200:
                length += 1
                state = ev.take_labels(state, batch(int(rng.binomial(100, 0.1))), (0, 1), length * HOUR, OFF)
                if ev.weigh_risk(state, risks, 0.01, 1.0).evidence.log_evidence >= math.log(100):
                    break
            lengths.append(length)
        assert np.mean(lengths) > 150


class TestPhases:
    def test_the_first_seasons_are_learnt_and_held_against_nothing(self) -> None:
        state = ev.fresh(CELLS)
        for number in range(ev.LEARNT_SEASONS):
            state = ev.observe_phase(state, CELLS, np.array([10, 10, 0, 5, 15]), window(number))
        assert (state.seasons, state.counts.observations) == (ev.LEARNT_SEASONS, 0)
        learnt = ev.phase_reference(state, CELLS)
        assert learnt.counts.tolist() == [70, 70, 0, 35, 105]
        after = ev.observe_phase(state, CELLS, np.array([10, 10, 0, 5, 15]), window(9))
        assert (after.counts.observations, after.counts.reference) == (1, learnt.identity)

    def test_a_column_that_never_came_while_learning_keeps_the_reference(self) -> None:
        state = ev.observe_phase(ev.fresh(CELLS), CELLS, np.array([10, 10, 0, 0, 0]), window(0))
        assert ev.phase_reference(state, CELLS).counts.tolist() == [10, 10, 0, 700, 300]

    def test_starts_of_all_phases_are_told_apart(self) -> None:
        states = []
        for place in range(2):
            state = ev.fresh(CELLS)
            for number in range(ev.LEARNT_SEASONS + 1):
                state = ev.observe_phase(state, CELLS, CELLS.counts, window(2 * number + place, HOUR))
            states.append(state)
        models = [drift_model(ev.phase_reference(state, CELLS)) for state in states]
        weighed = ev.weigh_phases(states, models)
        assert weighed.evidence.observations == 2
        assert weighed.begun == {1: 2 * ev.LEARNT_SEASONS * HOUR, 2: (2 * ev.LEARNT_SEASONS + 1) * HOUR}
        rows = ev.since_start(states, weighed.evidence, CELLS)
        assert rows.tolist() == CELLS.counts.tolist()


class TestRestart:
    def test_after_an_alarm_evidence_begins_afresh_and_what_was_learnt_stays(self) -> None:
        state = ev.observe_inputs(ev.fresh(CELLS), CELLS.counts, window(0))
        assert ev.encode_evidence(ev.restarted(state, CELLS)) == ev.encode_evidence(ev.fresh(CELLS))
        learning = ev.observe_phase(ev.fresh(CELLS), CELLS, CELLS.counts, window(0))
        again = ev.restarted(learning, CELLS)
        assert (again.seasons, again.counts.reference) == (1, learning.counts.reference)

    @hypothesis_settings(deadline=None, max_examples=30)
    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 3), st.integers(0, 60 * HOUR)), max_size=12))
    def test_a_state_written_and_read_after_every_step_is_the_state_that_never_stopped(
        self, steps: list[tuple[int, int, int]]
    ) -> None:
        steady = kept = ev.fresh(RISKS)
        now = 0
        for errors, hours, span in steps:
            now += hours * HOUR
            steady = ev.take_labels(steady, batch(errors, 20), (now, now + span), now, DAILY)
            kept = ev.take_labels(
                ev.decode_evidence(ev.encode_evidence(kept)), batch(errors, 20), (now, now + span), now, DAILY
            )
        assert ev.encode_evidence(steady) == ev.encode_evidence(kept)

    def test_a_phase_comes_back_with_what_it_has_learnt(self) -> None:
        state = ev.observe_phase(ev.fresh(CELLS), CELLS, CELLS.counts, window(0))
        back = ev.decode_evidence(ev.encode_evidence(state))
        assert back.learnt is not None
        assert back.learnt.tolist() == CELLS.counts.tolist()

    @pytest.mark.parametrize("data", [b"", b"{}\n", b"\x80\n", b'{"format": 1}\n'])
    def test_what_is_no_evidence_is_refused(self, data: bytes) -> None:
        with pytest.raises(OperatorError, match="not the evidence of a check"):
            ev.decode_evidence(data)

    def test_evidence_of_a_newer_trueup_is_refused(self) -> None:
        newer = ev.encode_evidence(ev.fresh(RISKS)).replace(b'"format": 1', b'"format": 2')
        with pytest.raises(OperatorError, match="evidence of a newer trueup"):
            ev.decode_evidence(newer)
