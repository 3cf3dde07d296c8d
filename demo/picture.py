"""The three phases as a picture: drift at once, realised performance when the labels have come.

What lives here: matplotlib. What must not: numbers that are not in the story.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from demo.history import Gauge, History
from demo.phases import PhaseRun, Story

_SHADES = {"clean": "#e8f3ea", "corrupted": "#fbe5e3", "recovered": "#e6eff8"}
_LINES = {"drift": "#b3402a", "estimated": "#8a8a8a", "accuracy": "#1f5fa8", "loss": "#6b3fa0"}
_DARK = "#333333"
_AXES = (("drift",), ("accuracy", "estimated"), ("loss",))
# Which check's alarm is drawn where.
_ALARMS = {"population_stability_index": "drift", "accuracy": "accuracy", "mean_squared_error": "loss"}


def draw(story: Story, history: History, path: Path) -> Path:
    """Write the picture of one model as PNG."""
    gauges = {gauge.key: gauge for gauge in history.gauges}
    rows = [[gauges[key] for key in keys if key in gauges] for keys in _AXES]
    rows = [row for row in rows if row]
    runs = [run for run in story.runs if run.comparisons][-3:]
    zero = runs[0].start
    figure = Figure(figsize=(9, 2.1 * len(rows) + 0.7), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, row in zip(axes, rows, strict=True):
        _shade(axis, runs, zero, named=axis is axes[0])
        for gauge in row:
            _line(axis, history, gauge, zero)
        axis.set_ylim(0, axis.get_ylim()[1] * 1.08)
        axis.margins(x=0)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(loc="lower left" if len(row) > 1 else "upper left", frameon=False, fontsize=9, borderaxespad=0.3)
        axis.spines[["top", "right"]].set_visible(False)
        for check, key in _ALARMS.items():
            if key in {gauge.key for gauge in row}:
                _alarm(axis, history, check, zero)
    _label_delay(axes[-1], story, runs, zero)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, history.points[-1].at - zero)
    figure.suptitle("Drift shows at once; realised performance falls when the labels come", fontsize=11)
    figure.savefig(path, dpi=110)
    return path


def _shade(axis: Axes, runs: Sequence[PhaseRun], zero: float, *, named: bool) -> None:
    for run in runs:
        axis.axvspan(run.start - zero, run.end - zero, color=_SHADES[run.phase.name], lw=0)
        if named:
            middle = (run.start + run.end) / 2 - zero
            name = f"{run.phase.name} images" if run.phase.name != "recovered" else "clean images again"
            axis.text(middle, 1.02, name, transform=axis.get_xaxis_transform(), ha="center", fontsize=9)


def _line(axis: Axes, history: History, gauge: Gauge, zero: float) -> None:
    points = [point for point in history.points if point.at >= zero]
    values = [float("nan") if (value := point.values[gauge.key]) is None else value for point in points]
    style = "--" if gauge.key == "estimated" else "-"
    times = [point.at - zero for point in points]
    axis.step(times, values, style, where="post", color=_LINES[gauge.key], lw=1.8, label=gauge.title)


def _alarm(axis: Axes, history: History, check: str, zero: float) -> None:
    """A line along the top for as long as the alarm of a check fires."""
    firing = [point.at - zero for point in history.points if check in point.firing and point.at >= zero]
    if firing:
        place, across = 0.97, axis.get_xaxis_transform()
        axis.plot([firing[0], firing[-1]], [place, place], transform=across, color="#d00000", lw=3, clip_on=False)
        axis.text(firing[0], place - 0.03, "alarm", transform=across, color="#d00000", fontsize=8, va="top")


def _label_delay(axis: Axes, story: Story, runs: Sequence[PhaseRun], zero: float) -> None:
    """An arrow from the first corrupted image to the first label of one."""
    place, across = 0.55, axis.get_xaxis_transform()
    for run in runs:
        if run.phase.corrupted:
            start, end = run.start - zero, run.start - zero + story.settings.label_delay_seconds
            arrow = {"arrowstyle": "->", "color": _DARK}
            axis.annotate("", (end, place), (start, place), xycoords=across, textcoords=across, arrowprops=arrow)
            text = "first label of a\ncorrupted image"
            axis.text(end + 0.4, place, text, transform=across, va="center", fontsize=8, color=_DARK)
