"""Ids of predictions in bulk: hashes of them, which repeat, which two sides share, sets that are only ever counted.

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
import pyarrow.compute as pc

Integers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

_WORD = np.dtype("<u8")
# Seed and odd multiplier of each of the two independent hashes (fractional parts of square roots; SplitMix64).
_LANES = (
    (np.uint64(0x6A09E667F3BCC908), np.uint64(0xBF58476D1CE4E5B9)),
    (np.uint64(0xBB67AE8584CAA73B), np.uint64(0x94D049BB133111EB)),
)
_LENGTH = np.uint64(0x9E3779B97F4A7C15)
# Hashes are made of so many ids at once (a power of two): what is needed meanwhile takes five times their memory.
_HASHED_AT_ONCE = 1 << 17
# Bits of the number of cells of the smallest directory.
_LEAST_BITS = 12
# Bits of the number of cells in which rows that may repeat are counted: 32 MB.
_MOST_CELLS = 22
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
        padded = np.append(text[offsets[0] : offsets[-1]], np.zeros(8, np.uint8))
        offsets -= offsets[0]
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


def row_mask(rows: int) -> np.uint64:
    """The lowest bits of a hash, in which the number of any of so many rows has room."""
    return np.uint64((1 << max(rows - 1, 1).bit_length()) - 1)


def numbered(hashed: Hashes, out: Hashes | None = None) -> Hashes:
    """Every hash with the number of its row in its lowest bits, as many as `row_mask` says; in `out` if it is given."""
    result = np.bitwise_and(hashed, ~row_mask(hashed.size), out=out)
    result |= np.arange(hashed.size, dtype=np.uint64)
    return result


def ranked(hashed: Hashes) -> tuple[Hashes, npt.NDArray[np.uint32]]:
    """(hashes in order without their lowest bits, the row of each): one plain sort of hash and row in one word.

    As many bits are left out as hold the number of rows, at most 2³².
    """
    mask = row_mask(hashed.size)
    keys = numbered(hashed)
    keys.sort()
    rows = (keys & mask).astype(np.uint32)
    keys &= ~mask
    return keys, rows


def repeated(ids: pa.Array | pa.ChunkedArray) -> tuple[Integers, Integers] | None:
    """(rows whose id is there more than once, ascending; a number that says which id); None when no id repeats."""
    ids = one_array(ids)
    if len(ids) < 2:
        return None
    hashed = hashes(ids)
    # Most rows are the only ones of some that share the highest bits: only the others are sorted.
    cells = (hashed >> np.uint64(64 - min(len(ids).bit_length() + 2, _MOST_CELLS))).view(np.int64)
    several = np.flatnonzero(np.bincount(cells).take(cells) > 1)
    keys, rows = ranked(hashed.take(several))
    same = keys[1:] == keys[:-1]
    if not same.any():
        return None
    rows = np.sort(several[rows[np.append(same, False) | np.append(False, same)]])
    # The upper bits of a hash may agree by chance.
    codes = one_array(ids.take(pa.array(rows)).dictionary_encode()).indices.to_numpy(zero_copy_only=False)
    several = np.bincount(codes)[codes] > 1
    return (rows[several], codes[several].astype(np.int64)) if several.any() else None


class TextRoom:
    """Room for text that comes in parts: to bring the parts together takes no second copy of them.

    Room that is not used takes no memory.
    """

    def __init__(self, rows: int, size: int) -> None:
        self._ends = np.empty(rows + 1, np.int32)
        self._ends[0] = 0
        self._content = np.empty(size, np.uint8)
        self._rows = 0

    def add(self, part: pa.Array) -> bool:
        """Take in text (string, not null), unless there is no room for it; not after `array`."""
        if not len(part):
            return True
        _, places, content = part.buffers()
        offsets = np.frombuffer(places, np.int32, len(part) + 1, part.offset * 4)
        rows, size = self._rows + len(part), text_bytes(part)
        start = int(self._ends[self._rows])
        if rows >= self._ends.size or start + size > self._content.size:
            return False
        np.subtract(offsets[1:], offsets[0] - start, out=self._ends[self._rows + 1 : rows + 1])
        if size:
            self._content[start : start + size] = np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]]
        self._rows = rows
        return True

    def array(self) -> pa.Array:
        """All of it, without a copy."""
        ends = self._ends[: self._rows + 1]
        return pa.StringArray.from_buffers(self._rows, pa.py_buffer(ends), pa.py_buffer(self._content[: ends[-1]]))


def text_bytes(text: pa.Array) -> int:
    """Bytes of all of a string array."""
    if not len(text):
        return 0
    offsets = np.frombuffer(text.buffers()[1], np.int32, len(text) + 1, text.offset * 4)
    return int(offsets[-1]) - int(offsets[0])


class IdentifierIndex:
    """Finds ids (string, not null, at most 2³²) among these: hashes propose, the texts decide.

    Hashes and rows are sorted in one word, and a directory says where those begin that share their highest bits: 12 to
    16 bytes for each id.
    """

    def __init__(self, ids: pa.Array) -> None:
        self.ids = ids
        self._mask = row_mask(len(ids))
        bits = max(int(self._mask).bit_length(), _LEAST_BITS)
        self._shift = np.uint64(64 - bits)
        self._sorted = np.empty(len(ids), np.uint64)
        for start in range(0, len(ids), _HASHED_AT_ONCE):
            self._sorted[start : start + _HASHED_AT_ONCE] = hashes(ids.slice(start, _HASHED_AT_ONCE))
        numbered(self._sorted, out=self._sorted).sort()
        self._begins = np.empty((1 << bits) + 1, np.uint32)
        self._begins[-1] = len(ids)
        edges = np.arange(0, (1 << bits) + 1, min(_HASHED_AT_ONCE, 1 << bits))
        places = [*np.searchsorted(self._sorted, edges[:-1].astype(np.uint64) << self._shift).tolist(), len(ids)]
        for start, end, low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), places, places[1:], strict=False):
            cells = (self._sorted[low:high] >> self._shift).view(np.int64) - start
            counts = np.bincount(cells, minlength=end - start)
            self._begins[start:end] = low + np.cumsum(counts) - counts

    def may_repeat_over(self, times: int) -> bool:
        """Whether any id may be there more than so many times; False is certain."""
        for start in range(times, self._sorted.size, _HASHED_AT_ONCE):
            some = self._sorted[start : start + _HASHED_AT_ONCE]
            if (some ^ self._sorted[start - times : start - times + some.size] <= self._mask).any():
                return True
        return False

    def pairs(self, others: pa.Array) -> tuple[Integers, Integers]:
        """(row among the others, row among these), int64 [pairs], of all that are the same; the former ascend."""
        hashed = hashes(others)
        cells = (hashed >> self._shift).view(np.int64)
        begins = self._begins.take(cells).astype(np.int64)
        cells += 1
        counts = self._begins.take(cells) - begins
        theirs = np.repeat(np.arange(counts.size), counts)
        begins -= np.cumsum(counts) - counts
        found = self._sorted.take(begins.take(theirs) + np.arange(theirs.size))
        alike = np.flatnonzero((found ^ hashed.take(theirs)) <= self._mask)
        theirs, mine = theirs.take(alike), (found.take(alike) & self._mask).view(np.int64)
        same = pc.equal(others.take(pa.array(theirs)), self.ids.take(pa.array(mine)))
        if pc.all(same).as_py():
            return theirs, mine
        kept = np.asarray(same.to_numpy(zero_copy_only=False))
        return theirs[kept], mine[kept]


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
