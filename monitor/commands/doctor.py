"""`trueup doctor`: whether the configuration fits the traffic, and what it costs.

What lives here: options, progress and tables. What must not: judgement (that is `diagnosis`); nothing is changed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, Model, console, load, print_json, print_table, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from monitor.diagnosis import Diagnosis
    from monitor.settings import ModelSettings, MonitorSettings
    from monitor.state import State

app = typer.Typer(add_completion=False)

_FAILED = 1
_SQLITE = "sqlite:///"


@app.command()
def doctor(config: Config = DEFAULT_CONFIG, model: Model = None, as_json: AsJson = False) -> None:
    """Look at references, panes, log and configuration; exit code 1 where something is wrong. A daemon may run."""
    from monitor.pipeline import find_model
    from monitor.state import open_state

    settings = load(config)
    wanted = [find_model(settings, model)] if model else list(settings.models)
    name = settings.state_url.removeprefix(_SQLITE)
    there = not settings.state_url.startswith(_SQLITE) or Path(name).exists()
    state = open_state(settings.state_url) if there else None
    try:
        found = [_diagnose(settings, item, state) for item in wanted]
    finally:
        if state is not None:
            state.close()
    if as_json:
        print_json({"models": [asdict(item) for item in found]})
    else:
        for item in found:
            _print(item)
    if any(finding.level == "problem" for item in found for finding in item.findings):
        raise typer.Exit(_FAILED)


def _diagnose(settings: MonitorSettings, model: ModelSettings, state: State | None) -> Diagnosis:
    from rich.progress import Progress

    from monitor.diagnosis import Finding, diagnose
    from monitor.log.tables import ModelLog
    from monitor.references import ReferenceStore
    from monitor.segment_values import with_learnt_values

    model = with_learnt_values(model, state) if state is not None else model
    references = ReferenceStore(model)
    references.refresh()
    version = _newest_version(model, state)
    reference = references.get(version) if version is not None else references.any()
    log = ModelLog(settings.log_url, model.name)
    with Progress(console=console(error=True), transient=True) as progress:
        task = progress.add_task(f"panes of {model.name}", total=None)

        def tell(done: int, of: int) -> None:
            progress.update(task, completed=done, total=of)

        told: Callable[[int, int], None] = tell
        found = diagnose(model, reference, version, log, state, settings.retention_seconds, told)
    broken = tuple(Finding("reference", "problem", problem) for problem in references.problems.values())
    return type(found)(**{**vars(found), "findings": (*broken, *found.findings)})


def _newest_version(model: ModelSettings, state: State | None) -> str | None:
    """The version that answered last; None before the first evaluation."""
    if state is None:
        return None
    with state.transaction(write=False) as transaction:
        newest = {version: transaction.newest_pane(model.name, version) for version in transaction.versions(model.name)}
    seen = {version: pane for version, pane in newest.items() if pane is not None}
    return max(seen, key=lambda version: seen[version]) if seen else None


def _print(found: Diagnosis) -> None:
    rows = [
        ("predictions per second", found.predictions_per_second),
        ("bytes per prediction", found.bytes_per_prediction),
        ("GB per month", found.gigabytes_per_month),
        ("series of one version", found.series),
        ("series left out", found.series_dropped),
        ("panes looked at", found.panes),
        ("design effect", found.design_effect),
    ]
    print_table(f"{found.model}: figures", ("figure", "value"), [(name, shown(value)) for name, value in rows])
    out = console()
    for finding in found.findings:
        out.print(f"{finding.level}: {finding.topic}: {finding.text}")
        if finding.setting:
            out.print(f"    {finding.setting}")
