"""Ground truth out of a database: what a query returns beyond a position, as records like those of a file.

What lives here: the query, the position as text, database values as values of a record. What must not: the spool, the
state, when it is read.

The query holds `:cursor`, to which the position is bound, and returns the cursor column. Rows that a long transaction
commits late carry an older cursor: a time is therefore bound less an overlap, and what comes again is known by its
content (`Delivered`) or, after a restart, by the winner rule of labels.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import orjson
import sqlalchemy as sa

from monitor.errors import OperatorError
from monitor.log.json_rows import Row
from monitor.settings import SqlLabels

# Rows fetched and converted at once.
CHUNK_ROWS = 10_000
_CONNECT_SECONDS = 10
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)

Position = int | float | str | datetime.datetime | datetime.date


@dataclass
class Delivered:
    """Contents of the rows of the overlap, so that reading them again delivers nothing twice."""

    rows: dict[bytes, Position] = field(default_factory=dict)

    def is_new(self, content: bytes, position: Position) -> bool:
        """Whether this row was not delivered before; remembers it."""
        digest = hashlib.blake2b(content, digest_size=16).digest()
        known = digest in self.rows
        self.rows[digest] = position
        return not known

    def forget_before(self, bound: Position) -> None:
        """Rows at or before what the next query is bound to will not come again."""
        self.rows = {digest: position for digest, position in self.rows.items() if _after(position, bound)}


@dataclass(frozen=True)
class Rows:
    """Some records of one read, and the largest position seen so far."""

    rows: list[Row]
    position: Position


def read_labels(settings: SqlLabels, position: str | None, delivered: Delivered) -> Iterator[Rows]:
    """Records beyond the stored `position`, in parts; a part's position holds once all parts are durable.

    Raises OperatorError where the database cannot be reached, or the query or its cursor column is wrong.
    """
    url = sa.make_url(settings.url)
    bound = starting_position(settings, url.get_backend_name()) if position is None else decode_position(position)
    newest = bound
    bound = _less(bound, settings.overlap_seconds)
    delivered.forget_before(bound)
    options = {"connect_timeout": _CONNECT_SECONDS} if url.get_backend_name() == "postgresql" else {}
    engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=options)
    line = 0
    try:
        with (
            engine.connect().execution_options(stream_results=True) as connection,
            closing(connection.execute(sa.text(settings.query), {"cursor": bound})) as answer,
        ):
            result = answer.mappings()
            names = list(result.keys())
            if settings.cursor not in names:
                got = ", ".join(names)
                raise OperatorError("the query has no cursor column", expected=settings.cursor, got=got)
            for part in result.partitions(CHUNK_ROWS):
                rows = []
                for found in part:
                    line += 1
                    at = _position(found[settings.cursor])
                    newest = _newer(newest, at)
                    record = _record(dict(found), settings.cursor)
                    content = orjson.dumps(record)
                    if delivered.is_new(content, at):
                        rows.append(Row(record, line, content))
                delivered.forget_before(_less(newest, settings.overlap_seconds))
                yield Rows(rows, newest)
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).strip().split("\n")[0]
        raise OperatorError(
            "labels cannot be read from the database", where=url.render_as_string(hide_password=True), got=cause
        ) from error
    finally:
        engine.dispose()


def starting_position(settings: SqlLabels, backend: str) -> Position:
    """What the first query is bound to: `start`, else 1970."""
    start = settings.start
    if isinstance(start, int):
        return start
    # SQLite keeps times as text, and compares them as text.
    if backend == "sqlite":
        return start or "1970-01-01 00:00:00"
    return _EPOCH if start is None else datetime.datetime.fromisoformat(start)


def encode_position(position: Position) -> str:
    """A position as text that remembers its type: what is bound must compare with the column."""
    if isinstance(position, datetime.datetime):
        kind = "time" if position.tzinfo else "naive time"
        return json.dumps({kind: position.isoformat()})
    if isinstance(position, datetime.date):
        return json.dumps({"date": position.isoformat()})
    return json.dumps({"value": position})


def decode_position(text: str) -> Position:
    """The position in such a text."""
    [(kind, value)] = json.loads(text).items()
    if kind == "date":
        return datetime.date.fromisoformat(value)
    return datetime.datetime.fromisoformat(value) if "time" in kind else value


def position_time(position: Position) -> int | None:
    """A position in µs, where it is a time; naive ones are taken as UTC, for it only tells how old it is."""
    if isinstance(position, str):
        try:
            position = datetime.datetime.fromisoformat(position)
        except ValueError:
            return None
    if isinstance(position, datetime.datetime):
        aware = position if position.tzinfo else position.replace(tzinfo=datetime.UTC)
        return round((aware - _EPOCH) / datetime.timedelta(microseconds=1))
    return None


def _position(value: Any) -> Position:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, int | float | str | datetime.datetime | datetime.date):
        return value
    raise OperatorError(
        "the cursor is not a position", expected="a time, a number or text in every row", got=repr(value)
    )


def _newer(newest: Position, at: Position) -> Position:
    try:
        return max(newest, at)
    except TypeError:  # the start was assumed to be of another type than the column turns out to be
        return at


def _after(one: Position, other: Position) -> bool:
    try:
        return one > other  # type: ignore[operator]
    except TypeError:
        return False


def _less(position: Position, seconds: float) -> Position:
    if not isinstance(position, datetime.datetime):
        return position
    earliest = _EPOCH if position.tzinfo else _EPOCH.replace(tzinfo=None)
    return max(position - datetime.timedelta(seconds=seconds), earliest)


def _record(found: Mapping[str, Any], cursor: str) -> dict[str, Any]:
    record = {name: _value(value) for name, value in found.items() if value is not None}
    if isinstance(found[cursor], datetime.datetime) or position_time(found[cursor]) is not None:
        # When it became known; the time of reading would make every reading of it a correction.
        record.setdefault("label_time", record[cursor])
    return record


def _value(value: Any) -> Any:
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    return value.hex() if isinstance(value, bytes | memoryview) else value
