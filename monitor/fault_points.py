"""Named places between two durable steps, at which a test may have the process killed.

What lives here: the switch. What must not: anything that runs in production; without the environment variable a fault
point is one comparison.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal

# `NAME`, or `NAME:3` for the third time that the place is passed.
VARIABLE = "TRUEUP_FAULT_POINT"
# Every place there is, in the order in which a record passes them; tests kill at each.
FAULT_POINTS = (
    "spool.written",
    "spool.sealing",
    "spool.sealed",
    "request.durable",
    "ingest.committed",
    "ingest.removing",
    "ingest.removed",
    "ingest.unnoted",
    "cycle.labels_matched",
    "cycle.predictions_matched",
    "cycle.rebuilt",
    "cycle.committing",
    "cycle.committed",
)
_passed = itertools.count(1)


@functools.cache
def _wanted() -> tuple[str, int]:
    name, _, times = os.environ.get(VARIABLE, "").partition(":")
    return name, int(times or 1)


def fault_point(name: str) -> None:
    """Die here, as of SIGKILL, if the environment asks for it."""
    wanted, times = _wanted()
    if name == wanted and next(_passed) >= times:
        os.kill(os.getpid(), signal.SIGKILL)
