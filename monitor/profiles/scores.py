"""Cells of a class probability: octaves of min(p, 1 − p), each cut into equal parts, fixed for ever.

What lives here: which cell a probability is in, and what stands for a cell. What must not: counts, statistics.

The cells are those of a clipped logit without its logarithm: near 0 and near 1, where classifiers live and where equal
cells of p see nothing, they are narrow. They depend on nothing but their number, so every histogram of scores of a
model merges, and the order of two scores in different cells is known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int32]

# Probabilities are kept away from 0 by this much before the logarithm; a certain miss costs 34.5 nats.
PROBABILITY_FLOOR = 1e-15
# Octaves from 2^-24 (6e-8, a logit of ±16.6: beyond float32's probabilities) to 1/2.
_OCTAVES = 23
_FLOOR = 2.0**-24
_MANTISSA = 23
_FLOOR_WORD = int(np.float32(_FLOOR).view(np.int32))
# Cells of all classes together stay below about this many: a profile of 100 classes is no larger than one of 10.
_TOTAL_CELLS = 16_000
_MOST_BITS, _LEAST_BITS = 5, 2


@dataclass(frozen=True)
class ScoreCells:
    """2^`bits` cells per octave: a cell is at most 2^-bits of min(p, 1 − p) wide."""

    bits: int

    @classmethod
    def of(cls, classes: int) -> ScoreCells:
        """The cells of a model of so many classes: 32 per octave up to 10 classes, fewer for more, never below 4."""
        bits = _MOST_BITS
        while bits > _LEAST_BITS and classes * ScoreCells(bits).size > _TOTAL_CELLS:
            bits -= 1
        return cls(bits)

    @property
    def size(self) -> int:
        """How many cells there are, from p = 0 to p = 1."""
        return 2 * _OCTAVES << self.bits

    def cells(self, probabilities: Floats) -> Cells:
        """Cell of every probability, ascending with it; int32 of the same shape. Values outside 0–1 are clipped."""
        near = np.minimum(probabilities, 1.0 - probabilities)
        np.maximum(near, _FLOOR, out=near)
        word = near.astype(np.float32).view(np.int32)
        word >>= _MANTISSA - self.bits
        word -= _FLOOR_WORD >> (_MANTISSA - self.bits)
        np.minimum(word, (_OCTAVES << self.bits) - 1, out=word)
        # Above one half the cells count down from the top: size − 1 − word, by bits and without a branch.
        upper = -(probabilities >= 0.5).astype(np.int32)
        word ^= upper
        upper &= self.size
        word += upper
        return word

    @cached_property
    def middles(self) -> Floats:
        """The probability in the middle of each cell, float64 [size], ascending."""
        steps = np.arange(_OCTAVES << self.bits)
        parts = 1 << self.bits
        lower = _FLOOR * 2.0 ** (steps // parts) * (1 + (steps % parts + 0.5) / parts)
        return np.concatenate((lower, 1 - lower[::-1]))
