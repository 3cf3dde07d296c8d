"""How fast 100,000 series become the text of `/metrics`, beside prometheus_client's own writer; and a scrape of them.

Run: python -m benchmarks.exposition
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from prometheus_client import generate_latest

from monitor.export.prometheus import Exposition, SnapshotCollector, render, write_text
from monitor.export.snapshot import ModelSnapshot, Snapshot
from monitor.export.statistic_metrics import COLUMN_BY_KEY
from monitor.statistics.result import Estimate, Result
from monitor.verdict import WindowResult
from monitor.windows import MICROSECONDS, Window

NOW = 1_790_000_000.0
REPEATS = 7
EVERYTHING = 10**9


def snapshot(models: int = 15, columns: int = 200) -> Snapshot:
    """Models with three windows each and every statistic of every column."""
    drift: dict[str, dict[str, Result]] = {
        f"feature_{i:04d}": {key: Estimate(0.001 * i + 0.1234567, 1_000) for key in COLUMN_BY_KEY}
        for i in range(columns)
    }
    return Snapshot("0.1.0", NOW, 60.0, tuple(_model(f"model-{i}", drift) for i in range(models)))


def _model(name: str, drift: dict[str, dict[str, Result]]) -> ModelSnapshot:
    windows = [
        WindowResult(name, "1", Window(0, int(NOW) * MICROSECONDS, seconds), "final", 1, 1_000, 900, 0.9, {}, drift)
        for seconds in (3_600.0, 86_400.0, 604_800.0)
    ]
    return ModelSnapshot(name, "regression", windows=tuple(windows), success=True, last_success_timestamp_seconds=NOW)


def median_seconds(run: Callable[[], object]) -> float:
    """Median time of `REPEATS` runs."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def main() -> None:
    """Print one line per figure."""
    shown = snapshot()
    families = list(SnapshotCollector(shown, budget=EVERYTHING).collect())
    series = sum(len(family.samples) for family in families)

    class Made:
        def collect(self) -> list[object]:
            return families  # type: ignore[return-value]

    ours = median_seconds(lambda: write_text(families))
    theirs = median_seconds(lambda: generate_latest(Made()))  # type: ignore[arg-type]
    whole = median_seconds(lambda: render(shown, budget=EVERYTHING))
    exposition = Exposition("0.1.0", budget=EVERYTHING)
    exposition.set(shown, NOW)
    scrape = median_seconds(lambda: exposition.get(NOW))
    print(f"series                              {series:>12,}")
    print(f"snapshot to text                    {whole:>12.3f} s   {series / whole:>12,.0f} series/s")
    print(f"families to text                    {ours:>12.3f} s   {series / ours:>12,.0f} series/s")
    print(f"the same by prometheus_client       {theirs:>12.3f} s   {theirs / ours:>12.1f} times as long")
    print(f"a scrape                            {scrape * 1e6:>12.1f} µs")


if __name__ == "__main__":
    main()
