"""Are the panes of a stream independent enough for the promised run length, and by how much are rows not.

What lives here: the design effect between panes, how it grows when panes are taken together, and which setting
follows. What must not: evidence, configuration.

Rows that come in copies or clusters (retries, sessions, frames of one camera) make every pane vary more than a
multinomial sample of its size: dispersion above 1 that stays the same when panes are merged. Cycles and slow movement
make neighbouring panes alike: dispersion that grows as panes are merged. The first is cured by dividing counts, the
second is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, f

from monitor.errors import DefectError
from monitor.statistics.evidence_counts import Counts
from monitor.statistics.result import Absent, Estimate, Reason, Result

MINIMUM_PANES = 20
_SIGNIFICANT = 0.01
# Merged panes may scatter this much more than single ones before we say that they are alike for a reason.
_GROWTH = 1.5


class Advice(StrEnum):
    """Which setting follows from a reference's panes."""

    INDEPENDENT = "independent"
    CLUSTERED = "clustered"
    SEASONAL = "seasonal"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Independence:
    """What panes say of themselves: design effects by column, dispersion by how many panes were merged, the advice."""

    advice: Advice
    panes: int
    design_effects: tuple[float, ...]
    dispersion_by_merged: dict[int, float]
    text: str


def dispersion(counts: Counts) -> Result:
    """Pearson dispersion of panes × cells counts int64 [P, k]: 1 for independent rows, d for rows in d copies.

    Σ (c − n·p̂)² / (n·p̂) / df with p̂ the pooled frequencies and df = (P' − 1)(k' − 1) over panes with rows and cells
    with counts; p-value of 'no more than multinomial'. Absent with fewer than two panes or cells that hold rows.
    Source: Rao, Scott, 'On chi-squared tests for multiway contingency tables with cell proportions estimated from
    survey data', Annals of Statistics 12 (1984); McCullagh, Nelder, Generalized Linear Models, 4.5.
    """
    statistic, freedom, panes = _pearson(counts)
    if freedom == 0:
        return Absent(Reason.TOO_FEW_ROWS, n=panes, detail="two panes and two cells that hold rows are needed")
    return Estimate(statistic / freedom, panes, p_value=float(chi2.sf(statistic, freedom)))


def design_effect(counts: Counts) -> float:
    """The number counts are divided by: the dispersion between panes where it is clearly above 1, else 1.

    `counts` int64 [P, k]. Clearly: p < 0.01. Exact where all rows come in the same number of copies; right to first
    order for clusters (it matches the variance, not the distribution). 1 with fewer than `MINIMUM_PANES` panes.
    """
    result = dispersion(counts) if len(counts) >= MINIMUM_PANES else None
    if not isinstance(result, Estimate) or result.p_value is None or result.p_value >= _SIGNIFICANT:
        return 1.0
    return max(result.value, 1.0)


def neighbouring_design_effect(counts: Counts) -> float:
    """The design effect seen between neighbouring panes only, which no cycle or slow movement inflates much.

    Σ over triples of panes of Pearson's statistic of the middle one against the two around it / Σ of its degrees of
    freedom, where that is clearly above 1 (p < 0.01), else 1; `counts` int64 [P, k] in the order of time. What moves
    steadily through three panes cancels, so what is left is rows that come in copies or clusters within a pane.
    """
    panes = len(counts) // 3 * 3
    table = np.asarray(counts)[:panes]
    pairs = [_pearson(np.stack((table[i + 1], table[i] + table[i + 2]))) for i in range(0, panes, 3)]
    statistic, freedom = sum(pair[0] for pair in pairs), sum(pair[1] for pair in pairs)
    if panes < MINIMUM_PANES or freedom == 0 or chi2.sf(statistic, freedom) >= _SIGNIFICANT:
        return 1.0
    return max(statistic / freedom, 1.0)


