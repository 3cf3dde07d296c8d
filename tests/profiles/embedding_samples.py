"""Real vectors as embeddings in the form of the log: digits of scikit-learn, and what a fixed layer makes of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.datasets import load_digits

from monitor.records import EMBEDDING, EMBEDDING_DIMENSION_KEY

Floats = npt.NDArray[np.float64]


@cache
def digits() -> Floats:
    """1,797 images of handwritten digits, [n, 64], 0 to 16."""
    return np.asarray(load_digits().data, dtype=np.float64)


@cache
def layer(width: int) -> Floats:
    """A fixed random layer [64, width]."""
    return np.random.default_rng(64).normal(0, 0.125, (64, width))


def activations(pixels: Floats, width: int = 200) -> Floats:
    """What a random layer with rectified outputs says of images: more numbers than a basis holds."""
    return np.maximum(pixels @ layer(width), 0.0)


def draw(rows: int, seed: int) -> Floats:
    """Images drawn independently, with replacement: samples of different seeds have the same distribution."""
    return digits()[np.random.default_rng(seed).integers(0, len(digits()), rows)]


def as_table(vectors: Floats, prefix: str = "id", *, null: tuple[int, ...] = ()) -> pa.Table:
    """Rows with an id and an embedding; those at the places `null` have none."""
    halves = vectors.astype("<f2")
    values = [None if i in null else row.tobytes() for i, row in enumerate(halves)]
    field = pa.field(EMBEDDING, pa.binary(), metadata={EMBEDDING_DIMENSION_KEY: str(vectors.shape[1]).encode()})
    ids = [f"{prefix}-{i}" for i in range(len(vectors))]
    schema = pa.schema([pa.field("prediction_id", pa.string()), field])
    return pa.table([pa.array(ids), pa.array(values, pa.binary())], schema=schema)
