"""Which series of a model are worth their place: windows newest first, then the worst segments and columns.

What lives here: the choice within a model's series budget; pure. What must not: how series are made or written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from monitor.export.series import Series, absent
from monitor.export.window_series import RANKED_BY, WindowSeries
from monitor.records import EMBEDDING
from monitor.statistics.result import Estimate, Reason
from monitor.statistics.segments import worst_first
from monitor.verdict import WindowResult

Name = TypeVar("Name", str, tuple[str, str])
DEFAULT_BUDGET = 2_000
# Of what windows leave, at most this much goes to values of segments.
SEGMENT_SHARE = 0.25


def within_budget(
    windows: list[WindowSeries], results: Iterable[WindowResult], budget: int
) -> tuple[list[Series], int]:
    """The series kept and the number dropped: whole windows newest first, then the worst in all of them.

    These are values of segments, for at most a quarter of the room, and then columns.
    """
    results = list(results)
    kept: list[Series] = []
    shown: list[WindowSeries] = []
    for window in windows:
        # One more is kept free for each window, to say that it was cut.
        if not shown or len(kept) + len(window.series) + len(shown) + 1 <= budget:
            kept += window.series
            shown.append(window)
    room = budget - len(kept) - len(shown)
    told_apart = _within(_worst_values(results), [window.segments for window in shown], int(SEGMENT_SHARE * room))
    for window in shown:
        for value in window.segments.keys() & told_apart:
            kept += window.segments[value]
    room = budget - len(kept) - len(shown)
    chosen = _within(_worst_first(results), [window.columns for window in shown], room)
    total = sum(
        len(window.series) + sum(map(len, (*window.columns.values(), *window.segments.values()))) for window in windows
    )
    for window in shown:
        for column in window.columns.keys() & chosen:
            kept += window.columns[column]
    dropped = total - len(kept)
    for window in shown:
        if window.columns.keys() - chosen or window.segments.keys() - told_apart:
            cut = "columns" if window.columns.keys() - chosen else "segments"
            kept.append(absent(window.labels, "", cut, Reason.BUDGET))
    return kept, dropped


def _within(names: Sequence[Name], shown: Sequence[Mapping[Name, list[Series]]], room: int) -> set[Name]:
    """The first of these names whose series in all windows fit into the room."""
    chosen: set[Name] = set()
    for name in names:
        room -= sum(len(window.get(name, ())) for window in shown)
        if room < 0:
            break
        chosen.add(name)
    return chosen


def _worst_values(results: Iterable[WindowResult]) -> list[tuple[str, str]]:
    """Values of segments by their place in the window in which they stand worst, then by name."""
    places: dict[tuple[str, str], int] = {}
    for result in results:
        for place, (segment, value, _) in enumerate(worst_first(result.segments)):
            places[segment, value] = min(place, places.get((segment, value), place))
    return sorted(places, key=lambda name: (places[name], name))


def _worst_first(results: Iterable[WindowResult]) -> list[str]:
    """The embedding, then columns by their largest population stability index over all windows, then by name.

    The embedding is one column that stands for hundreds, and has no such index. Other columns without one come last.
    """
    worst: dict[str, float] = {}
    for result in results:
        for column, statistics in result.columns.items():
            found = statistics.get(RANKED_BY)
            value = found.value if isinstance(found, Estimate) and math.isfinite(found.value) else -math.inf
            worst[column] = max(worst.get(column, -math.inf), value)
    return sorted(worst, key=lambda column: (column != EMBEDDING, -worst[column], column))
