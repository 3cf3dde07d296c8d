"""Predictions and labels of plain files in the type of a model's output.

What lives here: class names and numbers out of whatever a column holds. What must not: files, other columns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
    if pa.types.is_dictionary(column.type) and not pa.types.is_string(column.type.value_type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        values = as_floats(column)
        whole = np.isfinite(values) & (values == np.floor(np.where(np.isfinite(values), values, 0.5)))
        column = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole)
    try:
        words = column if pa.types.is_dictionary(column.type) else column.cast(pa.string()).dictionary_encode()
        text = _named(words, classes)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pa.nulls(len(column), pa.string())
    if not classes or any(name.isdecimal() for name in classes):
        return text
    place = pc.if_else(pc.match_substring_regex(text, "^[0-9]{1,6}$"), text, None).cast(pa.int32())
    inside = pc.if_else(pc.less(place, len(classes)), place, None)
    return pc.coalesce(pa.array(classes, pa.string()).take(inside), text)


def plain_names(column: pa.Array) -> pa.Array:
    """Names as they are called in every kind of file: 1.0 is 1 and True is true; what is no text stays as it is."""
    if pa.types.is_dictionary(column.type) and pa.types.is_string(column.type.value_type):
        return _named(column, ())
    return _named(column.dictionary_encode(), ()) if pa.types.is_string(column.type) else column


def _named(words: pa.DictionaryArray, classes: tuple[str, ...]) -> pa.Array:
    """Text of a dictionary by the names of the classes that mean the same; a truth value is a class 0 or 1 too."""
    known = {_plain(name): name for name in classes}
    for pair in (("false", "0"), ("true", "1")):
        for name, other in (pair, pair[::-1]):
            if name in known:
                known.setdefault(other, known[name])
    known |= {name: name for name in classes}
    names = [
        None if word is None else known.get(word, known.get(_plain(word), _plain(word)))
        for word in words.dictionary.to_pylist()
    ]
    return pa.array(names, pa.string()).take(words.indices)


def likeliest(probabilities: Sequence[pa.Array], classes: tuple[str, ...]) -> pa.Array:
    """The class with the largest of its probabilities, in the order of the classes; null where one is missing."""
    rows = np.stack([as_floats(column) for column in probabilities])
    incomplete = np.isnan(rows).any(axis=0)
    return pa.array(classes, pa.string()).take(pa.array(np.where(incomplete, 0, rows.argmax(axis=0)), mask=incomplete))


def _plain(name: str) -> str:
    lower = name.lower()
    return lower if lower in ("true", "false") else re.sub(r"^(-?[0-9]+)\.0+$", r"\1", name)
