"""One handling for everybody who waits: many small requests share a conversion, an append and its fsync.

What lives here: the thread and its queue. What must not: HTTP, records, the spool.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Work = TypeVar("Work")
Outcome = TypeVar("Outcome")


@dataclass
class _Waiting(Generic[Work, Outcome]):
    work: Work
    done: Future[Outcome] = field(default_factory=Future)


class GroupCommit(Generic[Work, Outcome]):
    """Handles work in a thread of its own; what queues up during one round goes into the next one together.

    `handle` takes the work of a round and returns one outcome, or error, for each. What it raises is the error of all.
    """

    def __init__(self, handle: Callable[[Sequence[Work]], Sequence[Outcome | Exception]]) -> None:
        self._handle = handle
        self._queue: queue.SimpleQueue[_Waiting[Work, Outcome] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="group commit", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> Future[Outcome]:
        """Have work handled with all other that waits."""
        waiting = _Waiting[Work, Outcome](work)
        self._queue.put(waiting)
        return waiting.done

    def close(self) -> None:
        """Handle what was submitted and end the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            group, ending = self._drain()
            # What nobody waits for any more is left undone: nobody was told that it was done.
            alive = [waiting for waiting in group if waiting.done.set_running_or_notify_cancel()]
            if alive:
                self._commit(alive)
            if ending:
                return

    def _drain(self) -> tuple[list[_Waiting[Work, Outcome]], bool]:
        group: list[_Waiting[Work, Outcome]] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: Sequence[_Waiting[Work, Outcome]]) -> None:
        try:
            outcomes = self._handle([waiting.work for waiting in group])
        except Exception as error:  # whatever it is, those who wait must hear of it and the thread must live
            outcomes = [error] * len(group)
        for waiting, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Exception):
                waiting.done.set_exception(outcome)
            else:
                waiting.done.set_result(outcome)
