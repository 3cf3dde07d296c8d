"""`trueup evaluate`: what a tick of the daemon does, once, here and now.

What lives here: the order of one round and its table. What must not: how anything is evaluated.
"""

from __future__ import annotations

import time

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, console, load, print_json
from monitor.commands.windows_table import print_windows
from monitor.errors import OperatorError

app = typer.Typer(add_completion=False)


@app.command()
def evaluate(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Ingest what the spools hold, evaluate every model once and show its latest windows.

    Refused while a daemon holds the state. A model that fails is reported and does not stop the others; exit code 2.
    """
    from monitor.pipeline import Pipeline
    from monitor.window_codec import window_record

    pipeline = Pipeline(load(config), clock=time.time)
    failures: dict[str, str] = {}
    shown = []
    try:
        progress = pipeline.ingest()
        for name, parts in pipeline.models.items():
            try:
                report = parts.cycle.run(pipeline.now())
            except Exception as error:  # one broken model must not stop the others
                failures[name] = str(error) or type(error).__name__
                continue
            shown += [*report.rolling, *report.final]
    finally:
        pipeline.close()
    if as_json:
        print_json({"windows": [window_record(result) for result in shown], "failures": failures})
    else:
        print_windows("latest windows", shown)
    for problem in progress.errors:
        console(error=True).print(problem)
    if failures:
        raise OperatorError("not evaluated: " + "; ".join(f"model {name}: {text}" for name, text in failures.items()))
