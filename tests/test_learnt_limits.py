"""Limits that are learnt from a version's first windows: their quantile, their progress, their place in the checks."""

from __future__ import annotations

import numpy as np

from monitor.learnt_limits import LearntLimit, learns, taught, windows_needed, with_limits
from monitor.statistics.result import Estimate
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import LEARNING, Check, CheckSettings, Threshold, WindowResult, judge
from monitor.windows import Window

ABOVE, BELOW = Threshold("above", 0.0, learnt=True), Threshold("below", 0.0, learnt=True)
PSI = Check("population_stability_index", warning=ABOVE, critical=Threshold("above", 0.25))
ACCURACY = Check("accuracy", critical=BELOW)
CHECKS = CheckSettings((ACCURACY,), (PSI,), minimum_labels=50, minimum_rows=50)


def window(
    number: int, *, psi: float = 0.01, accuracy: float = 0.9, maturity: str = "final", n: int = 500
) -> WindowResult:
    return WindowResult(
        "m",
        "1",
        Window(number, number + 1, 1e-6),
        maturity,  # type: ignore[arg-type]
        1,
        n,
        n,
        1.0,
        {"accuracy": Estimate(accuracy, n)},
        {"x": {PSI.metric: Estimate(psi, n)}, "y": {PSI.metric: Estimate(psi / 2, n)}},
    )


def seen(values: list[float], check: Check = PSI, needed: int = 20) -> LearntLimit:
    limit = LearntLimit("r", needed)
    for number, value in enumerate(values):
        result = window(number, psi=value) if check is PSI else window(number, accuracy=value)
        limit = taught(limit, check, CHECKS, result)
    return limit


def test_there_is_no_limit_before_twenty_windows_and_then_it_is_the_largest_value_and_stays() -> None:
    values = np.random.default_rng(0).exponential(0.01, 20).tolist()
    assert seen(values[:-1]).limit("above") is None
    assert seen(values).limit("above") == max(values)
    assert seen(values).limit("below") == min(values)
    assert seen([*values, 9.0]).limit("above") == max(values)


def test_of_many_windows_one_in_a_hundred_like_them_is_past_the_limit_at_most() -> None:
    rng, exceeded = np.random.default_rng(1), []
    for _ in range(200):
        found = seen(rng.exponential(0.01, 168).tolist(), needed=168).limit("above")
        assert found is not None
        exceeded.append((rng.exponential(0.01, 500) > found).mean())
    assert np.mean(exceeded) < 0.01 + 3 * np.std(exceeded) / np.sqrt(200)


def test_windows_shorter_than_a_season_are_learnt_over_seven() -> None:
    assert windows_needed(3_600, ObservationSettings()) == 168
    assert windows_needed(86_400, ObservationSettings()) == 20
    assert windows_needed(300, ObservationSettings(None)) == 20


def test_a_revised_window_counts_once_with_its_latest_value() -> None:
    limit = taught(taught(LearntLimit("r", 20), PSI, CHECKS, window(0, psi=0.5)), PSI, CHECKS, window(0, psi=0.1))
    assert limit.values == {0: 0.1}


def test_the_worst_column_is_learnt_and_performance_of_final_windows_with_enough_labels() -> None:
    assert seen([0.04]).values == {0: 0.04}
    nothing = LearntLimit("r", 20)
    for result in (window(0, maturity="provisional"), window(0, n=20)):
        assert taught(nothing, ACCURACY, CHECKS, result) is nothing


def test_checks_are_judged_by_what_was_learnt_and_until_then_by_their_other_limit() -> None:
    assert learns(CHECKS) == (ACCURACY, PSI)
    result = window(0, psi=0.3, accuracy=0.5)
    before = judge(CHECKS, result.values, result.columns, {})
    assert (before["accuracy"].state, before["accuracy"].reason) == ("insufficient", LEARNING)
    assert before[PSI.metric].state == "critical"
    learnt = {PSI.metric: seen([0.02] * 20), "accuracy": seen([0.9, 0.88] * 10, ACCURACY)}
    known = with_limits(CHECKS, learnt)
    assert known.values == (Check("accuracy", critical=Threshold("below", 0.88)),)
    after = judge(known, result.values, window(0, psi=0.1).columns, {})
    assert (after["accuracy"].state, after[PSI.metric].state) == ("critical", "warning")
    assert learns(known) == ()
