"""What a model's raw output says: a class with probabilities, or a value.

What lives here: softmax in double precision, the JSON an answer becomes, prediction ids. What must not: torch, servers,
the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError, RecordError
from serving.manifest import ServedModel

LONGEST_ID = 200


@dataclass(frozen=True, eq=False)
class Answer:
    """One answer: `prediction` is a class name or a value; `probabilities` float64 [K] in class order, or None."""

    prediction: str | float
    probabilities: npt.NDArray[np.float64] | None


def softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Probabilities float64 [N, K] of logits [N, K]: exp(z - max z) / Σ exp(z - max z), computed in float64.

    The labels' log-loss is later taken of these very numbers, so they are not rounded to the model's precision.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which `answers` names
        shifted = shifted - shifted.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def answers(model: ServedModel, outputs: npt.NDArray[np.floating[Any]]) -> list[Answer | DefectError]:
    """One answer per row of `outputs`: logits [N, K] (classification) or values [N, 1] (regression).

    A row that is not finite gives a DefectError in its place, so that it does not take the others down. Raises
    DefectError if the number of columns is not the model's.
    """
    classes = model.schema.classes
    width = len(classes) if model.schema.task == "classification" else 1
    if outputs.ndim != 2 or outputs.shape[1] != width:
        raise DefectError(
            "the model program gives another shape than its manifest says",
            where=f"model {model.name!r} version {model.version!r}",
            expected=f"[N, {width}]",
            got=str(list(outputs.shape)),
        )
    finite = np.isfinite(outputs).all(axis=1)
    if model.schema.task == "regression":
        values = [Answer(float(row[0]), None) for row in outputs]
    else:
        probabilities = softmax(np.where(finite[:, None], outputs, 0.0))
        values = [Answer(classes[int(row.argmax())], row) for row in probabilities]
    return [value if good else _not_finite(model) for value, good in zip(values, finite, strict=True)]


def answer_json(model: ServedModel, answer: Answer, prediction_id: str, event_time: datetime) -> dict[str, Any]:
    """The answer as it goes to the client; numbers keep all their digits.

    `event_time` (UTC) is the one that is logged: a label that comes back with it finds its prediction without a search.
    """
    moment = event_time.isoformat().replace("+00:00", "Z")
    identity = {"prediction_id": prediction_id, "model": model.name, "version": model.version, "event_time": moment}
    if answer.probabilities is None:
        return {"value": answer.prediction, **identity}
    probabilities = dict(zip(model.schema.classes, answer.probabilities.tolist(), strict=True))
    return {"class": answer.prediction, "probabilities": probabilities, **identity}


def check_prediction_id(given: str) -> str:
    """A client's own prediction id, if it may be one. Raises RecordError.

    Only printable ASCII: servers and proxies garble other characters in headers, and a label sent for the id that the
    client meant would never find its prediction.
    """
    if 0 < len(given) <= LONGEST_ID and given.isascii() and given.isprintable() and given == given.strip():
        return given
    raise RecordError(
        "not a prediction id",
        where="X-Prediction-Id",
        expected=f"1 to {LONGEST_ID} printable ASCII characters",
        got=f"{len(given)} characters" if len(given) > LONGEST_ID else repr(given),
    )


def item_ids(prediction_id: str, count: int) -> Sequence[str]:
    """Ids of the images of one request: its own id for one, `<id>-<i>` counted from 0 for several."""
    return [prediction_id] if count == 1 else [f"{prediction_id}-{index}" for index in range(count)]


def _not_finite(model: ServedModel) -> DefectError:
    return DefectError(
        "the model gave no finite numbers for this image", where=f"model {model.name!r} version {model.version!r}"
    )
