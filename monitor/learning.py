"""Learnt limits in the state, and the settings that windows are judged by.

What lives here: reading, teaching and keeping them. What must not: how a limit follows from windows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

import orjson
import sqlalchemy as sa

from monitor.learnt_limits import LearntLimit, learns, taught, windows_needed, with_limits
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.state import Transaction
from monitor.verdict import CheckSettings, WindowResult

_LEARNT = sa.table(
    "learnt_limits",
    *(sa.column(name) for name in ("model", "version", "seconds", "metric", "reference", "window_values")),
)


@dataclass(frozen=True)
class Learning:
    """The learnt limits of one model; without a check that learns it costs nothing."""

    settings: ModelSettings

    @property
    def checks(self) -> CheckSettings:
        """As they are configured."""
        return self.settings.checks

    def settings_for(self, state: Transaction, version: str, reference: Reference, seconds: float) -> ModelSettings:
        """The settings with the limits that windows of this length have learnt."""
        if not learns(self.checks):
            return self.settings
        return replace(self.settings, checks=with_limits(self.checks, self._read(state, version, reference, seconds)))

    def learn(self, state: Transaction, reference: Reference, result: WindowResult) -> None:
        """Take a published window in."""
        learning = learns(self.checks)
        known = self._read(state, result.version, reference, result.window.seconds) if learning else {}
        for check in learning:
            needed = windows_needed(result.window.seconds, self.settings.observations)
            before = known.get(check.metric) or LearntLimit(reference.base_identity, needed)
            after = taught(before, check, self.checks, result)
            if after is not before:
                key = {
                    "model": self.settings.name,
                    "version": result.version,
                    "seconds": result.window.seconds,
                    "metric": check.metric,
                }
                values = orjson.dumps({str(start): value for start, value in sorted(after.values.items())}).decode()
                state.upsert(_LEARNT, key, {"reference": reference.base_identity, "window_values": values})

    def _read(self, state: Transaction, version: str, reference: Reference, seconds: float) -> dict[str, LearntLimit]:
        """What was learnt against this reference; a changed one is learnt anew."""
        query = sa.select(_LEARNT.c.metric, _LEARNT.c.window_values).where(
            _LEARNT.c.model == self.settings.name,
            _LEARNT.c.version == version,
            _LEARNT.c.seconds == seconds,
            _LEARNT.c.reference == reference.base_identity,
        )
        needed = windows_needed(seconds, self.settings.observations)
        return {
            row[0]: LearntLimit(
                reference.base_identity, needed, {int(start): value for start, value in _values(row[1])}
            )
            for row in state.connection.execute(query)
        }


def _values(text: str) -> Iterable[tuple[str, float]]:
    return cast("dict[str, float]", orjson.loads(text)).items()
