"""The most memory that this process has had. What must not live here: figures of single benchmarks."""

from __future__ import annotations

from pathlib import Path


def peak_mebibytes() -> float:
    """Highest resident set so far, in MiB. `ru_maxrss` would count the parent's, from before the program was begun."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise OSError("no VmHWM in /proc/self/status")
