"""Panes that must be rebuilt although nothing new came for them: their rows were forgotten.

What lives here: marks that last until a cycle that rebuilt the panes commits. What must not: why a pane is dirty, how
it is rebuilt. (Panes that new rows fall into are found by the cursors of the cycle and need no mark.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from monitor.state import Transaction

_DIRTY = sa.table("dirty_panes", sa.column("model"), sa.column("version"), sa.column("start"))

# Pane starts (µs) by version.
Marks = Mapping[str, set[int]]


def mark_dirty(state: Transaction, model: str, marks: Mapping[str, Iterable[int]]) -> None:
    """Have these panes rebuilt by the next cycle, inputs and outcomes."""
    known = dirty_panes(state, model)
    rows = [
        {"model": model, "version": version, "start": start}
        for version, starts in marks.items()
        for start in set(starts) - known.get(version, set())
    ]
    if rows:
        state.connection.execute(sa.insert(_DIRTY), rows)


def dirty_panes(state: Transaction, model: str) -> dict[str, set[int]]:
    """The panes that are marked."""
    query = sa.select(_DIRTY.c.version, _DIRTY.c.start).where(_DIRTY.c.model == model)
    found: dict[str, set[int]] = {}
    for version, start in state.connection.execute(query):
        found.setdefault(str(version), set()).add(int(start))
    return found


def clear_dirty(state: Transaction, model: str, marks: Marks) -> None:
    """These panes were rebuilt; marks made meanwhile stay."""
    for version, starts in marks.items():
        for start in starts:
            same = (_DIRTY.c.model == model, _DIRTY.c.version == version, _DIRTY.c.start == start)
            state.connection.execute(sa.delete(_DIRTY).where(*same))
