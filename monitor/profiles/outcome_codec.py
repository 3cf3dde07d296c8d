"""How sums of outcomes and estimates, and the frozen estimators, map to the container of `codec`.

What lives here: fields to plain structures of numbers and arrays, and back. What must not: bytes, lattices (`codec`
encodes those), any computation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.profiles.calibrators import Calibrators
from monitor.profiles.estimation import EstimatedClasses, EstimatedLosses, ReconciledClasses, ReconciledLosses
from monitor.profiles.loss_model import LossColumn, LossModel
from monitor.profiles.outcome import ClassificationSums

Content = dict[str, Any]
Integers = npt.NDArray[np.int64]

_LOSSES = ("log_loss", "log_loss_squares", "brier", "brier_squares")
_ESTIMATED = ("absolute", "absolute_squares", "squared", "squared_squares")
_GAPS = ("absolute", "squared", "absolute_gap_squares", "squared_gap_squares")


def classification_content(sums: ClassificationSums) -> Content:
    """Plain structure of the sums of a classification."""
    return {
        "classes": sums.classes,
        "confusion": sums.confusion,
        "calibration": sums.calibration,
        "scores": _sparse(sums.scores),
        "floats": _floats(sums, _LOSSES),
        "scored": sums.scored,
    }


def classification_sums(content: Content) -> ClassificationSums:
    """The sums of a classification from their plain structure."""
    loss, loss_squares, brier, brier_squares = content["floats"].tolist()
    return ClassificationSums(
        content["classes"],
        content["confusion"],
        loss,
        loss_squares,
        brier,
        brier_squares,
        content["calibration"],
        _dense(content["scores"]),
        content["scored"],
    )


def estimated_content(estimated: EstimatedClasses | EstimatedLosses | None) -> Content | None:
    """Plain structure of what is expected without labels."""
    if estimated is None:
        return None
    if isinstance(estimated, EstimatedLosses):
        return {"rows": estimated.rows, "floats": _floats(estimated, _ESTIMATED)}
    return {
        "rows": estimated.rows,
        "predicted": estimated.predicted,
        "hits": estimated.hits,
        "mass": estimated.mass,
        "floats": _floats(estimated, ("loss", "loss_squares")),
        "scores": _sparse(estimated.scores),
    }


def estimated_sums(content: Content | None) -> EstimatedClasses | EstimatedLosses | None:
    """What is expected without labels, from its plain structure."""
    if content is None:
        return None
    if "scores" not in content:
        return EstimatedLosses(content["rows"], *content["floats"].tolist())
    loss, loss_squares = content["floats"].tolist()
    return EstimatedClasses(
        content["rows"],
        content["predicted"],
        content["hits"],
        content["mass"],
        loss,
        loss_squares,
        _dense(content["scores"]),
    )


def reconciled_content(reconciled: ReconciledClasses | ReconciledLosses | None) -> Content | None:
    """Plain structure of estimates beside the truth."""
    if reconciled is None:
        return None
    names = _GAPS if isinstance(reconciled, ReconciledLosses) else ("hit_gap_squares", "loss_gap_squares")
    return {"estimated": estimated_content(reconciled.estimated), "gaps": _floats(reconciled, names)}


def reconciled_sums(content: Content | None) -> ReconciledClasses | ReconciledLosses | None:
    """Estimates beside the truth, from their plain structure."""
    if content is None:
        return None
    estimated, gaps = estimated_sums(content["estimated"]), content["gaps"].tolist()
    if isinstance(estimated, EstimatedLosses):
        return ReconciledLosses(estimated, *gaps)
    assert estimated is not None
    return ReconciledClasses(estimated, *gaps)


def calibrators_content(calibrators: Calibrators | None) -> Content | None:
    """Plain structure of calibrators; the steps are runs of equal values, which compress."""
    if calibrators is None:
        return None
    return {
        "kept": np.stack((calibrators.kept, calibrators.top_kept)).astype(np.int64),
        "steps": calibrators.steps,
        "top_steps": calibrators.top_steps,
    }


def calibrators(content: Content | None) -> Calibrators | None:
    """Calibrators from their plain structure."""
    if content is None:
        return None
    kept, top_kept = content["kept"].astype(bool)
    return Calibrators(kept, content["steps"], top_kept, content["top_steps"])


def loss_model_content(model: LossModel | None) -> Content | None:
    """Plain structure of a loss model."""
    if model is None:
        return None
    columns = [
        {"name": column.name, "effects": column.effects}
        | ({"categories": list(column.categories)} if column.edges is None else {"edges": column.edges})
        for column in model.columns
    ]
    return {"base": model.base, "columns": columns}


def loss_model(content: Content | None) -> LossModel | None:
    """A loss model from its plain structure."""
    if content is None:
        return None
    columns = (
        LossColumn(item["name"], item["effects"], item.get("edges"), tuple(item.get("categories", ())))
        for item in content["columns"]
    )
    return LossModel(content["base"], tuple(columns))


def _floats(holder: object, names: tuple[str, ...]) -> npt.NDArray[np.float64]:
    # As raw bytes: a sum must come back bit for bit.
    return np.array([getattr(holder, name) for name in names], dtype=np.float64)


def _sparse(counts: Integers) -> Content:
    """Where a histogram is not zero, as steps from one such cell to the next: a pane fills few of its cells."""
    flat = counts.ravel()
    filled = np.flatnonzero(flat)
    steps = np.diff(filled, prepend=0).astype(np.uint32)
    return {"shape": list(counts.shape), "steps": steps, "counts": flat[filled]}


def _dense(content: Content) -> Integers:
    counts = np.zeros(content["shape"], dtype=np.int64)
    counts.ravel()[np.cumsum(content["steps"], dtype=np.int64)] = content["counts"]
    return counts
