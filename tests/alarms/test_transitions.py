"""The alarm's transition table: complete, stepwise, patient where told, and the same after a restart."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.alarms.transitions import (
    TRANSITIONS,
    Alarm,
    AlarmSettings,
    Condition,
    Effect,
    Reason,
    State,
    Weight,
    condition,
    decode_alarm,
    encode_alarm,
    step,
    transition_table,
)
from monitor.errors import OperatorError
from monitor.statistics.drift_model import drift_model, psi_radius
from monitor.statistics.evidence_counts import (
    CellReference,
    decode_counts,
    encode_counts,
    flat_counts,
    no_evidence,
    observe,
)
from monitor.statistics.multiplicity import budget_use, parse_budget, split_budget
from monitor.statistics.sequential import composite_evidence

SETTINGS = AlarmSettings(minimum_n=100, show_resolved_seconds=60)
SECOND = 1_000_000
STRONG, WEAK = Weight(8.0, 5.0, since=12), Weight(2.0, 5.0, since=12)


def effect(value: float | None, window: int = 1, revision: int = 0, n: int = 500) -> Effect:
    return Effect(value, 0.1, n, window, revision)


OUTSIDE, INSIDE, ABSENT = effect(0.3), effect(0.05), effect(None)


def walk(readings: list[tuple[Effect, Weight]], settings: AlarmSettings = SETTINGS, seconds: int = 10) -> list[Alarm]:
    """The alarm after each reading, `seconds` apart, every reading of a later window."""
    alarm, seen = Alarm("drift"), []
    for index, (reading, weight) in enumerate(readings):
        later = replace(reading, window_end=index)
        alarm = step(alarm, later, weight, settings, now=index * seconds * SECOND).alarm
        seen.append(alarm)
    return seen


class TestTable:
    def test_every_state_has_a_step_for_every_condition(self) -> None:
        assert set(TRANSITIONS) == {(state, says) for state in State for says in Condition}

    def test_missing_data_changes_no_state(self) -> None:
        assert all(TRANSITIONS[state, Condition.UNKNOWN][0] is state for state in State)

    def test_only_effect_and_evidence_together_fire(self) -> None:
        fires = {key for key, (state, _) in TRANSITIONS.items() if state is State.FIRING}
        assert fires == {
            (State.INACTIVE, Condition.ALARMING),
            (State.PENDING, Condition.ALARMING),
            (State.RESOLVED, Condition.ALARMING),
            (State.FIRING, Condition.ALARMING),
            (State.FIRING, Condition.SUSPECT),
            (State.FIRING, Condition.UNKNOWN),
        }

    def test_only_an_effect_back_inside_resolves(self) -> None:
        resolves = {key for key, (state, _) in TRANSITIONS.items() if state is State.RESOLVED}
        assert resolves == {(State.FIRING, Condition.CALM), (State.RESOLVED, Condition.UNKNOWN)}


@pytest.mark.parametrize(
    ("reading", "weight", "says"),
    [
        (OUTSIDE, STRONG, Condition.ALARMING),
        (OUTSIDE, WEAK, Condition.SUSPECT),
        (INSIDE, STRONG, Condition.CALM),
        (effect(0.1), STRONG, Condition.CALM),
        (ABSENT, STRONG, Condition.UNKNOWN),
        (effect(0.3, n=99), STRONG, Condition.UNKNOWN),
        (effect(0.3, n=100), Weight(5.0, 5.0), Condition.ALARMING),
        (OUTSIDE, Weight(math.nan, 5.0), Condition.SUSPECT),
        (effect(math.nan), STRONG, Condition.ALARMING),
    ],
)
def test_a_reading_says_one_of_four_things(reading: Effect, weight: Weight, says: Condition) -> None:
    assert condition(reading, weight, SETTINGS) is says


class TestSteps:
    def test_a_drift_goes_from_pending_to_firing_to_resolved_to_inactive(self) -> None:
        seen = walk(
            [(INSIDE, WEAK), (OUTSIDE, WEAK), (OUTSIDE, STRONG), (OUTSIDE, WEAK), (INSIDE, WEAK), (INSIDE, WEAK)]
        )
        assert [alarm.state for alarm in seen] == ["inactive", "pending", "firing", "firing", "resolved", "resolved"]
        assert [alarm.reason for alarm in seen] == [
            Reason.INSIDE_TOLERANCE,
            Reason.EFFECT_WITHOUT_EVIDENCE,
            Reason.EFFECT_AND_EVIDENCE,
            Reason.STILL_OUTSIDE,
            Reason.BACK_INSIDE,
            Reason.BACK_INSIDE,
        ]
        gone = step(seen[-1], effect(0.0, window=9), WEAK, SETTINGS, now=101 * SECOND).alarm
        assert (gone.state, gone.reason) == (State.INACTIVE, Reason.RESOLUTION_SHOWN)

    def test_evidence_that_falls_silent_does_not_end_an_alarm(self) -> None:
        silent = Weight(-math.inf, 5.0)
        seen = walk([(OUTSIDE, STRONG), (OUTSIDE, silent), (OUTSIDE, silent)])
        assert [alarm.state for alarm in seen] == ["firing"] * 3

    def test_an_effect_that_vanishes_does_not_end_an_alarm_and_says_why(self) -> None:
        seen = walk([(OUTSIDE, STRONG), (ABSENT, STRONG), (effect(0.0, n=5), STRONG), (INSIDE, STRONG)])
        assert [alarm.state for alarm in seen] == ["firing", "firing", "firing", "resolved"]
        assert [alarm.reason for alarm in seen[1:3]] == [Reason.NO_EFFECT, Reason.TOO_FEW_ROWS]

    def test_a_noisy_effect_alone_never_fires(self) -> None:
        seen = walk([(OUTSIDE, WEAK), (INSIDE, WEAK)] * 20)
        assert {alarm.state for alarm in seen} == {State.PENDING, State.INACTIVE}
        assert seen[-1].fired == 0

    def test_evidence_of_a_tolerated_effect_does_not_fire_and_is_named(self) -> None:
        seen = walk([(INSIDE, STRONG)] * 3)
        assert seen[-1].state is State.INACTIVE
        assert seen[-1].reason is Reason.EVIDENCE_WITHOUT_EFFECT

    def test_an_alarm_that_returns_fires_again_and_is_counted(self) -> None:
        seen = walk([(OUTSIDE, STRONG), (INSIDE, STRONG), (OUTSIDE, STRONG)])
        assert [alarm.fired for alarm in seen] == [1, 1, 2]
        assert seen[-1].resolved_at is None
        assert seen[-1].fired_at == 20 * SECOND

    def test_evidence_is_begun_afresh_exactly_when_an_alarm_is_resolved(self) -> None:
        fired = step(Alarm("drift"), OUTSIDE, STRONG, SETTINGS, now=0)
        resolved = step(fired.alarm, effect(0.0, window=2), STRONG, SETTINGS, now=SECOND)
        after = step(resolved.alarm, effect(0.0, window=3), WEAK, SETTINGS, now=2 * SECOND)
        assert [item.restart_evidence for item in (fired, resolved, after)] == [False, True, False]
        assert [item.changed for item in (fired, resolved, after)] == [True, True, False]


class TestPatience:
    def test_holding_off_waits_until_both_have_held_long_enough(self) -> None:
        patient = replace(SETTINGS, holdoff_seconds=20)
        seen = walk([(OUTSIDE, STRONG)] * 4, patient)
        assert [alarm.state for alarm in seen] == ["pending", "pending", "firing", "firing"]
        assert seen[0].reason is Reason.HOLDING_OFF

    def test_a_break_in_either_starts_the_hold_off_anew_and_a_gap_in_data_does_not(self) -> None:
        patient = replace(SETTINGS, holdoff_seconds=20)
        broken = walk([(OUTSIDE, STRONG), (OUTSIDE, WEAK), (OUTSIDE, STRONG), (OUTSIDE, STRONG)], patient)
        assert broken[-1].state is State.PENDING
        gap = walk([(OUTSIDE, STRONG), (ABSENT, WEAK), (OUTSIDE, STRONG)], patient)
        assert gap[-1].state is State.FIRING

    def test_an_alarm_keeps_firing_until_the_effect_has_stayed_inside(self) -> None:
        keeping = replace(SETTINGS, keep_firing_seconds=20)
        flapping = walk([(OUTSIDE, STRONG), (INSIDE, WEAK), (OUTSIDE, WEAK), (INSIDE, WEAK), (INSIDE, WEAK)], keeping)
        assert [alarm.state for alarm in flapping] == ["firing"] * 5
        assert flapping[1].reason is Reason.KEPT_FIRING
        calm = walk([(OUTSIDE, STRONG), (INSIDE, WEAK), (INSIDE, WEAK), (INSIDE, WEAK)], keeping)
        assert [alarm.state for alarm in calm] == ["firing", "firing", "firing", "resolved"]


class TestRevision:
    def test_a_revision_of_the_judged_window_resolves_an_alarm_that_it_takes_the_effect_from(self) -> None:
        fired = step(Alarm("accuracy"), effect(0.3, window=7), STRONG, SETTINGS, now=0).alarm
        revised = step(fired, effect(0.02, window=7, revision=1), STRONG, SETTINGS, now=SECOND)
        assert revised.alarm.state is State.RESOLVED
        assert revised.alarm.revision == 1
        assert revised.alarm.log_evidence == STRONG.log_evidence

    def test_a_revision_may_also_raise_an_alarm_on_evidence_that_was_there(self) -> None:
        quiet = step(Alarm("accuracy"), effect(0.02, window=7), STRONG, SETTINGS, now=0).alarm
        assert step(quiet, effect(0.3, window=7, revision=1), STRONG, SETTINGS, now=SECOND).alarm.state is State.FIRING

    def test_the_same_window_is_judged_again_when_evidence_has_grown(self) -> None:
        quiet = step(Alarm("drift"), effect(0.3, window=7), WEAK, SETTINGS, now=0).alarm
        assert step(quiet, effect(0.3, window=7), STRONG, SETTINGS, now=SECOND).alarm.state is State.FIRING

    @pytest.mark.parametrize("old", [effect(0.0, window=6, revision=9), effect(0.0, window=7, revision=1)])
    def test_an_older_window_or_revision_is_not_judged_again(self, old: Effect) -> None:
        fired = step(Alarm("accuracy"), effect(0.3, window=7, revision=2), STRONG, SETTINGS, now=0).alarm
        again = step(fired, old, WEAK, SETTINGS, now=SECOND)
        assert not again.changed
        assert again.alarm == replace(fired, reason=Reason.OLDER_WINDOW)


def divergence(reference: CellReference, counts: np.ndarray) -> float:
    """The effect of this story: population stability index of the worst column, on the cells of the evidence."""
    worst = 0.0
    for offset, size in zip(reference.offsets, reference.sizes, strict=True):
        old, new = reference.counts[offset : offset + size] + 0.5, counts[offset : offset + size] + 0.5
        r, c = old / old.sum(), new / new.sum()
        worst = max(worst, float(np.sum((c - r) * np.log(c / r))))
    return worst


def test_a_year_of_days_with_two_drifts_fires_twice_and_never_else() -> None:
    """The whole of it: seasons observed, evidence against its share of the budget, effect against the tolerance."""
    rng = np.random.default_rng(91)
    quiet = [np.full(10, 0.1)] * 5
    moved = [np.linspace(0.06, 0.14, 10), *quiet[1:]]
    sizes = (10,) * 5
    ref = CellReference(tuple("abcde"), sizes, sizes, flat_counts([rng.multinomial(4000, p) for p in quiet]))
    share = split_budget(parse_budget("1 per 90d"), {"drift": 86_400.0, "accuracy": 86_400.0})["drift"]
    model, settings = drift_model(ref, tolerance=psi_radius(0.02)), AlarmSettings(minimum_n=100)
    state, alarm, fired = no_evidence(ref), Alarm("drift"), []
    for day in range(365):
        drifted = 120 <= day < 150 or 250 <= day < 260
        counts = flat_counts([rng.multinomial(2000, p) for p in (moved if drifted else quiet)])
        state = observe(decode_counts(encode_counts(state)), counts)
        use = budget_use(share, composite_evidence(state, model))
        seen = Effect(divergence(ref, counts), 0.02, 2000, window_end=day)
        after = step(alarm, seen, Weight(use.evidence, use.threshold), settings, now=day * 86_400 * SECOND)
        alarm = after.alarm
        if after.restart_evidence:
            state = no_evidence(ref)
        if after.changed and alarm.state in (State.FIRING, State.RESOLVED):
            fired.append((alarm.state, day))
    assert [state for state, _ in fired] == [State.FIRING, State.RESOLVED] * 2
    days = [day for _, day in fired]
    assert 120 <= days[0] <= 123
    assert days[1] == 150
    assert 250 <= days[2] <= 253
    assert days[3] == 260
    assert alarm.fired == 2


READINGS = st.lists(
    st.tuples(
        st.sampled_from([None, 0.0, 0.1, 0.3]),
        st.sampled_from([-math.inf, 2.0, 5.0, 8.0]),
        st.integers(0, 300),
        st.integers(0, 5),
        st.integers(0, 3),
    ),
    max_size=25,
)


class TestRestart:
    @given(READINGS, st.floats(0, 60), st.floats(0, 60))
    def test_an_alarm_written_and_read_after_every_step_is_the_alarm_that_never_stopped(
        self, readings: list, holdoff: float, keep: float
    ) -> None:
        settings = AlarmSettings(100, holdoff, keep, 30)
        kept = restarted = Alarm("drift")
        for now, (value, evidence, n, window, revision) in enumerate(readings):
            reading, weight = Effect(value, 0.1, n, window, revision), Weight(evidence, 5.0)
            kept = step(kept, reading, weight, settings, now * 7 * SECOND).alarm
            restarted = step(decode_alarm(encode_alarm(restarted)), reading, weight, settings, now * 7 * SECOND).alarm
        assert restarted == kept
        assert encode_alarm(restarted) == encode_alarm(kept)

    @given(READINGS)
    def test_the_same_reading_twice_changes_nothing_the_second_time(self, readings: list) -> None:
        alarm = Alarm("drift")
        for now, (value, evidence, n, window, revision) in enumerate(readings):
            reading, weight = Effect(value, 0.1, n, window, revision), Weight(evidence, 5.0)
            first = step(alarm, reading, weight, SETTINGS, now * SECOND)
            second = step(first.alarm, reading, weight, SETTINGS, now * SECOND)
            assert second.alarm.state is first.alarm.state
            assert not second.changed
            assert second.alarm.fired == first.alarm.fired
            alarm = first.alarm

    def test_the_code_is_plain_versioned_json(self) -> None:
        fields = json.loads(encode_alarm(walk([(OUTSIDE, STRONG)])[-1]))
        assert fields["format"] == 1
        assert fields["state"] == "firing"
        assert fields["evidence_since"] == 12

    def test_what_is_no_alarm_or_newer_is_refused(self) -> None:
        newer = json.dumps({**json.loads(encode_alarm(Alarm("x"))), "format": 2}).encode()
        with pytest.raises(OperatorError, match=r"an alarm of a newer trueup .*got 2"):
            decode_alarm(newer)
        for broken in (b"", b"[]", b"{}", b'{"format": 1, "log_evidence": null, "state": "asleep"}'):
            with pytest.raises(OperatorError, match="not a trueup alarm"):
                decode_alarm(broken)


def test_the_page_on_alarms_shows_the_table_that_is_in_force() -> None:
    page = (Path(__file__).parents[2] / "docs" / "alarms.md").read_text("utf-8")
    assert transition_table() in page
    assert transition_table().count("\n") == 2 + len(State)
