"""What one observation of the evidence is: a whole season, or a stretch that is matched by its phase of the season.

What lives here: which stretches of event time are due as observations, and their phase; arithmetic in integer
microseconds. What must not: profiles, evidence, clocks (the watermark is an argument).

Hourly panes of real traffic differ by the hour of the day: a detector that compares each with the whole reference finds
the daily cycle in every quarter. A whole season holds every phase once, so seasons are alike; matched by phase, an hour
is compared with the same hour of the reference's days.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.errors import OperatorError
from monitor.windows import MICROSECONDS, Window, format_duration, tumbling_window

Match = Literal["season", "phase"]
DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class ObservationSettings:
    """How event time is cut into observations; seconds.

    `season_seconds`: the length after which traffic is like itself, a day by default; None where panes are independent.
    `observe_seconds`: the length of one observation where it is not the whole season. `match`: `season` takes whole
    seasons as they are, `phase` takes `observe_seconds` and compares each with the reference's same phase.
    `design_effect`: what all counts are divided by, where rows come in copies or clusters (`independence` measures it).
    Raises OperatorError where the season is no whole number of observations.
    """

    season_seconds: float | None = DAY_SECONDS
    observe_seconds: float = 3_600.0
    match: Match = "season"
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        if not 1.0 <= self.design_effect < 1e9:
            raise OperatorError("a design effect is at least 1", expected="1 or more", got=f"{self.design_effect:g}")
        if self.match == "phase" and self.season_seconds is None:
            raise OperatorError("phases need a season", expected="season: 1d (or another length)", got="season: off")
        ratio = (self.season_seconds or self.observe_seconds) / self.observe_seconds
        if self.match == "phase" and (ratio < 2 or abs(ratio - round(ratio)) > 1e-9):
            raise OperatorError(
                "a season must be a whole number of observations",
                expected=f"a multiple of {format_duration(self.observe_seconds)}",
                got=format_duration(self.season_seconds or 0.0),
            )

    @property
    def length_seconds(self) -> float:
        """How long one observation lasts."""
        if self.match == "phase" or self.season_seconds is None:
            return self.observe_seconds
        return self.season_seconds

    @property
    def phases(self) -> int:
        """How many detectors there are of each column: one, or one for each phase of the season."""
        if self.match == "season" or self.season_seconds is None:
            return 1
        return round(self.season_seconds / self.observe_seconds)


def phase(window: Window, settings: ObservationSettings) -> int:
    """Which phase of the season an observation is in, from 0; seasons are aligned to the epoch in UTC."""
    length = round(settings.length_seconds * MICROSECONDS)
    return window.start // length % settings.phases


def due_observations(
    consumed_until: int | None, first_event: int, watermark: int | None, settings: ObservationSettings
) -> tuple[Window, ...]:
    """The observations that are complete and not yet consumed, oldest first; at most the watermark allows.

    `consumed_until`: end of the last one consumed (microseconds), None before any. `first_event`: the earliest event
    time of the stream; the stretch it falls into is only partly covered, so it is skipped unless it begins there.
    """
    if watermark is None:
        return ()
    size = round(settings.length_seconds * MICROSECONDS)
    first_whole = -(-first_event // size) * size
    start = first_whole if consumed_until is None else max(consumed_until, first_whole)
    due = []
    while start + size <= watermark:
        due.append(tumbling_window(start, settings.length_seconds))
        start += size
    return tuple(due)
