"""Checks on their own past: judged as the cycle judged it, quiet where it was quiet, and trials that find drifts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.alarms.transitions import State
from monitor.errors import OperatorError
from monitor.profiles.codec import load_reference
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.statistics.seasons import ObservationSettings
from monitor.tuning.feed import Cells, Feed, with_column
from monitor.tuning.injection import Injection, Kind, drawn_from, inject
from monitor.tuning.past_log import read_past
from monitor.tuning.quiet import Setup, past_run, quiet_run
from monitor.tuning.report import tune, tuning_record
from monitor.tuning.scoring import Power, Score, Trials, default_horizon, score, trial_starts
from monitor.tuning.stream import Observation, Past
from monitor.tuning.suggestion import latest_effects
from monitor.verdict import Check, Threshold
from tests import alarm_bench
from tests.records_samples import MODEL
from tests.tuning.traffic import ACCURACY, DAY, PSI, REGRESSION, START, past, reference, settings

FEW = Trials({Kind.MEAN_SHIFT: (0.25, 1.0)}, trials=4, horizon=4)
CHECKS = (PSI.metric, "accuracy")


@pytest.fixture(scope="module")
def known() -> Reference:
    return reference()


def scored(stream: Past, made: ModelSettings, known: Reference, trials: Trials) -> Score:
    setup = Setup.of("as set", made, known)
    return score(past_run(stream, setup, trial_starts(stream, trials), lambda: None), [setup], trials, lambda: None)


def power(result: Score, kind: Kind, size: float, check: str | None = None) -> Power:
    return next(item for item in result.power if (item.kind, item.size, item.check) == (kind, size, check))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[alarm_bench.AlarmBench]:
    checks = (alarm_bench.PSI, alarm_bench.ACCURACY, alarm_bench.CROSS_ENTROPY)
    made = alarm_bench.AlarmBench(tmp_path, alarm_bench.settings(tmp_path, *checks))
    yield made
    made.state.close()


def test_the_past_is_judged_as_the_cycles_judged_it(bench: alarm_bench.AlarmBench) -> None:
    shifts = [0, 0, 0, 0.8, 0.8, 0.8, 0, 0]
    fired: dict[tuple[str, int], int] = {}
    for number, shift in enumerate(shifts):
        batch = alarm_bench.traffic(number, shift=shift)
        bench.send(batch, alarm_bench.truth(batch, 0.3 if shift else 0.1))
        for report in bench.run(number + 1).alarms:
            if report.alarm.fired:
                fired.setdefault((report.check, report.alarm.fired), number)
    theirs = {report.check: report for report in bench.run(len(shifts)).alarms}
    stream = read_past(bench.cycle.log, bench.settings, MODEL, "1", np.random.default_rng(0))
    setup = Setup.of("as set", bench.settings, load_reference(bench.root / "reference.trueup"))
    ours, _ = quiet_run(past_run(stream, setup, (), lambda: None), setup)
    assert [item.window.start for item in stream.observations] == [
        alarm_bench.START + number * alarm_bench.STEP for number in range(len(shifts))
    ]
    assert {
        (alarm.check, 1): (alarm.fired_at - alarm_bench.START) // alarm_bench.STEP - 1 for alarm in ours.alarms
    } == {key: number for key, number in fired.items()}
    assert all(alarm.resolved_at is not None for alarm in ours.alarms)
    for report in ours.reports:
        cycle = theirs[report.check].alarm
        assert (report.alarm.state, report.alarm.fired) == (State.RESOLVED, 1) == (cycle.state, cycle.fired)
    by_check = {alarm.check: alarm for alarm in ours.alarms}
    assert by_check[PSI.metric].columns == ("age",)
    assert by_check[PSI.metric].since == alarm_bench.START + 3 * alarm_bench.STEP
    assert "Errors rose" in by_check["accuracy"].text


def test_evidence_and_effects_of_the_past_are_those_of_the_cycle_to_the_last_bit(bench: alarm_bench.AlarmBench) -> None:
    for number in range(6):
        batch = alarm_bench.traffic(number, shift=0.2 * number)
        bench.send(batch, alarm_bench.truth(batch, 0.1 + 0.02 * number))
        theirs = bench.run(number + 1).alarms
        if number == 4:
            expected = {report.check: report.alarm for report in theirs}
    stream = read_past(bench.cycle.log, bench.settings, MODEL, "1", np.random.default_rng(0))
    stream = replace(stream, observations=stream.observations[:5])
    setup = Setup.of("as set", bench.settings, load_reference(bench.root / "reference.trueup"))
    ours, _ = quiet_run(past_run(stream, setup, (), lambda: None), setup)
    for report in ours.reports:
        alarm, cycle = report.alarm, expected[report.check]
        assert (alarm.effect, alarm.n, alarm.window_end) == (cycle.effect, cycle.n, cycle.window_end)
        assert (alarm.log_evidence, alarm.state) == (cycle.log_evidence, cycle.state)


def test_a_quiet_past_has_no_alarm_and_large_drifts_are_found_at_once_and_named(known: Reference) -> None:
    result = scored(past(20), settings(), known, FEW)
    assert result.quiet[0].alarms == ()
    assert result.quiet[0].per_quarter == 0
    # Labels of a day's last hour come on the day after: a window of labels has two revisions, but for the last.
    assert {check: len([item for item in result.quiet[0].effects if item.check == check]) for check in CHECKS} == {
        PSI.metric: 20,
        "accuracy": 39,
    }
    assert {check: len(latest_effects(result.quiet[0], check)) for check in CHECKS} == dict.fromkeys(CHECKS, 20)
    assert result.not_tried == {}
    found = power(result, Kind.MEAN_SHIFT, 1.0)
    assert (found.trials, found.found, found.median_delay, found.named) == (4, 4, 1, 4)
    assert power(result, Kind.MEAN_SHIFT, 1.0, PSI.metric).delays == found.delays
    assert not [item for item in result.power if item.check == "accuracy"]


def test_a_drift_in_the_past_is_an_alarm_of_its_check_that_names_the_column_and_ends(known: Reference) -> None:
    stream = past(24, drift={10: {"shift": 1.0}, 14: {}})
    result = scored(stream, settings(), known, FEW)
    (alarm,) = result.quiet[0].alarms
    assert (alarm.check, alarm.columns) == (PSI.metric, ("income",))
    assert (alarm.since, alarm.fired_at, alarm.resolved_at) == tuple(START + day * DAY for day in (10, 11, 15))
    assert result.quiet[0].per_quarter == pytest.approx(90 / 24)
    # No trial begins where that alarm fires.
    assert result.starts == len(set(range(8, 21)) - {11, 12, 13, 14})


def test_where_alarms_always_fire_no_drift_is_tried_and_the_reason_is_told(known: Reference) -> None:
    result = scored(past(20, shift=1.0), settings(), known, FEW)
    assert [alarm.resolved_at for alarm in result.quiet[0].alarms] == [None]
    assert (result.starts, result.power) == (0, ())
    assert "wherever a drift could begin" in result.not_tried["mean_shift"]


def test_an_alarm_that_comes_without_the_drift_is_not_counted_as_having_found_it(known: Reference) -> None:
    stream = past(18, drift={10: {"shift": 1.0}})
    trials = Trials({Kind.MISSINGNESS: (0.0, 1.0)}, trials=6, horizon=6, columns=("f_age",))
    result = scored(stream, settings(PSI), known, trials)
    nothing, all_gone = power(result, Kind.MISSINGNESS, 0.0), power(result, Kind.MISSINGNESS, 1.0)
    # The alarm of the past fires with observation 10, within the horizon of most starts, and with it of that one.
    assert nothing.found == 0
    assert nothing.cut_short > all_gone.cut_short
    assert all_gone.found + all_gone.cut_short == 6


def test_errors_of_flipped_labels_are_found_by_the_check_of_labels_only(known: Reference) -> None:
    trials = Trials({Kind.CONCEPT_FLIP: (0.3,), Kind.LABEL_SHIFT: (0.5,)}, trials=3, horizon=4)
    result = scored(past(16), settings(), known, trials)
    flip = power(result, Kind.CONCEPT_FLIP, 0.3, "accuracy")
    assert (flip.found, flip.median_delay, flip.named) == (3, 1, None)
    assert {item.check for item in result.power if item.kind is Kind.CONCEPT_FLIP} == {None, "accuracy"}
    shifted = {item.check: item.found for item in result.power if item.kind is Kind.LABEL_SHIFT}
    assert set(shifted) == {None, PSI.metric, "accuracy"}
    assert shifted[PSI.metric] == 3


def test_labels_that_come_days_later_are_waited_for(known: Reference) -> None:
    trials = Trials({Kind.CONCEPT_FLIP: (0.3,)}, trials=3, horizon=8)
    stream = past(20, delay=3 * DAY)
    flip = power(scored(stream, settings(ACCURACY), known, trials), Kind.CONCEPT_FLIP, 0.3)
    assert flip.found == 3
    assert flip.median_delay == 4


def test_a_daily_cycle_is_found_by_hourly_observations_and_not_by_whole_seasons(known: Reference) -> None:
    hourly = settings(PSI, observations=ObservationSettings(None, 6 * 3_600.0))
    hourly = replace(hourly, windows=replace(hourly.windows, window_seconds=(6 * 3_600.0,)))
    trials = Trials({Kind.DAILY_CYCLE: (1.0,)}, trials=2, horizon=8, columns=("f_income",))
    often = scored(past(8, n=2_400, observed=hourly.observations), hourly, known, trials)
    assert power(often, Kind.DAILY_CYCLE, 1.0).found == 2
    assert scored(past(8, n=2_400, cycle=1.0, observed=hourly.observations), hourly, known, trials).quiet[0].alarms
    daily = scored(past(20, n=300, cycle=0.25), settings(), known, trials)
    assert daily.quiet[0].alarms == ()


def test_a_column_looked_at_alone_is_seen_as_it_is_among_all(known: Reference) -> None:
    made = settings(observations=ObservationSettings(None, 21_600.0))
    stream = past(3, observed=made.observations)
    setup, drawn = Setup.of("as set", made, known), drawn_from(known)
    trials = Trials({}, horizon=2)
    run = past_run(stream, setup, trial_starts(stream, trials), lambda: None)
    begin = min(run.feeds)
    alone, among = run.feeds[begin].copy("f_income"), run.feeds[begin].copy()
    for number in range(begin, len(stream.observations)):
        observation = stream.observations[number]
        injection = Injection(Kind.MISSINGNESS, 0.3, observation.window.start, ("f_income",))
        changed = inject(observation.rows, injection, drawn, np.random.default_rng(number))
        drifted = Observation(observation.window, changed, observation.seen)
        layout = run.cells.layout
        assert layout is not None
        mine = with_column(run.seen[number], alone.take(drifted, labels=False), "income", layout)
        whole = among.take(drifted, labels=False)
        assert np.array_equal(mine.counts, whole.counts)  # type: ignore[arg-type]
        assert [result.columns for result in mine.inputs] == [result.columns for result in whole.inputs]
        assert not np.array_equal(mine.counts, run.seen[number].counts)  # type: ignore[arg-type]


def test_windows_longer_than_observations_hold_all_of_theirs(known: Reference) -> None:
    made = settings(PSI, observations=ObservationSettings(None, 21_600.0))
    made = replace(made, windows=replace(made.windows, window_seconds=(86_400.0,)))
    feed = Feed(made, "1", known, Cells.of(Setup.of("as set", made, known).plan))
    stream = past(2, observed=made.observations)
    ended = [result for item in stream.observations for result in feed.take(item).inputs]
    assert [(result.window.start, result.predictions) for result in ended] == [(START, 500), (START + DAY, 500)]


def test_windows_shorter_than_observations_are_judged_one_by_one(known: Reference) -> None:
    made = settings(PSI)
    made = replace(made, windows=replace(made.windows, window_seconds=(21_600.0,)))
    feed = Feed(made, "1", known, Cells.of(Setup.of("as set", made, known).plan))
    seen = feed.take(past(1).observations[0])
    assert [result.window.start for result in seen.inputs] == [START + part * DAY // 4 for part in range(4)]
    assert sum(result.predictions for result in seen.inputs) == 500
    assert seen.counts is not None
    assert seen.counts.sum() == 500 * len(known.columns)


def test_the_same_seed_gives_the_same_score_and_another_seed_other_trials(known: Reference) -> None:
    trials = Trials({Kind.MEAN_SHIFT: (0.4,), Kind.RAMP: (1.0,)}, trials=4, horizon=6)
    stream = past(16)
    first, again = (scored(stream, settings(), known, trials) for _ in range(2))
    assert first.power == again.power
    other = scored(stream, settings(), known, replace(trials, seed=5))
    assert [item.delays for item in other.power] != [item.delays for item in first.power]


def test_a_past_that_is_too_short_says_how_much_is_needed(known: Reference) -> None:
    with pytest.raises(OperatorError) as caught:
        tune(past(3), settings(), known, FEW, suggest=False, resample=False)
    assert str(caught.value) == (
        "version 1: the past is too short to put drifts into it (expected 5 whole observations of 1d, which 6d of "
        "traffic hold, got 3 in 3d). --resample draws seasons from the rows that are there; --horizon makes do with "
        "fewer observations."
    )


def test_seasons_drawn_anew_make_a_quarter_of_a_short_past(known: Reference) -> None:
    done = tune(past(2), settings(PSI), known, FEW, suggest=False, resample=True)
    record = tuning_record(done)
    assert (record["drawn_anew"], record["observations"]) == (True, 90)
    assert record["quiet"][0]["alarms_per_quarter"] == 0
    assert next(item for item in record["power"] if item["size"] == 1.0)["found"] == 4


def test_phases_learn_from_the_past_before_drifts_begin(known: Reference) -> None:
    observed = ObservationSettings(86_400.0, 43_200.0, "phase")
    made = settings(PSI, observations=observed)
    trials = Trials({Kind.MEAN_SHIFT: (1.5,)}, trials=2, horizon=4)
    stream = past(12, n=600, cycle=0.8, observed=observed)
    result = scored(stream, made, known, trials)
    assert result.quiet[0].alarms == ()
    assert power(result, Kind.MEAN_SHIFT, 1.5).found == 2
    with pytest.raises(OperatorError, match="expected 19 whole observations of 12h"):
        scored(past(9, observed=observed), made, known, trials)


def test_a_regression_model_is_scored_on_its_losses_and_its_output_may_drift() -> None:
    loss = Check("mean_squared_error", Threshold("above", 0.25, relative=True))
    known = reference(schema=REGRESSION)
    trials = Trials({Kind.MEAN_SHIFT: (1.0,), Kind.CONCEPT_FLIP: (0.3,)}, trials=2, horizon=3, columns=("prediction",))
    stream = past(10, schema=REGRESSION)
    result = scored(stream, settings(PSI, loss), known, trials)
    assert result.quiet[0].alarms == ()
    assert power(result, Kind.CONCEPT_FLIP, 0.3, "mean_squared_error").found == 2
    moved: Mapping[str | None, int] = {item.check: item.found for item in result.power if item.kind is Kind.MEAN_SHIFT}
    assert moved == {None: 2, PSI.metric: 2, "mean_squared_error": 2}


def test_drifts_that_the_past_cannot_have_are_told_with_the_reason(known: Reference) -> None:
    stream = past(10)
    bare = replace(
        stream,
        observations=tuple(
            replace(
                item,
                rows=item.rows.set_column(
                    item.rows.schema.get_field_index("label"), "label", pa.nulls(item.rows.num_rows, pa.string())
                ),
            )
            for item in stream.observations
        ),
    )
    trials = Trials({Kind.CONCEPT_FLIP: (0.3,), Kind.CATEGORY_SWAP: (0.4,)}, trials=1, horizon=3, columns=("f_age",))
    result = scored(bare, settings(), known, trials)
    assert result.not_tried == {
        "concept_flip": "the log has no labels",
        "category_swap": "no column of its type was asked for",
    }
    only_drift = scored(stream, settings(PSI), known, trials)
    assert only_drift.not_tried["concept_flip"] == "no check is weighed on labels"
    only_labels = scored(stream, settings(ACCURACY), known, replace(trials, columns=()))
    assert only_labels.not_tried["category_swap"] == "no check watches the inputs"


def test_a_model_without_a_check_that_may_alarm_is_refused(known: Reference) -> None:
    with pytest.raises(OperatorError, match="no check of the model may alarm"):
        Setup.of("as set", settings(Check("label_coverage", Threshold("below", 0.5))), known)


def test_the_horizon_is_two_weeks_of_days_and_two_days_of_hours() -> None:
    assert default_horizon(ObservationSettings()) == 14
    assert default_horizon(ObservationSettings(None, 3_600.0)) == 48
