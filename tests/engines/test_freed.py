"""Memory that was freed goes back to the system when it is asked to, and is kept until then."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.engines.freed import keep_freed, release_unused

PIECES, SIZE = 1_000, 1 << 16


def resident() -> int:
    """Bytes of this process that lie in memory."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_freed_is_kept_until_it_is_given_back() -> None:
    keep_freed()
    release_unused()
    before = resident()
    pieces = [np.ones(SIZE, np.uint8) for _ in range(PIECES)]
    # The last piece stays, so that the rest does not lie at the end, from where it would be cut off.
    last = np.ones(SIZE, np.uint8)
    del pieces
    arrow = pa.allocate_buffer(1 << 20)
    del arrow
    kept = resident() - before
    release_unused()
    left = resident() - before
    assert last.all()
    assert kept > PIECES * SIZE / 2
    assert left < PIECES * SIZE / 4
