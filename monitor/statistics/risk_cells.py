"""From labelled predictions to the integer counts that evidence of a risen risk is weighed on.

What lives here: which risks stand behind which performance metric, their counts in the reference and in labelled rows.
What must not: evidence, how labels are joined.

Accuracy is weighed on errors; recall on errors among each labelled class, precision on errors among each predicted one,
so that a class that fails is not outweighed by the others; losses on counts above the reference's own loss quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from monitor.profiles.losses import count_above, row_losses
from monitor.profiles.model_profile import Reference, profile_outcomes
from monitor.profiles.outcome import ClassificationSums
from monitor.statistics.evidence_counts import CellReference, Counts
from monitor.statistics.labelled_risk import loss_risks, risk_counts, risk_reference

# More classes than these are weighed together: every further risk takes a share of the evidence.
MAXIMUM_CLASSES = 100

Kind = Literal["errors", "by_label", "by_prediction", "by_both", "losses"]
_KINDS: dict[str, Kind] = {
    "accuracy": "errors",
    "balanced_accuracy": "by_label",
    "recall": "by_label",
    "precision": "by_prediction",
    "f1": "by_both",
    "cross_entropy": "losses",
    "brier_score": "losses",
    "mean_squared_error": "losses",
    "root_mean_squared_error": "losses",
    "mean_absolute_error": "losses",
}
_OF_REGRESSION = frozenset({"mean_squared_error", "root_mean_squared_error", "mean_absolute_error"})
# Metrics that evidence can be weighed for.
WEIGHED_METRICS = frozenset(_KINDS)


@dataclass(frozen=True, eq=False)
class RiskCells:
    """The risks behind one metric: how they are counted, and the reference's own counts.

    `kept`: positions of the risks that the reference has rows of.
    """

    kind: Kind
    kept: tuple[int, ...]
    reference: CellReference

    def count(self, reference: Reference, rows: pa.Table) -> Counts:
        """Counts of labelled rows (one per prediction), int64 [2 J]: happened and not, risk by risk."""
        if self.kind == "losses":
            assert reference.losses is not None
            losses = row_losses(reference.schema, rows)
            return risk_counts(count_above(losses, reference.losses.limits), [losses.size] * len(self.kept))
        sums = profile_outcomes(reference, rows).sums
        assert isinstance(sums, ClassificationSums)
        errors, totals = _errors(sums, self.kind)
        kept = list(self.kept)
        return risk_counts(errors[kept].tolist(), totals[kept].tolist())


def risk_cells(metric: str, reference: Reference) -> RiskCells | str:
    """The risks behind a metric; or, as a text for people, why there are none."""
    kind = _KINDS.get(metric)
    if kind is None:
        return "no evidence is weighed for this metric; its verdict is shown without an alarm"
    task = "regression" if metric in _OF_REGRESSION else "classification"
    if reference.schema.task != task:
        return f"a {reference.schema.task} model has no {metric}"
    if reference.outcome is None or not reference.outcome.scored:
        return "the reference has no labels to compare with"
    if kind == "losses":
        return _loss_cells(reference)
    assert isinstance(reference.outcome.sums, ClassificationSums)
    classes = reference.schema.classes
    kind = kind if len(classes) <= MAXIMUM_CLASSES else "errors"
    errors, totals = _errors(reference.outcome.sums, kind)
    kept = np.flatnonzero(totals > 0).tolist()
    names = _names(classes, kind)
    return RiskCells(
        kind, tuple(kept), risk_reference([names[i] for i in kept], errors[kept].tolist(), totals[kept].tolist())
    )


def _loss_cells(reference: Reference) -> RiskCells | str:
    if reference.losses is None:
        return "the reference has no loss quantiles; build it anew"
    name = "squared error" if reference.schema.task == "regression" else "cross-entropy"
    found = loss_risks(reference.losses, name)
    return RiskCells("losses", tuple(range(len(found.names))), found)


def _errors(sums: ClassificationSums, kind: Kind) -> tuple[Counts, Counts]:
    """Errors and rows of every risk; an unknown predicted class is an error of its label's class."""
    by_label, by_prediction, hits = sums.classes[:, :-1]
    if kind == "errors":
        total = np.array([sums.rows], dtype=np.int64)
        return total - sums.hits, total
    totals = {
        "by_label": by_label,
        "by_prediction": by_prediction,
        "by_both": np.concatenate((by_label, by_prediction)),
    }[kind]
    return totals - np.resize(hits, totals.size), totals


def _names(classes: tuple[str, ...], kind: Kind) -> list[str]:
    labelled = [f"errors among {name}" for name in classes]
    predicted = [f"errors where {name} is predicted" for name in classes]
    return {
        "errors": ["errors"],
        "by_label": labelled,
        "by_prediction": predicted,
        "by_both": labelled + predicted,
        "losses": [],
    }[kind]
