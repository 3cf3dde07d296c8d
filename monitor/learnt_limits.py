"""Limits that are learnt: what a statistic did in the first windows of a version is what is tolerated of it. Pure.

What lives here: what a window adds, the limit that follows, checks with their limits put in. What must not: storage.

A learnt limit is a conformal quantile of the first windows: what all but 1 % of them stay below, or the largest where
they are too few for that. Those are twenty, or seven seasons of windows that are shorter than one; there is no limit
before, and no later window moves it, or a drift that begins slowly would be learnt with the rest. A drift from the very
beginning is, which is why learning is asked for, check by check, and shown while it lasts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from monitor.statistics.independence import learnt_tolerance
from monitor.statistics.result import Estimate
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import Check, CheckSettings, Threshold, WindowResult

FEWEST_WINDOWS, SEASONS = 20, 7
_COVERAGE = 0.99


@dataclass(frozen=True)
class LearntLimit:
    """Values of one metric in the first windows of one length, by the start of the window (µs), of `needed`."""

    reference: str
    needed: int
    values: Mapping[int, float] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether the limit is known; then no further window changes it."""
        return len(self.values) >= self.needed

    def limit(self, side: str) -> float | None:
        """The absolute limit; None while it is being learnt."""
        if not self.is_complete:
            return None
        sign, n = (1.0 if side == "above" else -1.0), len(self.values)
        found = learnt_tolerance([sign * value for value in self.values.values()], min(_COVERAGE, n / (n + 1)))
        return sign * found.value if isinstance(found, Estimate) else None


def windows_needed(seconds: float, observed: ObservationSettings) -> int:
    """How many windows of this length a limit is learnt from."""
    if observed.season_seconds is None:
        return FEWEST_WINDOWS
    return max(FEWEST_WINDOWS, math.ceil(SEASONS * observed.season_seconds / seconds - 1e-9))


Learnt = Mapping[str, LearntLimit]


def learns(checks: CheckSettings) -> tuple[Check, ...]:
    """The checks that have a limit to learn."""
    return tuple(check for check in (*checks.values, *checks.columns) if _learnt_side(check) is not None)


def taught(limit: LearntLimit, check: Check, checks: CheckSettings, result: WindowResult) -> LearntLimit:
    """The limit after a published window; the same where it is complete or the window has too little to say.

    Performance is learnt from final windows only; a column check learns its worst column.
    """
    value = None if limit.is_complete else _value(check, checks, result)
    if value is None:
        return limit
    return replace(limit, values={**limit.values, result.window.start: value})


def with_limits(checks: CheckSettings, learnt: Learnt) -> CheckSettings:
    """The checks with what is learnt in place of `learnt`; one that is not known yet stays as it is."""
    return replace(
        checks,
        values=tuple(_resolved(check, learnt) for check in checks.values),
        columns=tuple(_resolved(check, learnt) for check in checks.columns),
    )


def _resolved(check: Check, learnt: Learnt) -> Check:
    def put(threshold: Threshold | None) -> Threshold | None:
        if threshold is None or not threshold.learnt:
            return threshold
        known = learnt.get(check.metric)
        limit = known.limit(threshold.side) if known else None
        return threshold if limit is None else Threshold(threshold.side, limit)

    return replace(check, warning=put(check.warning), critical=put(check.critical))


def _learnt_side(check: Check) -> str | None:
    thresholds: Iterable[Threshold | None] = (check.warning, check.critical)
    return next((item.side for item in thresholds if item is not None and item.learnt), None)


def _value(check: Check, checks: CheckSettings, result: WindowResult) -> float | None:
    if check in checks.columns:
        found = [statistics.get(check.metric) for statistics in result.columns.values()]
        values = [item.value for item in found if isinstance(item, Estimate) and item.n >= checks.minimum_rows]
        return max(values, default=None)
    value = result.values.get(check.metric)
    if result.maturity != "final" or not isinstance(value, Estimate) or value.n < checks.minimum_labels:
        return None
    return value.value
