"""Drift of 25 columns (20 numeric, 5 categorical) from Parquet against a frozen reference, as a whole process.

Every numeric column gets PSI, Jensen-Shannon, Kolmogorov-Smirnov and Wasserstein, every categorical one PSI and
Jensen-Shannon. Wall and CPU time and peak memory are the operating system's of the finished process, start of the
interpreter and imports included; beside it the same statistics by SciPy on data frames, in the same run. Programs take
turns, and the first turn, which compiles and fills caches, does not count. The profile says where the time of one
process goes, on one thread.

`--program` measures another installation, such as a user's (a wheel, nothing else beside it). `--beside` takes turns
with any other program; `{rows}` in it is the number of rows, and `{reference}` and `{current}` are the files.

Run: python -m benchmarks.drift [--rows 1000000,10000000] [--folder DIR] [--repeats 3] [--program .../bin/trueup]
     [--reference FILE --current 'FILE with {rows}'] [--beside 'NAME=COMMAND']...
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from monitor.engines.plain_files import PlainFile
    from monitor.profiles.model_profile import Profile, Reference

# pyarrow imports pandas wherever it is; trueup does not need it, so a user's installation has none.
_WITHOUT_PANDAS = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ImportError(name)
sys.meta_path.insert(0, Hidden())
from monitor.cli import main
main()
"""
REFERENCE_ROWS = 100_000
ROW_GROUP = 131_072
CARDINALITIES = (2, 10, 50, 200, 1_000)
# The plain computation holds every value twice: above this it would be measured swapping.
PLAIN_ROWS = 1_000_000


class Cost(NamedTuple):
    """What one finished process took."""

    wall_seconds: float
    cpu_seconds: float
    peak_megabytes: float


def numeric(rng: np.random.Generator, column: int, rows: int, drift: float) -> np.ndarray:
    """Normal, lognormal and Student columns; `drift` moves every second one."""
    moved = drift if column % 2 else 0.0
    if column < 7:
        return rng.standard_normal(rows) + moved
    if column < 14:
        return np.exp(rng.standard_normal(rows) * (1 + moved))
    return rng.standard_t(2.5, rows) * (1 + moved)


def table(rng: np.random.Generator, rows: int, drift: float) -> pa.Table:
    """Rows with 1 % nulls in every numeric column."""
    columns: dict[str, pa.Array] = {}
    for column in range(20):
        columns[f"num_{column:02d}"] = pa.array(numeric(rng, column, rows, drift), mask=rng.random(rows) < 0.01)
    for column, size in enumerate(CARDINALITIES):
        weights = np.arange(1, size + 1) ** -0.9 * (1 + drift * np.cos(np.arange(size)) * (column % 2))
        edges = np.cumsum(weights / weights.sum())[:-1]
        codes = np.searchsorted(edges, rng.random(rows), side="right").astype(np.int32)
        names = pa.array([f"value_{column}_{code:04d}" for code in range(size)])
        columns[f"cat_{column}"] = pa.DictionaryArray.from_arrays(pa.array(codes), names)
    return pa.table(columns)


def write(path: Path, rows: int, seed: int, drift: float) -> None:
    """A file in row groups as Arrow writes them, zstd."""
    if path.exists():
        return
    rng, temporary = np.random.default_rng(seed), path.with_suffix(".part")
    schema = table(rng, 1, drift).schema
    plain = pa.schema([(field.name, pa.string() if field.name.startswith("cat") else field.type) for field in schema])
    with pq.ParquetWriter(temporary, plain, compression="zstd", use_dictionary=[f"cat_{i}" for i in range(5)]) as out:
        for start in range(0, rows, 4 * ROW_GROUP):
            part = table(rng, min(4 * ROW_GROUP, rows - start), drift)
            out.write_table(part.cast(plain), row_group_size=ROW_GROUP)
    temporary.rename(path)


def run(*command: str | Path) -> Cost:
    """Cost of a process; it must succeed."""
    # Where byte code is not kept, every process would compile the program anew: nobody's installation does that.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed with {process.returncode}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(costs: list[Cost]) -> Cost:
    """Median of each figure."""
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


