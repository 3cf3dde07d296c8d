"""What happens to memory that is given back: kept for the next batch, or returned to the system.

What lives here: the two ways, and when each is right. What must not: whose memory it is.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pyarrow as pa

# Bytes; glibc follows up to 32 MB, and keeps twice as much at the most.
_ONCE_FREED = 16 << 20
# Only glibc has it; other systems give back by themselves.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None


def keep_freed() -> None:
    """Keep what work on a batch gives back for the next one: before anything that goes through many.

    glibc returns pieces of 128 kB and more to the system, and every next batch has its pages made anew (7 % of the time
    of a comparison, 12 % of a join), until a piece as large as this was given back once. Elsewhere it does nothing.
    """
    np.empty(_ONCE_FREED, np.uint8)


def release_unused() -> None:
    """Give back to the system what Arrow and glibc keep for the next time: before others need much.

    Every allocator (Arrow's, glibc for NumPy, that of delta-rs) keeps what it has, and what they keep adds up.
    """
    release_arrow()
    if _trim is not None:
        _trim(0)


def release_arrow() -> None:
    """Give back what Arrow keeps, from one batch to the next: what glibc gives back it would have to make anew."""
    pa.default_memory_pool().release_unused()
