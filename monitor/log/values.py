"""Whole columns of outside values into the types of the log; what does not fit is refused row by row.

What lives here: conversion of one column: text, numbers, classes, identifiers, times. What must not: which column is
what (`roles`), files, HTTP. Every function returns an array of the sieve's length whose refused rows are null.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.log.rejection import RejectReason, Sieve, mask_of, present
from monitor.records import TIMESTAMP, ModelSchema

if TYPE_CHECKING:
    from monitor.settings import EpochUnit

_ID = r"^[\x21-\x7e]([\x20-\x7e]{0,198}[\x21-\x7e])?$"
_ID_EXPECTED = "1 to 200 printable ASCII characters"
_NUMBER = r"^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?([Zz]|[-+][0-9]{2}:?[0-9]{2})?)?$"
_OFFSET = r"([Zz]|:[0-9.]+[-+][0-9]{2}:?[0-9]{2})$"
_TIME_EXPECTED = "an RFC 3339 time such as 2026-01-31T12:00:00Z"
_MICROSECONDS: dict[EpochUnit, int] = {"s": 1_000_000, "ms": 1_000, "us": 1}
# What fits every engine that reads the log: 1970 to 2262.
_LATEST = 9_214_646_400_000_000


def text(array: pa.Array, column: str, sieve: Sieve) -> pa.Array:
    """Text; whole numbers become their digits, anything else is refused."""
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_integer(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        values = np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)
        whole = np.isfinite(values) & (np.abs(np.where(np.isfinite(values), values, 0)) < 2**53)
        whole &= np.where(whole, values, 0.5) == np.floor(np.where(whole, values, 0.5))
        wrong = present(array) & ~whole
        digits = pa.array(np.where(whole, values, 0).astype(np.int64), mask=~whole).cast(pa.string())
        sieve.refuse(wrong, RejectReason.WRONG_TYPE, "not text", column=column, expected="text", values=array)
        return digits
    return _wrong_type(array, column, sieve, "text", pa.string())


def identifiers(array: pa.Array, column: str, sieve: Sieve) -> pa.Array:
    """Prediction ids: required, 1 to 200 printable ASCII characters without space around them."""
    ids = text(array, column, sieve)
    _refuse_nulls(ids, column, sieve, RejectReason.MISSING_ID)
    fits = mask_of(pc.match_substring_regex(ids, _ID))
    sieve.refuse(
        present(ids) & ~fits,
        RejectReason.BAD_ID,
        "not a prediction id",
        column=column,
        expected=_ID_EXPECTED,
        values=ids,
    )
    return ids


def required_text(array: pa.Array, column: str, sieve: Sieve) -> pa.Array:
    """Text that must be there, such as a version: 1 to 200 printable characters."""
    words = text(array, column, sieve)
    _refuse_nulls(words, column, sieve, RejectReason.MISSING_VALUE)
    fits = mask_of(pc.and_(pc.utf8_is_printable(words), pc.less_equal(pc.utf8_length(words), 200)))
    expected = "1 to 200 printable characters"
    wrong = present(words) & ~(fits & mask_of(pc.greater(pc.utf8_length(words), 0)))
    sieve.refuse(wrong, RejectReason.WRONG_TYPE, f"not a {column}", column=column, expected=expected, values=words)
    return words


def numbers(array: pa.Array, column: str, sieve: Sieve, *, textual: bool, finite: bool = False) -> pa.Array:
    """float64; text counts as a number only where everything is text (CSV). `finite` refuses NaN and infinities."""
    kind = array.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = array if kind == pa.float64() else array.cast(pa.float64(), safe=False)
    elif textual and pa.types.is_string(kind):
        values = parsed_numbers(array)
        wrong = present(array) & ~present(values)
        sieve.refuse(wrong, RejectReason.WRONG_TYPE, "not a number", column=column, expected="a number", values=array)
    else:
        values = _wrong_type(array, column, sieve, "a number", pa.float64())
    if finite:
        filled = values.fill_null(0.0) if values.null_count else values
        infinite = ~np.isfinite(filled.to_numpy(zero_copy_only=False))
        expected = "a finite number"
        sieve.refuse(infinite, RejectReason.NOT_FINITE, "not finite", column=column, expected=expected, values=values)
    return values


def parsed_numbers(words: pa.Array) -> pa.Array:
    """float64 of decimal text, `inf` and `nan` included; null for anything else."""
    trimmed = pc.ascii_trim_whitespace(words)
    try:
        return trimmed.cast(pa.float64())
    except pa.ArrowInvalid:
        usual = pc.match_substring_regex(trimmed, _NUMBER)
        return pc.if_else(usual, trimmed, None).cast(pa.float64())


def booleans(words: pa.Array) -> pa.Array:
    """bool of `true` and `false` in any case; null for anything else."""
    lower = pc.ascii_lower(words)
    known = pc.is_in(lower, pa.array(["true", "false"]))
    return pc.if_else(known, pc.equal(lower, "true"), None)


def parsed_times(words: pa.Array) -> pa.Array:
    """timestamp[us, UTC] of RFC 3339 text, taken as UTC where it has no offset; null for anything else."""
    formed = pc.match_substring_regex(words, TIME)
    aware = pc.and_(formed, pc.match_substring_regex(words, _OFFSET))
    plain = _to_microseconds(words)
    moments = _cast_times(pc.if_else(aware, plain, None), TIMESTAMP)
    naive = _cast_times(pc.if_else(pc.and_not(formed, aware), plain, None), pa.timestamp("us"))
    return pc.coalesce(moments, naive.cast(TIMESTAMP))


def classes(array: pa.Array, column: str, sieve: Sieve, model: ModelSchema) -> pa.Array:
    """Class names. A number is a name if any class is called by a number, else an index from 0."""
    words = text(array, column, sieve)
    names = pa.array(model.classes, pa.string())
    position = pc.index_in(words, names)
    if not any(name.isdecimal() for name in model.classes):
        digits = pc.match_substring_regex(words, "^[0-9]{1,6}$")
        index = pc.if_else(digits, words, None).cast(pa.int32())
        index = pc.if_else(pc.less(index, len(model.classes)), index, None)
        position = pc.coalesce(position, index)
    unknown = present(words) & ~present(position)
    shown = ", ".join(model.classes[:10]) + (", …" if len(model.classes) > 10 else "")
    reason, expected = RejectReason.UNKNOWN_CLASS, f"one of {shown}"
    sieve.refuse(unknown, reason, "unknown class", column=column, expected=expected, values=array)
    return names.take(position)


def times(
    array: pa.Array,
    column: str,
    sieve: Sieve,
    *,
    timezone: str | None,
    epoch_unit: EpochUnit | None,
    textual: bool,
) -> pa.Array:
    """timestamp[us, UTC]; naive times need a declared zone, numbers a declared unit; 1970 to 2262."""
    kind = array.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        moments = array.cast(TIMESTAMP, safe=False)
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = _localised(array.cast(pa.timestamp("us"), safe=False), array, column, sieve, timezone)
    elif pa.types.is_string(kind):
        moments = _parsed_times(array, column, sieve, timezone)
        if textual and epoch_unit is not None:
            moments = pc.coalesce(moments, _epoch(parsed_numbers(array), epoch_unit))
    elif epoch_unit is not None and (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        moments = _epoch(array, epoch_unit)
    elif pa.types.is_null(kind):
        moments = array.cast(TIMESTAMP)
    else:
        expected = _TIME_EXPECTED + ("" if epoch_unit else ", or a number where columns.epoch says its unit")
        moments = _wrong_type(array, column, sieve, expected, TIMESTAMP, RejectReason.BAD_TIME)
    ticks = moments.cast(pa.int64())
    outside = mask_of(pc.or_(pc.less(ticks, 0), pc.greater_equal(ticks, _LATEST)))
    unread = (present(array) & ~present(moments)) | outside
    expected = f"{_TIME_EXPECTED}, from 1970 to 2262"
    sieve.refuse(unread, RejectReason.BAD_TIME, "not a time", column=column, expected=expected, values=array)
    return pc.if_else(pa.array(~outside), moments, None)


def _parsed_times(words: pa.Array, column: str, sieve: Sieve, timezone: str | None) -> pa.Array:
    formed = pc.match_substring_regex(words, TIME)
    aware = pc.and_(formed, pc.match_substring_regex(words, _OFFSET))
    plain = _to_microseconds(words)
    moments = _cast_times(pc.if_else(aware, plain, None), TIMESTAMP)
    naive = pc.and_not(formed, aware)
    if not pc.any(naive).as_py():
        return moments
    local = _cast_times(pc.if_else(naive, plain, None), pa.timestamp("us"))
    return pc.coalesce(moments, _localised(local, words, column, sieve, timezone))


def _to_microseconds(words: pa.Array) -> pa.Array:
    """Times with the six digits of a second's fraction that a microsecond has: Arrow reads no more."""
    return pc.replace_substring_regex(pc.ascii_upper(words), r"(\.[0-9]{6})[0-9]+", r"\1")


