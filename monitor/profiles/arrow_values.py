"""Arrow columns as numbers: without copies where that can be, and never an error over a column of the wrong type.

What lives here: which Arrow types are numbers, times and truth values, and their float64 values. What must not: counts.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ColumnKind = Literal["numeric", "timestamp", "categorical", "boolean"]
Floats = npt.NDArray[np.float64]

_MICROSECONDS = 1_000_000
_DAY_SECONDS = 86_400


def column_kind(kind: pa.DataType) -> ColumnKind | None:
    """How a column of an Arrow type is profiled; None for what cannot be (lists, structures, bytes)."""
    if pa.types.is_dictionary(kind):
        return column_kind(kind.value_type)
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return "numeric"
    if pa.types.is_temporal(kind):
        # An interval has no length in seconds: months differ.
        return None if pa.types.is_interval(kind) else "timestamp"
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return "categorical" if is_text or pa.types.is_null(kind) else None


def numbers(column: pa.Array | pa.ChunkedArray) -> tuple[Floats, int] | None:
    """Values that are there (float64) and how many are not; None where the type is no number and no time.

    Times are seconds since the epoch (durations and times of day: seconds), to a microsecond; truth is 1 and 0.
    """
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    parts = [_of_chunk(chunk) for chunk in chunks]
    values = [part for part in parts if part is not None]
    if len(values) < len(parts):
        return None
    joined = values[0] if len(values) == 1 else np.concatenate((np.empty(0), *values))
    return joined, column.null_count


def _of_chunk(column: pa.Array) -> Floats | None:
    kind, null = column.type, column.null_count
    if pa.types.is_dictionary(kind):
        return _of_chunk(column.cast(kind.value_type))
    if null == len(column):
        return np.empty(0)
    if pa.types.is_float64(kind):
        return _float64(column)
    if pa.types.is_temporal(kind):
        return _seconds(column)
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    elif pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        return None
    return np.asarray((column.drop_null() if null else column).to_numpy(zero_copy_only=False), dtype=np.float64)


def _float64(column: pa.Array) -> Floats:
    validity, data = column.buffers()
    end = column.offset + len(column)
    values = np.frombuffer(data, dtype=np.float64, count=end)[column.offset :]
    if not column.null_count:
        return values
    # Twice as fast as Arrow's own filter.
    bits = np.unpackbits(np.frombuffer(validity, dtype=np.uint8), count=end, bitorder="little")
    return values[bits[column.offset :].view(np.bool_)]


def _seconds(column: pa.Array) -> Floats | None:
    kind = column.type
    if pa.types.is_date32(kind):
        days = column.cast(pa.int32()).drop_null().to_numpy()
        return np.asarray(days.astype(np.float64) * _DAY_SECONDS)
    try:
        if pa.types.is_duration(kind):
            ticks = column.cast(pa.duration("us"), safe=False)
        elif pa.types.is_time(kind):
            ticks = column.cast(pa.time64("us"), safe=False)
        else:
            ticks = column.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
    except pa.ArrowInvalid:  # beyond the years 1 to 9999
        return None
    return np.asarray(pc.drop_null(ticks.cast(pa.int64())).to_numpy().astype(np.float64) / _MICROSECONDS)
