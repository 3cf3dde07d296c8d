"""How the lattice of a numeric column is chosen from reference values.

What lives here: centre, scale, refinement and marks. What must not: counting, Arrow.
"""

from __future__ import annotations

import numpy as np

from monitor.profiles.lattice import NEGATIVE_ZERO, Axis, Cells, Floats, Standardisation, on_axis

# A cell or a single value with more than this share of the reference is looked at more closely.
HEAVY_SHARE = 0.005
DECILES = 10
# Cells that refinement may add to a column: 2 MB of counts at most while a file is read.
_MAXIMUM_REFINED_CELLS = 1 << 18


def standardise(values: Floats, axis: Axis = "value", outermost: tuple[float, float] | None = None) -> Standardisation:
    """The standardisation of reference values (those that are not finite are left out).

    Centre: median. Scale: interquartile range, else p99 − p1, else max |x − median|, else 1; all on the axis. Marks:
    deciles (`np.quantile`'s default definition), values of more than 0.5 % of the rows, the outermost values (given
    where `values` are a sample of the reference), and a value every 0.5 % of the rows where even a refined cell holds
    more of them: clusters so tight and far away that float32 does not tell their values apart.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # + 0.0: the marks of equal references are equal, so −0.0 must not be one.
        finite = np.sort(values[np.isfinite(values)]) + 0.0
        if finite.size == 0:
            return Standardisation(0.0, 1.0, axis)
        centre, scale = _centre_and_scale(on_axis(finite, axis))
        deciles = _deciles(finite)
        points = _heavy_points(finite)
        ends = finite[[0, -1]] if outermost is None else np.asarray(outermost, dtype=np.float64) + 0.0
        refined = _refine(Standardisation(centre, scale, axis), finite, points)
        dense = _dense_quantiles(Standardisation(centre, scale, axis, refined), finite, points)
        marks = np.unique(np.concatenate((deciles, points, dense, ends)))
    return Standardisation(centre, scale, axis, refined, tuple(marks.tolist()), tuple(deciles.tolist()))


def _centre_and_scale(ordered: Floats) -> tuple[float, float]:
    p01, p25, centre, p75, p99 = np.quantile(ordered, [0.01, 0.25, 0.5, 0.75, 0.99])
    if not np.isfinite(centre):
        centre = ordered[ordered.size // 2]
    for scale in (p75 - p25, p99 - p01, float(np.max(np.abs(ordered - centre)))):
        if np.isfinite(scale) and scale > 0:
            return float(centre), float(scale)
    return float(centre), 1.0


def _deciles(ordered: Floats) -> Floats:
    shares = np.arange(1, DECILES) / DECILES
    found = np.quantile(ordered, shares)
    # Interpolation between values near the end of float64's range overflows; the value below is then as good.
    found = np.where(np.isfinite(found), found, np.quantile(ordered, shares, method="lower"))
    return np.asarray(found + 0.0, dtype=np.float64)


def _heavy_points(ordered: Floats) -> Floats:
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.append(starts, ordered.size))
    return ordered[starts[lengths > HEAVY_SHARE * ordered.size]]


def _refine(draft: Standardisation, ordered: Floats, points: Floats) -> tuple[tuple[int, int], ...]:
    """Coarse cells to split and by how many bits, those with the most rows first while the budget lasts."""
    limit = HEAVY_SHARE * ordered.size
    differing = ordered[~np.isin(ordered, points)]
    words = draft.positions(differing).view(np.uint32)
    coarse, counts = np.unique(words >> np.uint32(16), return_counts=True)
    budget = _MAXIMUM_REFINED_CELLS
    refined: list[tuple[int, int]] = []
    for cell in coarse[np.argsort(-counts, kind="stable")][: int((counts > limit).sum())]:
        inside = words[words >> np.uint32(16) == cell]
        bits = next((b for b in range(1, 16) if _heaviest(inside >> np.uint32(16 - b)) <= limit), 16)
        # The cells around zero are already finer than any value of a column.
        if cell & (NEGATIVE_ZERO - 1) and (1 << bits) <= budget:
            refined.append((int(cell), bits))
            budget -= 1 << bits
    return tuple(sorted(refined))


def _dense_quantiles(draft: Standardisation, ordered: Floats, points: Floats) -> Floats:
    cells = draft.cells(ordered)
    unique, counts = np.unique(cells[~np.isin(ordered, points)], return_counts=True)
    dense = np.isin(cells, unique[counts > HEAVY_SHARE * ordered.size])
    if not dense.any():
        return ordered[:0]
    every = (np.arange(1, round(1 / HEAVY_SHARE)) * HEAVY_SHARE * ordered.size).astype(np.intp)
    return ordered[every[dense[every]]]


def _heaviest(cells: Cells) -> int:
    return int(np.unique(cells, return_counts=True)[1].max())
