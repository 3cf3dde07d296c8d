"""Runs the cycle of one model at a time, with a deadline, and keeps what came of it for the exporter.

What lives here: single flight, the deadline, bookkeeping of attempts. What must not: which stages a cycle has (that is
`cycle`), schedules, rendering.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace

from monitor.cycle import CycleReport, ModelCycle
from monitor.state import EvaluationRecord, State
from monitor.windows import MICROSECONDS

Log = Callable[..., None]


@dataclass(frozen=True)
class WorkerStatus:
    """The newest outcome of one model; `report` is None after a failure: old numbers do not stay.

    `silent_seconds`: for how long nothing was done of the run under way, None if there is none.
    """

    report: CycleReport | None
    record: EvaluationRecord
    silent_seconds: float | None


class ModelWorker:
    """Evaluates one model in a thread of its own, never twice at once.

    A run that is over its deadline is given up: it counts as failed, its values vanish, and whatever it still commits
    is not shown. (A thread cannot be killed; the next run starts when it has ended.)
    """

    def __init__(
        self,
        cycle: ModelCycle,
        state: State,
        *,
        deadline_seconds: float,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        log: Log,
    ) -> None:
        self.name = cycle.settings.name
        self._cycle = cycle
        self._state = state
        self._deadline = deadline_seconds
        self._clock = clock
        self._on_change = on_change
        self._log = log
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._attempt = 0
        self._started = 0.0
        self._alive = 0.0
        cycle.on_progress = self._note_progress
        self._report: CycleReport | None = None
        with state.transaction(write=False) as transaction:
            self._record = transaction.evaluation(self.name)

    def tick(self) -> None:
        """Start a run unless one is under way; give up one that is over its deadline."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                overdue = self._clock() - self._started > self._deadline
                given_up = self._attempt < 0
            else:
                overdue = given_up = False
                self._attempt = abs(self._attempt) + 1
                self._started = self._alive = self._clock()
                self._thread = threading.Thread(
                    target=self._run, args=(self._attempt,), name=f"evaluate {self.name}", daemon=True
                )
                self._thread.start()
        if overdue and not given_up:
            with self._lock:
                # Negative: the attempt under way no longer counts.
                self._attempt = -self._attempt
            self._finish(None, f"not done after {self._deadline:g} s", self._started, self._clock())

    def join(self, timeout: float) -> bool:
        """Wait for the run under way; whether it ended in time."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return thread is None or not thread.is_alive()

    def status(self) -> WorkerStatus:
        """The newest outcome."""
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            seconds = max(self._clock() - self._alive, 0.0) if running else None
            return WorkerStatus(self._report, self._record, seconds)

    def _note_progress(self) -> None:
        self._alive = self._clock()

    def _run(self, attempt: int) -> None:
        started = self._clock()
        report: CycleReport | None = None
        error: str | None = None
        try:
            report = self._cycle.run(round(started * MICROSECONDS))
        except Exception as fault:  # one broken model must not stop the others, whatever breaks it
            error = str(fault) or type(fault).__name__
            self._log("evaluation failed", model=self.name, error=error, traceback=traceback.format_exc())
        with self._lock:
            given_up = self._attempt != attempt
        if not given_up:
            self._finish(report, error, started, self._clock())

    def _finish(self, report: CycleReport | None, error: str | None, started: float, ended: float) -> None:
        record = replace(
            self._record,
            last_attempt=round(started * MICROSECONDS),
            last_success=self._record.last_success if error else round(ended * MICROSECONDS),
            error=error,
            duration_seconds=ended - started,
            attempts=self._record.attempts + 1,
            failures=self._record.failures + (1 if error else 0),
        )
        try:
            with self._state.transaction() as transaction:
                transaction.note_evaluation(self.name, record)
        except Exception as fault:  # the state may be locked or gone; the exporter must still learn of the failure
            self._log("the outcome of an evaluation could not be kept", model=self.name, error=repr(fault))
        with self._lock:
            self._report, self._record = report, record
        self._on_change()
