"""A frozen estimate of a regression's losses from the model's own columns (direct loss estimation).

What lives here: the fit of |error| and error² on the reference, the rule by which it is kept, its application. What
must not: sums of current data, statistics.

The model is additive: the mean loss of the reference, and for each of at most eight columns (features, and the
prediction itself) an effect per cell: tenths of a number, the most frequent categories, missing. Means per cell are
defined for missing values and infinities, cannot run away outside the seen range, and one outlier moves one cell only;
trees would also see interactions, at a hundred times the cost per row and with a dependency. Where errors do depend on
the columns, most of it is additive (the size of the prediction, a hard segment, a sensor that is missing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.profiles.categorical import category_places
from monitor.profiles.columns import as_floats

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int8]

MINIMUM_ROWS = 300
MAXIMUM_COLUMNS = 8
MAXIMUM_CATEGORIES = 20
SPLITS = 3
# Rows' worth of "no effect" that every cell starts with: a cell of few rows is drawn to the mean.
_PRIOR_ROWS = 10.0
_BACKFITTING_ROUNDS = 5
_SEED = 20_231_013


@dataclass(frozen=True, eq=False)
class LossColumn:
    """Cells of one column and their effects, float64 [cells, 2] on (|e|, e²); the last cell is of missing values.

    A number's cell is how many `edges` are at most it; a category's its position in `categories`, or one past them.
    """

    name: str
    effects: Floats
    edges: Floats | None = None
    categories: tuple[str, ...] = ()

    def cells(self, table: pa.Table) -> Codes:
        """Cell of every row, int8 [n]; all missing where the table lacks the column."""
        missing = self.effects.shape[0] - 1
        if self.name not in table.column_names:
            return np.full(table.num_rows, missing, dtype=np.int8)
        column = table.column(self.name)
        if self.edges is None:
            # One past the categories is any other value, the last any that is missing.
            return category_places(column, self.categories).astype(np.int8)
        values = as_floats(column)
        code = np.zeros(values.size, dtype=np.int8)
        for edge in self.edges:
            code += values >= edge
        code[np.isnan(values)] = missing
        return code


@dataclass(frozen=True, eq=False)
class LossModel:
    """Mean |e| and e² of the reference (`base` float64 [2]), and the columns whose cells add to them."""

    base: Floats
    columns: tuple[LossColumn, ...]

    @classmethod
    def fit(cls, table: pa.Table, names: Sequence[str], error: Floats) -> LossModel | None:
        """From the reference's rows with their finite errors [n].

        None with fewer than 300 rows, where an error overflows, and where the columns do not predict |e| on rows that
        were not fitted: an estimate that is the reference's own mean would say nothing.
        """
        with np.errstate(over="ignore"):
            losses = np.stack((np.abs(error), error * error), axis=1)
        if error.size < MINIMUM_ROWS or not np.isfinite(losses).all() or not losses.any():
            return None
        drafts = [draft for name in names if (draft := _draft(table, name)) is not None]
        codes = [draft.cells(table) for draft in drafts]
        sizes = [draft.effects.shape[0] for draft in drafts]
        split = np.empty(error.size, dtype=np.int64)
        split[np.argsort(error, kind="stable")] = np.random.default_rng(_SEED).permutation(error.size) % SPLITS
        if not _predicts(codes, sizes, losses, split):
            return None
        base, effects = _additive(codes, sizes, losses)
        chosen = (
            LossColumn(drafts[i].name, effect, drafts[i].edges, drafts[i].categories)
            for i, effect in sorted(effects.items())
        )
        return cls(base, tuple(chosen))

    def apply(self, table: pa.Table) -> tuple[Floats, Floats]:
        """Estimated |e| and e² of every row [n], at least 0."""
        total = np.tile(self.base[:, None], (1, table.num_rows))
        for column in self.columns:
            code = column.cells(table)
            for target in range(2):
                total[target] += np.take(column.effects[:, target], code)
        np.maximum(total, 0.0, out=total)
        return total[0], total[1]


def _draft(table: pa.Table, name: str) -> LossColumn | None:
    """A column's cells without effects; None where it has only one."""
    column = table.column(name)
    if pa.types.is_floating(column.type) or pa.types.is_integer(column.type):
        values = np.asarray(column.to_numpy(), dtype=np.float64)
        values = values[np.isfinite(values)]
        if values.size == 0:
            return None
        edges = np.unique(np.quantile(values, np.arange(1, 10) / 10, method="higher"))
        edges = edges[edges > values.min()]
        return LossColumn(name, np.zeros((edges.size + 2, 2)), edges)
    text = column if pa.types.is_string(column.type) else column.cast(pa.string())
    counts = pc.value_counts(text.drop_null())
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    ordered = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    categories = tuple(sorted(value for value, _ in ordered[:MAXIMUM_CATEGORIES]))
    return LossColumn(name, np.zeros((len(categories) + 2, 2)), categories=categories)


def _predicts(codes: list[Codes], sizes: list[int], losses: Floats, split: npt.NDArray[np.int64]) -> bool:
    """Whether the squared error of predicting |e| over three held-out thirds is lower than with the mean alone."""
    with_columns = alone = 0.0
    for held_out in range(SPLITS):
        inside, outside = split != held_out, split == held_out
        base, effects = _additive([code[inside] for code in codes], sizes, losses[inside])
        if not effects:
            return False
        expected = base[0] + sum(effect[codes[i][outside], 0] for i, effect in effects.items())
        with_columns += float(np.square(losses[outside, 0] - expected).sum())
        alone += float(np.square(losses[outside, 0] - base[0]).sum())
    return with_columns < alone


def _additive(codes: list[Codes], sizes: list[int], losses: Floats) -> tuple[Floats, dict[int, Floats]]:
    """Base [2], and the effects of the chosen columns by position: forward selection on |e|, then backfitting."""
    base = losses.mean(axis=0)
    rest = losses - base
    effects: dict[int, Floats] = {}
    while len(effects) < min(MAXIMUM_COLUMNS, len(codes)):
        noise = float(rest[:, 0].var())
        gains = {i: _gain(code, sizes[i], rest[:, 0], noise) for i, code in enumerate(codes) if i not in effects}
        best = max(gains, key=lambda i: gains[i])
        if gains[best] <= 0:
            break
        effects[best] = _effect(codes[best], sizes[best], rest)
        rest -= effects[best][codes[best]]
    for _ in range(_BACKFITTING_ROUNDS if len(effects) > 1 else 0):
        for i in effects:
            rest += effects[i][codes[i]]
            effects[i] = _effect(codes[i], sizes[i], rest)
            rest -= effects[i][codes[i]]
    return base, effects


def _gain(code: Codes, size: int, rest: Floats, noise: float) -> float:
    """What a column explains of the rest beyond twice what chance explains (as Akaike's criterion has it)."""
    rows = np.bincount(code, minlength=size)
    total = np.bincount(code, weights=rest, minlength=size)
    return float((total**2 / np.maximum(rows, 1)).sum() - 2 * noise * (np.count_nonzero(rows) - 1))


def _effect(code: Codes, size: int, rest: Floats) -> Floats:
    rows = np.bincount(code, minlength=size) + _PRIOR_ROWS
    return np.stack([np.bincount(code, weights=rest[:, j], minlength=size) / rows for j in range(2)], axis=1)
