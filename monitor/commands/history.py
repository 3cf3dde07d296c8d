"""`trueup history`: the windows that were published, with every revision, out of the state.

What lives here: options and the table. What must not: evaluation; what the cycles committed is shown.
"""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, Model, load, print_json
from monitor.commands.windows_table import print_windows
from monitor.errors import OperatorError

app = typer.Typer(add_completion=False)


@app.command()
def history(
    config: Config = DEFAULT_CONFIG,
    model: Model = None,
    version: Annotated[str | None, typer.Option(help="Only this version of the model.")] = None,
    window: Annotated[str | None, typer.Option(help="Only windows of this length, such as 1d.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many of the newest revisions.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show every revision of every window of a model, oldest first; a daemon may be running or not."""
    from monitor.pipeline import find_model
    from monitor.state import open_state, sqlite_path
    from monitor.window_codec import decode_window, iso, window_record
    from monitor.windows import parse_duration

    settings = load(config)
    chosen = find_model(settings, model)
    seconds = None if window is None else parse_duration(window)
    path = sqlite_path(settings.state_url)
    if path is not None and not path.exists():
        hint = "Start the daemon (trueup monitor), or evaluate once (trueup evaluate)."
        raise OperatorError("nothing was evaluated yet", where=str(path), hint=hint)
    state = open_state(settings.state_url)
    try:
        with state.transaction(write=False) as transaction:
            stored = transaction.windows(chosen.name, version=version, seconds=seconds, newest=limit)
    finally:
        state.close()
    results = [decode_window(item.result) for item in stored]
    if as_json:
        records = [
            {**window_record(result), "evaluated_at": iso(item.evaluated_at)}
            for result, item in zip(results, stored, strict=True)
        ]
        print_json({"model": chosen.name, "windows": records})
    else:
        print_windows(f"published windows of {chosen.name}", results)
