"""`trueup monitor`: the daemon, until it is told to stop.

What lives here: signals and the exit code. What must not: anything the daemon does.
"""

from __future__ import annotations

import logging
import queue
import signal

import typer

from monitor.commands.common import DEFAULT_CONFIG, Config, load
from monitor.errors import TrueupError
from monitor.logs import log_event

app = typer.Typer(add_completion=False)


@app.command()
def monitor(config: Config = DEFAULT_CONFIG) -> None:
    """Ingest, evaluate and answer /metrics until SIGTERM or Ctrl-C; the cycle under way is finished, exit code 0.

    SIGHUP (or `trueup reload`) reads the configuration again.
    """
    from monitor.daemon import Daemon

    # It warns of every tick that finds the one before still at work: on a busy machine that is no event of its own.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    settings = load(config)
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: asked.put(number))
    daemon = Daemon(settings)
    daemon.start()
    typer.echo(f"trueup monitors {', '.join(model.name for model in settings.models)} at {daemon.url}/metrics")
    while asked.get() == signal.SIGHUP:
        try:
            daemon.reload(load(config))
        except TrueupError as error:  # the daemon goes on with what it has
            log_event("not reloaded", error=str(error))
    daemon.stop()
