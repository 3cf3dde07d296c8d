"""Losses of single labelled predictions, and the reference's own quantiles of them.

What lives here: the loss of a row, and the limits above which live losses are counted. What must not: evidence, sums of
losses (those are in `outcome`), reading of tables from disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import DefectError
from monitor.profiles.columns import as_floats
from monitor.profiles.scores import PROBABILITY_FLOOR
from monitor.records import ModelSchema

Floats = npt.NDArray[np.float64]

LOSS_QUANTILES = (0.5, 0.75, 0.9, 0.97)


@dataclass(frozen=True)
class LossLimits:
    """Limits at the reference's own `LOSS_QUANTILES` of the loss, ascending, and what lay above them.

    `quantiles`: the quantile of each limit. `above`: rows of the reference whose loss is strictly above it, of `rows`.
    """

    quantiles: tuple[float, ...]
    limits: tuple[float, ...]
    above: tuple[int, ...]
    rows: int


def row_losses(schema: ModelSchema, table: pa.Table) -> Floats:
    """Loss of every row that has one, float64 [≤ n]: −ln p(label) floored at 1e-15, or (prediction − label)².

    A row without a known label or without its complete output has none.
    """
    if schema.task == "regression":
        label, predicted = as_floats(table.column("label")), as_floats(table.column("prediction"))
        known = np.isfinite(label) & np.isfinite(predicted)
        with np.errstate(over="ignore"):
            return np.asarray((predicted[known] - label[known]) ** 2, dtype=np.float64)
    if any(name not in table.column_names for name in schema.probability_columns):
        return np.empty(0)
    label = pc.index_in(table.column("label").cast(pa.string()), value_set=pa.array(schema.classes))
    position = np.asarray(pc.fill_null(label, -1).to_numpy(), dtype=np.int64)
    own = np.full(table.num_rows, np.nan)
    complete = position >= 0
    for index, name in enumerate(schema.probability_columns):
        p = as_floats(table.column(name))
        complete &= np.isfinite(p)
        own[position == index] = p[position == index]
    return np.asarray(-np.log(np.maximum(own[complete], PROBABILITY_FLOOR)), dtype=np.float64)


def loss_limits(losses: Floats) -> LossLimits:
    """The limits of a reference from the losses of its rows; equal ones (a loss with few values) are kept once.

    Raises DefectError without finite losses.
    """
    values = np.asarray(losses, dtype=np.float64)
    values = values[np.isfinite(values)]
    if values.size == 0:
        raise DefectError("a reference without losses has no limits", expected="finite losses")
    found = {float(np.quantile(values, q, method="higher")): q for q in reversed(LOSS_QUANTILES)}
    limits = tuple(sorted(found))
    return LossLimits(tuple(found[limit] for limit in limits), limits, count_above(values, limits), values.size)


def count_above(losses: Floats, limits: Sequence[float]) -> tuple[int, ...]:
    """How many losses are strictly above each limit; NaN counts as above: an undefined loss is not a small one."""
    values = np.asarray(losses, dtype=np.float64)
    return tuple(int(np.count_nonzero(~(values <= limit))) for limit in limits)
