"""What one observation is, and whether panes are independent enough to be one."""

import math

import numpy as np
import pytest
from scipy.stats import chi2, norm

from monitor.errors import DefectError, OperatorError
from monitor.statistics.independence import (
    Advice,
    design_effect,
    dispersion,
    judge_independence,
    learnt_tolerance,
    neighbouring_design_effect,
)
from monitor.statistics.result import Absent, Estimate, Reason
from monitor.statistics.seasons import ObservationSettings, due_observations, phase
from monitor.windows import MICROSECONDS, tumbling_window

HOUR, DAY = 3_600 * MICROSECONDS, 86_400 * MICROSECONDS
EDGES = norm.ppf(np.arange(1, 10) / 10)
START = 19_000 * DAY


class TestSeasons:
    def test_an_observation_is_a_whole_day_unless_told_otherwise(self) -> None:
        assert (ObservationSettings().length_seconds, ObservationSettings().phases) == (86_400, 1)
        off = ObservationSettings(season_seconds=None, observe_seconds=300)
        assert (off.length_seconds, off.phases) == (300, 1)
        matched = ObservationSettings(match="phase")
        assert (matched.length_seconds, matched.phases) == (3_600, 24)

    def test_only_complete_unconsumed_seasons_are_due_and_a_partial_first_one_is_skipped(self) -> None:
        settings = ObservationSettings()
        due = due_observations(None, START + HOUR, START + 3 * DAY + HOUR, settings)
        assert [(window.start, window.end) for window in due] == [
            (START + DAY, START + 2 * DAY),
            (START + 2 * DAY, START + 3 * DAY),
        ]
        assert due_observations(due[-1].end, START + HOUR, START + 4 * DAY - 1, settings) == ()
        assert [window.start for window in due_observations(due[-1].end, START + HOUR, START + 4 * DAY, settings)] == [
            START + 3 * DAY
        ]

    def test_a_stream_that_begins_with_a_season_loses_nothing(self) -> None:
        due = due_observations(None, START, START + DAY, ObservationSettings())
        assert [window.start for window in due] == [START]

    def test_without_a_watermark_nothing_is_due(self) -> None:
        assert due_observations(None, START, None, ObservationSettings()) == ()

    def test_consuming_step_by_step_takes_the_same_observations_as_all_at_once(self) -> None:
        settings = ObservationSettings(match="phase")
        whole = due_observations(None, START + 1, START + 2 * DAY, settings)
        taken, consumed = [], None
        for hour in range(0, 49, 5):
            found = due_observations(consumed, START + 1, START + hour * HOUR, settings)
            taken += found
            consumed = found[-1].end if found else consumed
        taken += due_observations(consumed, START + 1, START + 2 * DAY, settings)
        assert tuple(taken) == whole

    def test_phases_repeat_with_the_season(self) -> None:
        settings = ObservationSettings(match="phase")
        assert phase(tumbling_window(START + 5 * HOUR, 3_600), settings) == 5
        assert phase(tumbling_window(START + 29 * HOUR, 3_600), settings) == 5
        assert phase(tumbling_window(START, 86_400), ObservationSettings()) == 0

    def test_seasons_that_cannot_be_are_refused(self) -> None:
        with pytest.raises(OperatorError, match="a season must be a whole number of observations"):
            ObservationSettings(season_seconds=86_400, observe_seconds=7_000, match="phase")
        with pytest.raises(OperatorError, match="phases need a season"):
            ObservationSettings(season_seconds=None, match="phase")


