"""Starting and stopping TorchServe so that nothing is open that need not be, and nothing is left behind.

What lives here: the process group, its folder, waiting until it answers. What must not: settings (`settings`), what
its logs mean (`logs`).

Java is started directly: TorchServe's launcher keeps one pid file per machine, so a second server could not run, and
does not tell why a start failed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil

from monitor.errors import OperatorError
from serving.capture_config import FILE_VARIABLE, SPOOL_VARIABLE, parse_capture_config
from serving.torchserve.java import bundled_java, find_java
from serving.torchserve.logs import (
    CONSOLE_LOG,
    MODEL_LOG,
    WORKER_LOG,
    log4j_config,
    server_failure,
    worker_failure,
    worker_restarts,
)
from serving.torchserve.management import ManagementClient
from serving.torchserve.metrics import metrics_config
from serving.torchserve.settings import LOOPBACK, ServerSettings, choose_ports, config_properties, find_archives

_POLL_SECONDS = 0.05
_LAST_WORDS_SECONDS = 0.3
_KEY_FILE = "key_file.json"
# The longest path of a Unix socket is 107 characters, and TorchServe adds "/.ts.sock.9000".
_LONGEST_SOCKET_FOLDER = 90
_OURS = ("TS_CONFIG_FILE", "JAVA_TOOL_OPTIONS", "LOG_LOCATION", "METRICS_LOCATION")


class TorchServe:
    """One TorchServe with its workers. `with TorchServe(settings) as server:` starts it and stops it.

    After `start` the addresses and keys are set. Nothing of it outlives `stop`, whatever happened in between.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._scratch: Path | None = None
        self.work_dir = settings.work_dir

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where predictions are asked for: POST `<address>/predictions/<model>`, `Authorization: Bearer <key>`."""
        return f"http://{LOOPBACK}:{self.ports.inference}"

    @property
    def management_address(self) -> str:
        """Base URL of the management API."""
        return f"http://{LOOPBACK}:{self.ports.management}"

    @property
    def metrics_address(self) -> str:
        """Where Prometheus scrapes TorchServe's own metrics."""
        return f"http://{LOOPBACK}:{self.ports.metrics}/metrics"

    @property
    def key_file(self) -> Path:
        """The file with the keys, mode 0600."""
        return self._folder() / _KEY_FILE

    @property
    def inference_key(self) -> str:
        """The bearer token for predictions."""
        return self._key("inference")

    @property
    def management_key(self) -> str:
        """The bearer token of the management API."""
        return self._key("management")

    @property
    def pid(self) -> int | None:
        """Process id of the running server, which is also its process group."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start, and return when every worker answers. Raises OperatorError that says why it does not."""
        settings = self.settings
        self.archives = find_archives(settings)
        java = find_java(os.environ, bundled_java())
        package = _torchserve_package()
        self.ports = choose_ports(settings)
        try:
            self._make_folders()
            self._write_files(package)
            self._launch(java, package)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def management(self) -> ManagementClient:
        """A client of the management API, to be closed by the caller."""
        return ManagementClient(self.management_address, self.management_key)

    def check(self) -> None:
        """Raise OperatorError if the server has ended."""
        if self._process is not None and self._process.poll() is not None:
            raise OperatorError(
                "TorchServe ended",
                where=f"exit code {self._process.returncode}",
                got=server_failure(self._lines(CONSOLE_LOG)),
                hint=self._log_hint(),
            )

    def worker_deaths(self) -> int:
        """How often a worker has died since the start; TorchServe starts a new one by itself."""
        return worker_restarts(self._lines(WORKER_LOG))

    def worker_failure(self) -> str | None:
        """Why the first worker died."""
        return worker_failure(self._lines(MODEL_LOG))

    def stop(self, deadline_seconds: float = 8.0) -> None:
        """End server and workers, and remove what is temporary. May be called at any time, and again.

        Workers get SIGTERM and time to write what they have to log; then the whole process group is killed, since the
        server itself has nothing to save and would take seconds to say so.
        """
        process, self._process = self._process, None
        if process is not None:
            _end_group(process, deadline_seconds)
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None
        if self.work_dir is not None:
            (self.work_dir / _KEY_FILE).unlink(missing_ok=True)

    def _make_folders(self) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="trueup-"))
        if len(str(self._scratch)) > _LONGEST_SOCKET_FOLDER:
            self._scratch.rmdir()
            self._scratch = Path(tempfile.mkdtemp(prefix="trueup-", dir="/tmp"))
        self.work_dir = (self.settings.work_dir or self._scratch / "work").resolve()
        self.work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (_KEY_FILE, CONSOLE_LOG, MODEL_LOG, WORKER_LOG):
            (self.work_dir / name).unlink(missing_ok=True)

    def _write_files(self, package: Path) -> None:
        folder, settings = self._folder(), self.settings
        metrics = folder / "metrics.yaml"
        metrics.write_text(metrics_config(package / "configs" / "metrics.yaml"), encoding="utf-8")
        properties = config_properties(settings, self.ports, self.archives, metrics)
        (folder / "config.properties").write_text(properties, encoding="utf-8")
        # Relative: the server runs in this folder, and a user's path may hold characters that XML does not take.
        (folder / "log4j2.xml").write_text(log4j_config("."), encoding="utf-8")
        if settings.capture is not None:
            parse_capture_config(settings.capture, "capture settings of the server")
            (folder / "capture.json").write_text(json.dumps(dict(settings.capture)), encoding="utf-8")

    def _launch(self, java: Path, package: Path) -> None:
        folder, scratch = self._folder(), self._scratch
        command = [str(java), f"-Dmodel_server_home={package.parent}", f"-Djava.io.tmpdir={scratch}"]
        command += [f"-Dlog4j2.configurationFile={(folder / 'log4j2.xml').as_uri()}"]
        command += ["-cp", str(package / "frontend" / "*"), "org.pytorch.serve.ModelServer"]
        command += ["--python", sys.executable, "-f", str(folder / "config.properties"), "-ncs"]
        command += ["-s", str(self.settings.model_store.resolve())]
        command += ["-m", *(f"{archive.name}={archive.file}" for archive in self.archives)]
        with (folder / CONSOLE_LOG).open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,
            )

    def _environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name not in _OURS}
        environment["TMPDIR"] = str(self._scratch)
        if self.settings.capture is not None:
            environment[FILE_VARIABLE] = str(self._folder() / "capture.json")
        if self.settings.spool is not None:
            environment[SPOOL_VARIABLE] = str(self.settings.spool.resolve())
        return environment

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + self.settings.start_timeout_seconds
        while not self._has_keys():
            self._give_up_if_hopeless(deadline)
        with self.management() as client:
            waiting = [archive.name for archive in self.archives]
            while waiting:
                self._give_up_if_hopeless(deadline)
                waiting = [name for name in waiting if not self._is_ready(client, name)]

    def _is_ready(self, client: ManagementClient, name: str) -> bool:
        try:
            return client.ready_workers(name) >= self.settings.workers
        except OperatorError:  # the API comes up after the keys; the deadline decides
            return False

    def _give_up_if_hopeless(self, deadline: float) -> None:
        self.check()
        if self.worker_deaths():
            # What the worker said last comes through a pipe and another thread.
            time.sleep(_LAST_WORDS_SECONDS)
            raise OperatorError(
                "the TorchServe worker died while starting",
                where=", ".join(f"model {archive.name!r}" for archive in self.archives),
                got=self.worker_failure(),
                hint=self._log_hint(),
            )
        if time.monotonic() > deadline:
            raise OperatorError(
                f"TorchServe was not ready after {self.settings.start_timeout_seconds:g} s",
                where=", ".join(f"model {archive.name!r}" for archive in self.archives),
                got=self.worker_failure() or server_failure(self._lines(CONSOLE_LOG)),
                hint=self._log_hint(),
            )
        time.sleep(_POLL_SECONDS)

    def _has_keys(self) -> bool:
        try:
            return bool(self._key("management"))
        except (OSError, ValueError, KeyError):
            return False

    def _key(self, kind: str) -> str:
        return str(json.loads(self.key_file.read_text(encoding="utf-8"))[kind]["key"])

    def _folder(self) -> Path:
        assert self.work_dir is not None, "the server was not started"
        return self.work_dir

    def _lines(self, name: str) -> Iterator[str]:
        try:
            with (self._folder() / name).open(encoding="utf-8", errors="replace") as log:
                yield from log
        except FileNotFoundError:
            return

    def _log_hint(self) -> str:
        if self.settings.work_dir is None:
            return "Give --work-dir to keep the logs."
        return f"The logs are in {self._folder()}."


def _torchserve_package() -> Path:
    spec = importlib.util.find_spec("ts")
    if spec is None or spec.origin is None:
        raise OperatorError("TorchServe is not installed", hint="pip install 'trueup[torchserve]'.")
    return Path(spec.origin).parent


def _end_group(process: subprocess.Popen[bytes], deadline_seconds: float) -> None:
    # Only the workers: the server kills its workers outright when it is asked to end itself.
    workers = [pid for pid in _group(process.pid) if pid != process.pid]
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline and set(workers) & set(_group(process.pid)):
        time.sleep(_POLL_SECONDS)
    deadline = time.monotonic() + deadline_seconds
    while time.monotonic() < deadline and _group(process.pid):
        # Again and again: the server may start a worker while the group is being killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.poll()
        time.sleep(_POLL_SECONDS)
    process.wait()


def _group(group: int) -> list[int]:
    """Living processes of a group; the dead that nobody has waited for yet do not count."""
    members = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return members