def judge_independence(columns: Sequence[Counts]) -> Independence:
    """Advice from the panes of a reference or of quiet traffic, in the order of time; each column int64 [P, k].

    Merges 1, 2, 4 … neighbouring panes as long as ten groups remain. `seasonal` if merging makes the dispersion of any
    column grow by half or more, beyond chance (F-test, p < 0.01 over all columns and mergings); `clustered` if it is
    above 1 and stays.
    """
    panes = len(columns[0]) if columns else 0
    if panes < MINIMUM_PANES:
        text = f"{panes} panes are too few to tell (at least {MINIMUM_PANES}); keep a whole season as one observation."
        return Independence(Advice.UNKNOWN, panes, (1.0,) * len(columns), {}, text)
    merged = [size for size in (2**level for level in range(20)) if panes // size >= 10]
    found = {size: [_pearson(_merge(column, size)) for column in columns] for size in merged}
    medians = {size: float(np.median([_ratio(pearson) for pearson in values])) for size, values in found.items()}
    effects = tuple(design_effect(column) for column in columns)
    level = _SIGNIFICANT / (len(columns) * len(merged))
    seasonal = any(
        _grows(one, many, level) for values in found.values() for one, many in zip(found[1], values, strict=True)
    )
    if seasonal:
        text = (
            "Neighbouring panes resemble each other (a cycle, or slow movement): keep a whole season as one "
            "observation (season: 1d), or match by phase. No division of counts repairs this."
        )
        return Independence(Advice.SEASONAL, panes, effects, medians, text)
    if max(effects) > 1.0:
        text = (
            f"Rows come in clusters: panes scatter up to {max(effects):.1f} times as much as independent rows would. "
            "Counts are divided by that design effect."
        )
        return Independence(Advice.CLUSTERED, panes, effects, medians, text)
    text = "Panes scatter as independent rows would: an observation may be shorter than a season (season: off)."
    return Independence(Advice.INDEPENDENT, panes, effects, medians, text)


def learnt_tolerance(effects: Sequence[float], coverage: float = 0.99) -> Result:
    """The effect that all but a share 1 − `coverage` of the reference's own panes stay below.

    The ⌈(n+1)·coverage⌉-th smallest of n effects: a further exchangeable pane exceeds it with probability at most
    1 − coverage (conformal quantile; Vovk, Gammerman, Shafer 2005). Absent where n is too small for the coverage.
    """
    values: npt.NDArray[np.float64] = np.sort(np.asarray(effects, dtype=np.float64))
    rank = int(np.ceil((values.size + 1) * coverage - 1e-9))
    if values.size == 0 or rank > values.size:
        return Absent(Reason.TOO_FEW_ROWS, n=values.size, detail=f"{coverage:g} needs {_needed(coverage)} panes")
    return Estimate(float(values[rank - 1]), values.size, level=coverage)


def _needed(coverage: float) -> int:
    return int(np.ceil(coverage / (1.0 - coverage) - 1e-9))


def _pearson(counts: Counts) -> tuple[float, int, int]:
    """Pearson's statistic of panes × cells, its degrees of freedom (0: none), and how many panes hold rows."""
    table = np.asarray(counts, dtype=np.float64)
    if table.ndim != 2:
        raise DefectError("dispersion is of panes by cells", expected="two dimensions", got=str(table.shape))
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    panes, cells = table.shape
    if panes < 2 or cells < 2:
        return 0.0, 0, panes
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(((table - expected) ** 2 / expected).sum()), (panes - 1) * (cells - 1), panes


def _ratio(pearson: tuple[float, int, int]) -> float:
    return pearson[0] / pearson[1] if pearson[1] else 1.0


def _grows(one: tuple[float, int, int], many: tuple[float, int, int], level: float) -> bool:
    """Whether merged panes scatter more than single ones, by much and beyond chance."""
    growth = _ratio(many) / max(_ratio(one), 1e-12)
    return growth >= _GROWTH and bool(f.sf(growth, many[1], one[1]) < level)


def _merge(counts: Counts, size: int) -> Counts:
    """Counts of `size` neighbouring panes taken together; an incomplete last group is left out."""
    groups = len(counts) // size
    merged: Counts = np.asarray(counts)[: groups * size].reshape(groups, size, -1).sum(axis=1)
    return merged
