"""Kills processes that capture predictions, and says what each had acknowledged: `python -m … FOLDER KILLS SEED`.

Every child is a process of its own with a capture of its own (forked from one that has imported everything, so that a
hundred of them take seconds), and ends by SIGKILL: at a moment of chance, or at a fault point of the spool.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from monitor.fault_points import VARIABLE
from monitor.log.spool import SpoolSettings
from monitor.records import ModelSchema
from serving.capture import Capture, CaptureSettings
from serving.record_batches import RecordShape

MODEL = ModelSchema("pets", "classification", ("cat", "dog"))
SHAPE = RecordShape(MODEL, "1", {"place": pa.float64()}, (), None)
POINTS = ("spool.written", "spool.sealing", "spool.sealed")
FSYNC = ("always", "interval", "never")
_MOST_RECORDS = 4_000


def prediction_of(name: str) -> tuple[str, list[float]]:
    """What the model says of an id: the same always, so that a record can be held against what it should be."""
    chance = np.random.default_rng(int(name.replace("-", "")))
    p = float(chance.random())
    return MODEL.classes[int(p < 0.5)], [p, 1 - p]


def capture_until_killed(folder: Path, number: int, seed: int) -> None:
    """The child: records, flushes, and writes down what was flushed."""
    chance = random.Random(seed)
    settings = CaptureSettings(
        folder / "spool",
        batch_seconds=0.001,
        segments=SpoolSettings(fsync=FSYNC[number % 3], segment_bytes=20_000, segment_seconds=0.05),
    )
    capture = Capture(settings, SHAPE)
    acknowledged = os.open(folder / f"{number}.acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    attempted = os.open(folder / f"{number}.attempted", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for start in range(0, _MOST_RECORDS, 20):
        names = [f"{number}-{start + place:05d}" for place in range(chance.randrange(1, 20))]
        os.write(attempted, "".join(name + "\n" for name in names).encode())
        for name in names:
            predicted, p = prediction_of(name)
            capture.record(name, predicted, probabilities=p, features={"place": float(number)})
        if capture.flush(10.0) and capture.counters().failed == 0:
            os.write(acknowledged, "".join(name + "\n" for name in names).encode())


def _wait_to_be_killed(parent: int) -> None:
    """A child that has recorded everything stays for the parent's kill, as long as there is a parent."""
    deadline = time.monotonic() + 30
    while os.getppid() == parent and time.monotonic() < deadline:
        time.sleep(0.01)


def _wait_for(file: Path) -> None:
    """Until something was acknowledged."""
    deadline = time.monotonic() + 30
    while not (file.exists() and file.stat().st_size):
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing was acknowledged in {file}")
        time.sleep(0.001)


def kill_many(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """Fork and kill; how many died of what."""
    chance, parent = random.Random(seed), os.getpid()
    died = {"random": 0, **dict.fromkeys(POINTS, 0)}
    for number in range(kills):
        point = chance.choice((*POINTS, None, None, None))
        child = os.fork()
        if child == 0:
            if point is not None:
                os.environ[VARIABLE] = f"{point}:{chance.randrange(1, 12)}"
            try:
                capture_until_killed(folder, number, seed + number)
                # One with a fault point should have died there: it ends, and is told of at once.
                if point is None:
                    _wait_to_be_killed(parent)
            finally:
                os._exit(1)
        try:
            if point is None:
                if chance.random() < 0.8:
                    _wait_for(folder / f"{number}.acknowledged")
                # The moment of the kill is what is left to chance.
                time.sleep(chance.random() * 0.05)
        finally:
            # Also where it never acknowledged anything: nobody else would end it.
            if point is None:
                os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise RuntimeError(f"child {number} ended with {status} and not of the kill at {point or 'random'}")
        died[point or "random"] += 1
    return died


if __name__ == "__main__":
    root, count, first = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(kill_many(root, count, first)))  # noqa: T201  # the answer to the test
