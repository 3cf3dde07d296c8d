"""Hashes of the ids of a file of the log, kept beside the log: they tell where ids may be without reading all of them.

What lives here: how such a file is written and asked. What must not: where it lies and when it goes
(`log.hash_places`), whether a row that is proposed has the id (`local`).

A file of the log never changes, so neither does this. Each 8 bytes are a hash of an id, of which the lowest bits are
replaced by the number of its row, in order. What cannot be read, or has another number of rows, counts as missing:
then all ids are read, as without it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import numpy as np

from monitor.engines.identifiers import Hashes, Integers, numbered, row_mask

# Below, reading the ids is as quick.
LEAST_ROWS = 50_000
# Above, sorting takes much memory at once.
MOST_ROWS = 4_000_000


def keep_hashes(path: Path, hashed: Hashes) -> None:
    """Write the hashes of all ids of a file, in the order of its rows. Where that fails, there are none."""
    kept = numbered(hashed)
    kept.sort()
    # Two readers may write the same at once.
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with part.open("wb") as file:
            np.save(file, kept, allow_pickle=False)
            file.flush()
            # Zeros in the place of hashes, as a power cut can leave them, would hide ids.
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()


def proposed_rows(path: Path, rows: int, hashed: Hashes) -> Integers | None:
    """Rows whose ids may have one of these hashes, of a file with so many; None where nothing is kept. Both ascend.

    With 10,000 hashes and a million rows one search in a thousand proposes a row in vain.
    """
    try:
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if kept.dtype != np.uint64 or kept.shape != (rows,):
        return None
    mask = row_mask(rows)
    keys = hashed & ~mask
    first = np.searchsorted(kept, keys)
    alike = np.flatnonzero((kept.take(np.minimum(first, rows - 1)) & ~mask) == keys)
    first = first.take(alike)
    counts = np.searchsorted(kept, keys.take(alike) | mask, side="right") - first
    places = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    return np.unique((kept.take(places) & mask).view(np.int64))
