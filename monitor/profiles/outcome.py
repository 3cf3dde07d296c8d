"""Profile of outcomes: what joined predictions and labels add up to.

What lives here: sufficient statistics of classification and regression, their build and merge. What must not: finished
ratios, the join, reading of tables.

Counts are integers and merge exactly. A float sum is equal, however its rows were split and ordered, within 1e-12 of
the sum of the absolute values of its terms; that sum is kept beside every sum whose terms may differ in sign.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError
from monitor.profiles.estimation import (
    MAXIMUM_DETAILED_CLASSES,
    ReconciledClasses,
    ReconciledLosses,
)
from monitor.profiles.lattice import Standardisation
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.scores import PROBABILITY_FLOOR, Cells, ScoreCells
from monitor.profiles.standardise import standardise
from monitor.profiles.sums import added, merged_by_name

if TYPE_CHECKING:
    from monitor.profiles.segment_outcomes import SegmentOutcomes

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

CALIBRATION_CELLS = 20
# Delays are profiled about zero in seconds: fixed, so that every version's delays merge.
DELAYS = Standardisation(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class ClassificationSums:
    """Sums over labelled predictions of K classes.

    `classes` int64 [3, K+1]: labelled, predicted and both (hits), per class; the last column counts predictions of a
    class that the reference does not know. `confusion` int64 [K, K+1]: label × predicted class in the same order.
    `log_loss`, `log_loss_squares`: Σ −ln p(label) and Σ of its square; `brier`, `brier_squares`: Σ Σ_k (p_k − y_k)²
    and of its square. `calibration` float64 [cells, 4]: count, Σ confidence, Σ correct and Σ (confidence − correct)²
    per cell of top confidence. `scores` int64 [2, K, cells]: histograms of p_k over the rows labelled k, and over the
    others. `scored` counts rows whose probabilities were complete: losses, calibration and scores are of those.
    With more than 100 classes `confusion` and `scores` are empty ([0, 0] and [2, 0, 0]).
    """

    classes: Integers
    confusion: Integers
    log_loss: float
    log_loss_squares: float
    brier: float
    brier_squares: float
    calibration: Floats
    scores: Integers
    scored: int

    @classmethod
    def empty(cls, classes: int) -> ClassificationSums:
        """The identity of addition."""
        detailed = classes if classes <= MAXIMUM_DETAILED_CLASSES else 0
        size = ScoreCells.of(classes).size if detailed else 0
        return cls(
            np.zeros((3, classes + 1), np.int64),
            np.zeros((detailed, detailed + 1 if detailed else 0), np.int64),
            0.0,
            0.0,
            0.0,
            0.0,
            np.zeros((CALIBRATION_CELLS, 4)),
            np.zeros((2, detailed, size), np.int64),
            0,
        )

    @classmethod
    def build(cls, label: Integers, predicted: Integers, probabilities: Floats, cells: Cells) -> ClassificationSums:
        """From class indices [n], predicted = K for an unknown class.

        `probabilities` float64 [K, n] holds NaN throughout a row that is not; `cells` int32 [K, n] are their score
        cells (of the model's `ScoreCells`), and of no meaning in such a row.
        """
        classes = probabilities.shape[0]
        empty = cls.empty(classes)
        hit = label == predicted
        counts = np.stack([np.bincount(index, minlength=classes + 1) for index in (label, predicted, label[hit])])
        confusion = empty.confusion
        if confusion.size:
            codes = np.bincount(label * (classes + 1) + predicted, minlength=confusion.size)
            confusion = codes.reshape(confusion.shape)
        complete = np.isfinite(probabilities[0])
        if not complete.all():
            label, predicted, hit = label[complete], predicted[complete], hit[complete]
            probabilities, cells = probabilities[:, complete], cells[:, complete]
        loss, brier = row_scores(label, probabilities)
        return cls(
            counts.astype(np.int64),
            confusion,
            float(loss.sum()),
            float(loss @ loss),
            float(brier.sum()),
            float(brier @ brier),
            _calibration(probabilities.max(axis=0, initial=0.0), hit),
            _score_histograms(cells, label, empty.scores.shape[2]) if empty.scores.size else empty.scores,
            label.size,
        )

    @property
    def rows(self) -> int:
        """Labelled predictions, whether or not their probabilities were complete."""
        return int(self.classes[0].sum())

    @property
    def hits(self) -> int:
        """Predictions that were right."""
        return int(self.classes[2].sum())


@dataclass(frozen=True, eq=False)
class ErrorCells:
    """What fixes a regression's cells: the lattice of its residuals, and the centre of its labels."""

    residuals: Standardisation = field(default_factory=lambda: Standardisation(0.0, 1.0))
    label_centre: float = 0.0

    @classmethod
    def of(cls, label: Floats, predicted: Floats) -> ErrorCells:
        """From finite labels and predictions of the reference."""
        return cls(standardise(predicted - label), float(np.median(label)) if label.size else 0.0)


@dataclass(frozen=True, eq=False)
class RegressionSums:
    """Sums over labelled predictions with e = prediction − label and d = label − the reference's median label.

    `error` Σe, `error_absolute` Σ|e|, `error_squares` Σe², `error_fourth` Σe⁴; `label` Σd, `label_absolute` Σ|d|,
    `label_squares` Σd²; of higher order, for the uncertainty of R²: `label_cubes` Σd³, `label_fourth` Σd⁴,
    `mixed` Σe²d, `mixed_squares` Σe²d². About the centre, so that labels of 1e9 ± 1 keep their variance. The absolute
    terms of Σd³ and Σe²d are at most (Σd² + Σd⁴)/2 and (Σe² + Σe²d²)/2. `residuals` profiles e on the reference's
    cells.
    """

    error: float
    error_squares: float
    error_absolute: float
    error_fourth: float
    label: float
    label_absolute: float
    label_squares: float
    label_cubes: float
    label_fourth: float
    mixed: float
    mixed_squares: float
    residuals: NumericProfile

    @classmethod
    def empty(cls, cells: ErrorCells) -> RegressionSums:
        """The identity of addition."""
        numbers = {item.name: 0.0 for item in fields(cls) if item.name != "residuals"}
        return cls(residuals=NumericProfile.empty(cells.residuals), **numbers)

    @classmethod
    def build(cls, label: Floats, predicted: Floats, cells: ErrorCells) -> RegressionSums:
        """From labels [n] and predictions [n], all finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            error = predicted - label
            squares = error * error
            distance = label - cells.label_centre
            distance_squares = distance * distance
            return cls(
                float(error.sum()),
                float(squares.sum()),
                float(np.abs(error).sum()),
                float(squares @ squares),
                float(distance.sum()),
                float(np.abs(distance).sum()),
                float(distance_squares.sum()),
                float(distance_squares @ distance),
                float(distance_squares @ distance_squares),
                float(squares @ distance),
                float(squares @ distance_squares),
                NumericProfile.build(error, cells.residuals),
            )


# Names of the float sums of a regression, in the order of the fields.
REGRESSION_TERMS = tuple(item.name for item in fields(RegressionSums) if item.name != "residuals")


@dataclass(frozen=True, eq=False)
class OutcomeProfile:
    """Mergeable summary of labelled predictions against one reference.

    `rows` counts labelled predictions; `unusable` those whose output or label could not be scored (null, or a class
    that the reference does not know). `delays` profiles label_time − event_time in seconds. `reconciled` holds what the
    reference's estimator said of the very same rows, None where the reference has none or its columns are not there.
    `segments`: the same rows by the values of each segment.
    """

    reference: str
    rows: int
    unusable: int
    sums: ClassificationSums | RegressionSums
    delays: NumericProfile
    reconciled: ReconciledClasses | ReconciledLosses | None = None
    segments: Mapping[str, SegmentOutcomes] = field(default_factory=dict)

    def merge(self, other: OutcomeProfile) -> OutcomeProfile:
        """Outcomes of both; refuses (DefectError) a partner of another reference."""
        if other.reference != self.reference or type(other.sums) is not type(self.sums):
            raise DefectError(
                "outcomes against different references cannot be merged", expected=self.reference, got=other.reference
            )
        mine, its = self.reconciled, other.reconciled
        return OutcomeProfile(
            self.reference,
            self.rows + other.rows,
            self.unusable + other.unusable,
            added(self.sums, other.sums),
            self.delays.merge(other.delays),
            its if mine is None else mine if its is None else mine.merge(its),  # type: ignore[arg-type]
            merged_by_name(self.segments, other.segments),
        )

    @property
    def scored(self) -> int:
        """Labelled predictions that entered the sums."""
        return self.rows - self.unusable


def row_scores(label: Integers, probabilities: Floats) -> tuple[Floats, Floats]:
    """Log loss (nats) and Brier score (0–2) of every row [n], from complete probabilities [K, n]."""
    of_label = probabilities[label, np.arange(label.size)]
    loss = -np.log(np.maximum(of_label, PROBABILITY_FLOOR))
    # Σ_k (p_k − y_k)² = Σ p_k² − 2 p_label + 1, without building the one-hot matrix.
    return loss, np.einsum("kn,kn->n", probabilities, probabilities) - 2 * of_label + 1


def error_terms(label: Floats, predicted: Floats, cells: ErrorCells) -> tuple[Floats, ...]:
    """What each row [n] adds to the sums of `RegressionSums`, in their order."""
    error, distance = predicted - label, label - cells.label_centre
    e2, d2 = error * error, distance * distance
    of_error, of_label = (error, e2, np.abs(error), e2 * e2), (distance, np.abs(distance), d2, d2 * distance, d2 * d2)
    return (*of_error, *of_label, e2 * distance, e2 * d2)


def calibration_terms(
    confidence: Floats, hit: npt.NDArray[np.bool_]
) -> tuple[Integers, tuple[npt.NDArray[Any] | None, ...]]:
    """Calibration cell of every row [n], and what it adds to its cell (None: one)."""
    cell = np.minimum(confidence * CALIBRATION_CELLS, CALIBRATION_CELLS - 1).astype(np.int64)
    return cell, (None, confidence, hit, np.square(confidence - hit))


def _calibration(confidence: Floats, hit: npt.NDArray[np.bool_]) -> Floats:
    cell, terms = calibration_terms(confidence, hit)
    sums = [np.bincount(cell, weights=term, minlength=CALIBRATION_CELLS) for term in terms]
    return np.stack(sums, axis=1).astype(np.float64)


def _score_histograms(cells: Cells, label: Integers, size: int) -> Integers:
    classes = cells.shape[0]
    everyone = np.stack([np.bincount(row, minlength=size) for row in cells])
    own = cells[label, np.arange(label.size)] + label * size
    positive = np.bincount(own, minlength=classes * size).reshape(classes, size)
    return np.stack((positive, everyone - positive))
