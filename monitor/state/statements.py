"""Statements that a cycle executes for every pane and window, composed once: composing costs more than executing.

What lives here: their text, with bound parameters. What must not: connections, what becomes of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa

from monitor.state.schema import PANES, WINDOWS

_HEAD = (
    WINDOWS.c.version,
    WINDOWS.c.seconds,
    WINDOWS.c.start,
    WINDOWS.c.end,
    WINDOWS.c.revision,
    WINDOWS.c.maturity,
    WINDOWS.c.fingerprint,
)
_LATER = WINDOWS.alias("later")

# Columns of `WindowHead`.
UNFINISHED = sa.select(*_HEAD).where(
    WINDOWS.c.model == sa.bindparam("model"),
    WINDOWS.c.maturity == "provisional",
    ~sa.exists().where(
        _LATER.c.model == WINDOWS.c.model,
        _LATER.c.version == WINDOWS.c.version,
        _LATER.c.seconds == WINDOWS.c.seconds,
        _LATER.c.start == WINDOWS.c.start,
        _LATER.c.revision > WINDOWS.c.revision,
    ),
)
LATEST_REVISION = (
    sa.select(*_HEAD)
    .where(*(WINDOWS.c[name] == sa.bindparam(name) for name in ("model", "version", "seconds", "start")))
    .order_by(WINDOWS.c.revision.desc())
    .limit(1)
)
# The kind and columns of `PaneDigest`.
PANE_DIGESTS = (
    sa.select(PANES.c.kind, PANES.c.start, PANES.c.digest, PANES.c.rows)
    .where(
        *(PANES.c[name] == sa.bindparam(name) for name in ("model", "version")),
        PANES.c.kind.in_(["inputs", "outcomes"]),
        PANES.c.start >= sa.bindparam("start"),
        PANES.c.start < sa.bindparam("end"),
    )
    .order_by(PANES.c.start)
)


@cache
def put_panes(dialect: str) -> sa.Insert:
    """Insert of panes in the place of those of the same identity."""
    key = [PANES.c[name] for name in ("model", "version", "kind", "start")]
    rest = ("end", "reference", "rows", "digest", "profile")
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as postgresql_insert

        put = postgresql_insert(PANES)
        return put.on_conflict_do_update(index_elements=key, set_={name: put.excluded[name] for name in rest})
    from sqlalchemy.dialects.sqlite import insert as sqlite_insert

    place = sqlite_insert(PANES)
    return place.on_conflict_do_update(index_elements=key, set_={name: place.excluded[name] for name in rest})


@cache
def upsert(table: sa.TableClause, key: tuple[str, ...], values: tuple[str, ...]) -> tuple[sa.Update, sa.Insert]:
    """Update of the row with this key, and the insert for where there is none."""
    update = (
        sa.update(table)
        .where(*(table.c[name] == sa.bindparam(f"key_{name}") for name in key))
        .values({name: sa.bindparam(f"value_{name}") for name in values})
    )
    bound: dict[str, Any] = {name: sa.bindparam(f"key_{name}") for name in key}
    return update, sa.insert(table).values(bound | {name: sa.bindparam(f"value_{name}") for name in values})


def parameters(key: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """What the statements of `upsert` are executed with."""
    return {f"key_{name}": value for name, value in key.items()} | {
        f"value_{name}": value for name, value in values.items()
    }
