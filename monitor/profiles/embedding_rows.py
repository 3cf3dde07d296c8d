"""From an Arrow column of embeddings to a matrix, and the hash that chooses a sample of ids.

What lives here: decoding without a step per row, hashes, pseudo-random numbers that stay the same. What must not: sums.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.records import EMBEDDING, EMBEDDING_DIMENSION_KEY

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
Sample = tuple[tuple[int, str], ...]

_BYTES = 2  # of a float16
_LIST_ROWS = 4_096
# Not pa.array([]): where pandas is installed, making an array from Python values imports it, a second and a half.
NO_IDS: pa.Array = pa.nulls(0, pa.large_string())


@dataclass(frozen=True, eq=False)
class Rows:
    """Decoded embeddings: `matrix` float16 [n, d] of those with the right length, `ids` of the same rows (or NO_IDS).

    `null` and `wrong_dimension` count the others.
    """

    matrix: npt.NDArray[np.float16]
    ids: pa.Array
    null: int
    wrong_dimension: int


def read_rows(table: pa.Table, dimension: int) -> list[Rows]:
    """The column `embedding` of a table, a part for each of its chunks: nothing is copied where all have the length.

    Binary values of the log, or lists of numbers as files have them; anything else has another dimension.
    """
    column = table.column(EMBEDDING)
    lengths = _lengths(column.type)
    if lengths is None:
        null = column.null_count
        return [Rows(np.empty((0, dimension), np.float16), NO_IDS, null, len(column) - null)]
    ids = table.column("prediction_id") if "prediction_id" in table.column_names else None
    parts, start = [], 0
    for chunk in column.chunks:
        # Lists are copied: a few at a time, not a whole chunk in float64.
        size = max(len(chunk), 1) if lengths is _binary_lengths else _LIST_ROWS
        for first in range(0, len(chunk), size):
            piece = chunk.slice(first, size)
            own = None if ids is None else ids.slice(start, len(piece)).combine_chunks().cast(pa.large_string())
            parts.append(_decode(piece, own, dimension))
            start += len(piece)
    return parts


def dimension_of(table: pa.Table) -> int:
    """How many numbers an embedding has: what the field's metadata says, else the most frequent length; 0 for none."""
    field = table.schema.field(EMBEDDING)
    written = (field.metadata or {}).get(EMBEDDING_DIMENSION_KEY)
    measure = _lengths(field.type)
    if written is not None and measure is not None:
        return int(written)
    if measure is None:
        return 0
    lengths: Counter[int] = Counter()
    for chunk in table.column(EMBEDDING).chunks:
        found = pc.value_counts(measure(chunk.drop_null()))
        for length, count in zip(*(found.field(name).to_pylist() for name in ("values", "counts")), strict=True):
            lengths[length] += count
    # The larger of two equally frequent ones, so that the order of rows does not decide.
    return max(lengths, key=lambda length: (lengths[length], length), default=0)


def _lengths(kind: pa.DataType) -> Callable[[pa.Array], pa.Array] | None:
    """How the lengths of embeddings of this type are told; None for a type that holds none."""
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _binary_lengths
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    is_number = is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type))
    return pc.list_value_length if is_number else None


def _binary_lengths(array: pa.Array) -> pa.Array:
    """In numbers; an odd byte makes it another one."""
    length = pc.binary_length(array)
    odd = pc.equal(pc.bit_wise_and(length, 1), 1)
    return pc.if_else(odd, 0, pc.divide(length, _BYTES))


def _decode(array: pa.Array, ids: pa.Array | None, dimension: int) -> Rows:
    null, total = array.null_count, len(array)
    measure = _lengths(array.type)
    assert measure is not None
    right = pc.fill_null(pc.equal(measure(array), dimension), False)
    count = pc.sum(right).as_py() or 0
    if count < total:
        array = array.filter(right)
        ids = None if ids is None else ids.filter(right)
    if count == 0 or dimension == 0:
        return Rows(np.empty((count, dimension), np.float16), NO_IDS, null, total - null - count)
    matrix = _from_bytes(array, dimension) if measure is _binary_lengths else _from_lists(array, dimension)
    return Rows(matrix, NO_IDS if ids is None else ids, null, total - null - count)


def _from_bytes(array: pa.Array, dimension: int) -> npt.NDArray[np.float16]:
    plain = array.cast(pa.large_binary())
    _, offsets, data = plain.buffers()
    first = int(np.frombuffer(offsets, np.int64)[plain.offset])
    return np.frombuffer(data, "<f2", count=len(plain) * dimension, offset=first).reshape(len(plain), dimension)


def _from_lists(array: pa.Array, dimension: int) -> npt.NDArray[np.float16]:
    with np.errstate(over="ignore"):
        # What float16 cannot hold becomes infinite, and is counted as such.
        flat: npt.NDArray[np.float16] = array.flatten().to_numpy(zero_copy_only=False).astype("<f2")
    return flat.reshape(len(array), dimension)


def smallest(ids: pa.Array, chosen: npt.NDArray[np.bool_], size: int) -> Sample:
    """(hash, id) of the `size` chosen ids with the smallest hash, in its order, each once."""
    hashes = hash_texts(ids)
    places = np.flatnonzero(chosen)
    found: set[tuple[int, str]] = set()
    while places.size and len(found) < size:
        near = places
        # Twice as many first: repeats of an id have the same hash.
        if places.size > 2 * size:
            near = places[np.argpartition(hashes[places], 2 * size)[: 2 * size]]
        found |= set(zip(hashes[near].tolist(), ids.take(pa.array(near)).to_pylist(), strict=True))
        places = places[hashes[places] > hashes[near].max()]
    return tuple(sorted(found)[:size])


def sample_of(ids: list[str]) -> Sample:
    """(hash, id) of ids, in the order of the hash."""
    return tuple(sorted(zip(hash_texts(pa.array(ids, pa.large_string())).tolist(), ids, strict=True)))


def hash_texts(texts: pa.Array) -> Hashes:
    """A 64-bit hash of each text (large_string array without nulls), the same on every machine.

    Σ (byte + 1) · w(place) mod 2^64 with odd pseudo-random w, then mixed: fast over whole arrays, not for secrets.
    """
    count = len(texts)
    if not count:
        return np.empty(0, np.uint64)
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + count + 1]
    lengths = np.diff(ends)
    content = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]] if data is not None else np.empty(0, np.uint8)
    place = np.arange(content.size) - np.repeat(ends[:-1] - ends[0], lengths)
    weights = _mixed(np.arange(int(lengths.max()), dtype=np.uint64)) | np.uint64(1)
    terms = (content.astype(np.uint64) + np.uint64(1)) * weights[place]
    # Differences of a running sum that wraps: exact modulo 2^64.
    running = np.concatenate((np.zeros(1, np.uint64), np.cumsum(terms, dtype=np.uint64)))
    edges = ends - ends[0]
    return _mixed(running[edges[1:]] - running[edges[:-1]])


def pseudo_random(seed: int, count: int) -> Floats:
    """`count` numbers in (0, 1) that this seed gives for ever: from the raw stream of PCG64."""
    raw = np.random.PCG64(seed).random_raw(count)
    return np.asarray(((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53)


def seed_of(*parts: object) -> int:
    """A seed from what it is for."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")


def _mixed(values: Hashes) -> Hashes:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = values + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)
