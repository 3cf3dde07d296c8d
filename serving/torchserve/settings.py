"""How TorchServe is to run, and the files that tell it so.

What lives here: settings with their defaults, ports, reading archives, `config.properties`. What must not: processes.
"""

from __future__ import annotations

import errno
import json
import socket
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.errors import OperatorError

LOOPBACK = "127.0.0.1"
# TorchServe's own default, 60 minutes, ends service after an hour; its file of keys is readable by its user only.
_TOKEN_MINUTES = 10 * 365 * 24 * 60
_LARGEST_REQUEST_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class ServerSettings:
    """Which archives of `model_store` to serve, and how.

    `models` maps names to archive files in the store; empty means every archive there. A port of 0 is any free one.
    TorchServe collects requests for at most `batch_delay_ms` or until it has `batch_size`. `model_api` lets the
    management API register models, which promotion needs. `spool` and `capture` override what the archives say is
    logged (see `serving.capture_config`). Without a `work_dir` logs and keys live in a temporary folder.
    """

    model_store: Path
    models: Mapping[str, str] = field(default_factory=dict)
    port: int = 8080
    management_port: int = 8081
    metrics_port: int = 8082
    workers: int = 1
    batch_size: int = 8
    batch_delay_ms: int = 10
    response_timeout_seconds: int = 60
    start_timeout_seconds: float = 120.0
    model_api: bool = False
    spool: Path | None = None
    capture: Mapping[str, Any] | None = None
    work_dir: Path | None = None


@dataclass(frozen=True)
class Ports:
    """The five ports of a TorchServe; the gRPC ones cannot be turned off, so they are any free ones of loopback."""

    inference: int
    management: int
    metrics: int
    grpc_inference: int
    grpc_management: int


@dataclass(frozen=True)
class Archive:
    """A model archive in the store: the name it is served by, its file, the version inside."""

    name: str
    file: str
    version: str


def find_archives(settings: ServerSettings) -> list[Archive]:
    """The archives to serve. Raises OperatorError where the store, an archive or its content is missing."""
    store = settings.model_store
    if not store.is_dir():
        raise OperatorError("no such model store", where=str(store), hint="Make one with `trueup archive`.")
    if settings.models:
        return [_archive(store, name, file) for name, file in settings.models.items()]
    found = sorted(path.name for path in store.glob("*.mar") if not path.name.startswith("."))
    if not found:
        raise OperatorError(
            "no model archive in the model store",
            where=str(store),
            expected="*.mar",
            hint="Make one with `trueup archive`.",
        )
    return [_archive(store, None, file) for file in found]


def choose_ports(settings: ServerSettings) -> Ports:
    """The ports asked for, and free ones where 0 is. Raises OperatorError naming the port that is in use."""
    wanted = {
        "--port": settings.port,
        "--management-port": settings.management_port,
        "--metrics-port": settings.metrics_port,
    }
    # All are held until the last is chosen, or one free port could be given out twice.
    with ExitStack() as held:
        chosen = [_hold(port, option, held) for option, port in wanted.items()]
        chosen += [_hold(0, "gRPC", held) for _ in range(2)]
    return Ports(*chosen)


def config_properties(settings: ServerSettings, ports: Ports, archives: Sequence[Archive], metrics_config: Path) -> str:
    """The text of TorchServe's `config.properties`: loopback, token on, no URLs, no model API unless asked."""
    models = {archive.name: {archive.version: _model_config(settings, archive)} for archive in archives}
    properties = {
        "inference_address": f"http://{LOOPBACK}:{ports.inference}",
        "management_address": f"http://{LOOPBACK}:{ports.management}",
        "metrics_address": f"http://{LOOPBACK}:{ports.metrics}",
        "grpc_inference_address": LOOPBACK,
        "grpc_management_address": LOOPBACK,
        "grpc_inference_port": ports.grpc_inference,
        "grpc_management_port": ports.grpc_management,
        "disable_token_authorization": "false",
        "token_expiration_min": _TOKEN_MINUTES,
        "enable_model_api": str(settings.model_api).lower(),
        # Archives come from the model store by name; this pattern matches no URL.
        "allowed_urls": "file:///$^",
        "install_py_dep_per_model": "false",
        "enable_envvars_config": "false",
        "metrics_mode": "prometheus",
        "metrics_config": metrics_config,
        # It would start another Python every minute to look at the machine, which a node exporter does better.
        "disable_system_metrics": "true",
        "max_request_size": _LARGEST_REQUEST_BYTES,
        "models": json.dumps(models),
    }
    # Property files read backslashes as escapes.
    return "".join(f"{key}={value}\n" for key, value in properties.items()).replace("\\", "\\\\")


def _model_config(settings: ServerSettings, archive: Archive) -> dict[str, Any]:
    return {
        "defaultVersion": True,
        "marName": archive.file,
        "minWorkers": settings.workers,
        "maxWorkers": settings.workers,
        "batchSize": settings.batch_size,
        "maxBatchDelay": settings.batch_delay_ms,
        "responseTimeout": settings.response_timeout_seconds,
    }


def _archive(store: Path, name: str | None, file: str) -> Archive:
    path = store / file
    if Path(file).name != file or not path.is_file():
        raise OperatorError(
            "no such model archive",
            where=str(path),
            expected="a .mar file in the model store",
            hint="Make it with `trueup archive --bundle ... --out ...`.",
        )
    try:
        with zipfile.ZipFile(path) as archive:
            model = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
            return Archive(name or model["modelName"], file, str(model["modelVersion"]))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
        raise OperatorError(
            "not a model archive",
            where=str(path),
            got=f"{type(error).__name__}: {error}",
            hint="Make it again with `trueup archive`.",
        ) from error


def _hold(port: int, option: str, held: ExitStack) -> int:
    listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    # As the server itself does, so that connections of a server just stopped are no obstacle.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
        listener.listen(1)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        raise OperatorError(
            f"port {port} is in use" if in_use else f"port {port} cannot be used",
            where=f"{LOOPBACK}:{port}",
            got=None if in_use else error.strerror,
            hint=f"Stop what listens there, or choose another port with {option} (0 takes any free one).",
        ) from error
    return int(listener.getsockname()[1])
