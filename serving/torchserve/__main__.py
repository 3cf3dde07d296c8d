"""`python -m serving.torchserve archive|serve`: what `trueup archive` and `trueup serve` run.

What lives here: options, signals, words for the terminal. What must not: anything a test would want to call.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import typer

from monitor.errors import TrueupError
from serving.capture_config import PACKED_NAME, read_capture_config
from serving.torchserve.archive import archive_bundle
from serving.torchserve.server import TorchServe
from serving.torchserve.settings import ServerSettings

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_CHECK_SECONDS = 1.0

Segments = Annotated[
    list[str] | None,
    typer.Option("--segment", metavar="NAME=HEADER", help="Log this HTTP header as a segment. May be repeated."),
]
Sample = Annotated[float | None, typer.Option(help="Fraction of predictions to log, chosen by their id.")]
CaptureFile = Annotated[
    Path | None, typer.Option("--capture", help=f"JSON file with capture settings, as {PACKED_NAME}.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Say what was done as JSON.")]


@app.command()
def archive(
    bundle: Annotated[Path, typer.Option(help="A bundle, or a folder of which the newest version is taken.")],
    out: Annotated[Path, typer.Option(help="The model store to write <name>.mar into.")] = Path("model-store"),
    capture: CaptureFile = None,
    segment: Segments = None,
    sample: Sample = None,
    as_json: AsJson = False,
) -> None:
    """Make a TorchServe model archive from a bundle."""
    made = archive_bundle(bundle, out, _capture(capture, segment, sample))
    _say({"archive": str(made)}, f"wrote {made}", as_json)


@app.command()
def serve(
    model_store: Annotated[Path, typer.Option(help="Folder with the .mar files.")] = Path("model-store"),
    models: Annotated[
        list[str] | None, typer.Option(metavar="NAME=FILE", help="What to serve; without it all. May be repeated.")
    ] = None,
    port: Annotated[int, typer.Option(help="Predictions; 0 takes any free port.")] = 8080,
    management_port: Annotated[int, typer.Option(help="Management API.")] = 8081,
    metrics_port: Annotated[int, typer.Option(help="TorchServe's own /metrics.")] = 8082,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes per model.")] = 1,
    batch_size: Annotated[int, typer.Option(min=1, help="Requests answered together at most.")] = 8,
    batch_delay_ms: Annotated[int, typer.Option(min=0, help="Longest wait for a batch to fill.")] = 10,
    spool: Annotated[Path | None, typer.Option(help="Where predictions are logged (also TRUEUP_SPOOL).")] = None,
    capture: CaptureFile = None,
    segment: Segments = None,
    sample: Sample = None,
    work_dir: Annotated[Path | None, typer.Option(help="Keep logs, configuration and keys here.")] = None,
    start_timeout: Annotated[float, typer.Option(help="Seconds to wait for the workers.")] = 120.0,
    model_api: Annotated[bool, typer.Option(help="Let the management API register models.")] = False,
    as_json: AsJson = False,
) -> None:
    """Serve model archives with TorchServe until Ctrl-C or SIGTERM."""
    settings = ServerSettings(
        model_store=model_store,
        models=_pairs(models, "--models", "NAME=FILE"),
        port=port,
        management_port=management_port,
        metrics_port=metrics_port,
        workers=workers,
        batch_size=batch_size,
        batch_delay_ms=batch_delay_ms,
        start_timeout_seconds=start_timeout,
        model_api=model_api,
        spool=spool,
        capture=_capture(capture, segment, sample),
        work_dir=work_dir,
    )
    _serve_until_stopped(TorchServe(settings), as_json)


def _serve_until_stopped(server: TorchServe, as_json: bool) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        server.start()
        _say(_facts(server), _sentence(server), as_json)
        deaths = 0
        while not threading.Event().wait(_CHECK_SECONDS):
            server.check()
            if server.worker_deaths() > deaths:
                deaths = server.worker_deaths()
                typer.echo(f"a worker died and is started again: {server.worker_failure()}", err=True)
    except KeyboardInterrupt:
        pass
    finally:
        # A second Ctrl-C must not leave half of it running.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        server.stop()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _facts(server: TorchServe) -> dict[str, Any]:
    return {
        "models": {archive.name: archive.version for archive in server.archives},
        "predictions": server.address,
        "management": server.management_address,
        "metrics": server.metrics_address,
        "key_file": str(server.key_file),
        "pid": server.pid,
    }


def _sentence(server: TorchServe) -> str:
    served = ", ".join(f"{archive.name} {archive.version}" for archive in server.archives)
    return (
        f"serving {served} at {server.address}/predictions/<model>\n"
        f"metrics at {server.metrics_address}, bearer keys in {server.key_file}"
    )


def _capture(file: Path | None, segments: list[str] | None, sample: float | None) -> dict[str, Any] | None:
    content = read_capture_config(file) if file is not None else {}
    if segments:
        content["segments"] = _pairs(segments, "--segment", "NAME=HEADER")
    if sample is not None:
        content["sample"] = sample
    return content or None


def _pairs(texts: list[str] | None, option: str, form: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        name, separator, value = text.partition("=")
        if not (name and separator and value):
            raise typer.BadParameter(f"{text!r} is not {form}", param_hint=option)
        pairs[name] = value
    return pairs


def _say(facts: dict[str, Any], sentence: str, as_json: bool) -> None:
    typer.echo(json.dumps(facts) if as_json else sentence)
    sys.stdout.flush()


def main() -> None:
    """Run the command line; errors of ours are one line and exit code 1."""
    try:
        app()
    except TrueupError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
