"""How far an embedding moved from its reference: MMD², Fréchet distance, and how well a classifier tells them apart.

What lives here: statistics of two embedding profiles of one space. What must not: reading of rows, the space itself.

All three say that the distribution moved, not that the model got worse. Their p-values are of rows drawn independently
from the reference's distribution: traffic that repeats itself (one user, one camera) looks drifted sooner. MMD² and
the classifier are two tests of one embedding, and each p-value is doubled for it: whoever calls it drifted because
either is below a level, does so at most at that level.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from monitor.profiles.embedding import FEATURE_PAIRS, EmbeddingProfile
from monitor.profiles.embedding_fit import EmbeddingReference, NullMoments
from monitor.statistics.result import Absent, Estimate, Reason, Result

Floats = npt.NDArray[np.float64]

# Rows a side below which neither MMD² nor the classifier is stated.
MINIMUM_ROWS = 30
# The correction of the Fréchet distance is an expansion in K/n: rows a side for each coordinate.
FRECHET_ROWS_PER_COORDINATE = 3
# Rows of the smaller side for each direction of the classifier. Coordinates of real embeddings have heavier tails than
# the normal distribution, most of all where they vary little; with 3 rows a direction T² rejected 6.3 % at 5 %.
CLASSIFIER_ROWS_PER_DIRECTION = 5
TESTS = 2
STATISTICS = (
    "maximum_mean_discrepancy",
    "maximum_mean_discrepancy_p_value",
    "frechet_distance",
    "domain_classifier_auroc",
    "missing_rate_difference",
)


def embedding_statistics(
    reference: EmbeddingReference | None, old: EmbeddingProfile | None, new: EmbeddingProfile | None
) -> dict[str, Result]:
    """Every statistic of the embedding by name; empty where neither side has one.

    Absent as a whole: the reference has no embedding, the window has no rows with one, or only of another dimension.
    """
    absent = _absence(reference, old, new)
    if absent is not None:
        return {"maximum_mean_discrepancy": absent}
    if reference is None or old is None or new is None:
        return {}
    discrepancy = maximum_mean_discrepancy(old, new, reference.null)
    p_value: Result = discrepancy
    if isinstance(discrepancy, Estimate):
        p_value = Estimate(discrepancy.p_value or 0.0, discrepancy.n)
    missing = new.missing / new.rows - reference.missing_rate
    return {
        "maximum_mean_discrepancy": discrepancy,
        "maximum_mean_discrepancy_p_value": p_value,
        "frechet_distance": frechet_distance(old, new, reference.null),
        "domain_classifier_auroc": domain_classifier_auroc(old, new),
        "missing_rate_difference": Estimate(missing, new.rows),
    }


def maximum_mean_discrepancy(old: EmbeddingProfile, new: EmbeddingProfile, null: NullMoments) -> Result:
    """MMD² = E k(x, x') + E k(y, y') − 2 E k(x, y), unbiased; about 0 without drift, may be a little negative; below 2.

    k(x, y) = φ(x)·φ(y) / 512, the random Fourier features of the Gaussian kernel on the coordinates. As k(x, x) = 1,
    Σ_{i≠j} k(x_i, x_j) = |Σφ|² / 512 − n. p-value of no drift (one-sided) from a gamma distribution with mean 0, the
    exact variance 2 tr Σ² (1/(n(n−1)) + 1/(m(m−1)) + 2/(nm)) and the skewness that MMD² has then, 8 tr Σ³ (1/n + 1/m)³;
    doubled, as one of two tests. Absent below 30 rows a side, or where the reference's embeddings are all the same
    (Gretton et al. 2012).
    """
    n, m = new.count, old.count
    if min(n, m) < MINIMUM_ROWS:
        return _too_few(n, MINIMUM_ROWS)
    if null.trace_square <= 0:
        return Absent(Reason.REFERENCE_CONSTANT, n)
    x, y = new.features, old.features
    within_x = (float(x @ x) / FEATURE_PAIRS - n) / (n * (n - 1))
    within_y = (float(y @ y) / FEATURE_PAIRS - m) / (m * (m - 1))
    value = within_x + within_y - 2 * float(x @ y) / FEATURE_PAIRS / (n * m)
    variance = 2 * null.trace_square * (1 / (n * (n - 1)) + 1 / (m * (m - 1)) + 2 / (n * m))
    skewness = 8 * null.trace_cube * (1 / n + 1 / m) ** 3 / variance**1.5
    return Estimate(value, n, p_value=_of_two(gamma_tail(value / variance**0.5, skewness)))


def frechet_distance(old: EmbeddingProfile, new: EmbeddingProfile, null: NullMoments) -> Result:
    """|μ₁ − μ₂|² + Tr(S₁ + S₂ − 2 (S₁S₂)^½) of the coordinates, less what chance alone gives; squared embedding units.

    Two samples of one distribution are about b (1/n + 1/m) apart, b measured on the reference (`frechet_bias`); that is
    taken off, so the value is about 0 without drift and may be a little negative. Absent below 3 rows a side for each
    coordinate, where the correction does not hold (Heusel et al. 2017; bias: Chong & Forsyth 2020).
    """
    n, m = new.count, old.count
    least = max(MINIMUM_ROWS, FRECHET_ROWS_PER_COORDINATE * old.total.size)
    if min(n, m) < least:
        return _too_few(n, least)
    raw = frechet(old.mean(), old.covariance(), new.mean(), new.covariance())
    value = raw - null.frechet_bias * (1 / n + 1 / m)
    return Estimate(value, n) if np.isfinite(value) else Absent(Reason.OVERFLOW, n)


def domain_classifier_auroc(old: EmbeddingProfile, new: EmbeddingProfile) -> Result:
    """AUROC of the linear discriminant that tells current rows from reference rows; 0.5 (cannot) to 1.

    Φ(Δ / √2) with the Mahalanobis distance Δ of the two means under the pooled covariance, right for normal coordinates
    of one covariance. K: the directions of largest variance, one for every five rows of the smaller side. Δ² is
    corrected for its bias, Δ̂² (N − K − 3) / (N − 2) − K (1/n + 1/m), and cut at 0. p-value of equal means from
    Hotelling's T² (Anderson 2003, 5.3); doubled, as one of two tests. It sees moved means only; MMD² sees the rest.
    Absent below 30 rows a side, or where the reference's embeddings are all the same.
    """
    from scipy.special import fdtrc, ndtr

    n, m = new.count, old.count
    if min(n, m) < MINIMUM_ROWS:
        return _too_few(n, MINIMUM_ROWS)
    pooled = ((n - 1) * new.covariance() + (m - 1) * old.covariance()) / (n + m - 2)
    values, vectors = np.linalg.eigh(pooled)
    # What the subtraction of the means leaves of equal embeddings is no variance.
    rounding = 1e-12 * max(float(old.mean() @ old.mean()), float(new.mean() @ new.mean()))
    kept = values > max(float(values[-1]) * 1e-9, rounding)
    # Ascending: the last ones vary most.
    kept[: max(kept.size - min(n, m) // CLASSIFIER_ROWS_PER_DIRECTION, 0)] = False
    k, total = int(kept.sum()), n + m
    if k == 0:
        return Absent(Reason.REFERENCE_CONSTANT, n)
    gap = vectors[:, kept].T @ (new.mean() - old.mean())
    distance = float(np.sum(gap**2 / values[kept]))
    p_value = float(fdtrc(k, total - k - 1, distance * n * m / total * (total - k - 1) / (k * (total - 2))))
    corrected = max(distance * (total - k - 3) / (total - 2) - k * (1 / n + 1 / m), 0.0)
    return Estimate(float(ndtr((corrected / 2) ** 0.5)), n, p_value=_of_two(p_value))


def frechet(mean_1: Floats, covariance_1: Floats, mean_2: Floats, covariance_2: Floats) -> float:
    """|μ₁ − μ₂|² + Tr(S₁ + S₂ − 2 (S₁S₂)^½), ≥ 0 up to rounding; the trace by Σ √eigenvalues of √S₁ S₂ √S₁."""
    values, vectors = np.linalg.eigh(covariance_1)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    product = root @ covariance_2 @ root
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh((product + product.T) / 2), 0.0)).sum()
    gap = mean_1 - mean_2
    return float(gap @ gap + np.trace(covariance_1) + np.trace(covariance_2) - 2 * middle)


def gamma_tail(z: float, skewness: float) -> float:
    """P(Z ≥ z) of the gamma distribution with mean 0, variance 1 and this skewness; the normal one for no skewness."""
    from scipy.special import gammaincc, ndtr

    if skewness < 1e-3:
        return float(ndtr(-z))
    shape = 4 / min(skewness, 8**0.5) ** 2
    return float(gammaincc(shape, max(shape + z * shape**0.5, 0.0)))


def _of_two(p_value: float) -> float:
    return min(TESTS * p_value, 1.0)


def _absence(
    reference: EmbeddingReference | None, old: EmbeddingProfile | None, new: EmbeddingProfile | None
) -> Absent | None:
    if reference is None or old is None:
        if new is None or not new.wrong_dimension:
            return None
        return Absent(Reason.NO_REFERENCE, new.rows, "the reference has no embeddings, or too few")
    if new is None or new.rows == new.null:
        return Absent(Reason.COLUMN_MISSING, 0 if new is None else new.rows)
    if not new.count and new.wrong_dimension:
        return Absent(Reason.DIMENSION_DIFFERS, new.rows, f"the reference's have {reference.space.dimension} numbers")
    return None


def _too_few(n: int, least: int) -> Absent:
    return Absent(Reason.TOO_FEW_ROWS, n, f"at least {least} embeddings a side")
