"""All alarms of a model with the budget they are held against: for HTTP and for the command line.

What lives here: one JSON object. What must not: decisions, rendering.
"""

from __future__ import annotations

from typing import Any

from monitor.alarms.plan import alarm_plan, alarm_window_seconds, assumption
from monitor.alarms.report import alarm_record, restored
from monitor.alarms.storage import read_alarms
from monitor.learning import Learning
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import State
from monitor.windows import format_duration


def alarm_overview(settings: ModelSettings, references: ReferenceStore, state: State) -> dict[str, Any]:
    """The budget with its assumption, every alarm, and which checks have none and why, by version."""
    unwatched, seconds, learning = {}, alarm_window_seconds(settings), Learning(settings)
    with state.transaction(write=False) as transaction:
        reports = [restored(item) for item in read_alarms(transaction, settings.name)]
        for version in transaction.versions(settings.name):
            reference = references.get(version)
            if reference is not None:
                judged_by = learning.settings_for(transaction, version, reference, seconds)
                unwatched[version] = alarm_plan(judged_by, reference).unwatched
    return {
        "model": settings.name,
        "false_alarms": str(settings.false_alarms),
        "observation": format_duration(settings.observations.length_seconds),
        "window": format_duration(seconds),
        "assumption": assumption(settings),
        "alarms": [alarm_record(report) for report in reports],
        "unwatched": {version: reasons for version, reasons in unwatched.items() if reasons},
    }
