"""`trueup monitor`: the daemon, until it is told to stop.

What lives here: signals and the exit code. What must not: anything the daemon does.
"""

from __future__ import annotations

import signal
import threading

import typer

from monitor.commands.common import DEFAULT_CONFIG, Config, load

app = typer.Typer(add_completion=False)


@app.command()
def monitor(config: Config = DEFAULT_CONFIG) -> None:
    """Ingest, evaluate and answer /metrics until SIGTERM or Ctrl-C; the cycle under way is finished, exit code 0."""
    from monitor.daemon import Daemon

    settings = load(config)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    daemon = Daemon(settings)
    daemon.start()
    typer.echo(f"trueup monitors {', '.join(model.name for model in settings.models)} at {daemon.url}/metrics")
    stopping.wait()
    daemon.stop()