def in_turns(commands: dict[str, tuple[str | Path, ...]], repeats: int) -> dict[str, list[Cost]]:
    """Costs of every program's counted turns: a machine that gets slower does so for all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            cost = run(*command)
            if turn:
                costs[name].append(cost)
    return costs


def by_scipy(reference: Path, current: Path) -> None:
    """The same statistics on data frames: exact, everything in memory."""
    import pandas as pd
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import ks_2samp, wasserstein_distance

    columns = [name for name in pq.read_schema(reference).names if name.startswith(("num_", "cat_"))]
    old, new = pd.read_parquet(reference, columns=columns), pd.read_parquet(current, columns=columns)
    for name in old.columns:
        if name.startswith("num"):
            a, b = old[name].dropna().to_numpy(), new[name].dropna().to_numpy()
            edges = np.quantile(a, np.arange(1, 10) / 10)
            counts = [np.bincount(np.searchsorted(edges, values), minlength=10) + 0.5 for values in (a, b)]
            ks, distance = ks_2samp(a, b, method="asymp").statistic, wasserstein_distance(a, b) / a.std()
        else:
            found = [frame[name].value_counts() for frame in (old, new)]
            index = found[0].index.union(found[1].index)
            counts = [count.reindex(index, fill_value=0).to_numpy() + 0.5 for count in found]
            ks, distance = float("nan"), float("nan")
        r, c = (count / count.sum() for count in counts)
        psi = float(((c - r) * np.log(c / r)).sum())
        print(name, psi, jensenshannon(c, r, 2), ks, distance)


def shares(reference: Path, current: Path) -> list[tuple[str, float]]:
    """Seconds by what they were spent on, in one process on one thread after the imports."""
    from monitor.comparison import compare
    from monitor.engines.plain_files import open_plain
    from monitor.profiles.codec import load_reference

    profiler = cProfile.Profile(time.process_time)
    profiler.enable()
    frozen = load_reference(reference)
    started = time.process_time()
    builder_file = open_plain(current, frozen)
    profile = _on_this_thread(builder_file, frozen)
    compare(frozen, profile)
    total = time.process_time() - started
    profiler.disable()
    spent: dict[str, float] = {}
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if name == "_parquet_batches":
            spent["decoding"] = cumulative
        elif name == "_add" and file.endswith("numeric.py"):
            spent["numeric counts"] = cumulative
        elif name == "add" and file.endswith("categorical.py"):
            spent["categorical counts"] = cumulative
        elif name == "numbers" and file.endswith("arrow_values.py"):
            spent["nulls taken out"] = cumulative
        elif name == "compare" and file.endswith("comparison.py"):
            spent["statistics"] = cumulative
    spent["everything else"] = max(total - sum(spent.values()), 0.0)
    return sorted(spent.items(), key=lambda item: -item[1])


def _on_this_thread(file: PlainFile, frozen: Reference) -> Profile:
    """The builder's own loop; a profiler sees one thread only."""
    from monitor.profiles.model_profile import ProfileBuilder

    builder = ProfileBuilder(frozen)
    for batch in file.batches(range(file.metadata.num_row_groups)):
        builder.add(batch)
    return builder.profile()


def main() -> None:
    """Print the table and the profile."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", default="1000000,10000000")
    arguments.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "trueup-drift")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--program", type=Path, help="the trueup to measure; this one, without pandas, if not given")
    arguments.add_argument("--reference", type=Path, help="rows of the reference, instead of generated ones")
    arguments.add_argument("--current", help="current rows, instead of generated ones, with {rows} in the name")
    arguments.add_argument("--beside", action="append", default=[], metavar="NAME=COMMAND")
    arguments.add_argument("--by-scipy", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = arguments.parse_args()
    if given.by_scipy:
        by_scipy(*given.by_scipy)
        return
    given.folder.mkdir(exist_ok=True)
    source, frozen = given.reference or given.folder / "reference.parquet", given.folder / "reference.trueup"
    if given.reference is None:
        write(source, REFERENCE_ROWS, 1, 0.0)
    program = (given.program,) if given.program else (sys.executable, "-c", _WITHOUT_PANDAS)
    run(*program, "reference", "build", "--from", source, "--out", frozen, "--json")
    print("| rows | program | wall s | from | to | CPU s | peak MB | times ours |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for rows in map(int, given.rows.split(",")):
        current = given.folder / f"current_{rows}.parquet"
        if given.current is not None:
            current = Path(given.current.format(rows=rows))
        else:
            write(current, rows, 2, 0.1)
        commands: dict[str, tuple[str | Path, ...]] = {
            "trueup compare": (*program, "compare", frozen, current, "--json")
        }
        if rows <= PLAIN_ROWS:
            commands["pandas + SciPy"] = (sys.executable, "-m", "benchmarks.drift", "--by-scipy", source, current)
        for name, command in (text.split("=", 1) for text in given.beside):
            commands[name] = tuple(shlex.split(command.format(rows=rows, reference=source, current=current)))
        found = in_turns(commands, given.repeats)
        ours = median(found["trueup compare"]).wall_seconds
        for name, costs in found.items():
            wall, cpu, peak = median(costs)
            walls = [cost.wall_seconds for cost in costs]
            line = f"| {rows:,} | {name} | {wall:.2f} | {min(walls):.2f} | {max(walls):.2f} | {cpu:.2f} | {peak:.0f} |"
            print(f"{line} {wall / ours:.1f} |", flush=True)
    print("\nWhere one thread's time goes, of the last file:\n")
    spent = shares(frozen, current)
    for name, seconds in spent:
        print(f"- {name}: {seconds:.2f} s, {seconds / sum(item for _, item in spent):.0%}")


if __name__ == "__main__":
    main()
