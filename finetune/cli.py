"""The command line of fine-tuning: options, signals, what is printed, the exit code.

What lives here: the shell around `finetune.pipeline`. What must not: any step of the run itself. torch is imported
only once the options are known to be good, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from finetune.bundle import load_bundle, version_folder
from finetune.progress import Terminal
from finetune.settings import FinetuneSettings, make_settings
from monitor.errors import TrueupError

FAULT = 2
INTERRUPTED = 130

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, show_default=False)


@app.command()
def run(
    config: Annotated[Path | None, _option("YAML file with any of these options; flags win.", "--config")] = None,
    data: Annotated[
        str | None, _option("Folder of class folders, CSV/Parquet manifest, digits or digits-rotation.")
    ] = None,
    out: Annotated[Path | None, _option("Folder of the model; the version becomes a folder in it.")] = None,
    name: Annotated[str | None, _option("Name of the model (default: last part of --out).")] = None,
    version: Annotated[str | None, _option("Version (default: the time in UTC).")] = None,
    task: Annotated[str | None, _option("classification or regression (default: what the data is).")] = None,
    classes: Annotated[
        str | None, _option("Class names in the order of the outputs, by commas (default: sorted).")
    ] = None,
    arch: Annotated[
        str | None, _option("efficientnet_lite0 or a torchvision model (default: efficientnet_lite0).")
    ] = None,
    weights: Annotated[
        str | None, _option("default, none, a torchvision weights name, or a file (default: default).")
    ] = None,
    image_size: Annotated[
        int | None, _option("Side S of the network's input (default: what the weights were made for).")
    ] = None,
    unfreeze: Annotated[int | None, _option("Train the last N blocks of the backbone too (default: 0).")] = None,
    augment: Annotated[
        bool | None, _option("Random crops and light; features are not reused then.", "--augment/--no-augment")
    ] = None,
    epochs: Annotated[int | None, _option("Most epochs (default: 10).")] = None,
    patience: Annotated[
        int | None, _option("Stop after so many epochs without a better validation loss (default: 5).")
    ] = None,
    batch_size: Annotated[int | None, _option("Images per step (default: 32).")] = None,
    learning_rate: Annotated[float | None, _option("Of the head (default: 0.003).")] = None,
    backbone_learning_rate: Annotated[float | None, _option("Of unfrozen blocks (default: 0.0001).")] = None,
    validation: Annotated[
        float | None, _option("Share that decides when to stop (default: 0.15; packaged sets 0.1).")
    ] = None,
    reference: Annotated[float | None, _option("Share that becomes the reference (default: 0.2).")] = None,
    holdout: Annotated[float | None, _option("Share that is never looked at (default: 0; packaged sets 0.25).")] = None,
    seed: Annotated[int | None, _option("Of splits, head and order (default: 0).")] = None,
    device: Annotated[str | None, _option("auto, cpu, cuda or cuda:N (default: auto).")] = None,
    skip_unreadable: Annotated[
        bool | None, _option("Leave unreadable images out.", "--skip-unreadable/--no-skip-unreadable")
    ] = None,
    as_json: Annotated[bool, _option("Print the manifest's main facts as JSON on standard output.", "--json")] = False,
) -> None:
    """Fine-tune a pretrained network on labelled images and write a bundle: programs, weights, reference, manifest.

    Ctrl-C keeps the best model so far and writes its bundle; a second one stops at once and writes nothing.
    """
    given = {key: value for key, value in locals().items() if value is not None and key not in ("config", "as_json")}
    if "classes" in given:
        given["classes"] = [part.strip() for part in given["classes"].split(",")]
    try:
        settings = make_settings(config, given)
        manifest, folder = _finetune(settings)
    except TrueupError as error:
        Console(stderr=True, soft_wrap=True, highlight=False).print(f"[bold red]error:[/] {_escaped(error)}")
        raise typer.Exit(FAULT) from error
    _show(manifest, folder, as_json=as_json)


def main() -> None:
    """Entry point of `python -m finetune`."""
    app(prog_name="trueup finetune")


def _finetune(settings: FinetuneSettings) -> tuple[dict[str, Any], Path]:
    # Threads that spin while they wait for each other are 10 to 25 times slower once another process wants the same
    # cores, and a retraining runs beside the model server. OpenMP reads this when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if settings.version is not None:
        version_folder(settings.out, settings.version)
    with Terminal() as terminal, _stop_on_interrupt(terminal):
        terminal.stage("loading torch")
        from finetune.pipeline import finetune
        from finetune.train import NothingLearned

        try:
            folder = finetune(settings, terminal)
        except NothingLearned:
            terminal.note("interrupted before the first epoch: there is no model to keep, nothing was written")
            raise typer.Exit(INTERRUPTED) from None
        manifest = dict(load_bundle(folder).manifest)
        if manifest["training"]["interrupted"]:
            best = manifest["training"]["best_epoch"]
            terminal.note(f"interrupted: the best model so far (epoch {best}) is kept")
        return manifest, folder


@contextmanager
def _stop_on_interrupt(terminal: Terminal) -> Iterator[None]:
    """The first SIGINT asks the run to finish with what it has; the second is a KeyboardInterrupt."""

    def ask(_signal: int, _frame: FrameType | None) -> None:
        terminal.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _show(manifest: dict[str, Any], folder: Path, *, as_json: bool) -> None:
    if as_json:
        facts = {key: manifest[key] for key in ("name", "version", "task", "classes", "data", "training", "metrics")}
        sys.stdout.write(json.dumps({"bundle": str(folder), **facts}) + "\n")
        return
    table = Table(title=f"{manifest['name']} {manifest['version']}", title_justify="left")
    table.add_column("")
    for name in manifest["metrics"]:
        table.add_column(name, justify="right")
    keys = [key for key in manifest["metrics"]["reference"] if key != "per_class"]
    for key in keys:
        values = [metrics[key] for metrics in manifest["metrics"].values()]
        table.add_row(key, *(str(value) if isinstance(value, int) else f"{value:.4f}" for value in values))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"bundle: {folder}", markup=False)


def _escaped(error: TrueupError) -> str:
    from rich.markup import escape

    return escape(str(error))
