"""Precision, recall and F1, averaged over classes and of each class, with their sampling variance.

What lives here: the statistics from counts per class and, where there is one, the confusion matrix. What must
not: how the counts came about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from monitor.profiles.outcome import ClassificationSums
from monitor.statistics.intervals import LEVEL, MINIMUM_N, unit_interval, wilson
from monitor.statistics.ranking import rank_each
from monitor.statistics.result import Absent, Estimate, Reason, Result

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Rates:
    """A statistic per class, [K], and its derivatives by the shares of hits, labels and predictions of that class."""

    value: Floats
    by_hits: Floats
    by_labelled: Floats
    by_predicted: Floats


def macro_statistics(sums: ClassificationSums) -> dict[str, Estimate]:
    """Balanced accuracy, macro precision, recall and F1 of n ≥ 1 labelled rows, each in [0, 1].

    recall_k = hits / labelled, precision_k = hits / predicted, F1_k = 2 hits / (labelled + predicted), 0 where the
    denominator is. Averages run over classes that were labelled or predicted, balanced accuracy over labelled ones.

    Intervals: the delta method on the multinomial of (label, prediction). The variance is taken with one more hit and
    one more miss per class, so that a class of few rows without an error is not taken to be free of them, and turned
    into an interval as Wilson does (`unit_interval`). The classes that occur are taken as given. Beyond 100 classes
    there is no confusion matrix, and the variance of F1 is replaced by an upper bound (2b² + 2c² for (b + c)²).
    """
    labelled, predicted, hits = sums.classes[:, :-1].astype(np.float64)
    seen = labelled > 0
    used = seen | (predicted > 0)
    found = {}
    for name, kind, classes in (
        ("balanced_accuracy", "recall", seen),
        ("precision", "precision", used),
        ("recall", "recall", used),
        ("f1", "f1", used),
    ):
        value = float(_rates(kind, labelled, predicted, hits).value[classes].mean())
        variance, typical = macro_variance(sums, kind, classes)
        lower, upper = unit_interval(value, variance, typical) if sums.rows >= MINIMUM_N else (None, None)
        found[name] = Estimate(value, sums.rows, lower, upper, None if lower is None else LEVEL)
    return found


def class_statistics(sums: ClassificationSums, classes: Sequence[str]) -> dict[str, dict[str, Result]]:
    """Precision, recall, F1 and AUROC of every class by its name, each against the rest.

    Precision and recall have Wilson's interval, F1 that of the macro average over this class alone, AUROC DeLong's.
    Precision is absent for a class that was never predicted, recall for one that was never labelled, F1 for one that
    was neither, AUROC for one without labels of its own or of others (and beyond 100 classes).
    """
    labelled, predicted, hits = sums.classes[:, :-1].tolist()
    rankings = rank_each(*sums.scores) if sums.scores.size else [None] * len(classes)
    found: dict[str, dict[str, Result]] = {}
    for k, name in enumerate(classes):
        ranking = rankings[k]
        found[name] = {
            "precision": _share(hits[k], predicted[k]),
            "recall": _share(hits[k], labelled[k]),
            "f1": _class_f1(sums, k),
            "auroc": Absent(Reason.ONE_CLASS if sums.scores.size else Reason.NOT_APPLICABLE, labelled[k])
            if ranking is None
            else Estimate(
                ranking.value,
                labelled[k],
                *unit_interval(ranking.value, ranking.variance, ranking.typical),
                LEVEL,
                error_bound=ranking.error_bound,
            ),
        }
    return found


def worst_classes(
    classes: Mapping[str, Mapping[str, Result]], most: int | None = None
) -> list[tuple[str, Mapping[str, Result]]]:
    """Classes by F1, the lowest first; those without one last."""

    def place(item: tuple[str, Mapping[str, Result]]) -> float:
        f1 = item[1]["f1"]
        return f1.value if isinstance(f1, Estimate) else 2.0

    return sorted(classes.items(), key=place)[:most]


def _share(hits: int, rows: int) -> Result:
    return Estimate(hits / rows, rows, *wilson(hits, rows), LEVEL) if rows else Absent(Reason.NO_LABELS)


def _class_f1(sums: ClassificationSums, k: int) -> Result:
    labelled, predicted, hits = sums.classes[:, k].tolist()
    if labelled + predicted == 0:
        return Absent(Reason.NO_LABELS)
    only = np.zeros(sums.classes.shape[1] - 1, dtype=bool)
    only[k] = True
    value = 2 * hits / (labelled + predicted)
    variance, typical = macro_variance(sums, "f1", only)
    return Estimate(value, labelled, *unit_interval(value, variance, typical), LEVEL)


def macro_variance(sums: ClassificationSums, kind: str, classes: Mask) -> tuple[float, float]:
    """Variance of the mean of a rate over `classes`, and that mean, both with a hit and a miss more per class."""
    confusion = _smoothed(sums, classes)
    labelled, predicted, hits = sums.classes[:, :-1] + np.array([[2.0], [2.0], [1.0]]) * classes
    n = float(labelled.sum())
    rates = _rates(kind, labelled / n, predicted / n, hits / n)
    weight = classes / classes.sum()
    of_hits, of_label, of_prediction = (
        weight * part for part in (rates.by_hits, rates.by_labelled, rates.by_predicted)
    )
    right = of_hits + of_label + of_prediction
    total = float(hits @ right**2)
    if confusion is not None:
        influence = of_label[:, None] + np.append(of_prediction, 0.0)
        np.fill_diagonal(influence, 0.0)
        total += float((confusion * influence**2).sum())
    else:
        both = 2.0 if of_label.any() and of_prediction.any() else 1.0
        total += both * float((labelled - hits) @ of_label**2 + (predicted - hits) @ of_prediction**2)
    return max(total / n**2, 1e-300), float(rates.value @ weight)


def _smoothed(sums: ClassificationSums, classes: Mask) -> Floats | None:
    """Misses by label and prediction with one more per class, spread over the other classes; None without a matrix."""
    if sums.confusion.size == 0:
        return None
    misses = sums.confusion.astype(np.float64)
    np.fill_diagonal(misses, 0.0)
    extra = np.add.outer(classes, classes, dtype=np.float64) / (2 * (classes.size - 1))
    np.fill_diagonal(extra, 0.0)
    misses[:, :-1] += extra
    return misses


def _rates(kind: str, labelled: Floats, predicted: Floats, hits: Floats) -> _Rates:
    zeros = np.zeros_like(hits)
    if kind == "f1":
        both = labelled + predicted
        inverse = _inverse(both)
        fall = -2 * hits * inverse**2
        return _Rates(2 * hits * inverse, 2 * inverse, fall, fall)
    inverse = _inverse(labelled if kind == "recall" else predicted)
    fall = -hits * inverse**2
    return _Rates(hits * inverse, inverse, *((fall, zeros) if kind == "recall" else (zeros, fall)))


def _inverse(values: Floats) -> Floats:
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
