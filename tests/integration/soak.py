"""The kill tests at length: `make soak`. Prints what died where and how long it took; fails as the tests do."""

from __future__ import annotations

import math
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tests.integration.daemon_kills import kill_daemons
from tests.integration.test_kills import check_captures

_TOLD_EVERY = 20


def main() -> None:
    """1,000 kills of capturing processes, 200 of the daemon; or as many as the two arguments say.

    A third argument is the most seconds: no daemon is begun after them, and what must hold is asserted of fewer kills.
    """
    captures, daemons = (int(text) for text in sys.argv[1:3]) if len(sys.argv) > 2 else (1_000, 200)
    most_seconds = float(sys.argv[3]) if len(sys.argv) > 3 else math.inf
    started = time.monotonic()

    def go_on(dead: int) -> bool:
        seconds = time.monotonic() - started
        if dead % _TOLD_EVERY == 0:
            _say(f"daemon: {dead} killed after {seconds:.0f} s")
        return seconds < most_seconds

    daemon_work = partial(kill_daemons, go_on=go_on)
    for name, kills, work in (("capture", captures, check_captures), ("daemon", daemons, daemon_work)):
        if not kills:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="trueup-soak-") as folder:
            died = work(Path(folder), kills)
        _say(f"{name}: {sum(died.values())} kills in {time.monotonic() - started:.0f} s: {dict(died)}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
