"""Event time in integer microseconds: panes, windows and the watermark."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.errors import OperatorError
from monitor.windows import (
    MICROSECONDS,
    SourceProgress,
    WindowSettings,
    format_duration,
    pane_start,
    parse_duration,
    rolling_window,
    tumbling_window,
    watermark,
)
from tests.records_samples import EPOCH

SETTINGS = WindowSettings(allowed_lateness_seconds=600, idle_after_seconds=60)
MINUTE = 60 * MICROSECONDS


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("14d", 1_209_600), ("0.5s", 0.5), ("1 d", 86_400), ("2w", 1_209_600)],
)
def test_a_duration_is_read_in_its_units(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 minutes", "-1h", "1h oder so", "1e3s"])
def test_what_is_no_duration_is_refused_and_shown(text: str) -> None:
    with pytest.raises(OperatorError, match="not a duration"):
        parse_duration(text)


@given(st.integers(1, 10**8))
def test_a_formatted_duration_reads_back(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(-(2**50), 2**52), st.sampled_from([0.25, 1.0, 300.0, 3600.0, 86_400.0]))
def test_every_moment_lies_in_exactly_one_window_and_its_pane_inside_it(moment: int, seconds: float) -> None:
    window = tumbling_window(moment, seconds)
    assert window.start <= moment < window.end
    assert window.start % round(seconds * MICROSECONDS) == 0
    pane = pane_start(moment, seconds / 4)
    assert window.start <= pane <= moment
    assert pane + round(seconds / 4 * MICROSECONDS) <= window.end


def test_a_day_begins_at_midnight_in_utc_and_a_week_on_thursday_as_the_epoch_did() -> None:
    moment = round(datetime(2026, 11, 25, 13, 30, tzinfo=UTC).timestamp() * MICROSECONDS)
    day, week = tumbling_window(moment, 86_400), tumbling_window(moment, 604_800)
    assert datetime.fromtimestamp(day.start / 1e6, UTC) == datetime(2026, 11, 25, tzinfo=UTC)
    assert datetime.fromtimestamp(week.start / 1e6, UTC).strftime("%A %H:%M") == "Thursday 00:00"
    assert (day.name, week.name) == ("1d", "7d")


def test_the_rolling_window_ends_with_the_newest_pane() -> None:
    window = rolling_window(EPOCH, SETTINGS, 3600)
    assert window.end == EPOCH + 300 * MICROSECONDS
    assert window.end - window.start == 3600 * MICROSECONDS


@pytest.mark.parametrize("seconds", [100, 450, 299])
def test_a_window_that_is_no_whole_number_of_panes_is_refused(seconds: float) -> None:
    with pytest.raises(OperatorError, match="a window must be a whole number of panes"):
        WindowSettings(pane_seconds=300, window_seconds=(seconds,))


def test_a_pane_must_last() -> None:
    with pytest.raises(OperatorError, match="a pane must last"):
        WindowSettings(pane_seconds=0)


def test_without_predictions_there_is_no_watermark() -> None:
    assert watermark([], SETTINGS, EPOCH) is None


def test_the_slowest_source_that_speaks_holds_the_watermark() -> None:
    sources = [SourceProgress(EPOCH, EPOCH), SourceProgress(EPOCH + 60 * MINUTE, EPOCH)]
    assert watermark(sources, SETTINGS, EPOCH) == EPOCH - 10 * MINUTE


def test_an_idle_source_does_not_hold_it() -> None:
    now = EPOCH + 90 * MINUTE
    sources = [SourceProgress(EPOCH, EPOCH), SourceProgress(EPOCH + 60 * MINUTE, now)]
    assert watermark(sources, SETTINGS, now) == EPOCH + 50 * MINUTE


def test_when_all_are_idle_the_clock_moves_it_without_a_jump() -> None:
    sources = [SourceProgress(EPOCH, EPOCH)]
    at_once = watermark(sources, SETTINGS, EPOCH + 60 * MICROSECONDS)
    just_idle = watermark(sources, SETTINGS, EPOCH + 60 * MICROSECONDS + 1)
    later = watermark(sources, SETTINGS, EPOCH + 61 * MINUTE)
    assert at_once == EPOCH - 10 * MINUTE
    assert just_idle == at_once + 1
    assert later == at_once + 60 * MINUTE


@given(
    st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 10**10)), min_size=1, max_size=4),
    st.integers(0, 10**10),
    st.integers(0, 10**9),
)
def test_without_new_records_the_watermark_only_goes_forward(seen: list[tuple[int, int]], now: int, later: int) -> None:
    sources = [SourceProgress(EPOCH + newest, EPOCH + last) for newest, last in seen]
    first, second = (watermark(sources, SETTINGS, EPOCH + 10**10 + moment) for moment in (now, now + later))
    assert first is not None
    assert second is not None
    assert second >= first
