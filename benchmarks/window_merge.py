"""What a 30-day window costs after one new pane of 5 minutes: merging and evaluation, by the rows of a pane.

A state holds 30 days of panes as the daemon keeps them: 5 minutes for the last two days, hours before that (the coarse
panes that `monitor.rollup` makes). Then a new pane comes, over and over, and the rolling window of 30 days that ends
with it is merged and all its statistics are computed. No row is read: what grows with the rows is the time that the new
pane itself took to be profiled, which is shown beside. Panes are made of 24 different samples, taken in turn.

Run: python -m benchmarks.window_merge [--rows 300,3000,30000]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.drift import table
from monitor.pane_builder import input_merger
from monitor.profiles.codec import encode_profile
from monitor.profiles.model_profile import Profile, Reference, build_reference, profile_inputs
from monitor.records import ModelSchema
from monitor.state import State, StoredPane, open_state
from monitor.statistics.summary import column_statistics
from monitor.windows import MICROSECONDS

MODEL = "m"
PANE, HOUR, DAY = 300 * MICROSECONDS, 3_600 * MICROSECONDS, 86_400 * MICROSECONDS
END = 20_000 * DAY
DAYS, FINE_DAYS = 30, 2
SAMPLES = 24
NEW_PANES = 12


def rows(seed: int, count: int) -> pa.Table:
    """Rows of the benchmark of drift, as features of a regression."""
    made = table(np.random.default_rng(seed), count, 0.1 * (seed > 0))
    return made.rename_columns([f"f_{name}" for name in made.column_names])


def stored(reference: Reference, start: int, length: int, profile: Profile) -> StoredPane:
    """A pane as the state keeps it."""
    content = encode_profile(profile)
    return StoredPane("1", "inputs", start, start + length, reference.identity, profile.rows, content)


def fill(state: State, reference: Reference, panes: list[Profile]) -> None:
    """30 days of panes; an hour is 12 of the samples, merged."""
    hours = [reduce(Profile.merge, (panes[(first + i) % SAMPLES] for i in range(12))) for first in range(SAMPLES)]

    def all_panes() -> Iterator[StoredPane]:
        fine = END - FINE_DAYS * DAY
        for place, start in enumerate(range(END - DAYS * DAY, fine, HOUR)):
            yield stored(reference, start, HOUR, hours[place % SAMPLES])
        for place, start in enumerate(range(fine, END, PANE)):
            yield stored(reference, start, PANE, panes[place % SAMPLES])

    with state.transaction() as transaction:
        transaction.put_panes(MODEL, all_panes())


def measured(folder: Path, count: int) -> tuple[float, ...]:
    """Milliseconds of the clock: profiling the new pane, merging the window after it, its statistics, both in all; and
    of the first window after a start, when every pane has to be decoded."""
    reference = build_reference(ModelSchema(MODEL, "regression"), rows(0, 100_000))
    panes = [profile_inputs(reference, rows(1 + sample, count)) for sample in range(SAMPLES)]
    state = open_state(f"sqlite:///{folder / f'{count}.db'}")
    fill(state, reference, panes)
    merger = input_merger(MODEL, "1", reference)
    times: list[tuple[float, float, float]] = []
    for turn in range(NEW_PANES + 1):
        new = rows(100 + turn, count)
        begun = time.perf_counter()
        profile = profile_inputs(reference, new)
        with state.transaction() as transaction:
            transaction.put_panes(MODEL, [stored(reference, END + turn * PANE, PANE, profile)])
        profiled = time.perf_counter()
        with state.transaction(write=False) as transaction:
            end = END + (turn + 1) * PANE
            window = merger.merge(transaction, merger.panes(transaction, end - DAYS * DAY, end), 300)
        merged = time.perf_counter()
        column_statistics(reference, window)
        times.append((profiled - begun, merged - profiled, time.perf_counter() - merged))
    state.close()
    later = [statistics.median(part) for part in zip(*times[1:], strict=True)]
    return tuple(1_000 * seconds for seconds in (*later, later[1] + later[2], times[0][1]))


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", default="300,3000,30000")
    print("| rows a pane | rows in 30 days | merge, ms | statistics, ms | both, ms | new pane, ms | first window, ms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for count in map(int, arguments.parse_args().rows.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            profiled, merged, judged, both, first = measured(Path(folder), count)
        whole = count * DAYS * DAY // PANE
        print(f"| {count:,} | {whole:,} | {merged:.0f} | {judged:.0f} | {both:.0f} | {profiled:.0f} | {first:,.0f} |")


if __name__ == "__main__":
    main()
