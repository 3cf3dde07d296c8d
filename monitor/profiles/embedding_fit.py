"""How a reference chooses the space of its embedding, and what chance alone does in it.

What lives here: the basis, the bandwidth, and the moments of the null distributions. What must not: profiles of
traffic, statistics.

The rows are split by the hash of their id (by a seeded shuffle without ids). One part, at most half and at most 4,096,
chooses basis and bandwidth; the other is the reference that traffic is compared with. A basis fits the rows it was made
of better than any new ones: compared with those, traffic that never changed would look drifted
(tests/statistics/test_embedding_drift.py measures it).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.profiles.embedding import BLOCK_ROWS, FEATURE_PAIRS, EmbeddingProfile, EmbeddingSpace
from monitor.profiles.embedding_rows import NO_IDS, Rows, dimension_of, hash_texts, pseudo_random, read_rows, seed_of
from monitor.records import EMBEDDING

Floats = npt.NDArray[np.float64]

MAXIMUM_COORDINATES = 64
# Fewer usable rows than this give no reference: 30 a half, as every distance needs.
MINIMUM_ROWS = 60
FIT_ROWS = 4_096
# Pairwise distances, and the moments of the kernel, grow with the square of the rows.
PAIR_ROWS = 1_024
MOMENT_ROWS = 16_384
# Directions with less variance than this share of the first one's are noise of the float16.
_RANK_SHARE = 1e-6
# Where the distance from the basis is smoothed, as a share of the typical length.
_RESIDUAL_SHARE = 0.01


@dataclass(frozen=True)
class NullMoments:
    """What chance alone gives, estimated without bias from rows of the reference.

    `trace_square` tr Σ² and `trace_cube` tr Σ³ of the covariance Σ of φ / √512: variance and skewness of MMD² without
    drift. `frechet_bias`: the Fréchet distance without drift is about this × (1/n + 1/m).
    """

    trace_square: float
    trace_cube: float
    frechet_bias: float


@dataclass(frozen=True, eq=False)
class EmbeddingReference:
    """The space of an embedding, the null moments in it, and the share of rows without a place in it.

    Its profile, of the rows that did not choose the space, is the reference profile's `embedding`.
    """

    space: EmbeddingSpace
    null: NullMoments
    missing_rate: float


def fit_embedding(table: pa.Table, model: str) -> tuple[EmbeddingReference, EmbeddingProfile] | None:
    """Reference of the column `embedding`, and the profile of the rows that did not choose it.

    None where the column is missing, has fewer than 60 usable rows, or all of them are the same.
    """
    if EMBEDDING not in table.column_names:
        return None
    dimension = dimension_of(table)
    if dimension == 0:
        return None
    parts = read_rows(table, dimension)
    usable = np.concatenate([_finite(part.matrix) for part in parts]) if parts else np.empty(0, bool)
    places = np.flatnonzero(usable)
    if places.size < MINIMUM_ROWS:
        return None
    seed = seed_of(model, dimension, places.size)
    order = places[np.argsort(_keys(parts, places, seed), kind="stable")]
    fitted = order[: min(places.size // 2, FIT_ROWS)]
    space = _space(_take(parts, fitted), dimension, seed)
    if space is None:
        return None
    held = order[fitted.size :]
    profile = EmbeddingProfile.empty(space)
    # In blocks that do not depend on the table's chunks: the same rows give the same sums, to the last bit.
    for start in range(0, held.size, BLOCK_ROWS):
        block = _take(parts, held[start : start + BLOCK_ROWS])
        profile = profile.merge(EmbeddingProfile.build(Rows(block, NO_IDS, 0, 0), space))
    z = space.project(_take(parts, held[:MOMENT_ROWS]))
    # Rows without a place belong to neither part; their share is kept beside.
    return EmbeddingReference(space, null_moments(space, z), 1 - places.size / table.num_rows), profile


def null_moments(space: EmbeddingSpace, z: Floats) -> NullMoments:
    """Moments from coordinates [n, K] of rows that did not choose the space, in random order."""
    square, cube = kernel_moments(space.features(z[:PAIR_ROWS]))
    return NullMoments(square, cube, frechet_bias(z))


def kernel_moments(features: Floats) -> tuple[float, float]:
    """tr Σ² and tr Σ³ of the covariance of φ / √512 from n rows [n, 1024], n > 3.

    From the U-centred Gram matrix (Székely & Rizzo 2014, eq. 2.8): its squares off the diagonal over n (n − 3) are
    unbiased for tr Σ², where the plain sample covariance adds (tr Σ)² / n; the cube is right to first order.
    """
    n = len(features)
    gram = features @ features.T / FEATURE_PAIRS
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=1) / (n - 2)
    centred = gram - sums[:, None] - sums[None, :] + gram.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(centred, 0.0)
    square = float(np.sum(centred * centred)) / (n * (n - 3))
    cube = float(np.sum((centred @ centred) * centred)) / (n * (n - 3) ** 2)
    return square, cube


def frechet_bias(z: Floats) -> float:
    """b of E[Fréchet distance of two samples without drift] ≈ b (1/n + 1/m), from coordinates [n, K].

    b = Σ λ_i + ½ Σ_ij Var(y_i y_j) / (λ_i + λ_j), y the coordinates in the eigenbasis of their covariance: the first
    term is exact and of the means, the second the quadratic expansion of the distance between covariances (Bhatia, Jain
    & Lim 2019) with the products' own variance, so that no normal distribution is assumed.
    """
    centred = z - z.mean(axis=0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(z))
    kept = values > values[-1] * 1e-12
    values = values[kept]
    y = centred @ vectors[:, kept]
    squares = y * y
    variance = squares.T @ squares / len(z) - (y.T @ y / len(z)) ** 2
    return float(values.sum() + 0.5 * np.sum(variance / (values[:, None] + values[None, :])))


def _space(rows: npt.NDArray[np.float16], dimension: int, seed: int) -> EmbeddingSpace | None:
    centre, basis, explained = principal_components(rows.astype(np.float64))
    if basis.shape[1] == 0:
        return None
    residual = 0.0
    if basis.shape[1] < dimension:
        length = float(np.sqrt(np.mean(np.sum((rows - centre.astype(np.float64)) ** 2, axis=1))))
        residual = _RESIDUAL_SHARE * length
    draft = EmbeddingSpace(dimension, centre, basis, residual, 1.0, seed, explained)
    return replace(draft, bandwidth=median_distance(draft.project(rows[:PAIR_ROWS])))


def principal_components(
    rows: Floats,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], float]:
    """(mean [d], the first at most 64 principal directions [d, k], their share of the variance) of rows [n, d].

    Signs are chosen so that the largest entry of a direction is positive. k is 0 where all rows are the same.
    """
    from scipy.linalg import eigh

    mean = rows.mean(axis=0)
    centred = rows - mean
    n, d = rows.shape
    # The smaller of the two products has the same eigenvalues.
    small = centred.T @ centred if d <= n else centred @ centred.T
    size = len(small)
    values, vectors = eigh(small, subset_by_index=(max(size - MAXIMUM_COORDINATES, 0), size - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    total = float(np.trace(small))
    kept = values > max(values[0] * _RANK_SHARE, 0.0) if total > 0 else np.zeros(values.size, bool)
    directions = vectors[:, kept] if d <= n else centred.T @ vectors[:, kept]
    if directions.shape[1]:
        directions = directions / np.linalg.norm(directions, axis=0)
        largest = np.abs(directions).argmax(axis=0)
        directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    share = float(values[kept].sum()) / total if total > 0 else 0.0
    return mean.astype(np.float32), np.ascontiguousarray(directions, np.float32), min(share, 1.0)


def median_distance(z: Floats) -> float:
    """Median Euclidean distance between different rows [n, K]; 1 where more than half of the pairs are equal."""
    from scipy.spatial.distance import pdist

    median = float(np.median(pdist(z)))
    return median if median > 0 else 1.0


def _finite(matrix: npt.NDArray[np.float16]) -> npt.NDArray[np.bool_]:
    # By blocks: a whole matrix of booleans would be half as large as the embeddings.
    parts = [np.isfinite(matrix[start : start + 8_192]).all(axis=1) for start in range(0, len(matrix), 8_192)]
    return np.concatenate(parts) if parts else np.empty(0, dtype=bool)


def _keys(parts: list[Rows], places: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.generic]:
    """What the rows at these places are shuffled by: with ids the same whatever their order in the table."""
    if any(part.ids is NO_IDS for part in parts if len(part.matrix)):
        return pseudo_random(seed, places.size)
    return np.concatenate([hash_texts(part.ids) for part in parts])[places]


def _take(parts: list[Rows], places: npt.NDArray[np.int64]) -> npt.NDArray[np.float16]:
    """Rows at these places of all parts together, in their order."""
    ends = np.cumsum([len(part.matrix) for part in parts])
    owner = np.searchsorted(ends, places, side="right")
    taken = np.empty((places.size, parts[0].matrix.shape[1]), np.float16)
    for index, part in enumerate(parts):
        mine = owner == index
        taken[mine] = part.matrix[places[mine] - (ends[index] - len(part.matrix))]
    return taken
