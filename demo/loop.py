"""The whole loop, in order: fine-tune, archive, serve, monitor, three phases, outcome.

What lives here: the wiring, one straight function, and the command lines that a user would type. What must not: options
of the terminal, numbers.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from demo.history import CLASSIFICATION, REGRESSION, History
from demo.images import pictures
from demo.phases import Model, Story, tell
from demo.preflight import free_port
from demo.processes import Child, Processes, python
from demo.reference import reference_rows
from demo.settings import TASKS, UNLABELLED_EVERY, DemoSettings
from demo.view import View
from monitor.errors import OperatorError

_READY_SECONDS = 180.0
_POLL_SECONDS = 0.1
# Rows and labels below which a window is not judged: a tenth of what a service would ask for, for windows of seconds.
_FEWEST = 30


@dataclass(frozen=True)
class Running:
    """The loop while it runs: where its parts answer, and what it monitors."""

    story: Story
    versions: Mapping[str, str]
    monitor_url: str
    server_url: str
    links: Mapping[str, str]


def run(
    settings: DemoSettings,
    processes: Processes,
    *,
    say: Callable[[str], None],
    view: Callable[[Running], View],
    after_round: Callable[[Running], None],
) -> Running:
    """The whole loop; returns when the last phase was compared. Raises OperatorError where a part of it fails.

    `after_round` is called whenever three phases were compared.
    """
    with started(settings, processes, say=say) as (running, models, server):
        shown = view(running)
        try:
            tell(
                running.story,
                models,
                server,
                running.monitor_url,
                check=processes.check,
                show=shown.show,
                after_round=lambda _: after_round(running),
            )
        finally:
            shown.close()
    return running


@contextmanager
def started(
    settings: DemoSettings, processes: Processes, *, say: Callable[[str], None]
) -> Iterator[tuple[Running, list[Model], httpx.Client]]:
    """Models, TorchServe and the monitor, all ready; and a client of TorchServe with its key."""
    folder = settings.run_folder.resolve()
    _empty(folder)
    bundles = {name: _finetuned(name, settings, folder, processes, say) for name in settings.models}
    for name in settings.models:
        say(f"$ trueup archive --bundle models/{name} --out model-store")
        store = folder / "model-store"
        processes.run(
            "archive", python("serving.torchserve", "archive", "--bundle", folder / "models" / name, "--out", store)
        )
    server_child = _serve(settings, folder, processes, say)
    monitor_url, monitor_child = _monitor(settings, folder, processes, say)
    # While these two start: what the reference is made of, and the images.
    models = []
    for name, (bundle, manifest) in bundles.items():
        rows = reference_rows(name, bundle)
        clean, corrupted = (pictures(name, corrupted=flag, count=settings.images) for flag in (False, True))
        models.append(Model(name, manifest["version"], tuple(manifest["classes"]), rows, clean, corrupted))
    facts = _when_ready(lambda: _facts(server_child), processes, server_child)
    _when_ready(lambda: _is_ready(monitor_url), processes, monitor_child)
    key = json.loads(Path(facts["key_file"]).read_text("utf-8"))["inference"]["key"]
    histories = {
        model.name: History(model.name, CLASSIFICATION if model.classes else REGRESSION, settings) for model in models
    }
    links = {
        "monitor": f"{monitor_url}/",
        "metrics": f"{monitor_url}/metrics",
        "TorchServe": f"{facts['predictions']}/predictions/{settings.models[0]}",
    }
    versions = {model.name: model.version for model in models}
    running = Running(Story(settings, histories), versions, monitor_url, facts["predictions"], links)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=facts["predictions"], headers=headers, timeout=60.0) as server:
        yield running, models, server


def configuration(settings: DemoSettings, port: int) -> dict[str, Any]:
    """`trueup.yaml` of the demo: as a user would write it, but for seconds where they would have hours."""
    return {
        "http": {"listen": f"127.0.0.1:{port}"},
        "ingest": {"every": "0.5s"},
        # Numbers expire after three of these without an evaluation, which a busy machine would make of a second.
        "evaluate": {"every": "2s", "deadline": "1m"},
        "models": {name: _model_configuration(name, settings) for name in settings.models},
    }


def _model_configuration(name: str, settings: DemoSettings) -> dict[str, Any]:
    loss = {"warning": "+10%", "critical": "+25%"}
    performance = {
        "classification": {"accuracy": {"warning": "-5%", "critical": "-10%"}, "cross_entropy": loss},
        "regression": {"mean_squared_error": loss},
    }
    # With some hundred images a window chance alone brings the worst of the columns to an index of 0.2.
    drift = {"psi": {"warning": 0.5, "critical": 1.0}, "minimum_rows": _FEWEST}
    return {
        "bundle": f"models/{name}",
        "panes": "1s",
        "windows": [settings.short_window, settings.phase_window],
        "allowed_lateness": "1s",
        "idle_after": "3s",
        # A label that has not come after ten minutes does not come; one in twenty-five never does.
        "labels": {
            "horizon": "10m",
            "expected_coverage": 1 - 1 / UNLABELLED_EVERY,
            "final_at_coverage": 0.95,
            "minimum": _FEWEST,
        },
        "checks": {**performance[TASKS[name]], "drift": drift},
        "false_alarms": "1 per 90d",
        # The demo's traffic has no day and night: a short window is an observation of its own.
        "season": {"length": "off", "observe": settings.short_window},
    }


def _finetuned(
    name: str, settings: DemoSettings, folder: Path, processes: Processes, say: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    options = ["--epochs", str(settings.epochs), "--image-size", str(settings.image_size)]
    say(f"$ trueup finetune --data {name} --out models/{name} {' '.join(options)}")
    out = folder / "models" / name
    said = processes.run("finetune", python("finetune", "--data", name, "--out", out, *options, "--json"), show=True)
    manifest = json.loads(said)
    measures = manifest["metrics"]["reference"]
    shown = ", ".join(f"{key} {value:.4g}" for key, value in measures.items() if isinstance(value, int | float))
    say(f"  {name} {manifest['version']}: {shown} on the reference")
    return Path(manifest["bundle"]), manifest


def _serve(settings: DemoSettings, folder: Path, processes: Processes, say: Callable[[str], None]) -> Child:
    say("$ trueup serve --model-store model-store --spool trueup-data/spool")
    arguments = ["--model-store", folder / "model-store", "--spool", folder / "trueup-data" / "spool"]
    arguments += ["--work-dir", folder / "torchserve", "--port", str(settings.port)]
    return processes.start(
        "torchserve",
        python("serving.torchserve", "serve", *arguments, "--management-port", "0", "--metrics-port", "0", "--json"),
    )


def _monitor(
    settings: DemoSettings, folder: Path, processes: Processes, say: Callable[[str], None]
) -> tuple[str, Child]:
    say("$ trueup monitor --config trueup.yaml")
    port = settings.monitor_port or free_port()
    config = folder / "trueup.yaml"
    config.write_text(yaml.safe_dump(configuration(settings, port), sort_keys=False), encoding="utf-8")
    (folder / "trueup-data" / "spool").mkdir(parents=True, exist_ok=True)
    child = processes.start("monitor", python("monitor.cli", "monitor", "--config", config))
    return f"http://127.0.0.1:{port}", child


def _facts(child: Child) -> dict[str, Any] | None:
    """What `trueup serve --json` says once its workers answer."""
    for line in child.log.read_text("utf-8", "replace").splitlines():
        if line.startswith("{"):
            facts: dict[str, Any] = json.loads(line)
            return facts
    return None


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5.0).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _when_ready(ready: Callable[[], Any], processes: Processes, child: Child) -> Any:
    deadline = time.monotonic() + _READY_SECONDS
    while not (value := ready()):
        processes.check()
        if time.monotonic() > deadline:
            raise OperatorError(
                f"{child.name} was not ready after {_READY_SECONDS:g} s", where=str(child.log), got=child.last_words()
            )
        time.sleep(_POLL_SECONDS)
    return value


def _empty(folder: Path) -> None:
    """A fresh folder. What an earlier run left there goes: its log would be counted again."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
