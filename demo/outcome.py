"""What the demo leaves behind: a table for each phase, a summary in JSON, a picture.

What lives here: from comparisons and histories to text and files. What must not: computing any number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from demo.comparison import Comparison, Row
from demo.phases import Story

# Of the numbers of columns the table shows these; the summary has all of them.
_SHOWN_COLUMNS = ("prediction", "sharpness", "confidence")


def table(comparison: Comparison) -> Table:
    """One phase: every number of the whole, those of some columns, and the worst of the rest in one line."""
    title = f"{comparison.model}, {comparison.phase}"
    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    made.add_column("", overflow="fold")
    for name in ("/metrics", "independent", "difference", "allowed"):
        made.add_column(name, justify="right", no_wrap=True)
    made.add_column("", no_wrap=True)
    for row in (row for row in comparison.rows if _is_shown(row)):
        cells = [_number(row.said), _number(row.computed), _small(row.difference), _small(row.allowed)]
        made.add_row(_name(row), *cells, _mark(row.agrees))
    rest = [row for row in comparison.rows if not _is_shown(row)]
    if rest:
        agree = sum(row.agrees for row in rest)
        made.add_row(
            Text(f"{len(rest)} more, of other columns: {agree} agree", style="dim"),
            "",
            "",
            "",
            "",
            _mark(agree == len(rest)),
        )
    return made


def summary(story: Story, versions: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """Everything, for machines."""
    return {
        "agrees": all(comparison.agrees for comparison in story.comparisons),
        "seconds": round(seconds, 1),
        "models": dict(versions),
        "phases": [
            {
                "model": comparison.model,
                "phase": comparison.phase,
                "window": story.settings.phase_window,
                "window_end": comparison.window_end,
                "agrees": comparison.agrees,
                "numbers": [
                    {
                        "metric": row.metric,
                        **({"column": row.column} if row.column else {}),
                        "metrics": row.said,
                        "independent": row.computed,
                        "difference": row.difference,
                        "allowed": row.allowed,
                        "agrees": row.agrees,
                    }
                    for row in comparison.rows
                ],
            }
            for comparison in story.comparisons
        ],
        "history": {
            name: [
                {
                    "at": point.at,
                    "worst_column": point.worst,
                    "final_window_end": point.ends,
                    "alarms_firing": list(point.firing),
                    **point.values,
                }
                for point in history.points
            ]
            for name, history in story.histories.items()
        },
    }


def write_summary(folder: Path, content: Mapping[str, Any]) -> Path:
    """`summary.json` in the folder."""
    path = folder / "summary.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def differing(comparisons: Sequence[Comparison]) -> list[str]:
    """What does not agree, one line each."""
    return [
        f"{item.model}, {item.phase}: {_name(row)} is {row.said} in /metrics and {row.computed} computed independently "
        f"(allowed {row.allowed:.3g})"
        for item in comparisons
        for row in item.rows
        if not row.agrees
    ]


def _name(row: Row) -> str:
    return row.metric.removeprefix("trueup_") + (f"{{{row.column}}}" if row.column else "")


def _is_shown(row: Row) -> bool:
    return row.column is None or row.column in _SHOWN_COLUMNS or not row.agrees


def _number(value: float | None) -> str:
    if value is None:
        return "missing"
    return str(int(value)) if value == int(value) and abs(value) < 1e9 else f"{value:.7f}"


def _small(value: float | None) -> str:
    return "–" if value is None else ("0" if value == 0 else f"{value:.1e}")


def _mark(good: bool) -> Text:
    return Text("✓", style="green") if good else Text("✗ differs", style="bold red")
