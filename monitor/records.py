"""What a prediction and a label look like between processes: Arrow schemas and identities.

What lives here: column names, Arrow types, schema metadata, identifiers. What must not: files, clocks, statistics.

A *prediction batch* is a `pyarrow.RecordBatch` whose schema metadata names the model, the task and the classes:

========================  =======================  ==================================================================
column                    type                     meaning
========================  =======================  ==================================================================
`prediction_id`           string                   identity together with (model, version)
`version`                 string                   model version that answered
`event_time`              timestamp[us, UTC]       when the answer was made
`prediction`              string | float64         predicted class name (classification) or value (regression)
`p_<class>`               float64                  probability of each class, in class order (classification)
`f_<name>`                float64 | string | bool  a feature
`s_<name>`                string                   a segment value
`embedding`               binary                   little-endian float16, dimension in the field's metadata
`latency_seconds`         float64                  time the server took
`request_id`              string                   correlation only
========================  =======================  ==================================================================

A *label batch* has `prediction_id` string, `label` (string | float64), `label_time` timestamp[us, UTC], `source`
string and `event_time` timestamp[us, UTC] (nullable: the prediction's, if the producer knows it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import uuid_utils

from monitor.errors import RecordError

Task = Literal["classification", "regression"]
Kind = Literal["prediction", "label"]

TIMESTAMP = pa.timestamp("us", tz="UTC")
FEATURE_PREFIX = "f_"
PROBABILITY_PREFIX = "p_"
SEGMENT_PREFIX = "s_"
EMBEDDING = "embedding"
EMBEDDING_DIMENSION_KEY = b"trueup.dimension"
SCHEMA_VERSION = 1

_RESERVED_COLUMN_LABELS = frozenset({"prediction", "entropy", "confidence", EMBEDDING})


@dataclass(frozen=True)
class ModelSchema:
    """What the records of one model have in common: its name, task and class names in order.

    `classes` is empty for regression; for classification class i is the i-th output of the model.
    """

    model: str
    task: Task
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.task == "classification" and len(self.classes) < 2:
            raise RecordError(
                "a classification model needs class names",
                where=f"model {self.model!r}",
                expected="at least 2 classes",
                got=str(len(self.classes)),
            )
        if len(set(self.classes)) != len(self.classes):
            raise RecordError("class names repeat", where=f"model {self.model!r}", got=", ".join(self.classes))

    @property
    def output_type(self) -> pa.DataType:
        """Arrow type of `prediction` and `label`."""
        return pa.string() if self.task == "classification" else pa.float64()

    @property
    def probability_columns(self) -> tuple[str, ...]:
        """Names of the probability columns in class order; empty for regression."""
        return tuple(PROBABILITY_PREFIX + name for name in self.classes)


def prediction_schema(
    model: ModelSchema,
    features: Mapping[str, pa.DataType] | None = None,
    segments: Sequence[str] = (),
    embedding_dimension: int | None = None,
) -> pa.Schema:
    """Arrow schema of prediction batches of `model` (see the module's table)."""
    fields = [
        pa.field("prediction_id", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("event_time", TIMESTAMP, nullable=False),
        pa.field("prediction", model.output_type),
        *(pa.field(name, pa.float64()) for name in model.probability_columns),
        *(pa.field(FEATURE_PREFIX + name, kind) for name, kind in (features or {}).items()),
        *(pa.field(SEGMENT_PREFIX + name, pa.string()) for name in segments),
    ]
    if embedding_dimension is not None:
        metadata = {EMBEDDING_DIMENSION_KEY: str(embedding_dimension).encode()}
        fields.append(pa.field(EMBEDDING, pa.binary(), metadata=metadata))
    fields += [pa.field("latency_seconds", pa.float64()), pa.field("request_id", pa.string())]
    return pa.schema(fields, metadata=schema_metadata("prediction", model))


def label_schema(model: ModelSchema) -> pa.Schema:
    """Arrow schema of label batches of `model` (see the module's table)."""
    return pa.schema(
        [
            pa.field("prediction_id", pa.string(), nullable=False),
            pa.field("label", model.output_type, nullable=False),
            pa.field("label_time", TIMESTAMP, nullable=False),
            pa.field("source", pa.string()),
            pa.field("event_time", TIMESTAMP),
        ],
        metadata=schema_metadata("label", model),
    )


def schema_metadata(kind: Kind, model: ModelSchema) -> dict[bytes, bytes]:
    """Schema metadata that makes a batch self-describing: kind, model, task, classes, schema version."""
    return {
        b"trueup.kind": kind.encode(),
        b"trueup.model": model.model.encode(),
        b"trueup.task": model.task.encode(),
        b"trueup.classes": json.dumps(model.classes).encode(),
        b"trueup.schema": str(SCHEMA_VERSION).encode(),
    }


def describe(schema: pa.Schema) -> tuple[Kind, ModelSchema]:
    """Kind and model of a batch from its schema metadata; raises RecordError where they are missing."""
    metadata = schema.metadata or {}
    try:
        kind = metadata[b"trueup.kind"].decode()
        task = metadata[b"trueup.task"].decode()
        version = int(metadata[b"trueup.schema"])
        classes = tuple(json.loads(metadata[b"trueup.classes"]))
        model = metadata[b"trueup.model"].decode()
    except (KeyError, ValueError) as error:
        raise RecordError("a batch does not say whose it is", expected="trueup.* schema metadata") from error
    if version > SCHEMA_VERSION:
        raise RecordError(
            "a batch was written by a newer trueup", expected=f"schema {SCHEMA_VERSION} or older", got=str(version)
        )
    if kind not in ("prediction", "label") or task not in ("classification", "regression"):
        raise RecordError("a batch is of an unknown kind", expected="prediction or label", got=f"{kind} of {task}")
    return kind, ModelSchema(model, task, classes)


def column_label(log_column: str) -> str:
    """Public name of a log column: `f_age` is `age`, `p_cat` and `prediction` stay as they are.

    A feature that is itself called like an output is shown as `feature:<name>`, so that two columns never share a
    label.
    """
    if not log_column.startswith(FEATURE_PREFIX):
        return log_column
    name = log_column.removeprefix(FEATURE_PREFIX)
    if name in _RESERVED_COLUMN_LABELS or name.startswith((PROBABILITY_PREFIX, FEATURE_PREFIX, "feature:")):
        return f"feature:{name}"
    return name


def new_prediction_id() -> str:
    """A time-ordered identifier (UUID version 7, RFC 9562), 36 characters."""
    return str(uuid_utils.uuid7())
