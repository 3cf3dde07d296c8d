"""`trueup config check|show|schema`: the configuration without a daemon.

What lives here: options and output. What must not: what a key means.
"""

from __future__ import annotations

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, load, print_json, print_table
from monitor.windows import format_duration

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Check, show or describe the configuration.")


@app.command()
def check(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Read the configuration as the daemon would; every fault is listed with its line, exit code 2."""
    from monitor.references import ReferenceStore

    settings = load(config)
    rows, problems = [], {}
    for model in settings.models:
        references = ReferenceStore(model)
        references.refresh()
        problems[model.name] = list(references.problems.values())
        known = ", ".join(references.versions()) or ("one for all versions" if references.any() else "none")
        windows = ", ".join(format_duration(window) for window in model.windows.window_seconds)
        checks = ", ".join(check.metric for check in (*model.checks.values, *model.checks.columns))
        rows.append((model.name, known, windows, checks, str(model.false_alarms), "; ".join(problems[model.name])))
    if as_json:
        print_json({"config": str(config), "models": [model.name for model in settings.models], "problems": problems})
        return
    print_table(f"{config} is good", ("model", "references", "windows", "checks", "false alarms", "problems"), rows)


@app.command()
def show(config: Config = DEFAULT_CONFIG) -> None:
    """Print the configuration in force, defaults and absolute paths included; no secrets."""
    from monitor.config import show as text

    typer.echo(text(load(config)), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    from monitor.config import json_schema

    print_json(json_schema())
