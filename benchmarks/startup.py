"""How long the command line takes to answer: `trueup --help` against a Python that does nothing.

`python -m benchmarks.startup`. Median of 15 interleaved pairs, whole processes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

PAIRS = 15


def seconds(*arguments: str) -> float:
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    cases = {
        "python": ("-c", "pass"),
        "import monitor.cli": ("-c", "import monitor.cli"),
        "--help": ("-m", "monitor.cli", "--help"),
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(PAIRS):
        for name, arguments in cases.items():
            times[name].append(seconds(*arguments))
    for name, measured in times.items():
        print(f"{name:20} {statistics.median(measured):.3f} s (fastest {min(measured):.3f} s)")


if __name__ == "__main__":
    main()
