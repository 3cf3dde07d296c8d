"""The reference of a version: what its programs say of labelled images that it never saw.

What lives here: the table of reference rows, in the shape of served predictions. What must not: profiles' cells
(`monitor.profiles`), training.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from finetune.data import Item
from finetune.evaluation import softmax
from finetune.export import Answers
from monitor.records import ModelSchema, prediction_schema
from serving.image_features import FEATURE_NAMES, image_features


def reference_table(
    schema: ModelSchema, version: str, items: Sequence[Item], answers: Answers, created: datetime
) -> pa.Table:
    """Rows as the capture of a server writes them (`monitor.records.prediction_schema`), and the column `label`.

    One row per item: softmax in float64 of the logits (or the value), the image features, the embedding as
    little-endian float16. All event times are `created`.
    """
    count = len(items)
    features = [image_features(item.image()) for item in items]
    shape = prediction_schema(
        schema, dict.fromkeys(FEATURE_NAMES, pa.float64()), embedding_dimension=answers.embeddings.shape[1]
    )
    columns: dict[str, object] = {
        "prediction_id": [item.identity for item in items],
        "version": [version] * count,
        "event_time": [created] * count,
        **_outputs(schema, answers.outputs),
        **{f"f_{name}": [feature[name] for feature in features] for name in FEATURE_NAMES},
        "embedding": [row.tobytes() for row in answers.embeddings.astype("<f2")],
        "latency_seconds": [None] * count,
        "request_id": [None] * count,
    }
    table = pa.table([pa.array(columns[field.name], field.type) for field in shape], schema=shape)
    labels = [str(item.label) if schema.task == "classification" else float(item.label) for item in items]
    return table.append_column(pa.field("label", schema.output_type), pa.array(labels, schema.output_type))


def _outputs(schema: ModelSchema, outputs: npt.NDArray[np.float32]) -> dict[str, object]:
    if schema.task == "regression":
        return {"prediction": outputs[:, 0].astype(np.float64)}
    probabilities = softmax(outputs)
    predicted = [schema.classes[index] for index in probabilities.argmax(axis=1)]
    return {
        "prediction": predicted,
        **{name: probabilities[:, index] for index, name in enumerate(schema.probability_columns)},
    }
