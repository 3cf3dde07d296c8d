"""Predictions and labels of plain files in the type of a model's output.

What lives here: class names and numbers out of whatever a column holds. What must not: files, other columns.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.log.values import parsed_numbers
from monitor.profiles.columns import as_floats
from monitor.records import ModelSchema


def output_values(column: pa.Array, schema: ModelSchema) -> pa.Array:
    """Predictions or labels in the type of a model's output: class names, or float64 with nulls."""
    if schema.task == "classification":
        return class_names(column, schema.classes)
    words = pa.types.is_string(column.type)
    return pa.array(as_floats(parsed_numbers(column) if words else column), pa.float64(), from_pandas=True)


def class_names(column: pa.Array, classes: tuple[str, ...]) -> pa.Array:
    """Class names as text; 1.0 is the class 1, and a number that no class is called by is its place among them."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        values = as_floats(column)
        whole = np.isfinite(values) & (values == np.floor(np.where(np.isfinite(values), values, 0.5)))
        column = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)
    try:
        text = column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(column), pa.string())
    if not classes or any(name.isdecimal() for name in classes):
        return text
    place = pc.if_else(pc.match_substring_regex(text, "^[0-9]{1,6}$"), text, None).cast(pa.int32())
    inside = pc.if_else(pc.less(place, len(classes)), place, None)
    return pc.coalesce(pa.array(classes, pa.string()).take(inside), text)
