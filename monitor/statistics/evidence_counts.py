"""What the sequential detectors remember: integer counts in cells since each of a bounded number of starts.

What lives here: the cells and counts of a reference, the counts that evidence has consumed, the rule which starts stay
alive, and a versioned encoding of both that restores them bit for bit. What must not: evidence formulas (that is
`sequential` and `labelled_risk`), profiles, files, clocks.

A detector asks of every past observation s "did the change happen here?". Remembering all s grows without end, so old
starts are thinned: start s survives to the age 4·2^v, v being the number of trailing zero bits of s. That leaves about
2 log2(t) starts, at most `LIVE_STARTS`, their spacing at most half their age. Dropping a start only lowers the
evidence, so every guarantee stays; and which start lives depends on the count of observations alone, so a detector
restarted from its state goes on exactly as one that never stopped.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from monitor.errors import DefectError, OperatorError

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

LIVE_STARTS = 28
_MAGIC = b"TUEC"
_FORMAT = 1
_HEADER = struct.Struct("<4sHI")


@dataclass(frozen=True, eq=False)
class CellReference:
    """The reference's counts in the cells of every column, one column after the other.

    `names` [C]: what the columns are called. `sizes` [C]: cells of each, at least 2. `ordered` [C]: how many of them,
    from the first, are in order (the deciles of a number; 0 for categories); what follows them is null, or other.
    `counts` int64 [K], K = Σ sizes. Raises DefectError for shapes or counts that cannot be.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]
    ordered: tuple[int, ...]
    counts: Counts

    def __post_init__(self) -> None:
        counts = _frozen(self.counts, (sum(self.sizes),), "reference counts")
        object.__setattr__(self, "counts", counts)
        if not len(self.names) == len(self.sizes) == len(self.ordered) > 0 or min(self.sizes) < 2:
            raise DefectError("columns that cannot be watched", expected="at least one, each of two cells or more")
        if any(ordered > size for ordered, size in zip(self.ordered, self.sizes, strict=True)):
            raise DefectError("more ordered cells than cells", got=f"{self.ordered} of {self.sizes}")
        if (self.rows == 0).any():
            empty = ", ".join(name for name, rows in zip(self.names, self.rows, strict=True) if rows == 0)
            raise DefectError("a reference without rows is no reference", where=f"columns {empty}")

    @cached_property
    def offsets(self) -> npt.NDArray[np.intp]:
        """Index of the first cell of each column, for `np.add.reduceat`; intp [C]."""
        return np.concatenate(([0], np.cumsum(self.sizes)[:-1])).astype(np.intp)

    @cached_property
    def rows(self) -> Counts:
        """Rows of the reference in each column, int64 [C]."""
        return np.add.reduceat(self.counts, self.offsets)

    @cached_property
    def identity(self) -> str:
        """SHA-256 (hex) of names, sizes and counts: evidence against one reference is not continued against another."""
        digest = hashlib.sha256(json.dumps([self.names, self.sizes, self.ordered]).encode())
        digest.update(np.ascontiguousarray(self.counts, dtype="<i8").tobytes())
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class EvidenceCounts:
    """What has been consumed: rows per cell since each live start, and since the very beginning.

    `reference`: identity of the cells. `observations`: how many observations were opened (a whole season each, or a
    pane, or an evidence batch). `starts` [S]: their numbers, from 1, oldest first. `since` int64 [S, K]. `total`
    int64 [K].
    """

    reference: str
    observations: int
    starts: tuple[int, ...]
    since: Counts
    total: Counts

    def __post_init__(self) -> None:
        total = _frozen(self.total, (self.total.size,), "total")
        object.__setattr__(self, "total", total)
        object.__setattr__(self, "since", _frozen(self.since, (len(self.starts), total.size), "counts since starts"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EvidenceCounts) and encode_counts(self) == encode_counts(other)

    def __hash__(self) -> int:
        return hash(encode_counts(self))


def no_evidence(reference: CellReference) -> EvidenceCounts:
    """The state before anything was seen."""
    cells = reference.counts.size
    return EvidenceCounts(
        reference.identity, 0, (), np.zeros((0, cells), dtype=np.int64), np.zeros(cells, dtype=np.int64)
    )


def observe(state: EvidenceCounts, counts: Counts, opens: bool = True) -> EvidenceCounts:
    """State after `counts` (int64 [K], rows per cell of this observation; a column that was absent has zeros).

    `opens`: whether this is a new observation, so a place where a change may have begun; False adds rows to the one
    that is open (a further evidence batch of the same hour). A promised run length counts opened observations.
    Raises DefectError for other cells or negative counts.
    """
    counts = _frozen(counts, state.total.shape, "observed counts")
    if not opens and state.observations == 0:
        raise DefectError("no observation is open", expected="the first batch to open one")
    observations, starts, since = state.observations, state.starts, state.since
    if opens:
        observations += 1
        kept = [i for i, start in enumerate(starts) if _lives(start, observations)]
        kept = kept[-(LIVE_STARTS - 1) :]
        starts = (*(starts[i] for i in kept), observations)
        since = np.concatenate((since[kept], np.zeros((1, counts.size), dtype=np.int64)))
    return EvidenceCounts(state.reference, observations, starts, since + counts, state.total + counts)


def _lives(start: int, now: int) -> bool:
    lowest_bit = start & -start
    return now - start < 4 * lowest_bit


def encode_counts(state: EvidenceCounts) -> bytes:
    """The state as bytes: magic, format, a JSON header, little-endian int64 counts, CRC-32 of all before."""
    header = {"reference": state.reference, "observations": state.observations, "starts": list(state.starts)}
    text = json.dumps({**header, "cells": int(state.total.size)}, sort_keys=True).encode()
    body = _HEADER.pack(_MAGIC, _FORMAT, len(text)) + text + _raw(state.since) + _raw(state.total)
    return body + struct.pack("<I", zlib.crc32(body))


def decode_counts(data: bytes) -> EvidenceCounts:
    """The state that `encode_counts` wrote; raises OperatorError for bytes that are not, damaged or newer."""
    if len(data) < _HEADER.size + 4 or data[:4] != _MAGIC:
        raise OperatorError("not a trueup evidence state", expected=f"bytes that begin with {_MAGIC!r}")
    if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
        raise OperatorError("an evidence state is damaged", expected="its checksum to hold", hint="Restore a backup.")
    _, version, length = _HEADER.unpack_from(data)
    if version > _FORMAT:
        raise OperatorError("an evidence state of a newer trueup", expected=f"format {_FORMAT}", got=str(version))
    header = json.loads(data[_HEADER.size : _HEADER.size + length])
    starts, cells = tuple(header["starts"]), header["cells"]
    numbers = np.frombuffer(data[_HEADER.size + length : -4], dtype="<i8").astype(np.int64)
    since, total = numbers[: len(starts) * cells].reshape(len(starts), cells), numbers[len(starts) * cells :]
    return EvidenceCounts(header["reference"], header["observations"], starts, since, total)


def flat_counts(columns: Sequence[Counts]) -> Counts:
    """Counts of one column after the other, int64 [K]."""
    return np.concatenate([np.asarray(column, dtype=np.int64) for column in columns])


def by_column(reference: CellReference, counts: Counts) -> list[Counts]:
    """Counts [..., K] of several panes taken apart by column, [..., cells of the column] each."""
    return np.split(counts, reference.offsets[1:], axis=-1)


def _frozen(values: Counts, shape: tuple[int, ...], what: str) -> Counts:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.shape != shape:
        raise DefectError(f"{what} of another shape", expected=f"int64 {shape}", got=f"{array.dtype} {array.shape}")
    array = array.astype(np.int64)
    if array.size and array.min() < 0:
        raise DefectError(f"{what} below zero", got=str(array.min()))
    array.flags.writeable = False
    return array


def _raw(counts: Counts) -> bytes:
    return np.ascontiguousarray(counts, dtype="<i8").tobytes()
