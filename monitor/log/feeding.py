"""Dead letters taken again, once what was wrong with them is mended: in the rules, in the model, or in time.

What lives here: from a letter's original to a batch, as its source would have been understood. What must not: files of
dead letters, the spool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from monitor.errors import RecordError
from monitor.log.conversion import Converter
from monitor.log.dead_letters import DeadLetter
from monitor.log.files import CHUNK_ROWS
from monitor.log.json_rows import Row, chunk_of, parse_lines
from monitor.log.rejection import RejectReason
from monitor.log.roles import SourceRules
from monitor.records import Kind

# Single values of one column: the prediction they belong to is in the log already, without them.
PARTIAL = frozenset({RejectReason.COLUMN_TYPE_CHANGED.value})
_TEXTUAL = (".csv", ".csv.gz")


@dataclass(frozen=True)
class Fed:
    """What came of some letters: batches for the spool, the letters in them, and the others with today's reason."""

    batches: list[pa.RecordBatch]
    taken: list[DeadLetter]
    kept: list[tuple[DeadLetter, str]]


def take_again(letters: Sequence[DeadLetter], rules: SourceRules, *, now: int) -> Fed:
    """Convert letters of one model. A label without a time has that of its rejection: it was known then."""
    fed = Fed([], [], [])
    groups: dict[tuple[Kind, bool], list[DeadLetter]] = {}
    for letter in letters:
        if letter.reason in PARTIAL:
            fed.kept.append((letter, letter.reason))
        else:
            groups.setdefault((letter.kind, letter.source.lower().endswith(_TEXTUAL)), []).append(letter)
    for (kind, textual), group in groups.items():
        for start in range(0, len(group), CHUNK_ROWS):
            part = group[start : start + CHUNK_ROWS]
            try:
                _take(part, kind, rules, textual, now, fed)
            except RecordError:  # columns of one of them make no sense beside the others': each for itself
                for letter in part:
                    _alone(letter, kind, rules, textual, now, fed)
    return fed


def _alone(letter: DeadLetter, kind: Kind, rules: SourceRules, textual: bool, now: int, fed: Fed) -> None:
    try:
        _take([letter], kind, rules, textual, now, fed)
    except RecordError:
        fed.kept.append((letter, RejectReason.MALFORMED.value))


def _take(letters: Sequence[DeadLetter], kind: Kind, rules: SourceRules, textual: bool, now: int, fed: Fed) -> None:
    converter = Converter(kind, rules, now=now, where="dead letters")
    rows: list[Row] = []
    read: list[DeadLetter] = []
    malformed: list[DeadLetter] = []
    for place, letter in enumerate(letters, 1):
        found, _ = parse_lines(letter.original, place)
        if len(found) != 1:
            malformed.append(letter)
            continue
        rows.append(_dated(found[0], letter, converter) if kind == "label" else found[0])
        read.append(letter)
    if rows:
        parsed = converter.convert(replace(chunk_of(rows, rules.model, converter.wanted), textual=textual))
        bad = dict(zip(parsed.bad_rows, parsed.rejected, strict=True))
        fed.kept.extend((read[place], row.reason.value) for place, row in bad.items())
        fed.taken.extend(letter for place, letter in enumerate(read) if place not in bad)
        if parsed.batch is not None:
            fed.batches.append(parsed.batch)
    fed.kept.extend((letter, RejectReason.MALFORMED.value) for letter in malformed)


def _dated(row: Row, letter: DeadLetter, converter: Converter) -> Row:
    if "label_time" in converter.roles(list(row.record)).roles:
        return row
    return Row({**row.record, "label_time": letter.time}, row.line, letter.original)
