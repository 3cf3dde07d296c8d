"""One alarm as it is shown: its state, its share of the budget, what it rests on and what explains it.

What lives here: the value that the cycle hands on, and its JSON. What must not: decisions, wording (that is
`explanation`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from monitor.alarms.storage import StoredAlarm
from monitor.alarms.transitions import Alarm, decode_alarm, encode_alarm
from monitor.statistics.multiplicity import Share
from monitor.window_codec import iso
from monitor.windows import format_duration


@dataclass(frozen=True)
class AlarmReport:
    """One check's alarm of one version.

    `share`: what it holds of the model's budget. `observations`: since its evidence began. `early_warning`: nats of the
    evidence that warns and never decides, of drift. `measured`: what labels last said of the quality: `window_end` (µs)
    and `numbers`, by metric the reference's value, the window's, and whether it is worse. `risk`: of a labelled check,
    the risk with most evidence over all first labels since it began: `name`, `n`, `value`, and `lower` and `upper` of a
    95 % confidence sequence. `explanation`: its JSON while the alarm is pending, firing or resolved.
    """

    version: str
    alarm: Alarm
    share: Share
    observations: int = 0
    early_warning: float | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)
    risk: Mapping[str, Any] | None = None
    explanation: Mapping[str, Any] | None = None

    @property
    def check(self) -> str:
        """Name of the check."""
        return self.alarm.check

    @property
    def budget_used(self) -> float:
        """How likely a false alarm of this check has been by now, at most: observations over the run length, 0–1."""
        return min(self.observations / self.share.run_length, 1.0)


def stored(report: AlarmReport) -> StoredAlarm:
    """As the state keeps it; equal reports give equal bytes."""
    details = {
        "share": vars(report.share),
        "observations": report.observations,
        "early_warning": finite(report.early_warning),
        "measured": report.measured,
        "risk": report.risk,
        "explanation": report.explanation,
    }
    text = orjson.dumps(details, option=orjson.OPT_SORT_KEYS).decode()
    return StoredAlarm(report.version, report.check, encode_alarm(report.alarm), text)


def restored(kept: StoredAlarm) -> AlarmReport:
    """The report that `stored` was given (an early warning that had seen nothing comes back as none)."""
    details = orjson.loads(kept.details)
    share = Share(**details.pop("share"))
    return AlarmReport(kept.version, decode_alarm(kept.alarm), share, **details)


def alarm_record(report: AlarmReport) -> dict[str, Any]:
    """The JSON of `/v1/models/{model}/alarms` and of `trueup alarms --json`; what is not there is null."""
    alarm = report.alarm
    return {
        "version": report.version,
        "check": report.check,
        "state": alarm.state,
        "reason": alarm.reason,
        "since": _time(alarm.since or None),
        "fired_at": _time(alarm.fired_at),
        "resolved_at": _time(alarm.resolved_at),
        "fired": alarm.fired,
        "effect": alarm.effect,
        "tolerance": alarm.tolerance,
        "n": alarm.n,
        "window_end": _time(alarm.window_end),
        "window_revision": alarm.revision,
        "evidence_nats": finite(alarm.log_evidence),
        "evidence_threshold_nats": finite(alarm.log_threshold),
        "evidence_since": _time(alarm.evidence_since),
        "early_warning_nats": finite(report.early_warning),
        "budget_share": report.share.share,
        "budget_used": report.budget_used,
        "run_length_observations": report.share.run_length,
        "observation": format_duration(report.share.observation_seconds),
        "observations": report.observations,
        "risk": report.risk,
        "explanation": report.explanation,
    }


def finite(value: float | None) -> float | None:
    """The value, or nothing where it is none (evidence that has seen nothing is ln 0)."""
    return value if value is not None and math.isfinite(value) else None


def _time(moment: int | None) -> str | None:
    return None if moment is None else iso(moment)