def panes(rng: np.random.Generator, count: int, rows: int = 500, cycle: float = 0.0, copies: int = 1) -> np.ndarray:
    tables = []
    for pane in range(count):
        shift = cycle * math.sin(2 * math.pi * pane / 24)
        p = np.diff(np.concatenate(([0.0], norm.cdf(EDGES - shift), [1.0])))
        tables.append(copies * rng.multinomial(rows // copies, p))
    return np.array(tables)


class TestDispersion:
    def test_it_is_pearsons_statistic_over_its_degrees_of_freedom(self) -> None:
        table = np.array([[10, 20], [20, 10], [15, 15]])
        expected = 2 * (25 + 25) / 15 / 2
        result = dispersion(table)
        assert isinstance(result, Estimate)
        assert result.value == pytest.approx(expected)
        assert result.p_value == pytest.approx(chi2.sf(2 * expected, 2))

    def test_empty_panes_and_cells_are_left_out(self) -> None:
        table = np.array([[10, 20, 0], [0, 0, 0], [20, 10, 0], [15, 15, 0]])
        assert dispersion(table) == dispersion(table[[0, 2, 3]][:, :2])

    def test_it_is_absent_without_two_panes_or_two_cells(self) -> None:
        assert isinstance(dispersion(np.array([[1, 2]])), Absent)
        assert isinstance(dispersion(np.array([[1, 0], [2, 0]])), Absent)
        with pytest.raises(DefectError, match="panes by cells"):
            dispersion(np.array([1, 2]))

    def test_independent_rows_have_no_design_effect(self) -> None:
        rng = np.random.default_rng(61)
        assert [design_effect(panes(rng, 60)) for _ in range(20)].count(1.0) >= 19

    @pytest.mark.parametrize("copies", [2, 5])
    def test_rows_in_copies_have_a_design_effect_of_their_number(self, copies: int) -> None:
        rng = np.random.default_rng(62)
        assert design_effect(panes(rng, 60, copies=copies)) == pytest.approx(copies, rel=0.15)

    def test_too_few_panes_have_no_design_effect(self) -> None:
        assert design_effect(panes(np.random.default_rng(0), 10, copies=5)) == 1.0


class TestNeighbours:
    def test_a_cycle_is_no_design_effect_between_neighbours_and_copies_are(self) -> None:
        rng = np.random.default_rng(68)
        cycled = panes(rng, 24 * 20, rows=5_000, cycle=0.25)
        assert design_effect(cycled) > 3
        assert neighbouring_design_effect(cycled) < 1.15
        assert neighbouring_design_effect(panes(rng, 240, cycle=0.1, copies=5)) == pytest.approx(5, rel=0.15)

    def test_independent_rows_have_none(self) -> None:
        rng = np.random.default_rng(69)
        assert [neighbouring_design_effect(panes(rng, 60)) for _ in range(20)].count(1.0) >= 19

    def test_too_few_panes_and_empty_ones_have_none(self) -> None:
        assert neighbouring_design_effect(panes(np.random.default_rng(0), 10, copies=5)) == 1.0
        assert neighbouring_design_effect(np.zeros((40, 3), dtype=np.int64)) == 1.0


class TestAdvice:
    def test_independent_panes_may_be_observations(self) -> None:
        rng = np.random.default_rng(63)
        found = judge_independence([panes(rng, 60) for _ in range(8)])
        assert found.advice is Advice.INDEPENDENT
        assert "season: off" in found.text

    def test_rows_in_copies_are_called_clustered(self) -> None:
        rng = np.random.default_rng(64)
        found = judge_independence([panes(rng, 60, copies=5) for _ in range(8)])
        assert found.advice is Advice.CLUSTERED
        assert found.design_effects == pytest.approx([5] * 8, rel=0.2)
        assert found.dispersion_by_merged[4] == pytest.approx(5, rel=0.2)

    def test_one_column_with_a_daily_cycle_among_quiet_ones_is_enough_to_be_seasonal(self) -> None:
        rng = np.random.default_rng(65)
        found = judge_independence([*(panes(rng, 240) for _ in range(7)), panes(rng, 240, cycle=0.25)])
        assert found.advice is Advice.SEASONAL
        assert "season: 1d" in found.text

    def test_days_of_a_cycle_are_alike_which_is_why_a_season_is_an_observation(self) -> None:
        rng = np.random.default_rng(66)
        days = panes(rng, 24 * 30, rows=100, cycle=0.25).reshape(30, 24, 10).sum(axis=1)
        assert judge_independence([days]).advice is Advice.INDEPENDENT

    def test_few_panes_leave_it_unknown(self) -> None:
        found = judge_independence([panes(np.random.default_rng(0), 5)])
        assert found.advice is Advice.UNKNOWN
        assert judge_independence([]).advice is Advice.UNKNOWN


class TestLearntTolerance:
    def test_it_is_the_conformal_quantile(self) -> None:
        result = learnt_tolerance([float(i) for i in range(99, 0, -1)], coverage=0.9)
        assert result == Estimate(90.0, 99, level=0.9)

    def test_it_is_absent_where_the_panes_are_too_few_for_the_coverage(self) -> None:
        result = learnt_tolerance([0.1] * 98)
        assert isinstance(result, Absent)
        assert result.reason is Reason.TOO_FEW_ROWS
        assert "99 panes" in result.detail
        assert isinstance(learnt_tolerance([0.1] * 99), Estimate)
        assert isinstance(learnt_tolerance([]), Absent)

    def test_a_further_pane_exceeds_it_as_seldom_as_promised(self) -> None:
        rng = np.random.default_rng(67)
        exceeded = 0
        for _ in range(2000):
            values = rng.exponential(size=40)
            limit = learnt_tolerance(values[:39].tolist(), coverage=0.9)
            assert isinstance(limit, Estimate)
            exceeded += values[39] > limit.value
        assert 0.08 < exceeded / 2000 < 0.12
