"""The command `trueup`: which commands there are, and how an error looks.

What lives here: the table of commands, loaded one by one so that `--help` answers at once, and the exit codes. What
must not: options and work of any command (those are in `monitor.commands`).

Exit codes: 0 done, 1 done and the answer is no (a failed check, a drifted column where that was asked), 2 it could not
be done, 130 interrupted.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from monitor.errors import TrueupError

REFUSED = 2
INTERRUPTED = 130
# New objects after which Python looks for cycles among them. Importing makes hundreds of thousands that stay: at its
# own 700 that search is a tenth of the time of a short command.
_GARBAGE_AFTER = 10_000


@dataclass(frozen=True)
class Entry:
    """Where a command lives (`module`, its Typer called `app`, or `module:name`), its section of the help, its line."""

    place: str
    section: str
    help: str


_LOOP, _DATA, _LOOK, _SETUP = "The loop", "Records", "Looking", "Setting up"

COMMANDS: Mapping[str, Entry] = {
    "demo": Entry("monitor.commands.programs:demo", _LOOP, "The whole loop on real images, from training to recovery."),
    "finetune": Entry(
        "monitor.commands.programs:finetune", _LOOP, "Fine-tune a pretrained network on labelled images."
    ),
    "archive": Entry("monitor.commands.programs:archive", _LOOP, "Make a TorchServe model archive from a bundle."),
    "serve": Entry(
        "monitor.commands.programs:serve", _LOOP, "Serve model archives with TorchServe, every prediction captured."
    ),
    "monitor": Entry("monitor.commands.monitor", _LOOP, "The daemon: ingest, evaluate, answer /metrics."),
    "predictions": Entry("monitor.commands.adding:predictions", _DATA, "Add predictions from a file."),
    "labels": Entry("monitor.commands.adding:labels", _DATA, "Add ground truth from a file."),
    "deadletters": Entry("monitor.commands.deadletters", _DATA, "Records that could not be taken: list, feed again."),
    "forget": Entry("monitor.commands.forget", _DATA, "Remove predictions and their labels for good."),
    "compare": Entry("monitor.commands.compare", _LOOK, "Two files: what moved, column by column, worst first."),
    "reference": Entry("monitor.commands.reference", _DATA, "Build a reference from a file of rows."),
    "evaluate": Entry("monitor.commands.evaluate", _LOOK, "One evaluation now, without a daemon."),
    "history": Entry("monitor.commands.history", _LOOK, "Every revision of the windows that were published."),
    "replay": Entry(
        "monitor.commands.replay", _LOOK, "Evaluate the past as if in time, out of the log or out of files."
    ),
    "status": Entry("monitor.commands.status", _LOOK, "What a running daemon says of its models."),
    "alarms": Entry("monitor.commands.alarms", _LOOK, "Where every alarm stands, and its share of the budget."),
    "doctor": Entry(
        "monitor.commands.doctor", _SETUP, "Whether the configuration fits the traffic, and what it costs."
    ),
    "reload": Entry("monitor.commands.reload", _SETUP, "Have the running daemon read its configuration again."),
    "config": Entry("monitor.commands.config", _SETUP, "Check, show or describe the configuration."),
    "dashboards": Entry(
        "monitor.commands.exporting:dashboards", _SETUP, "Write the Grafana dashboards and their provisioning."
    ),
    "rules": Entry("monitor.commands.exporting:rules", _SETUP, "Write the Prometheus alert rules."),
}


class _LazyGroup(TyperGroup):
    """Commands of the table; the module of one is imported when it is called, not to list it."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  # the group's interface
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002  # the same
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry.place.partition(":")
        command = typer.main.get_command(getattr(importlib.import_module(module), attribute or "app"))
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # the same
        from rich.console import Console
        from rich.table import Table

        console = Console(highlight=False)
        console.print("[bold]trueup[/] trues predictions up against the truth that arrives later.\n")
        console.print("Usage: trueup [OPTIONS] COMMAND [ARGS]...\n", markup=False)
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            table = Table(title=section, title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
            table.add_column(min_width=12, style="cyan", no_wrap=True)
            table.add_column()
            for name, entry in COMMANDS.items():
                if entry.section == section:
                    table.add_row(name, entry.help)
            console.print(table)
            console.print()
        console.print("Options: --version, --help. Every command has its own --help.")


app = typer.Typer(cls=_LazyGroup, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        from monitor.version import version

        typer.echo(version())
        raise typer.Exit


@app.callback()
def _root(
    _version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Entry point of `trueup`; what the user can mend is one message and exit code 2."""
    gc.set_threshold(_GARBAGE_AFTER)
    try:
        app(prog_name="trueup")
    except TrueupError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(REFUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    finally:
        # The interpreter would search everything for cycles once more before all of it goes.
        gc.freeze()


if __name__ == "__main__":
    main()
