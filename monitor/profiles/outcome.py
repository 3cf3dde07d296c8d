"""Profile of outcomes: what joined predictions and labels add up to.

What lives here: sufficient statistics of classification and regression, their build and merge. What must not: finished
ratios, the join, reading of tables.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError
from monitor.profiles.numeric import NumericProfile, Standardisation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

# Probabilities are kept away from 0 by this much before the logarithm; a certain miss costs 34.5 nats.
PROBABILITY_FLOOR = 1e-15
CALIBRATION_CELLS = 20
# Delays are profiled about zero in seconds: fixed, so that every version's delays merge.
DELAYS = Standardisation(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class ClassificationSums:
    """Sums over labelled predictions of K classes.

    `confusion` int64 [K, K+1]: label × predicted class (last column: a predicted class unknown to the reference).
    `log_loss`, `log_loss_squares`: Σ −ln p(label) and Σ of its square; `brier`, `brier_squares`: Σ Σ_k (p_k − y_k)²
    and of its square. `calibration` float64 [cells, 3]: count, Σ confidence, Σ correct per cell of top confidence.
    `scored` counts rows whose probabilities were complete.
    """

    confusion: Integers
    log_loss: float
    log_loss_squares: float
    brier: float
    brier_squares: float
    calibration: Floats
    scored: int

    @classmethod
    def empty(cls, classes: int) -> ClassificationSums:
        """The identity of addition."""
        return cls(np.zeros((classes, classes + 1), np.int64), 0.0, 0.0, 0.0, 0.0, np.zeros((CALIBRATION_CELLS, 3)), 0)

    @classmethod
    def build(cls, label: Integers, predicted: Integers, probabilities: Floats) -> ClassificationSums:
        """From class indices [n] (predicted = K for an unknown class) and probabilities [n, K] (NaN where absent)."""
        classes = probabilities.shape[1]
        confusion = np.zeros((classes, classes + 1), np.int64)
        np.add.at(confusion, (label, predicted), 1)
        complete = np.isfinite(probabilities).all(axis=1)
        p, truth = probabilities[complete], label[complete]
        loss = -np.log(np.maximum(p[np.arange(truth.size), truth], PROBABILITY_FLOOR))
        # Σ_k (p_k − y_k)² = Σ p_k² − 2 p_label + 1, without building the one-hot matrix.
        brier = np.einsum("ij,ij->i", p, p) - 2 * p[np.arange(truth.size), truth] + 1
        confidence = p.max(axis=1) if truth.size else np.empty(0)
        correct = predicted[complete] == truth
        cell = np.minimum((confidence * CALIBRATION_CELLS).astype(np.int64), CALIBRATION_CELLS - 1)
        calibration = np.stack(
            [np.bincount(cell, weights=w, minlength=CALIBRATION_CELLS) for w in (None, confidence, correct)], axis=1
        )
        return cls(
            confusion,
            float(loss.sum()),
            float(loss @ loss),
            float(brier.sum()),
            float(brier @ brier),
            calibration.astype(np.float64),
            int(complete.sum()),
        )


@dataclass(frozen=True, eq=False)
class RegressionSums:
    """Sums over labelled predictions with e = prediction − label: Σe, Σe², Σ|e|, Σe⁴, Σy, Σy² and the residuals."""

    error: float
    error_squares: float
    error_absolute: float
    error_fourth: float
    label: float
    label_squares: float

    @classmethod
    def empty(cls) -> RegressionSums:
        """The identity of addition."""
        return cls(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)

    @classmethod
    def build(cls, label: Floats, predicted: Floats) -> RegressionSums:
        """From labels [n] and predictions [n], all finite."""
        error = predicted - label
        squares = error * error
        return cls(
            float(error.sum()),
            float(squares.sum()),
            float(np.abs(error).sum()),
            float((squares * squares).sum()),
            float(label.sum()),
            float((label * label).sum()),
        )


@dataclass(frozen=True, eq=False)
class OutcomeProfile:
    """Mergeable summary of labelled predictions against one reference.

    `rows` counts labelled predictions; `unusable` those whose output or label could not be scored (null, or a class
    that the reference does not know). `delays` profiles label_time − event_time in seconds.
    """

    reference: str
    rows: int
    unusable: int
    sums: ClassificationSums | RegressionSums
    delays: NumericProfile

    def merge(self, other: OutcomeProfile) -> OutcomeProfile:
        """Outcomes of both; refuses (DefectError) a partner of another reference."""
        if other.reference != self.reference or type(other.sums) is not type(self.sums):
            raise DefectError(
                "outcomes against different references cannot be merged", expected=self.reference, got=other.reference
            )
        added = {
            item.name: getattr(self.sums, item.name) + getattr(other.sums, item.name) for item in fields(self.sums)
        }
        return OutcomeProfile(
            self.reference,
            self.rows + other.rows,
            self.unusable + other.unusable,
            type(self.sums)(**added),
            self.delays.merge(other.delays),
        )

    @property
    def scored(self) -> int:
        """Labelled predictions that entered the sums."""
        return self.rows - self.unusable
