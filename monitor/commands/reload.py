"""`trueup reload`: the running daemon reads its configuration again.

What lives here: checking the file first, finding the daemon, one signal. What must not: what a reload changes.
"""

from __future__ import annotations

import os
import signal

import typer

from monitor.commands.common import DEFAULT_CONFIG, Config, load
from monitor.errors import OperatorError

app = typer.Typer(add_completion=False)


@app.command()
def reload(config: Config = DEFAULT_CONFIG) -> None:
    """Check the configuration, then have the daemon on this machine that holds its state take it over.

    Models and tokens change at once; addresses, folders and intervals need a restart, and the daemon's log says so.
    """
    from monitor.state import holder_pid

    settings = load(config)
    process = holder_pid(settings.state_url)
    if process is None:
        raise OperatorError(
            "no daemon of this machine holds the state", where=settings.state_url, hint="Start it: trueup monitor"
        )
    os.kill(process, signal.SIGHUP)
    typer.echo(f"told process {process} to read {config} again")
