"""A clock that is set back or ahead: which event times are taken for the future then, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.clock import CLOCK_TRUST, BelievedClock, believed_clock
from monitor.config import load_config
from monitor.daemon import Daemon
from monitor.log.dead_letters import read_dead_letters
from monitor.log.feeding import take_again
from monitor.log.spool import SpoolWriter
from monitor.pipeline import Pipeline
from monitor.windows import MICROSECONDS
from tests.daemon_process import write_config
from tests.records_samples import EPOCH, predictions

HOUR = 3_600
DAY = 24 * HOUR
YEAR = 365 * DAY
NOON = EPOCH // MICROSECONDS // DAY * DAY + 12 * HOUR


class Bench:
    """A pipeline whose clock the test moves (seconds), and how many predictions it took."""

    def __init__(self, folder: Path) -> None:
        self.now = float(NOON)
        self.passed = 0.0
        self._settings = replace(load_config(write_config(folder, 9_464)), retention_seconds=7.0 * DAY)
        self._count = 0
        self.pipeline = self._open()

    def _open(self) -> Pipeline:
        return Pipeline(self._settings, clock=lambda: self.now, monotonic=lambda: self.passed)

    def restart(self) -> None:
        self.pipeline.close()
        self.pipeline = self._open()

    def runs(self, seconds: float) -> None:
        """So much time passes, by the clock too, and the daemon looks at it every few hours."""
        self.pipeline.ingest()
        while seconds > 0:
            step = min(seconds, 6 * HOUR)
            self.now, self.passed, seconds = self.now + step, self.passed + step, seconds - step
            self.pipeline.ingest()

    def takes(self, moment: float) -> bool:
        """Whether a prediction of this event time (seconds) gets into the log, and not among the dead letters."""
        self._count += 1
        writer = SpoolWriter(self._settings.spools[0], writer=f"w{self._count:04d}")
        writer.append(predictions([f"id-{self._count}"], start=round(moment * MICROSECONDS)))
        writer.close()
        progress = self.pipeline.ingest()
        assert progress.errors == []
        taken, rejected = progress.rows["pets", "predictions"], progress.rejected["pets", "future_event_time"]
        assert taken + rejected == 1
        return taken == 1

    def rows(self) -> int:
        found = self.pipeline.models["pets"].log.read("predictions", ["prediction_id"])
        return 0 if found is None else int(found.num_rows)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.pipeline.close()


@pytest.mark.parametrize("back", [10 * 60, HOUR, DAY])
def test_a_clock_that_is_set_back_makes_no_honest_event_time_the_future(bench: Bench, back: int) -> None:
    assert bench.takes(NOON)
    bench.now -= back
    assert bench.takes(NOON)
    bench.restart()
    assert bench.takes(NOON)
    assert not bench.takes(NOON + HOUR)
    bench.now += back + 2 * HOUR
    assert bench.takes(NOON + 2 * HOUR)
    assert not bench.takes(NOON + 3 * HOUR)


@pytest.mark.parametrize("back", [HOUR, DAY, 26 * HOUR, 30 * DAY, NOON - YEAR])
def test_other_machines_whose_clocks_are_right_are_believed_while_the_clock_is_behind(bench: Bench, back: int) -> None:
    bench.runs(2 * DAY)
    true = bench.now
    bench.now -= back
    assert bench.takes(true)
    bench.runs(20 * HOUR)
    true += 20 * HOUR
    assert bench.takes(true)
    assert not bench.takes(true + HOUR)
    assert bench.pipeline.clock_problem is not None
    bench.restart()
    assert bench.takes(true)
    bench.runs(HOUR)
    true += HOUR
    assert bench.takes(true)
    assert not bench.takes(4_070_908_800)  # 2099
    # It is set right: nothing stays of it.
    bench.now = true
    assert bench.takes(true)
    assert not bench.takes(true + HOUR)
    assert bench.pipeline.clock_problem is None


def test_a_clock_that_stays_behind_decides_once_it_has_run_longer_and_what_it_refused_can_be_fed(bench: Bench) -> None:
    bench.runs(2 * DAY)
    true, back = bench.now, 30 * DAY
    bench.now -= back
    bench.runs(2 * DAY - HOUR)
    true += 2 * DAY - HOUR
    assert bench.takes(true)
    bench.runs(2 * HOUR)
    true += 2 * HOUR
    assert not bench.takes(true)
    assert bench.takes(bench.now)
    assert bench.pipeline.clock_problem is None
    [letter] = read_dead_letters(bench.pipeline.settings.dead_letters)
    assert "by the monitor's clock, which showed" in letter.message
    bench.now += back
    rules = bench.pipeline.models["pets"].rules()
    assert rules is not None
    bench.pipeline.write(take_again([letter], rules, now=round(true * MICROSECONDS)).batches)
    before = bench.rows()
    assert bench.pipeline.ingest().rejected.total() == 0
    assert bench.rows() == before + 1


def test_a_clock_that_was_a_day_ahead_opens_the_guard_for_a_day_and_no_longer(bench: Bench) -> None:
    assert not bench.takes(NOON + DAY)
    bench.now += DAY
    assert bench.takes(NOON)
    bench.now -= DAY
    assert bench.takes(NOON + DAY)
    assert not bench.takes(NOON + DAY + HOUR)
    bench.now += DAY + HOUR
    assert bench.takes(NOON + DAY + HOUR)
    assert not bench.takes(NOON + DAY + 2 * HOUR)


def test_a_clock_that_was_a_day_ahead_for_weeks_opens_the_guard_for_a_day_too(bench: Bench) -> None:
    bench.now += DAY
    bench.runs(20 * DAY)
    bench.now -= DAY
    assert bench.takes(bench.now + DAY)
    bench.runs(DAY)
    assert bench.takes(bench.now + DAY)
    bench.runs(2 * HOUR)
    assert not bench.takes(bench.now + DAY)
    assert bench.takes(bench.now)


def test_a_clock_that_was_years_ahead_is_forgotten_as_soon_as_it_is_right(bench: Bench) -> None:
    bench.runs(2 * DAY)
    true = bench.now
    bench.now += 70 * YEAR
    assert bench.takes(true)
    bench.runs(20 * HOUR)
    bench.now = true + 20 * HOUR
    assert bench.takes(true)
    assert not bench.takes(true + 21 * HOUR)
    # And it is remembered again where it is now.
    bench.now -= HOUR
    assert bench.takes(true + 20 * HOUR)


def test_a_clock_that_ran_for_days_in_the_wrong_year_opens_the_guard_for_as_many_days(bench: Bench) -> None:
    bench.now += 70 * YEAR
    bench.runs(3 * DAY)
    bench.now -= 70 * YEAR
    bench.runs(3 * DAY - HOUR)
    assert bench.takes(bench.now + DAY)
    bench.runs(2 * HOUR)
    assert not bench.takes(bench.now + DAY)


def test_of_a_clock_that_nobody_has_seen_run_for_a_day_the_clock_as_it_is_decides(bench: Bench) -> None:
    assert bench.takes(NOON)
    bench.now -= 30 * DAY
    assert not bench.takes(NOON)
    bench.now += 30 * DAY
    assert bench.takes(NOON)


def test_a_clock_that_jumped_ahead_deletes_nothing_for_a_day(bench: Bench) -> None:
    bench.runs(2 * DAY)
    assert bench.takes(bench.now)
    true = bench.now
    bench.now += 70 * YEAR
    bench.pipeline.maintain()
    bench.pipeline.ingest()
    bench.pipeline.maintain()
    assert bench.rows() == 1
    bench.now = true
    bench.runs(6 * DAY)
    bench.pipeline.maintain()
    assert bench.rows() == 1
    bench.runs(3 * DAY)
    bench.pipeline.maintain()
    assert bench.rows() == 0


def test_the_daemon_tells_of_a_clock_that_is_behind_and_when_it_no_longer_is(tmp_path: Path) -> None:
    now, told = float(NOON), list[tuple[str, object]]()
    daemon = Daemon(
        load_config(write_config(tmp_path, 9_464)),
        clock=lambda: now,
        log=lambda event, **values: told.append((event, values.get("error"))),
    )
    try:
        daemon.ingest()
        now -= HOUR
        daemon.ingest()
        daemon.ingest()
        [(event, problem)] = told
        assert event == "clock"
        assert "1h behind what it had reached" in str(problem)
        assert any(reason.startswith("the clock shows") for reason in daemon.ready()[1])
        now += HOUR
        daemon.ingest()
        assert told[1:] == [("the clock is believed as it is", None)]
        assert not any(reason.startswith("the clock shows") for reason in daemon.ready()[1])
    finally:
        daemon.stop()


KNOWN = [BelievedClock(5), BelievedClock(10 * CLOCK_TRUST, CLOCK_TRUST), BelievedClock(10 * CLOCK_TRUST, 0, 7)]


@pytest.mark.parametrize("known", [None, *KNOWN])
@pytest.mark.parametrize("now", [1, 5, 10**12, 9 * CLOCK_TRUST + 1, 20 * CLOCK_TRUST])
def test_what_is_believed_never_falls_behind_the_clock_and_asking_again_changes_nothing(
    known: BelievedClock | None, now: int
) -> None:
    once = believed_clock(known, now, 0)
    assert once.reached >= now
    assert believed_clock(once, now, 0) == once


def test_small_steps_back_are_no_jump_and_cost_no_trust() -> None:
    clock = BelievedClock(100 * CLOCK_TRUST, CLOCK_TRUST)
    for _ in range(100):
        clock = believed_clock(clock, clock.reached + 4_600_000, 5_000_000)
    assert clock.set_back is None
    assert clock.ran == CLOCK_TRUST + 100 * 4_600_000
