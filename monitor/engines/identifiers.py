"""Ids of predictions in bulk: hashes of them, which of them repeat, and sets that are only ever counted.

What lives here: kernels over Arrow's text without a Python object for every row. What must not: what a repeat means,
the log.

A hash of 64 bits only proposes: wherever two rows are taken for the same, their texts are compared. Only
`IdentifierSet` relies on hashes alone, of 128 bits: it would miscount by one with a probability below n² / 2¹²⁸, which
is 3e-23 for 10⁸ ids.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_WORD = np.dtype("<u8")
# Seed and odd multiplier of each of the two independent hashes (fractional parts of square roots; SplitMix64).
_LANES = (
    (np.uint64(0x6A09E667F3BCC908), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(0xBB67AE8584CAA73B), np.uint64(0x94D049BB133111EB)),
)
_LENGTH = np.uint64(0x9E3779B97F4A7C15)
# What of a word belongs to a text of so many bytes, at its end.
_MASKS = np.array([(1 << 8 * size) - 1 for size in range(9)], dtype=np.uint64)


def one_array(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])


def hashes(ids: pa.Array, lane: int = 0) -> Hashes:
    """64 bits of every id, uint64 [n]; `lane` 0 or 1 are independent of each other. Ids are not null.

    Each word of 8 bytes is mixed in by a bijection, the length by the seed; the last word overlaps the one before.
    """
    if not pa.types.is_string(ids.type):
        ids = ids.cast(pa.string())
    seed, factor = _LANES[lane]
    if not len(ids):
        return np.empty(0, dtype=np.uint64)
    _, places, content = ids.buffers()
    offsets = np.frombuffer(places, np.int32, len(ids) + 1, ids.offset * 4).astype(np.int64)
    lengths = np.diff(offsets)
    text = np.frombuffer(content if content is not None else b"", np.uint8)
    hashed = lengths.astype(np.uint64) * _LENGTH
    hashed ^= seed
    shortest, longest = int(lengths.min()), int(lengths.max())
    if shortest == longest >= 8:
        for start in range(0, longest, 8):
            first = int(offsets[0]) + min(start, longest - 8)
            _mix(hashed, np.ndarray(len(ids), _WORD, text, first, (longest,)), factor)
    else:
        padded = np.append(text[: offsets[-1]], np.zeros(8, np.uint8))
        words = np.ndarray(padded.size - 7, _WORD, padded, 0, (1,))
        for start in range(0, longest, 8):
            rows = slice(None) if shortest > start else np.flatnonzero(lengths > start)
            own = lengths[rows]
            word = words[offsets[:-1][rows] + np.minimum(start, np.maximum(own - 8, 0))] & _MASKS[np.minimum(own, 8)]
            part = hashed[rows]
            _mix(part, word, factor)
            hashed[rows] = part
    _mix(hashed, hashed >> np.uint64(32), _LANES[0][1])
    _mix(hashed, hashed >> np.uint64(30), _LANES[1][1])
    return hashed


def ranked(hashed: Hashes, bits: int | None = None) -> tuple[Hashes, npt.NDArray[np.uint32]]:
    """(hashes in order without their lowest `bits`, the row of each): one plain sort of hash and row in one word.

    `bits` must hold the number of rows, at most 2³²; by default as few as do.
    """
    width = np.uint64(row_bits(hashed.size) if bits is None else bits)
    mask = (np.uint64(1) << width) - np.uint64(1)
    keys = hashed & ~mask
    keys |= np.arange(hashed.size, dtype=np.uint64)
    keys.sort()
    rows = (keys & mask).astype(np.uint32)
    keys &= ~mask
    return keys, rows


def row_bits(rows: int) -> int:
    """Bits of the number of the last row."""
    return max(rows - 1, 1).bit_length()


def repeated(ids: pa.Array | pa.ChunkedArray) -> tuple[Integers, Integers] | None:
    """(rows whose id is there more than once, ascending; a number that says which id); None when no id repeats."""
    ids = one_array(ids)
    if len(ids) < 2:
        return None
    keys, rows = ranked(hashes(ids))
    same = keys[1:] == keys[:-1]
    if not same.any():
        return None
    rows = np.sort(rows[np.append(same, False) | np.append(False, same)])
    # The upper bits of a hash may agree by chance.
    codes = one_array(ids.take(pa.array(rows)).dictionary_encode()).indices.to_numpy(zero_copy_only=False)
    several = np.bincount(codes)[codes] > 1
    return (rows[several], codes[several].astype(np.int64)) if several.any() else None


class IdentifierSet:
    """Counts distinct ids that come in parts; 16 bytes for each."""

    def __init__(self) -> None:
        self._parts: list[tuple[Hashes, Hashes]] = []

    def add(self, ids: pa.Array) -> None:
        """Take in ids (not null)."""
        if len(ids):
            self._parts.append((hashes(ids, 0), hashes(ids, 1)))

    def count(self, without: Iterable[str] = ()) -> int:
        """How many distinct ids were added, less those of `without` (no repeats) that were."""
        first = self._lane(0)
        first.sort()
        shared = np.unique(first[1:][first[1:] == first[:-1]])
        left_out = pa.array(list(without), pa.string())
        if not shared.size and not len(left_out):
            return int(first.size)
        first, second = self._lane(0), self._lane(1)
        kept = ~_among((first, second), (hashes(left_out, 0), hashes(left_out, 1)))
        first, second = first[kept], second[kept]
        rows = _places(shared, first)[0]
        pairs = np.unique(np.stack((first[rows], second[rows])), axis=1)
        return int(first.size - rows.size + pairs.shape[1])

    def _lane(self, lane: int) -> Hashes:
        return np.concatenate([np.empty(0, np.uint64), *(part[lane] for part in self._parts)])


def _among(pairs: tuple[Hashes, Hashes], few: tuple[Hashes, Hashes]) -> npt.NDArray[np.bool_]:
    found = np.zeros(pairs[0].size, dtype=bool)
    order = np.argsort(few[0], kind="stable")
    rows, places = _places(few[0][order], pairs[0])
    found[rows] = few[1][order][places] == pairs[1][rows]
    return found


def _places(ordered: Hashes, values: Hashes) -> tuple[Integers, Integers]:
    """(rows of `values` that are among the `ordered`, where)."""
    if not ordered.size:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    places = np.minimum(np.searchsorted(ordered, values), ordered.size - 1)
    rows = np.flatnonzero(ordered[places] == values)
    return rows, places[rows]


def _mix(hashed: Hashes, word: Hashes, factor: np.uint64) -> None:
    hashed ^= word
    hashed *= factor
    hashed ^= hashed >> np.uint64(29)
