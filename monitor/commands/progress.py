"""Rows read so far, on standard error, for whatever takes longer than two seconds.

What lives here: the line. What must not: what reads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monitor.commands.common import console

_SECONDS = 2.0


@contextmanager
def rows_read(*, shown: bool = True) -> Iterator[Callable[[int], None]]:
    """A function to call with the rows of every batch, from any thread; the count is told every two seconds."""
    lock, start = threading.Lock(), time.monotonic()
    state = {"rows": 0, "told": start}

    def tick(rows: int) -> None:
        with lock:
            state["rows"] += rows
            now = time.monotonic()
            if shown and now - state["told"] > _SECONDS:
                state["told"] = now
                console(error=True).print(f"{state['rows']:,} rows read")

    yield tick
