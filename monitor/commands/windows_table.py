"""Windows as a table for people.

What lives here: the choice of what one line says of a window. What must not: values that are not in the result.
"""

from __future__ import annotations

from collections.abc import Iterable

from monitor.commands.common import print_table
from monitor.statistics.result import Absent, Estimate, Result
from monitor.statistics.segments import worst_text
from monitor.verdict import SEVERITY, WindowResult
from monitor.window_codec import iso

_PERFORMANCE = ("accuracy", "cross_entropy", "root_mean_squared_error", "mean_absolute_error")
_DRIFT = "population_stability_index"


def print_windows(title: str, windows: Iterable[WindowResult]) -> None:
    """One line for each window: what it covers, how much truth it has, its numbers, its worst verdict."""
    lines = list(windows)
    used = [name for name in _PERFORMANCE if any(name in line.values for line in lines)]
    by_segment = ("worst segment",) if any(line.segments for line in lines) else ()
    columns = (
        "model",
        "version",
        "window",
        "end",
        "maturity",
        "predictions",
        "labels",
        *used,
        "most drifted",
        *by_segment,
        "verdict",
    )
    print_table(title, columns, [_row(line, used, bool(by_segment)) for line in lines])


def _row(window: WindowResult, used: list[str], by_segment: bool) -> list[object]:
    maturity = f"final, revision {window.revision}" if window.maturity == "final" else window.maturity
    values = [_value(window.values.get(name)) for name in used]
    place = [window.model, window.version, window.window.name, iso(window.window.end), maturity]
    worst = [worst_text(window.segments) or ""] if by_segment else []
    return [*place, window.predictions, window.labels, *values, _most_drifted(window), *worst, _verdict(window)]


def _value(result: Result | None) -> str:
    if isinstance(result, Estimate):
        bounds = "" if result.lower is None or result.upper is None else f" [{result.lower:.4g}, {result.upper:.4g}]"
        return f"{result.value:.4g}{bounds}"
    return str(result.reason).replace("_", " ") if isinstance(result, Absent) else ""


def _most_drifted(window: WindowResult) -> str:
    values = {
        column: result.value
        for column, results in window.columns.items()
        if isinstance(result := results.get(_DRIFT), Estimate)
    }
    if not values:
        return ""
    column = max(values, key=lambda name: values[name])
    return f"{column} PSI {values[column]:.3g}"


def _verdict(window: WindowResult) -> str:
    if not window.verdicts:
        return ""
    check, verdict = max(window.verdicts.items(), key=lambda item: SEVERITY[item[1].state])
    return verdict.state if verdict.state in ("ok", "insufficient") else f"{verdict.state}: {check}"
