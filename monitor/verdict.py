"""From statistics to judgement: one window's values against the operator's thresholds.

What lives here: the value types of an evaluated window, thresholds, verdicts; pure. What must not: formulas of
statistics, memory of earlier windows (that is `alarms`), files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from monitor.label_join import Maturity
from monitor.statistics.result import Absent, Reason, Result
from monitor.statistics.segments import Segments
from monitor.windows import Window

State = Literal["ok", "warning", "critical", "insufficient"]
# Why a check whose only limits are learnt is not judged yet.
LEARNING = "its limit is being learnt"
SEVERITY: Mapping[State, int] = {"insufficient": -1, "ok": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Threshold:
    """A limit on a value: absolute (`above`/`below` `value`), or relative to the reference's value.

    relative=True: `value` is a fraction; above with 0.10 means over reference × 1.10, below with 0.05 means under
    reference × 0.95. learnt=True: the limit follows from the first windows (`learnt_limits`), and is none until then.
    """

    side: Literal["above", "below"]
    value: float
    relative: bool = False
    learnt: bool = False

    def limit(self, reference: float | None) -> float | None:
        """The absolute limit; None where it is relative and the reference has no value, or where it is to be learnt."""
        if self.learnt:
            return None
        if not self.relative:
            return self.value
        if reference is None:
            return None
        return reference * (1 + self.value if self.side == "above" else 1 - self.value)

    def crossed(self, value: float, reference: float | None) -> bool:
        """Whether `value` is strictly past the limit."""
        limit = self.limit(reference)
        if limit is None:
            return False
        return value > limit if self.side == "above" else value < limit


@dataclass(frozen=True)
class Check:
    """What the operator tolerates of one statistic. `metric` is a key of values or of column statistics."""

    metric: str
    warning: Threshold | None = None
    critical: Threshold | None = None


@dataclass(frozen=True)
class CheckSettings:
    """All checks of a model: of the window's values, and of every column's statistics."""

    values: tuple[Check, ...] = ()
    columns: tuple[Check, ...] = ()
    minimum_labels: int = 200
    minimum_rows: int = 200


@dataclass(frozen=True)
class Verdict:
    """The judgement of one check: its state, the value and limit it rests on, and why."""

    state: State
    reason: str = ""
    column: str | None = None
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class WindowResult:
    """Everything known about one window of one model version.

    `values` are statistics of the whole window (accuracy, cross_entropy, label_delay_seconds …) by name; `columns` are
    drift statistics by public column name and then statistic name; both hold results, absent ones with their reason.
    `predictions` and `labels` are counts after removing repeats. `rolling` marks the latest provisional window.
    `segments`: the same window by segment and value. `classes`: precision, recall, F1 and AUROC of the classes with the
    lowest F1 (at most 20), the lowest first.
    """

    model: str
    version: str
    window: Window
    maturity: Maturity
    revision: int
    predictions: int
    labels: int
    label_coverage: float | None
    values: Mapping[str, Result]
    columns: Mapping[str, Mapping[str, Result]]
    verdicts: Mapping[str, Verdict] = field(default_factory=dict)
    rolling: bool = False
    segments: Segments = field(default_factory=dict)
    classes: Mapping[str, Mapping[str, Result]] = field(default_factory=dict)


def judge(
    checks: CheckSettings,
    values: Mapping[str, Result],
    columns: Mapping[str, Mapping[str, Result]],
    reference: Mapping[str, float],
) -> dict[str, Verdict]:
    """Verdict of every check by its metric; a column check reports its worst column.

    `reference` holds the reference's own values by metric name, for relative thresholds.
    """
    verdicts = {
        check.metric: _judge_one(check, values.get(check.metric), reference.get(check.metric), checks.minimum_labels)
        for check in checks.values
    }
    for check in checks.columns:
        judged = [
            (_judge_one(check, results.get(check.metric), None, checks.minimum_rows), column)
            for column, results in columns.items()
        ]
        verdicts[check.metric] = _worst(judged)
    return verdicts


def _judge_one(check: Check, result: Result | None, reference: float | None, minimum: int) -> Verdict:
    if result is None or isinstance(result, Absent):
        return Verdict("insufficient", Reason.NOT_APPLICABLE if result is None else result.reason)
    if result.n < minimum:
        return Verdict("insufficient", f"n = {result.n}, at least {minimum} needed", value=result.value)
    severities: tuple[tuple[State, Threshold | None], ...] = (
        ("critical", check.critical),
        ("warning", check.warning),
    )
    known = [item for item in (check.critical, check.warning) if item is not None and not item.learnt]
    if not known and (check.critical or check.warning):
        return Verdict("insufficient", LEARNING, value=result.value)
    for state, threshold in severities:
        if threshold is None or threshold.learnt:
            continue
        if threshold.relative and reference is None:
            return Verdict("insufficient", Reason.NO_REFERENCE, value=result.value)
        if threshold.crossed(result.value, reference):
            return Verdict(state, "past its limit", value=result.value, limit=threshold.limit(reference))
    return Verdict("ok", value=result.value, limit=known[-1].limit(reference) if known else None)


def _worst(judged: list[tuple[Verdict, str]]) -> Verdict:
    if not judged:
        return Verdict("insufficient", Reason.NO_ROWS)

    def badness(item: tuple[Verdict, str]) -> tuple[int, float]:
        return SEVERITY[item[0].state], item[0].value if item[0].value is not None else float("-inf")

    verdict, column = max(judged, key=badness)
    return Verdict(verdict.state, verdict.reason, column, verdict.value, verdict.limit)
