"""The tables of the state, and what their rows are to the core.

What lives here: table clauses and the value types of panes, windows and evaluations. What must not: statements; how a
database got these tables (that is `monitor.migrations`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import sqlalchemy as sa

PaneKind = Literal["inputs", "outcomes"]
HEAD = "0007"


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *(sa.column(column) for column in columns))


LEASE = _table("lease", "name", "holder", "epoch", "renewed_at")
CURSORS = _table("cursors", "model", "name", "value")
SOURCES = _table("sources", "model", "source", "newest_event_time", "last_seen")
COUNTERS = _table("counters", "model", "name", "key", "value")
PANES = _table("panes", "model", "version", "kind", "start", "end", "reference", "rows", "digest", "profile")
WINDOWS = _table(
    "windows",
    "model",
    "version",
    "seconds",
    "start",
    "revision",
    "end",
    "maturity",
    "evaluated_at",
    "fingerprint",
    "result",
)
PENDING = _table("pending_labels", "model", "prediction_id", "first_seen")
SUPERSEDED = _table("superseded", "model", "version", "prediction_id", "event_time")
VERSIONS = _table("versions", "model", "version", "reference", "first_seen")
EVALUATIONS = _table(
    "evaluations", "model", "last_attempt", "last_success", "error", "duration_seconds", "attempts", "failures"
)


@dataclass(frozen=True)
class StoredPane:
    """The encoded profile of one pane: `kind` inputs (drift) or outcomes (performance); times in µs."""

    version: str
    kind: PaneKind
    start: int
    end: int
    reference: str
    rows: int
    profile: bytes


class PaneDigest(NamedTuple):
    """What a pane holds without its profile: its start (µs), a digest of the encoded profile, its rows."""

    start: int
    digest: str
    rows: int


@dataclass(frozen=True)
class StoredWindow:
    """One revision of one tumbling window; `result` is the JSON of its values, `fingerprint` what it was made of."""

    version: str
    seconds: float
    start: int
    end: int
    revision: int
    maturity: str
    evaluated_at: int
    fingerprint: str
    result: str


class WindowHead(NamedTuple):
    """One revision of a tumbling window without its values."""

    version: str
    seconds: float
    start: int
    end: int
    revision: int
    maturity: str
    fingerprint: str


@dataclass(frozen=True)
class EvaluationRecord:
    """How the evaluations of one model went; times in µs."""

    last_attempt: int
    last_success: int | None
    error: str | None
    duration_seconds: float | None
    attempts: int
    failures: int
