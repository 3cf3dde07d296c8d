"""Reading back what a capture wrote, and waiting for it with a deadline."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from monitor.log.spool import read_segment
from monitor.records import ModelSchema
from serving.capture import CaptureSettings
from serving.record_batches import RecordShape

MODEL = ModelSchema("animals", "classification", ("cat", "dog"))
SHAPE = RecordShape(MODEL, "v1", {"brightness": pa.float64(), "camera": pa.string()}, ("region",), 3)


def settings(spool: Path, **changes: Any) -> CaptureSettings:
    """Settings of a capture that writes soon."""
    return CaptureSettings(spool, **({"batch_seconds": 0.02} | changes))


def rows(spool: Path) -> list[dict[str, Any]]:
    """Every record in the spool, in sealed and open segments alike; damage fails the test."""
    found: list[dict[str, Any]] = []
    for path in sorted(spool.glob("*/*")):
        if path.suffix in (".open", ".segment"):
            read = read_segment(path)
            assert read.damage is None or path.suffix == ".open", read
            for batch in read.batches:
                found += batch.to_pylist()
    return found


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """The first true value of `condition`; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value
