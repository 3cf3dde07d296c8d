"""What tests of alarms through real cycles share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.verdict import Check
from tests.alarm_bench import AlarmBench, Make, settings


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[AlarmBench] = []

    def build(*checks: Check, **changes: object) -> AlarmBench:
        root = tmp_path / str(len(made))
        root.mkdir()
        made.append(AlarmBench(root, settings(root, *checks, **changes)))
        return made[-1]

    yield build
    for bench in made:
        bench.state.close()
