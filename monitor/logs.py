"""The daemon's log lines: an event name and key-values, to standard error.

What lives here: one function. What must not: anything worth counting (that is a metric).
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TextIO

import orjson


def log_event(event: str, *, stream: TextIO | None = None, **values: object) -> None:
    """Write one line: time, event, then `key=value` with JSON values, so that it can be read and parsed."""
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    details = " ".join(f"{key}={orjson.dumps(value, default=str).decode()}" for key, value in values.items())
    print(f"{moment} {event} {details}".rstrip(), file=stream or sys.stderr, flush=True)
