"""Columns of plain files in the types that profiles know: text as numbers, truth and times, ids and moments as such.

What lives here: the conversion of one column, and what its text says. What must not: files, which column is what.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from monitor.log.values import TIME, booleans, parsed_numbers, parsed_times
from monitor.profiles.arrow_values import ColumnKind, column_kind
from monitor.profiles.columns import as_floats
from monitor.records import TIMESTAMP

# What people and programs write where a number or a time is missing; among categories they are names like others.
_NOTHING = pa.array(["na", "n/a", "#n/a", "<na>", "nan", "none", "null", "nil", "-", "?", ".", ""])
# Up to here whole numbers in float64 are those that were meant.
_EXACT = 2.0**53


def text_kind(column: pa.Array) -> ColumnKind:
    """What the text of a column says: numbers or times if all of it does, else truth values or categories."""
    words = column.drop_null()
    said = words.filter(pc.invert(pc.is_in(pc.ascii_lower(pc.ascii_trim_whitespace(words)), _NOTHING)))
    if len(said) == 0:
        # Nothing but `nan` is what a column of numbers without any is written as.
        return "numeric" if len(words) and parsed_numbers(words).null_count == 0 else "categorical"
    if parsed_numbers(said).null_count == 0:
        return "numeric"
    if booleans(said).null_count == 0:
        return "boolean"
    return "timestamp" if pc.all(pc.match_substring_regex(said, TIME)).as_py() else "categorical"


def of_text(column: pa.Array, kind: ColumnKind | None, is_text: bool = True) -> pa.Array:
    """Text in the type of its kind; what does not fit is null."""
    if not pa.types.is_string(column.type) or not (is_text or kind == "timestamp"):
        return column
    if kind == "numeric":
        return parsed_numbers(column)
    if kind == "boolean":
        return booleans(column)
    # Times without an offset are taken as UTC: only their distances matter to a distribution.
    return parsed_times(column) if kind == "timestamp" else column


def identifiers(column: pa.Array) -> pa.Array:
    """Ids as text, the same from every kind of file: 007 is not 7, but 7.0 is, which is what data frames make of 7.

    A column of a type that holds no ids (lists, truth values, times) is left as it is.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind):
        values = as_floats(column)
        whole = (np.abs(values) < _EXACT) & (values == np.floor(values))
        if (whole | np.isnan(values)).all():
            return pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole).cast(pa.string())
    elif not pa.types.is_string(kind):
        is_text = pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
        if not (is_text or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)):
            return _decoded(column)
    return pc.replace_substring_regex(column.cast(pa.string()), r"^(-?[0-9]+)\.0+$", r"\1")


def _decoded(column: pa.Array) -> pa.Array:
    """Bytes that are text as text; anything else as it is."""
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:
        return column


def moments(column: pa.Array) -> pa.Array:
    """Event and label times as timestamp[us, UTC]; numbers, whose unit nothing says, as they are; what else: null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return moments(column.cast(kind.value_type))
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column, kind = column.cast(pa.string()), pa.string()
    if pa.types.is_string(kind):
        return parsed_times(column)
    try:
        if pa.types.is_date(kind):
            return column.cast(pa.timestamp("us")).cast(TIMESTAMP)
        if pa.types.is_timestamp(kind):
            return column.cast(pa.timestamp("us", kind.tz), safe=False).cast(TIMESTAMP)
    except pa.ArrowInvalid:  # beyond what microseconds hold
        return pa.nulls(len(column), TIMESTAMP)
    return column if column_kind(kind) == "numeric" else pa.nulls(len(column), TIMESTAMP)


def steady(columns: Mapping[str, pa.Array], known: dict[str, pa.DataType]) -> dict[str, pa.Array]:
    """Columns of a stretch of a file in the kinds that they had in those before; `known` grows with them.

    In JSON a column may be numbers for a while and text from then on: what is of another kind is missing.
    """
    return {
        name: _of_kind(column, known.setdefault(name, column.type)) if not pa.types.is_null(column.type) else column
        for name, column in columns.items()
    }


def _of_kind(column: pa.Array, first: pa.DataType) -> pa.Array:
    kinds = column_kind(column.type), column_kind(first)
    if column.type == first or (kinds[0] is not None and kinds[0] == kinds[1]):
        return column
    if kinds == ("boolean", "numeric"):
        return column.cast(pa.uint8()).cast(pa.float64())
    return pa.nulls(len(column), first)
