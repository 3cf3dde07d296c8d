"""Numeric columns that lattices have trouble with, and the plain computations that profiles are held to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

KINDS = (
    "normal",
    "lognormal",
    "student",
    "offset",
    "integer",
    "clustered",
    "bimodal",
    "boolean",
    "zero_inflated",
    "large_integers",
    "denormal",
    "huge",
    "constant",
    "float32_overflow",
)


def sample(kind: str, rows: int, seed: int, shift: float = 0.0) -> Floats:
    """Rows of a kind; `shift` moves it by about so many standard deviations (or changes its shares)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(0, 1, rows) + shift
    second = rng.random(rows) < 0.5 + shift / 5
    made = {
        "normal": z,
        "lognormal": np.exp(z),
        "student": rng.standard_t(2, rows) + shift,
        "offset": 1e9 + z,
        "integer": np.round(3 * z),
        "clustered": np.where(second, 1000.0, -1000.0) + 1e-3 * z,
        "bimodal": np.where(second, 0.999, 0.001) + 1e-5 * z,
        "boolean": (rng.random(rows) < 0.05 + shift / 5).astype(np.float64),
        "zero_inflated": np.where(rng.random(rows) < 0.6 - shift / 5, 0.0, np.exp(z)),
        "large_integers": np.round(z * 10) + 2.0**40,
        "denormal": np.round(z * 10) * 5e-324,
        "huge": z * 1e307,
        "constant": np.where(rng.random(rows) < shift, 8.0, 7.0),
        "float32_overflow": np.where(rng.random(rows) < 0.2, 1e200 * z, z),
    }
    return np.asarray(made[kind], dtype=np.float64)


def partition_counts(reference: Floats, values: Floats) -> npt.NDArray[np.int64]:
    """Finite values between the deciles of the reference, by plain comparison; a repeated decile stands alone."""
    deciles = np.quantile(reference, np.arange(1, 10) / 10)
    counts, last = [], np.zeros(values.size, dtype=bool)
    for decile in sorted(set(deciles.tolist())):
        if (deciles == decile).sum() > 1:
            counts.append(int(((values < decile) & ~last).sum()))
            last |= values < decile
        counts.append(int(((values <= decile) & ~last).sum()))
        last |= values <= decile
    return np.array([*counts, int((~last).sum())])
