"""Files of records as chunks of columns: CSV, NDJSON, JSON, Parquet, Arrow, by their ending; memory stays bounded.

What lives here: opening, decompressing, cutting into chunks, the number of every row. What must not: what a column
means.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from monitor.errors import RecordError
from monitor.log.conversion import Chunk
from monitor.log.json_rows import Row, parse_json, parse_lines
from monitor.log.rejection import Mask, Rejected, RejectReason, mask_of
from monitor.log.roles import check_names

CHUNK_ROWS = 10_000
_BLOCK_BYTES = 4 * 1024 * 1024
LONGEST_LINE_BYTES = 4 * 1024 * 1024
LARGEST_JSON_BYTES = 256 * 1024 * 1024
# What spreadsheets and data frames write for nothing.
_NOTHING = ["", "NULL", "null", "NaN", "nan"]
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

Part = Chunk | list[Row] | list[Rejected]


def read_parts(path: Path) -> Iterator[Part]:
    """The records of a file: chunks of columns, or rows of JSON, and between them what is no record at all.

    Raises RecordError where the file is of an unknown kind or cannot be read (on).
    """
    endings = [ending.lower() for ending in path.suffixes]
    compression = _COMPRESSIONS.get(endings[-1]) if endings else None
    ending = (endings[-2:-1] if compression else endings[-1:]) or [""]
    reader = _READERS.get(ending[0])
    if reader is None or (compression and reader in (_parquet, _arrow)):
        expected = "a name ending in .csv, .ndjson, .jsonl, .json, .parquet, .arrow or .feather (text also .gz, .zst)"
        raise RecordError("not a kind of file that holds records", where=str(path), expected=expected)
    try:
        yield from reader(path, compression)
    except (OSError, pa.ArrowException, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RecordError("the file cannot be read", where=str(path), got=reason.split("\n")[0][:200]) from error


def _open(path: Path, compression: str | None) -> Any:
    return pa.input_stream(str(path), compression=compression)


def _ndjson(path: Path, compression: str | None) -> Iterator[Part]:
    line = 1
    for block in _line_blocks(path, compression):
        rows, rejected = parse_lines(block.removeprefix(codecs.BOM_UTF8) if line == 1 else block, line)
        line += block.count(b"\n")
        if rejected:
            yield rejected
        for start in range(0, len(rows), CHUNK_ROWS):
            yield rows[start : start + CHUNK_ROWS]


def _line_blocks(path: Path, compression: str | None) -> Iterator[bytes]:
    rest = b""
    with _open(path, compression) as stream:
        while block := stream.read(_BLOCK_BYTES):
            whole, newline, tail = block.rpartition(b"\n")
            if newline:
                yield rest + whole + newline
                rest = tail
            else:
                rest += tail
            if len(rest) > LONGEST_LINE_BYTES:
                expected = f"at most {LONGEST_LINE_BYTES} bytes"
                raise RecordError("a line is too long", where=str(path), expected=expected)
    if rest:
        yield rest


def _json(path: Path, compression: str | None) -> Iterator[Part]:
    with _open(path, compression) as stream:
        content = stream.read(LARGEST_JSON_BYTES + 1)
    if len(content) > LARGEST_JSON_BYTES:
        expected = f"at most {LARGEST_JSON_BYTES} bytes; NDJSON files may be of any size"
        raise RecordError(
            "a JSON file is read as a whole and this one is too large", where=str(path), expected=expected
        )
    if content.lstrip()[:1] != b"[" and b"\n{" in content:
        yield from _ndjson(path, compression)
        return
    rows, rejected = parse_json(content.removeprefix(codecs.BOM_UTF8), str(path))
    if rejected:
        yield rejected
    for start in range(0, len(rows), CHUNK_ROWS):
        yield rows[start : start + CHUNK_ROWS]


def _csv(path: Path, compression: str | None) -> Iterator[Part]:
    names = _csv_header(path, compression)
    ragged: list[Rejected] = []
    skipped: set[int] = set()

    def set_aside(row: Any) -> str:
        number = int(row.number)
        skipped.add(number)
        message = (
            f"row {number}: not as many values as columns (expected {row.expected_columns}, got {row.actual_columns})"
        )
        ragged.append(Rejected(RejectReason.MALFORMED, message, number, str(row.text).encode()))
        return "skip"

    numbers = (number for number in itertools.count(2) if number not in skipped)
    options = {
        "read_options": pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
        "parse_options": pyarrow.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=set_aside),
        "convert_options": pyarrow.csv.ConvertOptions(
            # The name that a first column may lack in the file.
            column_types=dict.fromkeys([*names, ""], pa.string()),
            strings_can_be_null=True,
            null_values=_NOTHING,
        ),
    }
    with _open(path, compression) as stream:
        text = _TextStream(stream)
        with pa.PythonFile(text, mode="r") as source, pyarrow.csv.open_csv(source, **options) as reader:
            for batch in reader:
                lines = list(itertools.islice(numbers, batch.num_rows))
                for start in range(0, batch.num_rows, CHUNK_ROWS):
                    part, places = batch.slice(start, CHUNK_ROWS), lines[start : start + CHUNK_ROWS]
                    if text.damaged:
                        broken = _rows_with(part, _REPLACEMENT)
                        yield [_not_text(part, index, places[index]) for index in np.flatnonzero(broken).tolist()]
                        part = part.filter(pa.array(~broken))
                        places = [place for place, bad in zip(places, broken, strict=True) if not bad]
                    if places:
                        columns = dict(zip(names, part.columns, strict=True))
                        yield _columnar(columns, places.__getitem__, textual=True)
                if ragged:
                    yield list(ragged)
                    ragged.clear()
    if ragged:
        yield ragged


class _TextStream(io.RawIOBase):
    """A stream with the bytes that are no UTF-8 replaced, so that one of them costs its row and not the file."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self.damaged = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while True:
            block = self._stream.read(size if size >= 0 else None)
            text = self._decoder.decode(block, final=not block)
            self.damaged = self.damaged or _REPLACEMENT in text
            if text or not block:
                return text.encode()


