"""Commands that are programs of their own: fine-tuning, serving and the demo run outside the monitor's process.

What lives here: handing the command line over, and what is missing where it cannot be. What must not: imports of those
programs; the monitor's own install has no torch.
"""

from __future__ import annotations

import importlib.util
import os
import sys

import typer

from monitor.errors import OperatorError

_ANY = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def hand_over(command: str, module: str, arguments: list[str], needs: tuple[str, ...], extra: str) -> None:
    """Become `python -m module arguments`; raises OperatorError where a package in `needs` is not installed."""
    missing = [name for name in needs if importlib.util.find_spec(name) is None]
    if missing:
        raise OperatorError(
            f"trueup {command} needs {', '.join(missing)}", hint=f"Install them: pip install 'trueup[{extra}]'"
        )
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def _program(command: str, module: str, first: tuple[str, ...], needs: tuple[str, ...], extra: str) -> typer.Typer:
    made = typer.Typer(add_completion=False)

    @made.command(context_settings=_ANY)
    def run(context: typer.Context) -> None:
        hand_over(command, module, [*first, *context.args], needs, extra)

    return made


finetune = _program("finetune", "finetune", (), ("torch", "torchvision", "safetensors"), "finetune")
archive = _program("archive", "serving.torchserve", ("archive",), ("torch", "model_archiver"), "torchserve")
serve = _program("serve", "serving.torchserve", ("serve",), ("torch", "ts"), "torchserve")
demo = _program("demo", "demo", (), ("torch", "ts", "matplotlib", "skimage"), "demo")
