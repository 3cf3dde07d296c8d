"""The kill tests at length: `make soak`. Prints what died where and how long it took; fails as the tests do."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.integration.daemon_kills import kill_daemons
from tests.integration.test_kills import check_captures


def main() -> None:
    """1,000 kills of capturing processes, 200 of the daemon; or as many as the two arguments say."""
    captures, daemons = (int(text) for text in sys.argv[1:3]) if len(sys.argv) > 2 else (1_000, 200)
    for name, kills, work in (("capture", captures, check_captures), ("daemon", daemons, kill_daemons)):
        if not kills:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trueup-soak-") as folder:
            died = work(Path(folder), kills)
        sys.stdout.write(f"{name}: {kills} kills in {time.monotonic() - started:.0f} s: {dict(died)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
