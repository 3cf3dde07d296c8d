"""The prediction logger of a model server: never in the way of an answer, honest about what it lost.

What lives here: the bounded queue, the thread that empties it into the spool, the counters. What must not: any
knowledge of a model server, and any work in the request thread beyond putting values into the queue.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import uuid_utils

from monitor.log.spool import SpoolSettings, SpoolWriter
from serving.record_batches import BatchBuilder, Privacy, Record, RecordShape
from serving.spool_sink import SpoolSink

_log = logging.getLogger(__name__)

_EXIT_DEADLINE_SECONDS = 3.0
_LOG_INTERVAL_SECONDS = 60.0
_ALL = 2**64


@dataclass(frozen=True)
class CaptureSettings:
    """How predictions are logged.

    `sample` (0–1) keeps that fraction of predictions, chosen by a hash of the id (the same ones in every process).
    `queue_records` bounds what waits in memory; beyond it records are dropped and counted. A batch is written at
    `batch_records` or after `batch_seconds`. A batch that the disk refuses is tried again for `retry_seconds`.
    """

    spool: Path
    sample: float = 1.0
    privacy: Privacy = field(default_factory=Privacy)
    queue_records: int = 10_000
    batch_records: int = 1_000
    batch_seconds: float = 0.2
    retry_seconds: float = 10.0
    segments: SpoolSettings = field(default_factory=SpoolSettings)


@dataclass(frozen=True)
class Counters:
    """What became of the predictions so far; the five add up to all that were recorded.

    `sent` are in the spool. `dropped` found the queue full or the capture closed. `failed` could not be converted, or
    the disk refused them. `unsampled` were left out by `sample`. `waiting` are on their way.
    """

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    unsampled: int = 0
    waiting: int = 0


class Capture:
    """Logs the predictions of one model version into a spool. Thread-safe; a forked child starts a log of its own.

    Nothing happens before the first `record`: the thread is started and the spool opened then, so that a server may
    fork its workers first. `observe` is called in the capture's own thread with the counters whenever they changed.
    `open_writer` opens the spool, also in that thread. Raises OperatorError if the privacy rules cannot be applied.
    """

    def __init__(
        self,
        settings: CaptureSettings,
        shape: RecordShape,
        *,
        observe: Callable[[Counters], None] | None = None,
        open_writer: Callable[[], SpoolWriter] | None = None,
    ) -> None:
        self.settings = settings
        self._builder = BatchBuilder(shape, settings.privacy)
        self._observe = observe
        self._given_open_writer = open_writer
        self._threshold = round(settings.sample * _ALL)
        self._closed = False
        self._fault: str | None = None
        self._start_over()
        _captures.add(self)
        atexit.register(_close_at_exit, weakref.ref(self))

    def record(
        self,
        prediction_id: str,
        prediction: str | float,
        *,
        event_time: datetime | None = None,
        probabilities: Sequence[float] | npt.NDArray[np.float64] | None = None,
        features: Mapping[str, Any] | None = None,
        segments: Mapping[str, str | None] | None = None,
        embedding: npt.NDArray[np.floating[Any]] | None = None,
        latency_seconds: float | None = None,
        request_id: str | None = None,
    ) -> None:
        """Hand over one answer; returns at once, whatever happens. The values must not be changed afterwards.

        `event_time` is now if not given; `probabilities` are in class order. What is None is null in the log.
        """
        # The one promise here is that no fault of the log ever becomes a fault of the answer.
        try:
            if self._threshold < _ALL and not self._sampled(prediction_id):
                self._count(unsampled=1)
                return
            if self._closed or len(self._queue) >= self.settings.queue_records:
                self._count(dropped=1)
                return
            moment = event_time if event_time is not None else time.time_ns() // 1000
            values = (moment, prediction, probabilities, features, segments, embedding, latency_seconds, request_id)
            self._queue.append(Record(prediction_id, *values))
            if self._thread is None:
                self._start()
            elif len(self._queue) >= self.settings.batch_records and not self._wake.is_set():
                self._wake.set()
        except Exception as error:
            # Logging may block on its own disk, so the other thread does it.
            self._fault = f"{type(error).__name__}: {error}"
            self._count(failed=1)

    def counters(self) -> Counters:
        """What became of the predictions so far."""
        with self._lock:
            return Counters(**self._counts, waiting=len(self._queue) + self._in_hand)

    def flush(self, deadline_seconds: float = 5.0) -> bool:
        """Write everything recorded before this call and seal the segment; False if that took too long."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return not self._queue
        done = threading.Event()
        self._queue.append(done)
        self._wake.set()
        return done.wait(deadline_seconds)

    def close(self, deadline_seconds: float = 5.0) -> bool:
        """Write what waits, seal, and end the thread; False if that took too long. Later records are dropped."""
        self._closed = True
        thread = self._thread
        if thread is None:
            return not self._queue
        self._sink.stop_by = time.monotonic() + deadline_seconds
        self._stop.set()
        self._wake.set()
        thread.join(deadline_seconds)
        return not thread.is_alive()

    def _start_over(self) -> None:
        self._queue: deque[Record | threading.Event] = deque()
        self._in_hand = 0
        self._lock = threading.Lock()
        self._counts = {"sent": 0, "dropped": 0, "failed": 0, "unsampled": 0}
        self._thread: threading.Thread | None = None
        self._wake, self._stop = threading.Event(), threading.Event()
        self._fault = None
        self._logged_at = -_LOG_INTERVAL_SECONDS
        self._observed = Counters()
        # One folder per process, however often its writer has to be opened again.
        writer = uuid_utils.uuid7().hex
        settings = self.settings
        open_writer = self._given_open_writer or (lambda: SpoolWriter(settings.spool, settings.segments, writer=writer))
        self._sink = SpoolSink(open_writer, self._disk_fault, self._stop, settings.retry_seconds)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="trueup-capture", daemon=True)
                thread.start()
                self._thread = thread

    def _sampled(self, prediction_id: str) -> bool:
        digest = hashlib.blake2b(prediction_id.encode(), digest_size=8).digest()
        return int.from_bytes(digest, "little") < self._threshold

    def _count(self, **changes: int) -> None:
        with self._lock:
            for name, change in changes.items():
                self._counts[name] += change

    # What follows runs in the capture's own thread.

    def _run(self) -> None:
        while True:
            # Waking up per record would cost the request thread a switch each time; a batch costs one.
            self._wake.wait(self.settings.batch_seconds)
            self._wake.clear()
            stopping = self._stop.is_set()
            try:
                self._drain()
                self._sink.tick()
                self._report()
            except Exception as error:  # a defect here must not end the log for good
                self._fault = f"{type(error).__name__}: {error}"
            self._log_fault()
            if stopping:
                self._sink.close()
                return

    def _drain(self) -> None:
        while self._queue:
            records, flushed = self._take()
            try:
                self._write(records)
            finally:
                self._in_hand = 0
                if flushed is not None:
                    self._sink.seal()
                    flushed.set()

    def _take(self) -> tuple[list[Record], threading.Event | None]:
        """Up to one batch from the queue, and the flush request that ended it, if any."""
        records: list[Record] = []
        while self._queue and len(records) < self.settings.batch_records:
            item = self._queue.popleft()
            if isinstance(item, threading.Event):
                return records, item
            records.append(item)
            self._in_hand = len(records)
        return records, None

    def _write(self, records: list[Record]) -> None:
        if not records:
            return
        outcome = {"sent": 0, "failed": len(records)}
        try:
            batch, refused = self._builder.build(records)
            if refused:
                self._fault = refused[0]
            if batch is not None and self._sink.append(batch):
                outcome = {"sent": batch.num_rows, "failed": len(refused)}
        finally:
            self._count(**outcome)

    def _disk_fault(self, error: Exception) -> None:
        self._fault = f"{type(error).__name__}: {error}"
        self._log_fault()

    def _report(self) -> None:
        counters = self.counters()
        if self._observe is not None and counters != self._observed:
            self._observed = counters
            self._observe(counters)

    def _log_fault(self) -> None:
        """At most once a minute: a full disk would otherwise fill the log as well."""
        now = time.monotonic()
        if self._fault is not None and now - self._logged_at >= _LOG_INTERVAL_SECONDS:
            fault, self._fault, self._logged_at = self._fault, None, now
            _log.warning("capture.fault reason=%r spool=%s %s", fault, self.settings.spool, self.counters())


_captures: weakref.WeakSet[Capture] = weakref.WeakSet()


def _start_over_in_child() -> None:
    # The parent's thread does not exist here, its queue is the parent's to write, its lock may be held for ever.
    for capture in list(_captures):
        capture._start_over()


def _close_at_exit(reference: weakref.ref[Capture]) -> None:
    capture = reference()
    if capture is not None:
        capture.close(_EXIT_DEADLINE_SECONDS)


os.register_at_fork(after_in_child=_start_over_in_child)
