"""The worker of a model: a long run that gets on is told from one that is stuck."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from monitor.cycle import ModelCycle
from monitor.matching import LogJoin, Matching
from monitor.worker import ModelWorker
from tests.records_samples import MODEL, predictions
from tests.test_cycle import HOUR, START, make_bench

SECONDS = 30.0


class SlowJoin(LogJoin):
    """The live join, which stops before it searches labels and again before it searches predictions."""

    def __init__(self) -> None:
        self.reached = {name: threading.Event() for name in ("labels", "predictions")}
        self.go_on = {name: threading.Event() for name in ("labels", "predictions")}

    def labels(self, *arguments: Any, **named: Any) -> Matching:  # type: ignore[override]
        return self._stopped("labels", *arguments, **named)

    def predictions(self, *arguments: Any, **named: Any) -> Matching:  # type: ignore[override]
        return self._stopped("predictions", *arguments, **named)

    def _stopped(self, name: str, *arguments: Any, **named: Any) -> Matching:
        self.reached[name].set()
        assert self.go_on[name].wait(SECONDS)
        found: Matching = getattr(LogJoin, name)(*arguments, **named)
        return found


def test_a_run_that_gets_on_is_never_silent_for_long_however_long_it_takes(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, MODEL)
    bench.send(predictions([f"p{place}" for place in range(20)], start=START))
    join, now = SlowJoin(), [(START + 2 * HOUR) / 1e6]
    cycle = ModelCycle(bench.settings, bench.cycle.log, bench.state, bench.cycle.references, join)
    worker = ModelWorker(
        cycle,
        bench.state,
        deadline_seconds=300.0,
        clock=lambda: now[0],
        on_change=lambda: None,
        log=lambda *_, **__: None,
    )
    assert worker.status().silent_seconds is None
    worker.tick()
    for name in ("labels", "predictions"):
        assert join.reached[name].wait(SECONDS)
        assert worker.status().silent_seconds == 0
        now[0] += 1_000
        # Nothing happens: this is what makes a daemon unhealthy.
        assert worker.status().silent_seconds == 1_000
        join.go_on[name].set()
    assert worker.join(SECONDS)
    assert worker.status().silent_seconds is None
    assert worker.status().record.error is None
    bench.state.close()
