"""`trueup alarms`: where every alarm stands, what it rests on, and its share of the false-alarm budget.

What lives here: options, tables and text. What must not: any judgement; what the last cycle committed is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, Model, console, load, print_json, print_table, shown
from monitor.errors import OperatorError

app = typer.Typer(add_completion=False)

_COLUMNS = ("check", "version", "state", "effect", "evidence", "budget")
_SQLITE = "sqlite:///"


@app.command()
def alarms(config: Config = DEFAULT_CONFIG, model: Model = None, as_json: AsJson = False) -> None:
    """Show the alarms of all models (or one) as the last evaluation left them; a daemon may be running or not."""
    from monitor.alarms.overview import alarm_overview
    from monitor.pipeline import find_model
    from monitor.references import ReferenceStore
    from monitor.segment_values import with_learnt_values
    from monitor.state import open_state

    settings = load(config)
    wanted = [find_model(settings, model)] if model else list(settings.models)
    if settings.state_url.startswith(_SQLITE) and not Path(settings.state_url.removeprefix(_SQLITE)).exists():
        hint = "Start the daemon (trueup monitor), or evaluate once (trueup evaluate)."
        raise OperatorError("nothing was evaluated yet", where=settings.state_url, hint=hint)
    overviews = []
    state = open_state(settings.state_url)
    try:
        for item in wanted:
            item = with_learnt_values(item, state)  # noqa: PLW2901
            references = ReferenceStore(item)
            references.refresh()
            overviews.append(alarm_overview(item, references, state))
    finally:
        state.close()
    if as_json:
        print_json({"models": overviews})
        return
    for overview in overviews:
        _print(overview)


def _print(overview: Mapping[str, Any]) -> None:
    title = (
        f"{overview['model']}: at most {overview['false_alarms']} by chance; an observation is "
        f"{overview['observation']}, the effect is of windows of {overview['window']}"
    )
    print_table(title, _COLUMNS, [_row(alarm) for alarm in overview["alarms"]])
    out = console()
    out.print("Effect of what is tolerated, evidence of what is needed (nats), share of the budget (and used).")
    for alarm in overview["alarms"]:
        out.print(_line(alarm))
    for version, reasons in overview["unwatched"].items():
        for check, reason in reasons.items():
            out.print(f"{check} of version {version} has no alarm: {reason}.")
    out.print(overview["assumption"])


def _row(alarm: Mapping[str, Any]) -> list[object]:
    return [
        alarm["check"],
        alarm["version"],
        alarm["state"],
        f"{shown(alarm['effect'])} of {shown(alarm['tolerance'])}",
        f"{_nats(alarm['evidence_nats'])} of {_nats(alarm['evidence_threshold_nats'])}",
        f"{alarm['budget_share']:.0%} ({alarm['budget_used']:.1%})",
    ]


def _line(alarm: Mapping[str, Any]) -> str:
    since = f" since {alarm['since']}" if alarm["since"] else ""
    warned = alarm["early_warning_nats"]
    early = ""
    if warned is not None and warned >= alarm["evidence_threshold_nats"]:
        early = f" The early warning stands at {warned:.1f} nats; it decides nothing."
    risk = alarm["risk"]
    seen = ""
    if risk:
        interval = f"{risk['lower']:.1%} to {risk['upper']:.1%}"
        seen = f" Of {risk['n']:,} first labels: {risk['name']} {risk['value']:.1%} ({interval} at every look)."
    explained = f" {alarm['explanation']['text']}" if alarm["explanation"] else ""
    why = alarm["reason"].replace("_", " ")
    return f"{alarm['check']} of version {alarm['version']} is {alarm['state']}{since}: {why}.{early}{seen}{explained}"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
