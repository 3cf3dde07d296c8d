"""The daemon: a schedule that ticks ingest and evaluation, an HTTP side, and the text of the last commit.

What lives here: wiring, in one straight line, since its order is its meaning: what is started last is stopped first.
What must not: what an ingest run or a cycle does, how anything is rendered.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from monitor.alarms.overview import alarm_overview
from monitor.errors import OperatorError
from monitor.export.prometheus import Exposition
from monitor.export.snapshot import Snapshot
from monitor.http.app import create_app
from monitor.http.server import ServerHandle, serve
from monitor.log.rejection import Rejected
from monitor.log.roles import SourceRules
from monitor.logs import log_event
from monitor.pipeline import NO_MODEL, REJECTED, ModelParts, Pipeline
from monitor.records import Kind
from monitor.settings import MonitorSettings
from monitor.snapshots import model_record, model_snapshot, read_counters, spool_bytes, state_bytes
from monitor.version import version as trueup_version
from monitor.window_codec import decode_window, iso, window_record
from monitor.windows import format_duration, parse_duration
from monitor.worker import ModelWorker

# A run of which nothing was done for so many deadlines is not slow but stuck, and its thread cannot be ended: a restart
# can. One that works off a long backlog must not be restarted, or it would begin again for ever.
_STUCK_DEADLINES = 3
# How long a stop waits for the cycle under way; a cycle that is cut off has not happened.
_STOP_SECONDS = 60.0
# Small files of a log are merged this often; at the usual ingest interval there are 240 new ones by then.
_MAINTENANCE_SECONDS = 3_600.0
# How often it is asked which database with ground truth is due; when it is, its own setting says.
_SOURCES_SECONDS = 1.0
# Settings that a running daemon does not change.
_NEEDS_RESTART = (
    "log_url",
    "state_url",
    "spools",
    "own_spool",
    "ingest_interval_seconds",
    "evaluation_interval_seconds",
    "evaluation_deadline_seconds",
    "dead_letters",
    "retention_seconds",
)


class Daemon:
    """The running monitor. `start` returns when it answers, `stop` when nothing of it is left."""

    def __init__(
        self,
        settings: MonitorSettings,
        *,
        clock: Callable[[], float] = time.time,
        log: Callable[..., None] = log_event,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._log = log
        self._pipeline = Pipeline(settings, clock=clock)
        self._exposition = Exposition(trueup_version())
        self._publishing = threading.Lock()
        self._ticking = threading.Lock()
        self._ingested = _IngestRecord()
        self._clock_told = False
        # Changed in place by a reload: the application holds it.
        self._token_digests = dict(settings.http.token_digests)
        self._workers = {name: self._worker(parts) for name, parts in self._pipeline.models.items()}
        self._scheduler = BackgroundScheduler(
            timezone=UTC, executors={"default": ThreadPoolExecutor(max_workers=4)}, daemon=True
        )
        self._server: ServerHandle | None = None

    @property
    def url(self) -> str:
        """Where it answers, once started."""
        return self._server.url if self._server else ""

    def start(self) -> None:
        """Listen, then tick. Raises OperatorError where the address cannot be had; then nothing is left running."""
        try:
            self._publish()
            http = replace(self.settings.http, token_digests=self._token_digests)
            self._server = serve(create_app(self, http, clock=self._clock), http)
        except BaseException:
            self._pipeline.close()
            raise
        self._every(self.settings.ingest_interval_seconds, self.ingest, "ingest")
        self._every(self.settings.evaluation_interval_seconds, self.evaluate, "evaluate")
        self._every(_MAINTENANCE_SECONDS, self.maintain, "maintain")
        self._every(_SOURCES_SECONDS, self.read_label_sources, "label sources")
        self._scheduler.start()
        self._log("started", url=self.url, models=list(self._workers), version=trueup_version())

    def stop(self) -> None:
        """Answer no more, finish what is under way, let go."""
        if self._server is not None:
            self._server.stop()
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)
        deadline = time.monotonic() + min(self.settings.evaluation_deadline_seconds, _STOP_SECONDS)
        for name, worker in self._workers.items():
            if not worker.join(max(deadline - time.monotonic(), 0.0)):
                self._log("an evaluation was cut off", model=name)
        self._pipeline.close()
        self._log("stopped")

    def reload(self, settings: MonitorSettings) -> None:
        """Take over what changed in the models and the tokens; what else differs needs a restart, and is told.

        A model that changed goes on from its state: windows, cursors and alarms stay. Raises OperatorError and changes
        nothing where an evaluation under way does not end.
        """
        fixed = [name for name in _NEEDS_RESTART if getattr(settings, name) != getattr(self.settings, name)]
        if replace(settings.http, token_digests={}) != replace(self.settings.http, token_digests={}):
            fixed.append("http")
        with self._ticking:
            # No model may be evaluated by an old worker and a new one at once: both would consume what is new.
            busy = [name for name, old in self._workers.items() if not old.join(settings.evaluation_deadline_seconds)]
            if busy:
                raise OperatorError(
                    "an evaluation does not end", where=f"model {', '.join(busy)}", hint="Restart the daemon"
                )
            changed = self._pipeline.take_over(settings.models)
            for name in self._workers.keys() - self._pipeline.models.keys():
                self._workers.pop(name)
            for name in changed:
                self._workers[name] = self._worker(self._pipeline.models[name])
        self._token_digests |= settings.http.token_digests
        for scope in self._token_digests.keys() - settings.http.token_digests.keys():
            del self._token_digests[scope]
        self.settings = replace(self.settings, models=settings.models)
        self._log("reloaded", models=list(self._workers), changed=changed, needs_restart=fixed)
        self._publish()
        self.evaluate()

    def ingest(self) -> None:
        """One ingest run; a failure is kept, shown and tried again at the next tick."""
        self._ingested.attempt = self._clock()
        try:
            progress = self._pipeline.ingest()
        except Exception as error:  # a full disk or a locked state must not end the schedule
            self._ingested.failed(str(error) or type(error).__name__)
            self._log("ingest failed", error=repr(error))
            return
        for error_text in progress.errors:
            self._log("ingest", error=error_text)
        if progress.errors:
            self._ingested.failed(progress.errors[0])
        else:
            self._ingested.succeeded(self._clock())
        self._tell_of_clock()
        self._show_first({model for model, table in progress.rows if table == "predictions"})

    def _tell_of_clock(self) -> None:
        problem = self._pipeline.clock_problem
        if problem is not None and not self._clock_told:
            self._log("clock", error=problem)
        elif problem is None and self._clock_told:
            self._log("the clock is believed as it is")
        self._clock_told = problem is not None

    def _show_first(self, models: set[str]) -> None:
        """Evaluate models at once whose first predictions have come: whoever sets one up waits to see them."""
        with self._ticking:
            for name in models & self._workers.keys():
                report = self._workers[name].status().report
                if report is not None and not report.predictions_total:
                    self._workers[name].tick()

    def read_label_sources(self) -> None:
        """Read the databases with ground truth that are due; what went wrong is told, shown and tried again."""
        try:
            outcomes = self._pipeline.read_label_sources()
        except Exception as error:  # a locked state must not end the schedule
            self._log("label sources failed", error=repr(error))
            return
        for name, outcome in outcomes.items():
            if isinstance(outcome, str):
                self._log("labels could not be read", model=name, error=outcome)

    def maintain(self) -> None:
        """One maintenance run of all logs; a failure is told, and tried again at the next tick."""
        try:
            done = self._pipeline.maintain()
        except Exception as error:  # a full disk must not end the schedule
            self._log("maintenance failed", error=repr(error))
            return
        for name, result in done.items():
            if any(vars(result).values()):
                self._log("maintained", model=name, **vars(result))

    def evaluate(self) -> None:
        """Start the evaluation of every model that is not under way; when nothing is evaluated show that too."""
        with self._ticking:
            for worker in self._workers.values():
                worker.tick()

    # What the HTTP side asks for.

    def metrics(self) -> bytes:
        """The exposition text of the last commit."""
        return self._exposition.get(time.monotonic())

    def health(self) -> tuple[bool, Sequence[str]]:
        """Whether the process should go on living: nothing is stuck that only a restart ends."""
        reasons = [] if self._scheduler.running else ["the schedule does not run"]
        limit = _STUCK_DEADLINES * self.settings.evaluation_deadline_seconds
        for name, worker in tuple(self._workers.items()):
            seconds = worker.status().silent_seconds
            if seconds is not None and seconds > limit:
                reasons.append(f"the evaluation of {name} has done nothing for {format_duration(round(seconds))}")
        return not reasons, reasons

    def ready(self) -> tuple[bool, Sequence[str]]:
        """Whether it takes records in and has evaluated; a model that cannot be evaluated is told, and no reason."""
        waiting = [] if self._ingested.success else [self._ingested.error or "nothing was taken in yet"]
        failing = []
        for name, worker in tuple(self._workers.items()):
            status = worker.status()
            if not status.record.attempts:
                waiting.append(f"model {name}: not evaluated yet")
            elif status.record.error:
                failing.append(f"model {name}: {status.record.error}")
            failing += [f"model {name}: {problem}" for problem in self._pipeline.models[name].problems]
        problem = self._pipeline.clock_problem
        failing += [problem] if problem else []
        return not waiting, [*waiting, *failing]

    def models(self) -> Sequence[Mapping[str, Any]]:
        """One JSON object for each configured model."""
        return [
            model_record(parts, self._workers[name].status(), read_counters(self._pipeline.state, name))
            for name, parts in tuple(self._pipeline.models.items())
            if name in self._workers
        ]

    def windows(
        self, model: str, *, version: str | None, window: str | None, maturity: str | None, limit: int
    ) -> Sequence[Mapping[str, Any]] | None:
        """Published windows, newest first."""
        if model not in self._workers:
            return None
        seconds = None if window is None else parse_duration(window)
        with self._pipeline.state.transaction(write=False) as state:
            stored = state.windows(model, version=version, seconds=seconds, maturity=maturity, newest=limit)
        return [
            {**window_record(decode_window(item.result)), "evaluated_at": iso(item.evaluated_at)}
            for item in reversed(stored)
        ]

    def alarms(self, model: str) -> Mapping[str, Any] | None:
        """The model's alarms, as the last evaluation left them."""
        parts = self._pipeline.models.get(model)
        return None if parts is None else alarm_overview(parts.settings, parts.references, self._pipeline.state)

    def source_rules(self, model: str) -> SourceRules | None:
        """How records of a model are written."""
        parts = self._pipeline.models.get(model)
        if parts is None:
            return None
        versions = parts.references.versions()
        return parts.rules(version=versions[0] if len(versions) == 1 else None, source="http")

    def write_batches(self, batches: list[pa.RecordBatch]) -> None:
        """Put batches into the own spool; durable on return."""
        self._pipeline.own_spool.write(batches)

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        """Count rejected records and keep them."""
        self._pipeline.reject(rejected, source=source, model=model, kind=kind)

    def _worker(self, parts: ModelParts) -> ModelWorker:
        return ModelWorker(
            parts.cycle,
            self._pipeline.state,
            deadline_seconds=self.settings.evaluation_deadline_seconds,
            clock=self._clock,
            on_change=self._publish,
            log=self._log,
        )

    def _every(self, seconds: float, work: Callable[[], None], name: str) -> None:
        # What is due is a row in the state: a tick that came late is made up by the next one, so none is kept.
        self._scheduler.add_job(
            work,
            "interval",
            seconds=seconds,
            id=name,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            next_run_time=datetime.now(UTC),
        )

    def _publish(self) -> None:
        """Render what is known now; called after every evaluation."""
        try:
            with self._publishing:
                self._exposition.set(self._snapshot(), time.monotonic())
        except Exception as error:  # an exposition that cannot be made expires, and says so
            self._log("the metrics could not be rendered", error=repr(error))

    def _snapshot(self) -> Snapshot:
        state, settings, ingested = self._pipeline.state, self.settings, self._ingested
        with state.transaction(write=False) as transaction:
            unknown = transaction.counters(NO_MODEL, REJECTED)
            damaged = transaction.counters(NO_MODEL, "spool").get("damaged_bytes", 0)
        return Snapshot(
            build_version=trueup_version(),
            rendered_at=self._clock(),
            evaluation_interval_seconds=settings.evaluation_interval_seconds,
            models=tuple(
                model_snapshot(parts, self._workers[name].status(), read_counters(state, name))
                for name, parts in tuple(self._pipeline.models.items())
                if name in self._workers
            ),
            state_bytes=state_bytes(settings.state_url),
            spool_bytes=spool_bytes(settings.spools),
            spool_damaged_bytes_total=damaged,
            rejected_total=unknown,
            ingest_interval_seconds=settings.ingest_interval_seconds,
            ingest_last_attempt_timestamp_seconds=ingested.attempt,
            ingest_last_success_timestamp_seconds=ingested.last_success,
            ingest_success=ingested.success if ingested.attempt else None,
            ingest_failures_total=ingested.failures,
        )


class _IngestRecord:
    """How the ingest runs of this process went; seconds since the epoch."""

    def __init__(self) -> None:
        self.attempt: float | None = None
        self.last_success: float | None = None
        self.success = False
        self.failures = 0
        self.error: str | None = None

    def succeeded(self, now: float) -> None:
        self.success, self.error, self.last_success = True, None, now

    def failed(self, error: str) -> None:
        self.success, self.error = False, error
        self.failures += 1
