"""The demo in a terminal: a live view of the gauges, or plain lines where nobody watches.

What lives here: from the story so far to text. What must not: anything that changes the story.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from demo.comparison import Comparison
from demo.history import Gauge, History
from demo.phases import PhaseRun, Story
from demo.settings import PHASES

_BARS = "▁▂▃▄▅▆▇█"
_COLOURS: Mapping[str, str] = {"clean": "green", "corrupted": "red", "recovered": "cyan"}
# Of the table: titles, values, and what borders and padding take; the rest of the terminal is for the lines of bars.
_TITLE_COLUMNS, _VALUE_COLUMNS, _FRAME_COLUMNS = 34, 7, 11
_FEWEST_BARS, _MOST_BARS = 15, 60
_LINE_SECONDS = 5.0


class View(Protocol):
    """What shows the story while it happens."""

    def show(self, story: Story) -> None:
        """Called several times a second."""

    def close(self) -> None:
        """Leave the terminal as it was."""


@dataclass
class LiveView:
    """A table that redraws itself, for terminals."""

    console: Console
    links: Mapping[str, str]
    _live: Live | None = None

    def show(self, story: Story) -> None:
        """Draw what is known now."""
        if self._live is None:
            self._live = Live(console=self.console, refresh_per_second=4, transient=False)
            self._live.start()
        self._live.update(frame(story, self.links, self.console.width))

    def close(self) -> None:
        """Leave the last frame standing."""
        if self._live is not None:
            self._live.stop()


@dataclass
class PlainView:
    """A line every few seconds and at every turn, for logs and pipes."""

    say: Callable[[str], None]
    _said_at: float = 0.0
    _phase: int = -1
    _compared: int = 0
    _labelled: set[str] = field(default_factory=set)

    def show(self, story: Story) -> None:
        """Say what is new."""
        run, now = story.current, time.time()
        if run is not None and run.number != self._phase:
            self._phase = run.number
            self.say(f"--- phase {run.number + 1}: {run.phase.name}. {run.phase.story}")
        if run is not None and now - self._said_at >= _LINE_SECONDS:
            self._said_at = now
            for history in story.histories.values():
                self.say(f"{_clock(now)}  {line(story, run, history)}")
        for comparison in story.comparisons[self._compared :]:
            self.say(f"{_clock(now)}  {verdict(comparison)}")
        self._compared = len(story.comparisons)

    def close(self) -> None:
        """Nothing to leave."""


def line(story: Story, run: PhaseRun, history: History) -> str:
    """The state of one model in one line."""
    point = history.now
    if point is None:
        return "nothing scraped yet"
    parts = [run.phase.name.ljust(9), f"{len(run.traffic.answers[history.model]):4d} answered"]
    for gauge in history.gauges:
        value = point.values[gauge.key]
        worst = f" ({point.worst})" if gauge.key == "drift" and point.worst else ""
        parts.append(f"{gauge.short} {_shown(gauge, value)}{worst}")
    if point.firing:
        parts.append(f"ALARM {', '.join(point.firing)}")
    name = f"{history.model}: " if len(story.histories) > 1 else ""
    return name + "  ".join(parts)


def frame(story: Story, links: Mapping[str, str], width: int) -> RenderableType:
    """Everything that the live view shows, in a terminal of so many columns."""
    room = width - _TITLE_COLUMNS - _VALUE_COLUMNS - _FRAME_COLUMNS
    bars = max(_FEWEST_BARS, min(room, _MOST_BARS))
    parts: list[RenderableType] = [_heading(story)]
    parts += [_gauges(story, history, bars) for history in story.histories.values()]
    parts.append(Text(moral(story), style="italic"))
    parts += [Text(verdict(item), style="green" if item.agrees else "bold red") for item in story.comparisons[-3:]]
    parts += [Text(f"{name.ljust(10)} {address}", style="dim", no_wrap=True) for name, address in links.items()]
    return Panel(
        Group(*parts),
        title="trueup demo",
        border_style="dim",
        width=min(width, bars + _TITLE_COLUMNS + _VALUE_COLUMNS + _FRAME_COLUMNS),
    )


def moral(story: Story) -> str:
    """What the numbers mean at this moment, in a sentence or two."""
    run = story.current
    if run is None:
        return "Waiting for the first window to begin."
    elapsed, delay = time.time() - run.start, story.settings.label_delay_seconds
    short = story.settings.phase_seconds / 3
    if not run.phase.corrupted:
        first = run.number % len(PHASES) == 0
        return (
            "Labels come late: accuracy speaks of a window that is over."
            if first
            else "Drift goes with the last corrupted image; realised accuracy recovers with the labels of clean ones."
        )
    if elapsed < delay + short:
        return (
            "Drift and the estimated accuracy tell at once. The labels of these images are still missing: "
            "realised accuracy still speaks of clean ones."
        )
    return "The labels have come: realised accuracy and cross-entropy show the damage."


def verdict(comparison: Comparison) -> str:
    """How a comparison came out, in a line."""
    bad = [row for row in comparison.rows if not row.agrees]
    what = f"{comparison.model}, {comparison.phase}: "
    if bad:
        return what + f"{len(bad)} of {len(comparison.rows)} numbers DIFFER from the independent ones"
    return what + f"all {len(comparison.rows)} numbers of /metrics agree with the independent ones"


def spark(values: Sequence[float | None], low: float, high: float) -> str:
    """A line of bars from ▁ (low) to █ (high); a dot where there is no value."""
    span = (high - low) or 1.0
    return "".join(
        "·" if value is None else _BARS[min(int((value - low) / span * len(_BARS)), len(_BARS) - 1)] for value in values
    )


def _heading(story: Story) -> RenderableType:
    text = Text()
    run = story.current
    for place, phase in enumerate(PHASES):
        active = run is not None and run.number % len(PHASES) == place
        text.append(f" {phase.name} ", style=f"reverse {_COLOURS[phase.name]}" if active else _COLOURS[phase.name])
        text.append("  ")
    if run is not None:
        seconds = min(time.time() - run.start, story.settings.phase_seconds)
        text.append(f"{seconds:4.0f} s of {story.settings.phase_seconds} s   {run.traffic.answered} answers")
        text.append(f"\n{run.phase.story}", style="dim")
    return text


def _gauges(story: Story, history: History, bars: int) -> RenderableType:
    table = Table(box=None, padding=(0, 1), title=history.model, title_justify="left", title_style="bold")
    table.add_column("", width=_TITLE_COLUMNS, no_wrap=True)
    table.add_column(Text(f"last {bars * _step(story):.0f} s", style="dim"), width=bars)
    table.add_column(Text("now", style="dim"), width=_VALUE_COLUMNS, justify="right", no_wrap=True)
    point = history.now
    for gauge in history.gauges:
        note = _shown(gauge, point.values[gauge.key] if point else None)
        table.add_row(gauge.title, _coloured(story, history, gauge, bars), note)
    if point is not None:
        age = "–" if point.ends is None else f"{max(time.time() - point.ends, 0):.0f} s ago"
        table.add_row("worst column", Text(point.worst or "–", style="dim"), "")
        table.add_row("realised numbers: window ended", Text(age, style="dim"), "")
        firing = Text(", ".join(point.firing), style="bold red") if point.firing else Text("none", style="green")
        table.add_row("alarms (1 false one in 90 days)", firing, "")
    return table


def _step(story: Story) -> float:
    return story.settings.phase_seconds / 15


def _coloured(story: Story, history: History, gauge: Gauge, columns: int) -> Text:
    step = _step(story)
    last = history.points[-1].at if history.points else 0.0
    cells: list[float | None] = []
    colours: list[str] = []
    for column in range(columns):
        end = last - (columns - 1 - column) * step
        inside = [point for point in history.points if end - step < point.at <= end]
        cells.append(inside[-1].values[gauge.key] if inside else None)
        colours.append(_colour_at(story, end))
    known = [value for value in cells if value is not None]
    low, high = (min(0.0, *known), max(known)) if known else (0.0, 1.0)
    bars = spark(cells, low if gauge.key in ("drift", "loss") else min(known, default=0.0) - 0.05, high)
    text = Text()
    for bar, colour in zip(bars, colours, strict=True):
        text.append(bar, style=colour)
    return text


def _colour_at(story: Story, moment: float) -> str:
    for run in story.runs:
        if run.start <= moment < run.end:
            return _COLOURS[run.phase.name]
    return "dim"


def _shown(gauge: Gauge, value: float | None) -> str:
    return "–" if value is None else gauge.form.format(value)


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
