"""Where records come from: files and request bodies become batches for the log, and rejected rows.

What lives here: the doors to the log for predictions and labels that no model server captured. What must not: HTTP, the
spool, the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from monitor.errors import RecordError
from monitor.log.conversion import Chunk, Converter, Parsed
from monitor.log.files import CHUNK_ROWS, read_parts
from monitor.log.json_rows import Row, chunk_of, parse_json, parse_lines, shape_of
from monitor.log.rejection import Rejected, RejectReason
from monitor.log.roles import SourceRules, require_roles
from monitor.records import Kind

BodyFormat = Literal["json", "ndjson"]
RulesOf = Callable[[str | None], SourceRules | None]
# A frame of the spool holds at most this many records.
FRAME_ROWS = 1_000
_FEW_ROWS = 64
_REQUEST = "the request"


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


@dataclass(frozen=True)
class Body:
    """The records of a request body, read but not understood yet, and what in it is no record."""

    rows: list[Row]
    rejected: list[Rejected]


def read_body(content: bytes, body_format: BodyFormat) -> Body:
    """The records of a body. Raises RecordError where it cannot be read as a whole."""
    return Body(*(parse_lines(content) if body_format == "ndjson" else parse_json(content)))


def convert_body(body: Body, kind: Kind, rules: RulesOf, *, now: int) -> list[Parsed]:
    """Batches and rejected rows, for each model that there are records of.

    `rules` gives those of the model that a record names (None: it names none), or None for one that is not known.
    Raises RecordError where the columns of the records make no sense together.
    """
    results = [Parsed(None, body.rejected)] if body.rejected else []
    for name, group in _by_model(body.rows).items():
        known = rules(name)
        if known is None:
            results.append(Parsed(None, [_unknown_model(row, name) for row in group], name or ""))
            continue
        converter = Converter(kind, known, now=now, where=_REQUEST)
        for start in range(0, len(group), CHUNK_ROWS):
            results.append(converter.convert(_chunk(group[start : start + CHUNK_ROWS], converter, _REQUEST)))
    return results


@dataclass(frozen=True)
class Alike:
    """Rows of one model and one shape: those of several requests can be converted in one go, which costs as one."""

    kind: Kind
    rules: SourceRules
    shape: Hashable
    rows: list[Row]


def alike(body: Body, kind: Kind, rules: RulesOf) -> Alike | None:
    """The rows of a body if they are few and alike, else None."""
    if body.rejected or not 0 < len(body.rows) <= _FEW_ROWS:
        return None
    models = _by_model(body.rows)
    known = rules(next(iter(models))) if len(models) == 1 else None
    if known is None:
        return None
    shapes = {shape_of(row, known.model) for row in body.rows}
    return Alike(kind, known, shapes.pop(), body.rows) if len(shapes) == 1 else None


def convert_alike(parts: Sequence[Alike], *, now: int) -> list[Parsed]:
    """One result for each part, as if each had been converted alone; all must have the same kind, model and shape."""
    kind, rules, rows = parts[0].kind, parts[0].rules, [row for part in parts for row in part.rows]
    converter = Converter(kind, rules, now=now, where=_REQUEST)
    whole = converter.convert(_chunk(rows, converter, _REQUEST))
    results, start, taken, refused = [], 0, 0, 0
    for part in parts:
        end = start + len(part.rows)
        bad = sum(start <= place < end for place in whole.bad_rows[refused : refused + len(part.rows)])
        good = len(part.rows) - bad
        batch = whole.batch.slice(taken, good) if whole.batch is not None and good else None
        results.append(Parsed(batch, whole.rejected[refused : refused + bad], rules.model.model))
        start, taken, refused = end, taken + good, refused + bad
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
