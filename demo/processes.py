"""Child processes that end with us, whatever happens.

What lives here: starting, watching, ending; signals. What must not: what the processes are.

Every child has a session of its own, so that Ctrl-C in a terminal reaches the demo alone, which ends them in order.
On Linux a grandchild whose parent died becomes our child (PR_SET_CHILD_SUBREAPER), so the last sweep finds everything.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Self

import psutil

from monitor.errors import OperatorError

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.05
_END_SECONDS = 25.0
_SWEEP_SECONDS = 10.0


class Interrupted(BaseException):
    """A signal asks the demo to end. Raised once: what runs after it is the clearing up."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(signal.Signals(number).name)


@dataclass(frozen=True)
class Child:
    """A running child: its name, its process, and the file with what it said."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def last_words(self) -> str:
        """Its own error message, or else the last line of its log."""
        lines = [line for line in self.log.read_text("utf-8", "replace").splitlines() if line.strip()]
        errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        return (errors or lines or ["nothing"])[-1]


class Processes:
    """The children of one run. `with Processes(logs) as processes:` leaves none behind.

    `alone` says that this program has no other children, and that every descendant may be ended.
    """

    def __init__(self, logs: Path, *, alone: bool = True) -> None:
        self._logs = logs
        self._alone = alone
        self._children: list[Child] = []
        self._ended = False

    def __enter__(self) -> Self:
        if self._alone:
            _adopt_orphans()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def run(self, name: str, command: Sequence[str], *, show: bool = False) -> str:
        """Run a command to its end; what it wrote to standard output. `show`: its standard error is ours.

        Raises OperatorError with its last words where it fails.
        """
        output = self._logs / f"{name}.out"
        child = self._start(name, command, output=output, show=show)
        while child.process.poll() is None:
            time.sleep(_POLL_SECONDS)
        self._children.remove(child)
        if child.process.returncode != 0:
            raise OperatorError(f"{name} failed with exit code {child.process.returncode}", got=child.last_words())
        return output.read_text("utf-8")

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a command that runs until the end of the demo."""
        return self._start(name, command)

    def check(self) -> None:
        """Raise OperatorError where a child has ended that should not have."""
        for child in self._children:
            if child.process.poll() is not None:
                raise OperatorError(
                    f"{child.name} ended with exit code {child.process.returncode}",
                    got=child.last_words(),
                    hint=f"All it said is in {child.log}.",
                )

    def end(self) -> None:
        """SIGTERM to the children, time to write what they have, then SIGKILL to every descendant that is left."""
        if self._ended:
            return
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                child.process.terminate()
        deadline = time.monotonic() + _END_SECONDS
        while time.monotonic() < deadline and any(child.process.poll() is None for child in self._children):
            time.sleep(_POLL_SECONDS)
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.process.pid, signal.SIGKILL)
            child.process.wait()
        if self._alone:
            _sweep()
        self._ended = True

    def _start(self, name: str, command: Sequence[str], *, output: Path | None = None, show: bool = False) -> Child:
        self._logs.mkdir(parents=True, exist_ok=True)
        log = self._logs / f"{name}.log"
        with contextlib.ExitStack() as files:
            errors = files.enter_context(log.open("wb"))
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=files.enter_context(output.open("wb")) if output else errors,
                stderr=None if show else errors,
                start_new_session=True,
            )
            child = Child(name, process, log)
            self._children.append(child)
        return child


def python(*arguments: str | Path) -> list[str]:
    """The command line of a module of this environment."""
    return [sys.executable, "-m", *map(str, arguments)]


def interrupt_once() -> None:
    """From now on the first SIGINT, SIGTERM or SIGHUP raises Interrupted in the main thread; later ones do nothing."""
    raised = False

    def handler(number: int, _frame: FrameType | None) -> None:
        nonlocal raised
        if not raised:
            raised = True
            raise Interrupted(number)

    for number in _SIGNALS:
        signal.signal(number, handler)


def _adopt_orphans() -> None:
    with contextlib.suppress(OSError, AttributeError):  # not Linux: every child still ends its own children
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _sweep() -> None:
    """Kill every descendant that is left, again until none is: one may be starting another meanwhile."""
    own = psutil.Process()
    deadline = time.monotonic() + _SWEEP_SECONDS
    while time.monotonic() < deadline:
        left = own.children(recursive=True)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # Adopted ones stay zombies until somebody asks for their exit code.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not left:
            return
        time.sleep(_POLL_SECONDS)
