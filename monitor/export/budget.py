"""Which series of a model are worth their place: windows newest first, then the columns that drifted most.

What lives here: the choice within a model's series budget; pure. What must not: how series are made or written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from monitor.export.series import Series, absent
from monitor.export.window_series import RANKED_BY, WindowSeries
from monitor.records import EMBEDDING
from monitor.statistics.result import Estimate, Reason
from monitor.verdict import WindowResult

DEFAULT_BUDGET = 2_000


def within_budget(
    windows: list[WindowSeries], results: Iterable[WindowResult], budget: int
) -> tuple[list[Series], int]:
    """The series kept and the number dropped: whole windows newest first, then the worst columns in all of them."""
    kept: list[Series] = []
    shown: list[WindowSeries] = []
    for window in windows:
        # One more is kept free for each window, to say that it was cut.
        if not shown or len(kept) + len(window.series) + len(shown) + 1 <= budget:
            kept += window.series
            shown.append(window)
    room = budget - len(kept) - len(shown)
    chosen: set[str] = set()
    for column in _worst_first(results):
        cost = sum(len(window.columns.get(column, ())) for window in shown)
        if cost > room:
            break
        room -= cost
        chosen.add(column)
    total = sum(len(window.series) + sum(map(len, window.columns.values())) for window in windows)
    for window in shown:
        for column in window.columns.keys() & chosen:
            kept += window.columns[column]
    dropped = total - len(kept)
    for window in shown:
        if window.columns.keys() - chosen:
            kept.append(absent(window.labels, "", "columns", Reason.BUDGET))
    return kept, dropped


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
