"""The numbers of one phase from the raw answers, by scikit-learn, SciPy and NumPy alone.

What lives here: rows that the client itself has seen, and every number that is made of them. What must not: any code of
the monitor, of serving or of fine-tuning (a contract of the import linter holds it).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial.distance import jensenshannon
from scipy.special import entr
from scipy.stats import ks_2samp
from sklearn import metrics

Floats = npt.NDArray[np.float64]

# As documented: p(label) is floored at 1e-15, and every cell of a population stability index gets half a row.
SMALLEST_PROBABILITY = 1e-15
PSEUDO_COUNT = 0.5


@dataclass(frozen=True, eq=False)
class Rows:
    """What was seen of N images: pixels uint8 [3, H, W] each, answers, and the truth where it was told (else None).

    Of a classifier `probabilities` is [N, K] in the order of `classes` and `predicted` holds names; of a regression
    there are no classes, and `predicted` holds numbers.
    """

    classes: tuple[str, ...]
    predicted: Sequence[str] | Sequence[float]
    probabilities: Floats | None
    truth: Sequence[str | float | None]
    images: Sequence[npt.NDArray[np.uint8]]


@dataclass(frozen=True)
class Number:
    """One number: the metric it should be found under, its column if it is about one, its value.

    `statistic` is its name in the monitor's JSON, where the bound of a binned statistic stands; None if it is exact.
    """

    metric: str
    value: float
    column: str | None = None
    statistic: str | None = None


def numbers(rows: Rows, reference: Rows) -> list[Number]:
    """Every number of a phase."""
    labelled = [place for place, truth in enumerate(rows.truth) if truth is not None]
    found = [
        Number("trueup_window_predictions", len(rows.truth)),
        Number("trueup_window_labels", len(labelled)),
        Number("trueup_label_coverage_ratio", len(labelled) / len(rows.truth)),
    ]
    performance = classification if rows.classes else regression
    found += [Number(metric, float(value)) for metric, value in performance(rows, labelled).items()]
    if rows.classes:
        found += categorical_drift(rows, reference)
    old = numeric_columns(reference)
    for column, values in numeric_columns(rows).items():
        found += numeric_drift(column, values, old[column])
    return found


def classification(rows: Rows, labelled: Sequence[int]) -> dict[str, float]:
    """Performance of a classifier on the labelled rows."""
    classes = list(rows.classes)
    truth = [rows.truth[place] for place in labelled]
    predicted = [rows.predicted[place] for place in labelled]
    assert rows.probabilities is not None
    probabilities = rows.probabilities[labelled]
    used = sorted({*truth, *predicted})  # type: ignore[type-var]
    average = {"labels": used, "average": "macro", "zero_division": 0.0}
    return {
        "trueup_accuracy_ratio": metrics.accuracy_score(truth, predicted),
        "trueup_balanced_accuracy_ratio": metrics.recall_score(
            truth, predicted, labels=sorted(set(truth)), average="macro"
        ),
        "trueup_precision_ratio": metrics.precision_score(truth, predicted, **average),
        "trueup_recall_ratio": metrics.recall_score(truth, predicted, **average),
        "trueup_f1_ratio": metrics.f1_score(truth, predicted, **average),
        "trueup_cross_entropy_nats": metrics.log_loss(
            truth, np.maximum(probabilities, SMALLEST_PROBABILITY), labels=classes
        ),
        "trueup_brier_score": metrics.brier_score_loss(truth, probabilities, labels=classes, scale_by_half=False),
    }


def regression(rows: Rows, labelled: Sequence[int]) -> dict[str, float]:
    """Performance of a regression on the labelled rows."""
    truth = np.array([rows.truth[place] for place in labelled], dtype=np.float64)
    predicted = np.array([rows.predicted[place] for place in labelled], dtype=np.float64)
    return {
        "trueup_mean_squared_error": metrics.mean_squared_error(truth, predicted),
        "trueup_root_mean_squared_error": metrics.root_mean_squared_error(truth, predicted),
        "trueup_mean_absolute_error": metrics.mean_absolute_error(truth, predicted),
        "trueup_r_squared": metrics.r2_score(truth, predicted),
        "trueup_bias": float(np.mean(predicted - truth)),
    }


def categorical_drift(rows: Rows, reference: Rows) -> Iterator[Number]:
    """Drift of the predicted class: counts per class, exact."""
    current = np.array([list(rows.predicted).count(name) for name in rows.classes], dtype=np.float64)
    old = np.array([list(reference.predicted).count(name) for name in rows.classes], dtype=np.float64)
    used = (current > 0) | (old > 0)
    yield from _distances("prediction", current[used], old[used])


def numeric_columns(rows: Rows) -> dict[str, Floats]:
    """The columns that are watched, by their public name, float64 [N] each."""
    luma = [np.tensordot([0.299, 0.587, 0.114], image / 255.0, axes=(0, 0)) for image in rows.images]
    columns = {
        "brightness": np.array([image.mean() for image in luma]),
        "contrast": np.array([image.std() for image in luma]),
        "sharpness": np.array([ndimage.laplace(image, mode="nearest").var() for image in luma]),
    }
    if rows.probabilities is None:
        return columns | {"prediction": np.array(rows.predicted, dtype=np.float64)}
    p = rows.probabilities
    columns |= {"entropy": entr(p).sum(axis=1), "confidence": p.max(axis=1)}
    return columns | {f"p_{name}": p[:, place] for place, name in enumerate(rows.classes)}


def numeric_drift(column: str, current: Floats, reference: Floats) -> Iterator[Number]:
    """Drift of a numeric column: counts between the reference's deciles, and Kolmogorov and Smirnov's statistic."""
    deciles = np.quantile(reference, np.arange(1, 10) / 10)
    cells = [between(deciles, values) for values in (current, reference)]
    used = (cells[0] > 0) | (cells[1] > 0)
    yield from _distances(column, cells[0][used], cells[1][used])
    distance = float(ks_2samp(current, reference, method="asymp").statistic)
    yield Number("trueup_kolmogorov_smirnov_statistic", distance, column, "kolmogorov_smirnov_statistic")


def between(deciles: Floats, values: Floats) -> Floats:
    """How many values lie up to each decile, and above the last; one that is several deciles is a cell by itself."""
    up_to = []
    for decile, times in zip(*np.unique(deciles, return_counts=True), strict=True):
        up_to += [np.sum(values < decile)] if times > 1 else []
        up_to += [np.sum(values <= decile)]
    return np.diff([0.0, *up_to, values.size])


def _distances(column: str, current: Floats, reference: Floats) -> Iterator[Number]:
    p, q = ((cells + PSEUDO_COUNT) / (cells + PSEUDO_COUNT).sum() for cells in (current, reference))
    found: Mapping[str, float] = {
        "population_stability_index": float(np.sum((p - q) * np.log(p / q))),
        "jensen_shannon_distance": float(jensenshannon(current, reference, base=2)),
    }
    for name, value in found.items():
        yield Number(f"trueup_{name}", value, column, name)
