"""Evidence and alarms in the state: written in the transaction of the cycle that consumed what they rest on.

What lives here: reads and writes of the two tables. What must not: decisions, encodings (those are in the core).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from monitor.state import Transaction

_EVIDENCE = sa.table("evidence", *(sa.column(name) for name in ("model", "version", "check_name", "phase", "evidence")))
_ALARMS = sa.table("alarms", *(sa.column(name) for name in ("model", "version", "check_name", "alarm", "details")))


@dataclass(frozen=True)
class StoredAlarm:
    """One check's alarm as it is kept: the encoded alarm, and the JSON of what is shown beside it."""

    version: str
    check: str
    alarm: bytes
    details: str


def read_evidence(state: Transaction, model: str, version: str, check: str) -> dict[int, bytes]:
    """Encoded evidence of one check by phase (0 where there are none)."""
    query = sa.select(_EVIDENCE.c.phase, _EVIDENCE.c.evidence).where(
        _EVIDENCE.c.model == model, _EVIDENCE.c.version == version, _EVIDENCE.c.check_name == check
    )
    return {int(row[0]): bytes(row[1]) for row in state.connection.execute(query)}


def write_evidence(state: Transaction, model: str, version: str, check: str, phase: int, evidence: bytes) -> None:
    """Keep the evidence of one check and phase."""
    key = {"model": model, "version": version, "check_name": check, "phase": phase}
    state.upsert(_EVIDENCE, key, {"evidence": evidence})


def drop_evidence(state: Transaction, model: str, version: str, check: str) -> None:
    """Forget what a check of a version has consumed, in all phases."""
    state.connection.execute(
        sa.delete(_EVIDENCE).where(
            _EVIDENCE.c.model == model, _EVIDENCE.c.version == version, _EVIDENCE.c.check_name == check
        )
    )


def read_alarms(state: Transaction, model: str, version: str | None = None) -> list[StoredAlarm]:
    """Alarms of a model, by version and check."""
    query = sa.select(_ALARMS).where(_ALARMS.c.model == model).order_by(_ALARMS.c.version, _ALARMS.c.check_name)
    if version is not None:
        query = query.where(_ALARMS.c.version == version)
    return [
        StoredAlarm(row.version, row.check_name, bytes(row.alarm), row.details)
        for row in state.connection.execute(query)
    ]


def write_alarm(state: Transaction, model: str, alarm: StoredAlarm) -> None:
    """Keep one alarm."""
    key = {"model": model, "version": alarm.version, "check_name": alarm.check}
    state.upsert(_ALARMS, key, {"alarm": alarm.alarm, "details": alarm.details})


def keep_only(state: Transaction, model: str, wanted: Collection[tuple[str, str]]) -> None:
    """Forget the alarms and evidence of all other (version, check): those no longer configured, or no longer seen."""
    for table in (_ALARMS, _EVIDENCE):
        query = sa.select(table.c.version, table.c.check_name).where(table.c.model == model).distinct()
        for version, check in state.connection.execute(query).all():
            if (version, check) not in wanted:
                state.connection.execute(
                    sa.delete(table).where(
                        table.c.model == model, table.c.version == version, table.c.check_name == check
                    )
                )
