"""The command line of the demo: options, signals, what is printed, the exit code.

What lives here: the shell around `demo.loop`. What must not: any step of the loop. Heavy packages are imported once the
options are known to be good and the packages to be there.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from demo.preflight import check, check_packages, only_run
from demo.settings import DemoSettings
from monitor.errors import TrueupError

if TYPE_CHECKING:
    from demo.loop import Running
    from demo.view import View

DIFFERS = 1
FAULT = 2
# A pipe or a file has no width; the tables want this much.
_PIPE_COLUMNS = 100

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the three phases.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the summary, the picture and the run.")] = Path("demo-output"),
    port: Annotated[int, typer.Option(help="Of TorchServe; 0 takes any free one.", min=0, max=65_535)] = 0,
    monitor_port: Annotated[int, typer.Option(help="Of the monitor; 0 takes any free one.", min=0, max=65_535)] = 0,
    phase_seconds: Annotated[int, typer.Option(help="Length of a phase.")] = 30,
    epochs: Annotated[int, typer.Option(help="Of the fine-tuning.", min=1)] = 15,
    image_size: Annotated[int, typer.Option(help="Side of the network's input; less is faster.", min=32)] = 96,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on standard output.")] = False,
) -> None:
    """The whole loop on real images, in real processes: drift, labels that come late, damage, recovery.

    Exit code 0 if every number of /metrics agrees with the one computed independently, 1 if not, 2 if a part of the
    loop failed. Ctrl-C ends it and everything it started.
    """
    console = _console(error=as_json)
    try:
        check_packages()
        settings = DemoSettings(
            folder=out,
            once=once,
            port=port,
            monitor_port=monitor_port,
            phase_seconds=phase_seconds,
            epochs=epochs,
            image_size=image_size,
        )
        check(settings)
        code = _run(settings, console, as_json=as_json)
    except TrueupError as error:
        Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"error: {error}")
        raise typer.Exit(FAULT) from error
    raise typer.Exit(code)


def main() -> None:
    """Entry point of `python -m demo`."""
    app(prog_name="trueup demo")


def _run(settings: DemoSettings, console: Console, *, as_json: bool) -> int:
    from demo.processes import Interrupted, Processes, interrupt_once

    started = time.monotonic()
    processes = Processes(settings.run_folder / "logs")

    def after_round(running: Running) -> None:
        _write(running, time.monotonic() - started)

    interrupt_once()
    try:
        with only_run(settings.folder):
            from demo.loop import run

            try:
                with processes:
                    running = run(settings, processes, say=console.print, view=_view(console), after_round=after_round)
            finally:
                # Again, for an interrupt that came while the first attempt began.
                processes.end()
            return _outcome(running, console, time.monotonic() - started, as_json=as_json)
    except Interrupted as interrupt:
        console.print(f"stopped by {interrupt}; everything that was started has ended")
        return 128 + interrupt.number


def _console(*, error: bool) -> Console:
    console = Console(stderr=error, highlight=False)
    if not console.is_terminal:
        console.width = _PIPE_COLUMNS
    return console


def _view(console: Console) -> Any:
    from demo.view import LiveView, PlainView

    def make(running: Running) -> View:
        for name, address in running.links.items():
            console.print(f"  {name}: {address}", soft_wrap=True)
        if console.is_terminal:
            return LiveView(console, running.links)
        return PlainView(lambda text: console.print(text, soft_wrap=True, markup=False))

    return make


def _write(running: Running, seconds: float) -> tuple[dict[str, Any], list[Path]]:
    """The summary, and the files that were written."""
    from demo.outcome import summary, write_summary
    from demo.picture import draw

    story, folder = running.story, running.story.settings.folder
    content = summary(story, running.versions, seconds)
    written = [write_summary(folder, content)]
    for name, history in story.histories.items():
        picture = "phases.png" if len(story.histories) == 1 else f"phases-{name}.png"
        written.append(draw(story, history, folder / picture))
    return content, written


def _outcome(running: Running, console: Console, seconds: float, *, as_json: bool) -> int:
    from demo.outcome import differing, table

    comparisons = running.story.comparisons
    for comparison in comparisons:
        console.print(table(comparison))
    content, written = _write(running, seconds)
    for path in written:
        console.print(f"wrote {path}", soft_wrap=True)
    for text in differing(comparisons):
        console.print(text, style="bold red", soft_wrap=True, markup=False)
    console.print(f"{seconds:.0f} s in all")
    if as_json:
        sys.stdout.write(json.dumps(content) + "\n")
    return 0 if content["agrees"] else DIFFERS