def _cast_times(words: pa.Array, kind: pa.DataType) -> pa.Array:
    try:
        return words.cast(kind)
    except pa.ArrowInvalid:
        # Some date that does not exist: only then one by one.
        return pa.array([_moment(word) for word in words.to_pylist()], pa.int64()).cast(kind)


def _moment(word: str | None) -> int | None:
    if word is None:
        return None
    try:
        moment = datetime.datetime.fromisoformat(word)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
        return (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError):
        return None


def _localised(local: pa.Array, written: pa.Array, column: str, sieve: Sieve, timezone: str | None) -> pa.Array:
    """UTC of naive times in a zone; those that its clock skipped or passed twice are refused."""
    if timezone is None:
        expected = f"{_TIME_EXPECTED}, or columns.timezone in the configuration"
        what = "a time without an offset from UTC"
        there = present(local)
        sieve.refuse(there, RejectReason.NAIVE_TIME, what, column=column, expected=expected, values=written)
        return pa.nulls(len(local), TIMESTAMP)
    options = {"timezone": timezone}
    early = pc.assume_timezone(local, **options, ambiguous="earliest", nonexistent="earliest").cast(TIMESTAMP)
    late = pc.assume_timezone(local, **options, ambiguous="latest", nonexistent="latest").cast(TIMESTAMP)
    doubtful = mask_of(pc.not_equal(early, late))
    what, expected = f"the clock in {timezone} skipped or repeated this time", "a time with its offset from UTC"
    sieve.refuse(doubtful, RejectReason.NAIVE_TIME, what, column=column, expected=expected, values=written)
    return pc.if_else(pa.array(~doubtful), early, None)


