"""Where records come from: files and request bodies become batches for the log, and rejected rows.

What lives here: the doors to the log for predictions and labels that no model server captured. What must not: HTTP, the
spool, the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa

from monitor.errors import RecordError
from monitor.log.conversion import Chunk, Converter, Parsed
from monitor.log.files import CHUNK_ROWS, read_parts
from monitor.log.json_rows import Row, chunk_of, parse_json, parse_lines
from monitor.log.rejection import Rejected, RejectReason
from monitor.log.roles import SourceRules, require_roles
from monitor.records import Kind

BodyFormat = Literal["json", "ndjson"]
# A frame of the spool holds at most this many records.
FRAME_ROWS = 1_000

__all__ = ["FRAME_ROWS", "BodyFormat", "Parsed", "Rejected", "SourceRules", "frames", "parse_body", "read_file"]


def read_file(path: Path | str, kind: Kind, rules: SourceRules, *, now: int) -> Iterator[Parsed]:
    """Batches and rejected rows of a file, chunk by chunk; `now` (microseconds) is the time of labels without one.

    Raises RecordError where the file as a whole is of no use: unknown kind, unreadable, without the columns needed.
    """
    path = Path(path)
    converter = Converter(kind, rules, now=now, where=str(path))
    first = True
    for part in read_parts(path):
        if isinstance(part, list) and part and isinstance(part[0], Rejected):
            yield Parsed(None, [row for row in part if isinstance(row, Rejected)])
            continue
        chunk = (
            part if isinstance(part, Chunk) else _chunk([row for row in part if isinstance(row, Row)], converter, path)
        )
        if first:
            require_roles(converter.roles(list(chunk.columns)), chunk.columns, kind, rules, str(path))
            first = False
        yield converter.convert(chunk)


def parse_body(
    content: bytes,
    body_format: BodyFormat,
    kind: Kind,
    rules: Callable[[str | None], SourceRules | None],
    *,
    now: int,
) -> list[Parsed]:
    """Batches and rejected rows of a request body, for each model it has records of.

    `rules` gives those of the model that a record names (None: it names none), or None for one that is not known.
    Raises RecordError where the body as a whole cannot be read.
    """
    rows, rejected = parse_lines(content) if body_format == "ndjson" else parse_json(content)
    results = [Parsed(None, rejected)] if rejected else []
    for name, group in _by_model(rows).items():
        known = rules(name)
        if known is None:
            results.append(Parsed(None, [_unknown_model(row, name) for row in group]))
            continue
        converter = Converter(kind, known, now=now, where="the request")
        for start in range(0, len(group), CHUNK_ROWS):
            results.append(converter.convert(_chunk(group[start : start + CHUNK_ROWS], converter, "the request")))
    return results


def frames(batches: Sequence[pa.RecordBatch]) -> list[pa.RecordBatch]:
    """The same rows in as few batches as the spool's frames allow: alike schemas together, at most 1,000 rows each."""
    groups: dict[bytes, list[pa.RecordBatch]] = {}
    for batch in batches:
        groups.setdefault(batch.schema.serialize().to_pybytes(), []).append(batch)
    result: list[pa.RecordBatch] = []
    for group in groups.values():
        whole = group[0] if len(group) == 1 else pa.concat_batches(group)
        result += [whole.slice(start, FRAME_ROWS) for start in range(0, whole.num_rows, FRAME_ROWS)]
    return result


def _chunk(rows: Sequence[Row], converter: Converter, where: Path | str) -> Chunk:
    try:
        return chunk_of(rows, converter.rules.model, converter.wanted)
    except RecordError as error:
        raise RecordError(error.what, where=str(where), expected=error.expected, got=error.got) from error


def _by_model(rows: Sequence[Row]) -> dict[str | None, list[Row]]:
    groups: dict[str | None, list[Row]] = {}
    for row in rows:
        name = row.record.get("model")
        groups.setdefault(name if isinstance(name, str) else None, []).append(row)
    return groups


def _unknown_model(row: Row, name: str | None) -> Rejected:
    message = f"line {row.line}: names no model" if name is None else f"line {row.line}: unknown model {name!r:.100}"
    return Rejected(RejectReason.UNKNOWN_MODEL, message, row.line, row.bytes)
