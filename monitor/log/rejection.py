"""Records that cannot be taken: why, where, and what they were.

What lives here: the reasons, the rejected record, and the sieve that collects the first fault of every row. What must
not: how values are converted, where rejected records are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from monitor.errors import RecordError

Mask = npt.NDArray[np.bool_]
_LONGEST_SHOWN = 80


class RejectReason(StrEnum):
    """Why a record was not taken; metrics and dead letters use these, never a text."""

    MALFORMED = "malformed"
    MISSING_VALUE = "missing_value"
    MISSING_ID = "missing_id"
    BAD_ID = "bad_id"
    BAD_TIME = "bad_time"
    NAIVE_TIME = "naive_time"
    UNKNOWN_CLASS = "unknown_class"
    UNKNOWN_MODEL = "unknown_model"
    NOT_FINITE = "not_finite"
    BAD_PROBABILITIES = "bad_probabilities"
    WRONG_TYPE = "wrong_type"
    COLUMN_TYPE_CHANGED = "column_type_changed"
    FUTURE_EVENT_TIME = "future_event_time"
    UNKNOWN_BATCH = "unknown_batch"


@dataclass(frozen=True)
class Rejected:
    """One record that was not taken. `line` counts from 1 as the producer would; `original` can be fed again."""

    reason: RejectReason
    message: str
    line: int
    original: bytes


class Sieve:
    """Which rows of a chunk are bad, and the first thing wrong with each."""

    def __init__(self, rows: int, *, line: Callable[[int], int], unit: str = "line") -> None:
        self.bad: Mask = np.zeros(rows, dtype=bool)
        self._line = line
        self._unit = unit
        self._faults: dict[int, tuple[RejectReason, RecordError]] = {}

    def refuse(
        self,
        mask: Mask,
        reason: RejectReason,
        what: str,
        *,
        column: str,
        expected: str | None = None,
        values: pa.Array | Sequence[Any] | None = None,
    ) -> None:
        """Mark the rows of `mask` that were good so far; `values` says what was got."""
        if not mask.any():
            return
        for index in np.flatnonzero(mask & ~self.bad).tolist():
            got = None if values is None else values[index]
            got = got.as_py() if isinstance(got, pa.Scalar) else got
            where = f"{self._unit} {self._line(index)}, {column}"
            shown = None if values is None else shorten(got)
            self._faults[index] = (reason, RecordError(what, where=where, expected=expected, got=shown))
        self.bad |= mask

    def rejected(self, original: Callable[[int], bytes]) -> list[Rejected]:
        """The bad rows in order."""
        return [
            Rejected(reason, str(error), self._line(index), original(index))
            for index, (reason, error) in sorted(self._faults.items())
        ]


def shorten(value: object) -> str:
    """A value as a message shows it."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def mask_of(array: pa.Array) -> Mask:
    """An Arrow boolean array as NumPy; null is False."""
    if array.null_count:
        array = array.fill_null(False)
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=bool)


def present(array: pa.Array) -> Mask:
    """Where an array has a value."""
    if not array.null_count:
        return np.ones(len(array), dtype=bool)
    return np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
