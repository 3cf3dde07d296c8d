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
_AXES = (("drift",), ("accuracy", "estimated"), ("loss",))


def draw(story: Story, history: History, path: Path) -> Path:
    """Write the picture of one model as PNG."""
    gauges = {gauge.key: gauge for gauge in history.gauges}
    rows = [[gauges[key] for key in keys if key in gauges] for keys in _AXES]
    rows = [row for row in rows if row]
    runs = [run for run in story.runs if run.comparisons][-3:]
    zero = runs[0].start
    figure = Figure(figsize=(9, 2.2 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), 1, sharex=True)
    for axis, row in zip(axes, rows, strict=True):
        _shade(axis, runs, zero, named=axis is axes[0])
        for gauge in row:
            _line(axis, history, gauge, zero)
        axis.set_ylim(bottom=0)
        axis.margins(x=0)
        axis.grid(axis="y", alpha=0.3)
        axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    _label_delay(axes[-1], story, runs, zero)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(0, history.points[-1].at - zero)
    figure.suptitle("Drift tells at once; realised performance when the labels have come", fontsize=11)
    figure.savefig(path, dpi=110)
    return path


def _shade(axis: Axes, runs: Sequence[PhaseRun], zero: float, *, named: bool) -> None:
    for run in runs:
        axis.axvspan(run.start - zero, run.end - zero, color=_SHADES[run.phase.name], lw=0)
        if named:
            middle = (run.start + run.end) / 2 - zero
            axis.text(middle, 1.02, run.phase.name, transform=axis.get_xaxis_transform(), ha="center", fontsize=9)


def _line(axis: Axes, history: History, gauge: Gauge, zero: float) -> None:
    points = [point for point in history.points if point.at >= zero]
    values = [float("nan") if (value := point.values[gauge.key]) is None else value for point in points]
    style = "--" if gauge.key == "estimated" else "-"
    times = [point.at - zero for point in points]
    axis.step(
        times, values, style, where="post", color=_LINES[gauge.key], lw=1.6, label=gauge.title.replace(", ", ",\n")
    )


def _label_delay(axis: Axes, story: Story, runs: Sequence[PhaseRun], zero: float) -> None:
    """An arrow from the first corrupted image to the first label of one."""
    for run in runs:
        if run.phase.corrupted:
            start, delay = run.start - zero, story.settings.label_delay_seconds
            place = axis.get_ylim()[1] * 0.82
            axis.annotate(
                "", (start + delay, place), (start, place), arrowprops={"arrowstyle": "->", "color": "#444444"}
            )
            axis.text(start + delay + 0.5, place, "first label", va="center", fontsize=8, color="#444444")
