"""When a window's truth is complete."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.label_join import LabelSettings, maturity
from monitor.windows import MICROSECONDS, Window

WINDOW = Window(0, 3600 * MICROSECONDS, 3600.0)
DAY = 86_400 * MICROSECONDS


def test_a_window_is_final_at_the_goal_of_coverage_and_not_a_label_before() -> None:
    settings = LabelSettings(final_at_coverage=0.95)
    assert maturity(WINDOW, 100, 94, settings, WINDOW.end) == "provisional"
    assert maturity(WINDOW, 100, 95, settings, WINDOW.end) == "final"


def test_where_labels_are_a_sample_the_goal_is_a_share_of_what_is_expected() -> None:
    settings = LabelSettings(final_at_coverage=0.9, expected_coverage=0.01)
    assert maturity(WINDOW, 10_000, 89, settings, WINDOW.end) == "provisional"
    assert maturity(WINDOW, 10_000, 90, settings, WINDOW.end) == "final"


def test_a_window_is_final_without_any_label_once_the_horizon_has_passed() -> None:
    settings = LabelSettings(horizon_seconds=86_400.0)
    assert maturity(WINDOW, 100, 0, settings, WINDOW.end + DAY - 1) == "provisional"
    assert maturity(WINDOW, 100, 0, settings, WINDOW.end + DAY) == "final"


def test_a_window_without_predictions_waits_for_the_horizon() -> None:
    assert maturity(WINDOW, 0, 0, LabelSettings(), WINDOW.end) == "provisional"


@given(st.integers(0, 1_000), st.integers(0, 1_000), st.integers(0, 40 * DAY), st.integers(0, 40 * DAY))
def test_with_more_labels_or_more_time_a_final_window_stays_final(labels: int, more: int, now: int, later: int) -> None:
    settings = LabelSettings(final_at_coverage=0.8)
    if maturity(WINDOW, 1_000, min(labels, 1_000), settings, now) == "final":
        assert maturity(WINDOW, 1_000, min(labels + more, 1_000), settings, now + later) == "final"