def _epoch(array: pa.Array, unit: EpochUnit) -> pa.Array:
    factor = _MICROSECONDS[unit]
    if pa.types.is_integer(array.type) and array.type.bit_width == 64:
        inside = pc.and_(pc.greater_equal(array, 0), pc.less(array, pa.scalar(_LATEST // factor, array.type)))
        return pc.multiply(pc.if_else(inside, array, None).cast(pa.int64()), factor).cast(TIMESTAMP)
    seconds = np.asarray(array.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        ticks = np.rint(seconds * factor)
        good = (ticks >= 0) & (ticks < _LATEST)
    return pa.array(np.where(good, ticks, 0).astype(np.int64), mask=~good).cast(TIMESTAMP)


def embeddings(array: pa.Array, column: str, sieve: Sieve, dimension: int | None) -> tuple[pa.Array, int | None]:
    """Little-endian float16 rows as binary, and their length: the declared one, else that of the first row."""
    if pa.types.is_binary(array.type) and dimension is not None:
        wrong = mask_of(pc.not_equal(pc.binary_length(array), 2 * dimension))
        expected = f"{2 * dimension} bytes"
        sieve.refuse(wrong, RejectReason.WRONG_TYPE, "not an embedding", column=column, expected=expected)
        return array, dimension
    if not (
        pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type)
    ):
        return _wrong_type(array, column, sieve, "a list of numbers", pa.binary()), dimension
    rows: list[bytes | None] = []
    wrong_length = np.zeros(len(array), dtype=bool)
    not_finite = np.zeros(len(array), dtype=bool)
    for index, row in enumerate(array):
        if not row.is_valid:
            rows.append(None)
            continue
        vector = _half_precision(row)
        dimension = dimension or (None if vector is None or not vector.size else vector.size)
        wrong_length[index] = vector is None or vector.size != dimension
        not_finite[index] = vector is not None and not np.isfinite(vector).all()
        rows.append(None if vector is None else vector.tobytes())
    expected = f"{dimension} numbers" if dimension else "numbers"
    reason = RejectReason.WRONG_TYPE
    sieve.refuse(wrong_length, reason, "not an embedding of this model", column=column, expected=expected)
    expected = "numbers up to 65504"
    sieve.refuse(not_finite, RejectReason.NOT_FINITE, "an embedding is not finite", column=column, expected=expected)
    return pa.array(rows, pa.binary()), dimension


def _half_precision(row: pa.Scalar) -> npt.NDArray[np.float16] | None:
    try:
        with np.errstate(over="ignore"):
            return np.asarray(row.values.to_numpy(zero_copy_only=False), dtype=np.float64).astype("<f2")
    except (TypeError, ValueError):
        return None


def _refuse_nulls(array: pa.Array, column: str, sieve: Sieve, reason: RejectReason) -> None:
    sieve.refuse(~present(array), reason, "is missing", column=column)


def _wrong_type(
    array: pa.Array,
    column: str,
    sieve: Sieve,
    expected: str,
    kind: pa.DataType,
    reason: RejectReason = RejectReason.WRONG_TYPE,
) -> pa.Array:
    there = present(array)
    sieve.refuse(there, reason, "of the wrong type", column=column, expected=expected, values=array)
    return pa.nulls(len(array), kind)
