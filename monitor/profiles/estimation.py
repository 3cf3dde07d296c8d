"""Profile of what is expected without labels: sums of calibrated probability, or of estimated losses.

What lives here: sufficient statistics of estimated performance, and of its difference from the truth where labels are
known; their build and merge. What must not: the frozen estimators, finished ratios, reading of tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from monitor.profiles.scores import Cells, ScoreCells
from monitor.profiles.sums import added

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Beyond these many classes a confusion matrix and score histograms would be larger than what they tell: counts only.
MAXIMUM_DETAILED_CLASSES = 100


@dataclass(frozen=True, eq=False)
class EstimatedClasses:
    """Sums over predictions of K classes with complete probabilities p, calibrated to c (Σ_k c_k = 1).

    `predicted` int64 [K+1]: predictions per class, unknown ones last. `hits` float64 [K]: Σ c of the predicted class
    over the rows predicted so, the expected hits. `mass` float64 [K]: Σ c_k, the expected labels. `loss`,
    `loss_squares`: Σ Σ_k −c_k ln p_k and Σ of its square. `scores` int64 [K, cells]: histograms of p_k (empty with more
    than 100 classes). All terms are at least 0.
    """

    rows: int
    predicted: Integers
    hits: Floats
    mass: Floats
    loss: float
    loss_squares: float
    scores: Integers

    @classmethod
    def empty(cls, classes: int) -> EstimatedClasses:
        """The identity of addition."""
        shape = (classes, ScoreCells.of(classes).size) if classes <= MAXIMUM_DETAILED_CLASSES else (0, 0)
        zeros = np.zeros(classes)
        return cls(0, np.zeros(classes + 1, np.int64), zeros, zeros, 0.0, 0.0, np.zeros(shape, np.int64))

    @classmethod
    def build(cls, predicted: Integers, calibrated: Floats, loss: Floats, cells: Cells | None) -> EstimatedClasses:
        """From predicted classes [n], calibrated probabilities [K, n], expected losses [n] and score cells [K, n].

        Without cells there are no histograms.
        """
        classes = calibrated.shape[0]
        scores = np.zeros((0, 0), np.int64)
        if cells is not None and classes <= MAXIMUM_DETAILED_CLASSES:
            size = ScoreCells.of(classes).size
            scores = np.stack([np.bincount(row, minlength=size) for row in cells])
        hits = np.bincount(predicted, weights=of_class(calibrated, predicted), minlength=classes + 1)
        return cls(
            predicted.size,
            np.bincount(predicted, minlength=classes + 1),
            hits[:classes].astype(np.float64),
            calibrated.sum(axis=1),
            float(loss.sum()),
            float(loss @ loss),
            scores,
        )

    def merge(self, other: EstimatedClasses) -> EstimatedClasses:
        """The sums of both."""
        return added(self, other)


@dataclass(frozen=True, eq=False)
class ReconciledClasses:
    """What was estimated of labelled rows, and Σ of the squared differences from the truth, row by row.

    `estimated` has no histograms: those of the outcome itself, positives and negatives, are of the same rows.
    `hit_gap_squares` Σ (c of the predicted class − 1{right})², `loss_gap_squares` Σ (expected − realised loss)².
    """

    estimated: EstimatedClasses
    hit_gap_squares: float
    loss_gap_squares: float

    @classmethod
    def empty(cls, classes: int) -> ReconciledClasses:
        """The identity of addition."""
        return cls(replace(EstimatedClasses.empty(classes), scores=np.zeros((0, 0), np.int64)), 0.0, 0.0)

    def merge(self, other: ReconciledClasses) -> ReconciledClasses:
        """The sums of both."""
        return added(self, other)


@dataclass(frozen=True, eq=False)
class EstimatedLosses:
    """Sums over predictions of a regression: Σ of the estimated |e| and e², and of their squares. All at least 0."""

    rows: int = 0
    absolute: float = 0.0
    absolute_squares: float = 0.0
    squared: float = 0.0
    squared_squares: float = 0.0

    @classmethod
    def build(cls, absolute: Floats, squared: Floats) -> EstimatedLosses:
        """From estimated |e| and e² of every row [n]."""
        return cls(
            absolute.size,
            float(absolute.sum()),
            float(absolute @ absolute),
            float(squared.sum()),
            float(squared @ squared),
        )

    def merge(self, other: EstimatedLosses) -> EstimatedLosses:
        """The sums of both."""
        return added(self, other)


@dataclass(frozen=True, eq=False)
class ReconciledLosses:
    """What was estimated of labelled rows, their realised Σ|e| and Σe², and Σ of the squared differences."""

    estimated: EstimatedLosses = EstimatedLosses()
    absolute: float = 0.0
    squared: float = 0.0
    absolute_gap_squares: float = 0.0
    squared_gap_squares: float = 0.0

    @classmethod
    def build(cls, absolute: Floats, squared: Floats, error: Floats) -> ReconciledLosses:
        """From estimated |e| and e², and the realised errors [n]."""
        realised, squares = np.abs(error), error * error
        return cls(
            EstimatedLosses.build(absolute, squared),
            float(realised.sum()),
            float(squares.sum()),
            float(np.square(absolute - realised).sum()),
            float(np.square(squared - squares).sum()),
        )

    def merge(self, other: ReconciledLosses) -> ReconciledLosses:
        """The sums of both."""
        return added(self, other)


def of_class(values: Floats, index: Integers) -> Floats:
    """The value of row i's class, float64 [n], from values [K, n]; 0 where the class is unknown (index K)."""
    known = index < values.shape[0]
    if known.all():
        return np.asarray(values[index, np.arange(index.size)])
    return np.where(known, values[np.where(known, index, 0), np.arange(index.size)], 0.0)


def expected_loss(calibrated: Floats, log_loss: Floats) -> Floats:
    """Σ_k c_k (−ln p_k) of every row [n], from calibrated [K, n] and −ln of the floored probabilities [K, n]."""
    return np.asarray(np.einsum("kn,kn->n", calibrated, log_loss))
