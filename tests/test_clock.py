"""A clock that is set back or ahead: which event times are taken for the future then, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.config import load_config
from monitor.log.spool import SpoolWriter
from monitor.pipeline import Pipeline
from monitor.windows import MICROSECONDS, reached_clock
from tests.daemon_process import write_config
from tests.records_samples import EPOCH, predictions

HOUR = 3_600
DAY = 24 * HOUR
NOON = EPOCH // MICROSECONDS // DAY * DAY + 12 * HOUR


class Bench:
    """A pipeline whose clock the test moves (seconds), and how many predictions it took."""

    def __init__(self, folder: Path) -> None:
        self.now = float(NOON)
        self._settings = load_config(write_config(folder, 9_464))
        self._count = 0
        self.pipeline = Pipeline(self._settings, clock=lambda: self.now)

    def restart(self) -> None:
        self.pipeline.close()
        self.pipeline = Pipeline(self._settings, clock=lambda: self.now)

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


def test_a_clock_that_was_years_ahead_is_forgotten_as_soon_as_it_is_right(bench: Bench) -> None:
    bench.now += 70 * 365 * DAY
    assert bench.takes(NOON)
    bench.now = NOON
    assert bench.takes(NOON)
    assert not bench.takes(NOON + HOUR)
    # And it is remembered again where it is now.
    bench.now -= HOUR
    assert bench.takes(NOON)


def test_of_a_clock_that_is_far_behind_what_it_was_the_clock_decides(bench: Bench) -> None:
    assert bench.takes(NOON)
    bench.now -= 30 * DAY
    assert not bench.takes(NOON)
    bench.now += 30 * DAY
    assert bench.takes(NOON)


@pytest.mark.parametrize(("highest", "now"), [(0, 5), (5, 5), (10**12, 1), (7, 5)])
def test_what_was_reached_never_falls_behind_the_clock(highest: int, now: int) -> None:
    assert reached_clock(highest, now) >= now
    assert reached_clock(reached_clock(highest, now), now) == reached_clock(highest, now)
