"""What a model's alarms would have done in its own past: its checks over a stream, with the functions of the cycle.

What lives here: settings under trial, the checks as they go over observations, and the alarms and effects of the past.
What must not: injected drifts (that is `scoring`), reading the log, formulas; progress is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from monitor.alarms import evidence
from monitor.alarms.evidence import CheckEvidence
from monitor.alarms.judge import Context, News, judge_check
from monitor.alarms.null_regions import NullRegions, detectors_of
from monitor.alarms.plan import AlarmPlan, Watch, alarm_plan, window_effect
from monitor.alarms.report import AlarmReport
from monitor.alarms.transitions import Alarm
from monitor.errors import OperatorError
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.statistics.evidence_cells import CellLayout
from monitor.statistics.summary import reference_values
from monitor.tuning.feed import Cells, Feed, Seen
from monitor.tuning.stream import Past
from monitor.verdict import WindowResult, judge

QUARTER_SECONDS = 90 * 86_400.0
Advance = Callable[[], None]


@dataclass(frozen=True, eq=False)
class Setup:
    """Settings under trial, by a name for people, and what they watch."""

    name: str
    settings: ModelSettings
    reference: Reference
    plan: AlarmPlan
    own: Mapping[str, float]

    @classmethod
    def of(cls, name: str, settings: ModelSettings, reference: Reference) -> Setup:
        """What these settings watch; raises OperatorError where that is nothing."""
        plan = alarm_plan(settings, reference)
        if not plan.watches:
            reasons = "; ".join(f"{check}: {why}" for check, why in plan.unwatched.items())
            raise OperatorError(
                "no check of the model may alarm", where=f"model {settings.name}", got=reasons or "no checks"
            )
        return cls(name, settings, reference, plan, reference_values(reference))


@dataclass(frozen=True)
class WindowEffect:
    """The effect of one window on one check: as the alarm judges it, None where it is absent or of too few rows."""

    check: str
    window_end: int
    revision: int
    value: float | None
    n: int
    column: str | None
    verdict: str


@dataclass(frozen=True)
class PastAlarm:
    """One alarm of the past; times in microseconds. `resolved_at` None: it fired until the end."""

    check: str
    fired_at: int
    since: int | None
    columns: tuple[str, ...]
    text: str
    resolved_at: int | None = None


@dataclass(frozen=True, eq=False)
class Quiet:
    """The past as it was, under one setup; `reports`: every alarm as it stood at the end."""

    setup: str
    alarms: tuple[PastAlarm, ...]
    effects: tuple[WindowEffect, ...]
    seconds: float
    reports: tuple[AlarmReport, ...]

    @property
    def per_quarter(self) -> float:
        """Alarms per 90 days; 0 for a past without length."""
        return len(self.alarms) * QUARTER_SECONDS / self.seconds if self.seconds else 0.0


@dataclass
class CheckRun:
    """One check on its way through a stream."""

    watch: Watch
    context: Context
    detectors: tuple[CheckEvidence, ...]
    report: AlarmReport

    def after(self, news: News, now: int) -> CheckRun:
        """The check after the news."""
        judged = judge_check(self.watch, self.context, self.detectors, self.report, news, now)
        return CheckRun(self.watch, self.context, judged.detectors, judged.report)


Checks = dict[str, CheckRun]


@dataclass(frozen=True, eq=False)
class PastRun:
    """What was seen of the past, and the feeds with which trials go on, by the observation that comes next."""

    past: Past
    cells: Cells
    seen: tuple[Seen, ...]
    feeds: Mapping[int, Feed]


def past_run(past: Past, setup: Setup, starts: Collection[int], advance: Advance) -> PastRun:
    """Profiles, counts and windows of the whole past: the same for every tolerance of the same checks.

    `starts`: observations before which trials may begin.
    """
    cells = Cells.of(setup.plan)
    feed = Feed(setup.settings, past.version, setup.reference, cells)
    seen, feeds = [], {}
    for number, observation in enumerate(past.observations):
        if number in starts:
            feeds[number] = feed.copy()
        seen.append(feed.take(observation))
        advance()
    return PastRun(past, cells, tuple(seen), feeds)


def quiet_run(run: PastRun, setup: Setup) -> tuple[Quiet, dict[int, Checks]]:
    """The alarms of the past as it was, and the checks as they stood where trials begin."""
    checks, alarms, effects, kept = _begun(run, setup), list[PastAlarm](), list[WindowEffect](), dict[int, Checks]()
    for number, seen in enumerate(run.seen):
        if number in run.feeds:
            kept[number] = checks
        before, checks = checks, _advanced(checks, seen)
        for name, check in checks.items():
            alarms = _noted(alarms, before[name].report.alarm, check.report)
            effects += _effects(setup, check.watch, seen)
    reports = tuple(check.report for check in checks.values())
    return Quiet(setup.name, tuple(alarms), tuple(effects), run.past.seconds, reports), kept


def _begun(run: PastRun, setup: Setup) -> Checks:
    regions = NullRegions()
    return {
        watch.name: CheckRun(
            watch,
            regions.context(setup.settings, watch, setup.own),
            tuple(evidence.fresh(watch.reference) for _ in range(detectors_of(watch, setup.settings))),
            AlarmReport(run.past.version, Alarm(watch.name), watch.share),
        )
        for watch in setup.plan.watches
    }


def _advanced(checks: Checks, seen: Seen) -> Checks:
    return {name: check.after(news_of(check.watch, seen), seen.now) for name, check in checks.items()}


def news_of(watch: Watch, seen: Seen) -> News:
    """What of an observation is news for a check."""
    if isinstance(watch.cells, CellLayout):
        assert seen.counts is not None
        return News([(seen.window, seen.counts)], (), seen.inputs)
    return News((), [seen.labels[watch.name]] if watch.name in seen.labels else [], seen.outcomes)


def _noted(alarms: list[PastAlarm], before: Alarm, report: AlarmReport) -> list[PastAlarm]:
    after, told = report.alarm, report.explanation or {}
    if after.fired > before.fired:
        alarms = [*alarms, past_alarm(report.check, after, told)]
    if after.resolved_at is not None and after.resolved_at != before.resolved_at:
        last = max(place for place, item in enumerate(alarms) if item.check == after.check)
        was = alarms[last]
        ended = PastAlarm(was.check, was.fired_at, was.since, was.columns, was.text, after.resolved_at)
        alarms = [*alarms[:last], ended, *alarms[last + 1 :]]
    return alarms


def past_alarm(check: str, alarm: Alarm, told: Mapping[str, object]) -> PastAlarm:
    """The alarm that has just fired, with what its explanation told."""
    assert alarm.fired_at is not None
    columns = told.get("columns")
    names = tuple(item["column"] for item in columns) if isinstance(columns, list | tuple) else ()
    since = told.get("since")
    return PastAlarm(
        check,
        alarm.fired_at,
        since if isinstance(since, int) else alarm.evidence_since,
        names,
        str(told.get("text", "")),
    )


def _effects(setup: Setup, watch: Watch, seen: Seen) -> list[WindowEffect]:
    results = seen.inputs if isinstance(watch.cells, CellLayout) else seen.outcomes
    return [_effect(setup, watch, result) for result in results]


def _effect(setup: Setup, watch: Watch, result: WindowResult) -> WindowEffect:
    effect = window_effect(watch, result)
    verdict = judge(setup.settings.checks, result.values, result.columns, setup.own)[watch.name]
    value = effect.value if effect.n >= watch.minimum_n else None
    return WindowEffect(watch.name, effect.window_end, effect.revision, value, effect.n, verdict.column, verdict.state)
