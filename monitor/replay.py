"""The past once more: the cycle of the daemon over a log that grows as it did then, in a state of its own.

What lives here: how the clock steps, and what is kept of each step. What must not: stages of a cycle, files of users,
printing. The log is only read.

Predictions are known at their event time, labels at their `label_time`. Each step is one cycle; what a window finally
says does not depend on the steps, only how many revisions it took on the way.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monitor.alarms.plan import alarm_window_seconds
from monitor.alarms.report import AlarmReport, alarm_record
from monitor.cycle import CycleReport, ModelCycle
from monitor.errors import OperatorError
from monitor.log.tables import ModelLog
from monitor.references import ReferenceStore
from monitor.replay_log import PastJoin, ReplayLog, Steps, extent, lay_out
from monitor.segment_values import first_values
from monitor.settings import ModelSettings
from monitor.state import open_state
from monitor.verdict import WindowResult
from monitor.window_codec import decode_window, iso
from monitor.windows import MICROSECONDS, WindowSettings, pane_start

DAY_SECONDS = 86_400.0
# With less than this many steps the clock steps by the shortest window; beyond, by whole multiples, up to a day.
FINE_STEPS = 96

# (steps done, steps in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ReplayRange:
    """Which part of the past: predictions of [start, end) (µs; None: all there are), the clock going on to `until`.

    `until` None: until the horizon of the last label has passed, which is right where nothing more will come.
    `step_seconds` None: fine enough for the windows, coarse enough to be quick.
    """

    start: int | None = None
    end: int | None = None
    until: int | None = None
    step_seconds: float | None = None


@dataclass(frozen=True)
class Replay:
    """What became of the past: every revision of every window, oldest window first, and the alarms.

    `alarms` are the records of every alarm whenever its state changed, with `at`, the moment of the clock.
    """

    windows: tuple[WindowResult, ...]
    alarms: tuple[dict[str, Any], ...]
    report: CycleReport | None


def replay(settings: ModelSettings, source: ModelLog, chosen: ReplayRange, progress: Progress | None = None) -> Replay:
    """Evaluate the past of one model. Raises OperatorError where there is none, or no reference to hold it against.

    Values of a segment that the settings, and a daemon, have not fixed are those that a daemon would learn.
    """
    references = ReferenceStore(settings)
    references.refresh()
    if references.any() is None:
        problems = "; ".join(references.problems.values()) or "none"
        raise OperatorError("a replay needs a reference", where=f"model {settings.name}", got=problems)
    references.learnt = first_values(source, references.lacking())
    found = extent(source, "predictions", "event_time")
    settings = replace(settings, windows=_panes(settings))
    first, last = _range(found, chosen, settings)
    until = _until(source, settings, chosen, last)
    steps = _steps(settings, chosen, first, until)
    with tempfile.TemporaryDirectory(prefix="trueup-replay-") as name:
        folder = Path(name)
        joined, past = lay_out(
            source,
            folder,
            steps,
            settings.labels,
            first=first,
            last=last,
            until=until,
            pane_seconds=settings.windows.pane_seconds,
        )
        log = ReplayLog(source, steps, first, last, joined)
        return _run(
            settings, references, log, PastJoin(past), past.changes, steps, (first, last, until), folder, progress
        )


def _run(
    settings: ModelSettings,
    references: ReferenceStore,
    log: ReplayLog,
    join: PastJoin,
    changes: frozenset[int],
    steps: Steps,
    span: tuple[int, int, int],
    folder: Path,
    progress: Progress | None,
) -> Replay:
    first, last, until = span
    count = math.ceil((until - steps.origin) / steps.width)
    changed: list[dict[str, Any]] = []
    known: dict[tuple[str, str], str] = {}
    report: CycleReport | None = None
    state = open_state(f"sqlite:///{folder / 'state.db'}")
    try:
        quiet = frozenset(settings.windows.window_seconds) - {alarm_window_seconds(settings)}
        cycle = ModelCycle(settings, log, state, references, join, rolling=False, quiet_windows=quiet, thinned=False)
        for step in range(1, count + 1):
            log.now = step
            now = min(steps.end(step), until)
            if step in changes or step == count or steps.end(step - 1) <= last + steps.width:
                with state.transaction() as transaction:
                    # Everything made before this moment is there: the past knows no lateness.
                    lateness = round(settings.windows.allowed_lateness_seconds * MICROSECONDS)
                    transaction.note_source(settings.name, "replay", now + lateness, now)
                if step == count:
                    cycle.quieten(frozenset())
                report = cycle.run(now)
                changed += _changes(report.alarms, known, now)
            if progress is not None:
                progress(step, count)
        with state.transaction(write=False) as transaction:
            windows = [decode_window(item.result) for item in transaction.windows(settings.name)]
    finally:
        state.close()
    whole = [result for result in windows if first <= result.window.start and result.window.end <= last]
    order = sorted(whole, key=lambda item: (item.version, item.window.seconds, item.window.start, item.revision))
    return Replay(tuple(order), tuple(changed), report)


def _changes(alarms: tuple[AlarmReport, ...], known: dict[tuple[str, str], str], now: int) -> list[dict[str, Any]]:
    """Records of the alarms whose state is another than before; an alarm begins as inactive."""
    changed = []
    for alarm in alarms:
        key, state = (alarm.version, alarm.check), str(alarm.alarm.state)
        if known.get(key, "inactive") != state:
            changed.append({"at": iso(now), **alarm_record(alarm)})
        known[key] = state
    return changed


def _panes(settings: ModelSettings) -> WindowSettings:
    """Panes as large as windows and observations allow: in the past nothing is late, and fewer panes are quicker."""
    windows = settings.windows
    lengths = [*windows.window_seconds, settings.observations.length_seconds, settings.observations.observe_seconds]
    common = math.gcd(*(round(seconds * MICROSECONDS) for seconds in lengths))
    pane = round(windows.pane_seconds * MICROSECONDS)
    return replace(windows, pane_seconds=common / MICROSECONDS) if common % pane == 0 else windows


def _range(found: tuple[int, int] | None, chosen: ReplayRange, settings: ModelSettings) -> tuple[int, int]:
    """[first, last) of whole panes; whole windows where the user did not cut."""
    if found is None:
        raise OperatorError("there are no predictions to replay", where=f"model {settings.name}")
    pane, longest = settings.windows.pane_seconds, max(settings.windows.window_seconds)
    size = round(longest * MICROSECONDS)
    first = pane_start(found[0], longest) if chosen.start is None else -(-chosen.start // _micros(pane)) * _micros(pane)
    last = pane_start(found[1], longest) + size if chosen.end is None else pane_start(chosen.end, pane)
    if last <= first or found[1] < first or found[0] >= last:
        raise OperatorError(
            "there are no predictions to replay",
            where=f"model {settings.name}",
            expected=f"a range within {iso(found[0])} to {iso(found[1])}",
            got=f"{iso(first)} to {iso(last)}",
        )
    return first, last


def _until(source: ModelLog, settings: ModelSettings, chosen: ReplayRange, last: int) -> int:
    horizon = round(settings.labels.horizon_seconds * MICROSECONDS)
    if chosen.until is not None:
        return chosen.until
    labels = extent(source, "labels", "label_time")
    return max(last + horizon, labels[1] + 1 if labels else last) + 1


def _steps(settings: ModelSettings, chosen: ReplayRange, first: int, until: int) -> Steps:
    shortest = min(settings.windows.window_seconds)
    if chosen.step_seconds is not None:
        pane = settings.windows.pane_seconds
        return Steps(first, _micros(max(round(chosen.step_seconds / pane), 1) * pane))
    span = (until - first) / MICROSECONDS
    multiple = max(math.ceil(span / (shortest * FINE_STEPS)), 1)
    width = max(min(multiple * shortest, DAY_SECONDS // shortest * shortest), shortest)
    return Steps(first, _micros(width))


def _micros(seconds: float) -> int:
    return round(seconds * MICROSECONDS)
