"""Profile of an embedding: sums of its coordinates in the reference's basis, their products, and random features.

What lives here: the space that a reference fixes, build and merge. What must not: how the space is chosen
(`embedding_fit`), bytes (`embedding_rows`, `embedding_codec`), statistics.

A row x becomes K coordinates z: its PCA coordinates about the reference's centre and, where the basis leaves something
out, its distance from the basis, √(|x − c|² − |z|² + f²) − f. Without that one, a drift away from the basis would be
invisible; f (1 % of the typical length) keeps the root smooth at 0, where it would turn rounding errors into noise.
From z come 512 pairs (cos ωz, sin ωz) with ω ~ N(0, I / bandwidth²): random Fourier features of the kernel
exp(−|z − z'|² / (2 bandwidth²)) (Rahimi & Recht 2007). Pairs, and not cosines with a random phase, because |φ(z)| is
then 1 for every z: the error is smaller (Sutherland & Schneider 2015) and an unbiased MMD² needs the sums alone.

All arithmetic is in float64. In float32 a row's coordinates would depend, in the seventh digit, on which rows it was
multiplied together with, and a profile on how its rows were cut into panes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.errors import DefectError
from monitor.profiles.embedding_rows import NO_IDS, Rows, Sample, pseudo_random, read_rows, smallest
from monitor.records import EMBEDDING

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

FEATURE_PAIRS = 512
# Rows that are projected together: 1,024 rows of 1,280 numbers are 10 MB of float64.
BLOCK_ROWS = 1_024
# Ids kept for whoever needs whole rows again (a report, a permutation test): the smallest by hash.
SAMPLE_ROWS = 128


@dataclass(frozen=True, eq=False)
class EmbeddingSpace:
    """What a reference fixes about an embedding of `dimension` numbers.

    `centre` float32 [d]; `basis` float32 [d, k], orthonormal; `residual` is the f of the distance from the basis
    (0: there is no such coordinate, the basis is complete); `bandwidth` of the kernel; `seed` of the frequencies;
    `explained` the share of the variance that the basis holds.
    """

    dimension: int
    centre: Singles
    basis: Singles
    residual: float
    bandwidth: float
    seed: int
    explained: float

    @property
    def coordinates(self) -> int:
        """K: how many numbers are left of a row."""
        return int(self.basis.shape[1]) + (self.residual > 0)

    @cached_property
    def identity(self) -> str:
        """A digest of all of it: profiles of one space merge, others do not."""
        digest = hashlib.sha256(repr((self.dimension, self.residual, self.bandwidth, self.seed)).encode())
        for array in (self.centre, self.basis):
            digest.update(np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()

    @cached_property
    def frequencies(self) -> Floats:
        """ω, float64 [K, 512]: standard normal numbers of `seed` / bandwidth."""
        from scipy.special import ndtri

        # The raw stream of a bit generator is promised to stay as it is in every NumPy, normal deviates are not.
        uniform = pseudo_random(self.seed, self.coordinates * FEATURE_PAIRS)
        return np.asarray(ndtri(uniform).reshape(self.coordinates, FEATURE_PAIRS) / self.bandwidth, dtype=np.float64)

    def project(self, x: npt.NDArray[np.floating]) -> Floats:
        """Coordinates float64 [n, K] of rows [n, d]; rows that are not finite give coordinates that are not."""
        rows = x.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            both = rows @ self._projection
            z = both[:, :-1] - self._offset
            if not self.residual:
                return np.ascontiguousarray(z)
            centre = self.centre.astype(np.float64)
            distance = np.einsum("ij,ij->i", rows, rows) - 2 * both[:, -1] + float(centre @ centre)
            energy = np.maximum(distance - np.einsum("ij,ij->i", z, z), 0.0)
            outside = np.sqrt(energy + self.residual**2) - self.residual
        return np.column_stack((z, outside))

    def features(self, z: Floats) -> Floats:
        """φ, float64 [n, 1024]: the cosines, then the sines; inner products are to be divided by 512."""
        angles = z @ self.frequencies
        return np.concatenate((np.cos(angles), np.sin(angles)), axis=1)

    @cached_property
    def _projection(self) -> Floats:
        # The centre rides along as one more column: |x − c|² then needs no second pass over x.
        return np.column_stack((self.basis, self.centre)).astype(np.float64)

    @cached_property
    def _offset(self) -> Floats:
        return np.asarray(self.centre.astype(np.float64) @ self.basis.astype(np.float64))


# The space of models whose reference has no embedding: rows can be counted in it, and nothing else.
NO_SPACE = EmbeddingSpace(0, np.empty(0, np.float32), np.empty((0, 0), np.float32), 0.0, 1.0, 0, 0.0)


@dataclass(frozen=True, eq=False)
class EmbeddingProfile:
    """Mergeable summary of embeddings.

    `count` rows went into the sums: `total` Σz float64 [K], `products` the upper triangle of Σzzᵀ [K (K + 1) / 2],
    `features` Σφ [1024]. `null`, `wrong_dimension` and `not_finite` count rows without a place in the space. `sample`
    is (hash, id) of at most 128 rows that were summed, those with the smallest hash, in its order.
    """

    space: EmbeddingSpace
    count: int
    null: int
    wrong_dimension: int
    not_finite: int
    total: Floats
    products: Floats
    features: Floats
    sample: Sample = ()

    @classmethod
    def empty(cls, space: EmbeddingSpace) -> EmbeddingProfile:
        """The identity of `merge`."""
        k = space.coordinates
        return cls(space, 0, 0, 0, 0, np.zeros(k), np.zeros(k * (k + 1) // 2), np.zeros(2 * FEATURE_PAIRS * (k > 0)))

    @classmethod
    def build(cls, rows: Rows, space: EmbeddingSpace) -> EmbeddingProfile:
        """Profile of decoded rows."""
        whole = cls.empty(space)
        if not space.coordinates:
            return replace(whole, null=rows.null, wrong_dimension=rows.wrong_dimension + len(rows.matrix))
        total, features = whole.total.copy(), whole.features.copy()
        products = np.zeros((total.size, total.size))
        finite = np.zeros(len(rows.matrix), dtype=bool)
        for start in range(0, len(rows.matrix), BLOCK_ROWS):
            z = space.project(rows.matrix[start : start + BLOCK_ROWS])
            good = np.isfinite(z).all(axis=1)
            finite[start : start + BLOCK_ROWS] = good
            z = z if good.all() else z[good]
            total += z.sum(axis=0)
            products += z.T @ z
            features += space.features(z).sum(axis=0)
        upper = products[np.triu_indices(total.size)]
        count = int(finite.sum())
        sample = smallest(rows.ids, finite, SAMPLE_ROWS) if rows.ids is not NO_IDS else ()
        not_finite = len(rows.matrix) - count
        return cls(space, count, rows.null, rows.wrong_dimension, not_finite, total, upper, features, sample)

    @property
    def rows(self) -> int:
        """Every row, whatever it held."""
        return self.count + self.missing

    @property
    def missing(self) -> int:
        """Rows without a place in the space."""
        return self.null + self.wrong_dimension + self.not_finite

    def merge(self, other: EmbeddingProfile) -> EmbeddingProfile:
        """Profile of both sets of rows; refuses (DefectError) a partner of another space."""
        if other.space is not self.space and other.space.identity != self.space.identity:
            raise DefectError(
                "embeddings of different references cannot be merged",
                expected=self.space.identity,
                got=other.space.identity,
            )
        # The hash decides, so that the sample is the same whichever way the rows were cut and merged.
        sample = sorted({*self.sample, *other.sample})
        return EmbeddingProfile(
            self.space,
            self.count + other.count,
            self.null + other.null,
            self.wrong_dimension + other.wrong_dimension,
            self.not_finite + other.not_finite,
            self.total + other.total,
            self.products + other.products,
            self.features + other.features,
            tuple(sample[:SAMPLE_ROWS]),
        )

    def digest(self) -> bytes:
        """What makes it this profile, for the identity of a reference."""
        return self.space.identity.encode() + self.count.to_bytes(8, "little") + self.features.tobytes()

    def mean(self) -> Floats:
        """Mean of the coordinates, float64 [K]; the profile has rows."""
        return self.total / self.count

    def covariance(self) -> Floats:
        """Covariance of the coordinates, float64 [K, K], with n − 1 below; the profile has at least 2 rows."""
        k = self.total.size
        full = np.zeros((k, k))
        full[np.triu_indices(k)] = self.products
        full = full + np.triu(full, 1).T
        mean = self.mean()
        return np.asarray((full - self.count * np.outer(mean, mean)) / (self.count - 1))


def profile_embedding(table: pa.Table, space: EmbeddingSpace | None) -> EmbeddingProfile | None:
    """Profile of the column `embedding` of prediction rows; None where there is nothing to say.

    Without a space (the reference has no embedding) rows that have one are counted, so that it can be told.
    """
    if EMBEDDING not in table.column_names:
        return None
    if space is None and table.column(EMBEDDING).null_count == table.num_rows:
        return None
    whole = EmbeddingProfile.empty(space or NO_SPACE)
    for rows in read_rows(table, whole.space.dimension):
        whole = whole.merge(EmbeddingProfile.build(rows, whole.space))
    return whole
