"""A spool writer that outlives the faults of its disk.

What lives here: opening late, trying again, continuing in a new segment after an error. What must not: queues, threads
of its own, what a record means.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pyarrow as pa

from monitor.log.spool import SpoolWriter

_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0


class SpoolSink:
    """Appends batches to a spool that is opened when first needed. One thread owns it.

    `on_fault` is told of every error; none is raised. A batch that the disk refuses is tried again for
    `retry_seconds`, or until `stop_by` (monotonic seconds) once `stop` is set.
    """

    def __init__(
        self,
        open_writer: Callable[[], SpoolWriter],
        on_fault: Callable[[Exception], None],
        stop: threading.Event,
        retry_seconds: float,
    ) -> None:
        self._open_writer = open_writer
        self._on_fault = on_fault
        self._stop = stop
        self._retry_seconds = retry_seconds
        self._writer: SpoolWriter | None = None
        self.stop_by = float("inf")

    def append(self, batch: pa.RecordBatch) -> bool:
        """Write one batch; False if the disk refused it to the end."""
        give_up_at = time.monotonic() + self._retry_seconds
        pause = _FIRST_PAUSE_SECONDS
        while not self._try(batch):
            if time.monotonic() + pause > min(give_up_at, self.stop_by):
                return False
            # Once stopping, the event is set for good and no longer pauses anything.
            (time.sleep if self._stop.is_set() else self._stop.wait)(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return True

    def tick(self) -> None:
        """Let the spool sync and seal by time; without traffic nothing else would."""
        if self._writer is not None:
            self._guarded(self._writer.tick)

    def seal(self) -> None:
        """Make what was written available to the ingester now."""
        if self._writer is not None:
            self._guarded(self._writer.seal)

    def close(self) -> None:
        """Seal, and let go of the spool; a later append opens it again."""
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.close()
            except OSError as error:  # whole frames stay in the file, and the ingester finds them
                self._on_fault(error)

    def _try(self, batch: pa.RecordBatch) -> bool:
        try:
            if self._writer is None:
                self._writer = self._open_writer()
            self._writer.append(batch)
            return True
        except Exception as error:  # an unwritable folder, a full disk, a lock held by another: all may pass
            self._on_fault(error)
            # A writer that met an error is in doubt; the next one continues in a new segment.
            self.close()
            return False

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as error:
            self._on_fault(error)
            self.close()