_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def _csv_header(path: Path, compression: str | None) -> list[str]:
    with _open(path, compression) as stream:
        start = stream.read(LONGEST_LINE_BYTES)
    names = next(csv.reader(start.decode("utf-8-sig", errors="replace").splitlines(keepends=True)), [])
    if not names:
        raise RecordError("an empty file", where=str(path), expected="a line with the names of the columns")
    other = next((mark for mark in ";\t|" if len(names) == 1 and mark in names[0]), None)
    if other is not None:
        raise RecordError("one column only", where=str(path), expected="fields separated by commas", got=repr(names[0]))
    if len(names) > 1 and not names[0] and "Unnamed: 0" not in names:
        # The row numbers that a data frame writes first; their name is the one that it reads them by.
        names[0] = "Unnamed: 0"
    check_names(names, str(path))
    return names


def _rows_with(batch: pa.RecordBatch, text: str) -> Mask:
    found = np.zeros(batch.num_rows, dtype=bool)
    for array in batch.columns:
        found |= mask_of(pc.match_substring(array, text))
    return found


def _not_text(batch: pa.RecordBatch, index: int, row: int) -> Rejected:
    return Rejected(RejectReason.MALFORMED, f"row {row}: not UTF-8 text", row, _json_line(batch, index))


def _parquet(path: Path, _: str | None) -> Iterator[Part]:
    with pyarrow.parquet.ParquetFile(path) as file:
        check_names(file.schema_arrow.names, str(path))
        yield from _batches(file.iter_batches(batch_size=CHUNK_ROWS))


def _arrow(path: Path, _: str | None) -> Iterator[Part]:
    with pa.memory_map(str(path)) as source:
        try:
            file = pa.ipc.open_file(source)
        except pa.ArrowInvalid:
            source.seek(0)
            with pa.ipc.open_stream(source) as stream:
                check_names(stream.schema.names, str(path))
                yield from _batches(stream)
            return
        with file:
            check_names(file.schema.names, str(path))
            yield from _batches(file.get_batch(index) for index in range(file.num_record_batches))


def _batches(batches: Iterable[pa.RecordBatch]) -> Iterator[Part]:
    row = 1
    for whole in batches:
        for start in range(0, whole.num_rows, CHUNK_ROWS):
            batch = whole.slice(start, CHUNK_ROWS)
            columns = {name: _plain(array) for name, array in zip(batch.schema.names, batch.columns, strict=True)}
            fields = {field.name: field.metadata for field in batch.schema}
            yield _columnar(columns, range(row, row + batch.num_rows).__getitem__, metadata=fields)
            row += batch.num_rows


def _plain(array: pa.Array) -> pa.Array:
    """An array without the encodings that only spare room."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if pa.types.is_large_string(array.type) or pa.types.is_string_view(array.type):
        array = array.cast(pa.string())
    if pa.types.is_large_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        array = array.cast(pa.binary())
    return array


def _columnar(
    columns: dict[str, pa.Array],
    line: Callable[[int], int],
    *,
    textual: bool = False,
    metadata: dict[str, dict[bytes, bytes] | None] | None = None,
) -> Chunk:
    batch = pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
    return Chunk(
        columns,
        batch.num_rows,
        line,
        lambda index: _json_line(batch, index),
        textual=textual,
        unit="row",
        metadata=metadata or {},
    )


def _json_line(batch: pa.RecordBatch, index: int) -> bytes:
    """A row as the JSON object that would say the same: files of columns have no bytes of a row."""
    row = {name: value for name, value in batch.slice(index, 1).to_pylist()[0].items() if value is not None}
    return json.dumps(row, default=_as_text, ensure_ascii=False, allow_nan=True).encode("utf-8", "replace")


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


_READERS: dict[str, Callable[[Path, str | None], Iterator[Part]]] = {
    ".csv": _csv,
    ".ndjson": _ndjson,
    ".jsonl": _ndjson,
    ".json": _json,
    ".parquet": _parquet,
    ".pq": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".ipc": _arrow,
}
