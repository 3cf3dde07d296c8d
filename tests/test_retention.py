"""What the state drops together with the log's oldest days."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from monitor.config import load_config
from monitor.pipeline import Pipeline
from monitor.windows import MICROSECONDS
from tests.daemon_process import write_config
from tests.records_samples import EPOCH

DAY = 86_400


def test_winners_among_repeats_go_with_the_days_that_the_log_drops(tmp_path: Path) -> None:
    settings = replace(load_config(write_config(tmp_path, 9_464)), retention_seconds=30.0 * DAY)
    now = EPOCH // MICROSECONDS
    pipeline = Pipeline(settings, clock=lambda: float(now))
    try:
        # Of the day before what the log drops last, the repeat may still be there.
        winners = {("1", f"{age} days old"): (now - age * DAY) * MICROSECONDS for age in (0, 29, 31, 33, 400)}
        with pipeline.state.transaction() as state:
            state.put_superseded("pets", winners)
        pipeline.maintain()
        with pipeline.state.transaction(write=False) as state:
            assert set(state.superseded("pets", "1")) == {"0 days old", "29 days old", "31 days old"}
    finally:
        pipeline.close()
