"""Event time: panes, tumbling windows, the rolling latest window, the watermark.

What lives here: arithmetic on UTC event time, in integer microseconds since the epoch. What must not: clocks (`now` is
an argument), records, files.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from monitor.errors import OperatorError

MICROSECONDS = 1_000_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `5m`, `1h30m` or `14d`; raises OperatorError for anything else."""
    matches = list(_DURATION.finditer(text.strip()))
    if not matches or "".join(match.group(0) for match in matches).replace(" ", "") != text.replace(" ", ""):
        raise OperatorError("not a duration", expected="a number and s, m, h, d or w, such as 5m or 1h30m", got=text)
    return sum(float(match.group(1)) * _UNITS[match.group(2)] for match in matches)


def format_duration(seconds: float) -> str:
    """The shortest exact text of a duration in its largest units: 3600 is `1h`, 5400 is `1h30m`, 86400 is `1d`."""
    if seconds != int(seconds) or seconds <= 0:
        return f"{seconds:g}s"
    remaining, parts = int(seconds), []
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)):
        count, remaining = divmod(remaining, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


@dataclass(frozen=True)
class WindowSettings:
    """How event time is cut. Every window is a whole number of panes; all times are seconds."""

    pane_seconds: float = 300.0
    window_seconds: tuple[float, ...] = (3_600.0, 86_400.0, 604_800.0)
    allowed_lateness_seconds: float = 600.0
    idle_after_seconds: float = 60.0
    future_guard_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.pane_seconds <= 0:
            raise OperatorError("a pane must last", expected="panes longer than 0 s", got=f"{self.pane_seconds} s")
        for window in self.window_seconds:
            ratio = window / self.pane_seconds
            if ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
                raise OperatorError(
                    "a window must be a whole number of panes",
                    expected=f"a multiple of {format_duration(self.pane_seconds)}",
                    got=format_duration(window),
                )


@dataclass(frozen=True, order=True)
class Window:
    """A half-open stretch [start, end) of event time in microseconds since the epoch, of a nominal length."""

    start: int
    end: int
    seconds: float

    @property
    def name(self) -> str:
        """The length as text, the `window` label: `1h`."""
        return format_duration(self.seconds)


def pane_start(event_time: int, pane_seconds: float) -> int:
    """Start of the pane that holds `event_time` (microseconds), aligned to the epoch."""
    size = round(pane_seconds * MICROSECONDS)
    return event_time // size * size


def tumbling_window(event_time: int, seconds: float) -> Window:
    """The tumbling window of this length that holds `event_time`, aligned to the epoch in UTC."""
    start = pane_start(event_time, seconds)
    return Window(start, start + round(seconds * MICROSECONDS), seconds)


def rolling_window(newest_pane: int, settings: WindowSettings, seconds: float) -> Window:
    """The window of this length that ends with the newest pane."""
    end = newest_pane + round(settings.pane_seconds * MICROSECONDS)
    return Window(end - round(seconds * MICROSECONDS), end, seconds)


@dataclass(frozen=True)
class SourceProgress:
    """How far one source of predictions has come: the largest event time seen, and when something last came."""

    newest_event_time: int
    last_seen: int


def watermark(sources: Iterable[SourceProgress], settings: WindowSettings, now: int) -> int | None:
    """Event time up to which predictions are taken to be complete; None while nothing has ever come.

    The least, over sources that sent something within `idle_after`, of their newest event time less the allowed
    lateness. When all are idle the clock moves it: by the time that has passed since the last of them spoke.
    """
    sources = list(sources)
    if not sources:
        return None
    lateness = round(settings.allowed_lateness_seconds * MICROSECONDS)
    idle = round(settings.idle_after_seconds * MICROSECONDS)
    active = [source.newest_event_time for source in sources if now - source.last_seen <= idle]
    if active:
        return min(active) - lateness
    newest = max(source.newest_event_time for source in sources)
    silence = now - max(source.last_seen for source in sources) - idle
    return newest - lateness + silence
