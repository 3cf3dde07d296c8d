"""Limits proposed from a past: what they rest on, against independent computations; what they cost; that they load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from monitor.config import load_config
from monitor.config.show import show_checks
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.tuning.injection import Kind
from monitor.tuning.quiet import Setup, past_run, quiet_run
from monitor.tuning.report import Tuning, tune, tuning_record, verdict_counts
from monitor.tuning.scoring import Trials
from monitor.tuning.stream import Past
from monitor.tuning.suggestion import Proposal, chance_effect, latest_effects, propose, with_proposals
from monitor.verdict import Check, Threshold
from tests.tuning.traffic import ACCURACY, DAY, PSI, START, past, reference, settings

LOSS = Check("cross_entropy", Threshold("above", 0.1, relative=True), Threshold("above", 0.25, relative=True))
KS = Check("kolmogorov_smirnov_statistic", Threshold("above", 0.1), Threshold("above", 0.2))
JS = Check("jensen_shannon_distance", Threshold("above", 0.1))


@pytest.fixture(scope="module")
def known() -> Reference:
    return reference()


@pytest.fixture(scope="module")
def tuned(known: Reference) -> Tuning:
    trials = Trials({Kind.MEAN_SHIFT: (0.3,), Kind.CONCEPT_FLIP: (0.06,)}, trials=4, horizon=6)
    return tune(past(30, n=1_000), settings(PSI, ACCURACY, LOSS), known, trials, suggest=True, resample=False)


def proposals(stream: Past, made: ModelSettings, known: Reference, seed: int = 0) -> dict[str, Proposal]:
    setup = Setup.of("as set", made, known)
    quiet, _ = quiet_run(past_run(stream, setup, (), lambda: None), setup)
    return {item.check: item for item in propose(setup, quiet, np.random.default_rng(seed))}


def test_no_window_of_a_quiet_past_is_past_the_proposed_limits_and_they_are_no_wider_than_needed(tuned: Tuning) -> None:
    for item in tuned.proposals:
        effects = [effect.value for effect in latest_effects(tuned.quiet("as set"), item.check)]
        assert (item.windows, item.left_out, item.coverage) == (30, 0, 1.0)
        assert item.past == item.largest == max(effects)  # type: ignore[type-var]
        assert item.tolerance is not None
        assert item.chance is not None
        assert max(item.past, item.chance) <= item.tolerance  # type: ignore[type-var]
        assert set(verdict_counts(tuned.quiet("proposed"), item.check)) == {"ok"}
    psi, accuracy, loss = tuned.proposals
    assert psi.tolerance == pytest.approx(max(psi.past or 0, psi.chance or 0), rel=0.1)
    assert accuracy.tolerance == pytest.approx(max(accuracy.past or 0, accuracy.chance or 0), abs=0.0015)
    assert psi.proposed is not None
    assert psi.proposed.critical is not None
    assert psi.proposed.warning is not None
    # Critical stays as many times as far away as it was set.
    assert psi.proposed.critical.value == pytest.approx(2.5 * psi.proposed.warning.value)
    assert loss.proposed is not None
    assert loss.proposed.warning is not None
    assert loss.proposed.warning.relative


def test_the_cost_of_the_proposal_is_scored_on_the_same_trials(tuned: Tuning) -> None:
    found = {(item.setup, item.kind, item.check): item.found for item in tuned.score.power}
    assert found["as set", Kind.MEAN_SHIFT, None] == 0
    assert found["proposed", Kind.MEAN_SHIFT, None] == 4
    assert found["proposed", Kind.CONCEPT_FLIP, None] >= found["as set", Kind.CONCEPT_FLIP, None]
    record = tuning_record(tuned)
    assert [item["checks_are"] for item in record["quiet"]] == ["as set", "proposed"]
    assert record["quiet"][1]["checks"]["accuracy"]["windows"] == {"ok": 30}
    assert record["proposals"][0]["proposed"]["warning"]["side"] == "above"


def test_the_fragment_is_a_configuration_that_loads_to_the_same_checks(tuned: Tuning, tmp_path: Path) -> None:
    made = tuned.proposed
    assert made is not None
    fragment = yaml.safe_load(show_checks(made.checks))
    assert set(fragment) == {"checks"}
    model = {"task": "classification", "classes": ["good", "bad"], "labels": {"minimum": 100}, **fragment}
    path = tmp_path / "trueup.yaml"
    path.write_text(yaml.safe_dump({"models": {"credit": model}}), encoding="utf-8")
    assert load_config(path).models[0].checks == made.checks


def test_every_form_of_a_limit_comes_back_in_the_form_it_was_written(known: Reference, tmp_path: Path) -> None:
    below = Check("accuracy", Threshold("below", 0.85), Threshold("below", 0.8))
    above = Check("cross_entropy", Threshold("above", 0.6))
    made = settings(JS, KS, below, above)
    found = proposals(past(10), made, known)
    new = with_proposals(made, list(found.values()))
    model = {"task": "classification", "classes": ["good", "bad"], "labels": {"minimum": 100}}
    model |= yaml.safe_load(show_checks(new.checks))
    path = tmp_path / "trueup.yaml"
    path.write_text(yaml.safe_dump({"models": {"credit": model}}), encoding="utf-8")
    loaded = {check.metric: check for check in (*load_config(path).models[0].checks.values, *new.checks.columns)}
    for metric, item in found.items():
        assert item.proposed == loaded[metric]
        for was, now in (
            (item.present.warning, item.proposed.warning),
            (item.present.critical, item.proposed.critical),
        ):  # type: ignore[union-attr]
            assert now is not None
            assert was is None or (was.side, was.relative) == (now.side, now.relative)
    accuracy = found["accuracy"]
    assert accuracy.proposed is not None
    assert accuracy.proposed.warning is not None
    # The tolerance is how far below the reference's own accuracy the limit lies.
    own = Setup.of("as set", made, known).own["accuracy"]
    assert own - accuracy.proposed.warning.value == pytest.approx(accuracy.tolerance, abs=1e-6)


def test_a_drift_of_the_past_does_not_become_the_measure_of_what_is_ordinary(known: Reference) -> None:
    drifted = past(24, drift={10: {"shift": 1.0}, 14: {}})
    item = proposals(drifted, settings(PSI), known)[PSI.metric]
    ordinary = proposals(past(24), settings(PSI), known)[PSI.metric]
    assert (item.windows, item.left_out, item.all_taken) == (20, 4, False)
    assert item.largest is not None
    assert item.largest > 0.5
    assert item.tolerance == pytest.approx(ordinary.tolerance, rel=0.25)


def test_a_past_that_is_one_long_alarm_is_taken_as_ordinary_and_says_so(known: Reference) -> None:
    item = proposals(past(12, shift=1.0), settings(PSI), known)[PSI.metric]
    assert (item.all_taken, item.windows) == (True, 12)
    assert item.tolerance is not None
    assert item.tolerance >= (item.past or 0) > 0.5


def test_without_windows_there_is_no_proposal_and_the_check_stays(known: Reference) -> None:
    made = settings(PSI, ACCURACY)
    made = replace(made, checks=replace(made.checks, minimum_labels=100_000))
    found = proposals(past(6), made, known)
    assert (found["accuracy"].proposed, found["accuracy"].past) == (None, None)
    assert with_proposals(made, list(found.values())).checks.values == made.checks.values


def test_chance_is_what_an_independent_simulation_of_quiet_windows_shows(known: Reference) -> None:
    made = settings(PSI, KS, ACCURACY)
    watches = {watch.name: watch for watch in Setup.of("as set", made, known).plan.watches}
    random = np.random.default_rng(5)
    quiet = past(60, n=500, seed=11)
    setup = Setup.of("as set", made, known)
    run, _ = quiet_run(past_run(quiet, setup, (), lambda: None), setup)
    for name, watch in watches.items():
        chance = chance_effect(watch, known, 500, random)
        assert chance is not None
        seen = np.array([effect.value for effect in latest_effects(run, name)])
        # The reference is one draw: its own error is shared by all windows, so the share beyond is 1 % on average.
        assert (seen > chance).mean() <= 0.06
        assert np.median(seen) < chance < 3 * np.quantile(seen, 0.99)
    error = stats.norm.ppf(0.99) * np.sqrt(0.9 * 0.1 * (1 / 500 + 1 / 4_000))
    assert chance_effect(watches["accuracy"], known, 500, random) == pytest.approx(error, rel=0.05)
    assert chance_effect(watches["accuracy"], known, 0, random) is None


def test_alarms_are_counted_from_when_the_evidence_began_to_the_end(known: Reference) -> None:
    setup = Setup.of("as set", settings(PSI), known)
    quiet, _ = quiet_run(past_run(past(8, drift={5: {"shift": 1.0}}), setup, (), lambda: None), setup)
    item = propose(setup, quiet, np.random.default_rng(0))[0]
    assert [alarm.since for alarm in quiet.alarms] == [START + 5 * DAY]
    assert (item.windows, item.left_out) == (5, 3)
