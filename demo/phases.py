"""The three phases, one after the other: traffic, scrapes, and the comparison of each once its labels are there.

What lives here: what happens when. What must not: how images are sent, how numbers are compared, what is shown.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from demo.comparison import Comparison, compare, rows_of
from demo.exposition import Exposition, scrape
from demo.history import History
from demo.images import Picture
from demo.independent import Rows
from demo.settings import PHASES, DemoSettings, Phase
from demo.traffic import Labels, Traffic, schedule
from monitor.errors import OperatorError

_TICK_SECONDS = 0.2
_SCRAPE_SECONDS = 1.0
# A phase is prepared so long before it starts; the first one starts no sooner than that.
_AHEAD_SECONDS = 1.0
# How long after its last label a phase's window may take to be final, before what is there is compared.
_PATIENCE_SECONDS = 30.0
# A demo that runs for days forgets phases before these.
_KEPT_RUNS = 5


@dataclass(frozen=True, eq=False)
class Model:
    """One model of the demo: its classes, version, reference rows, and its images, clean and corrupted."""

    name: str
    version: str
    classes: tuple[str, ...]
    reference: Rows
    clean: list[Picture]
    corrupted: list[Picture]


@dataclass(eq=False)
class PhaseRun:
    """One phase of one round, from its first image to its comparison."""

    number: int
    phase: Phase
    start: float
    end: float
    traffic: Traffic
    comparisons: list[Comparison] = field(default_factory=list)


@dataclass
class Story:
    """All that has happened so far; what views and pictures read."""

    settings: DemoSettings
    histories: Mapping[str, History]
    runs: list[PhaseRun] = field(default_factory=list)
    started: int = 0

    @property
    def current(self) -> PhaseRun | None:
        """The phase that is under way."""
        now = time.time()
        return next((run for run in reversed(self.runs) if run.start <= now), None)

    @property
    def comparisons(self) -> list[Comparison]:
        """What was compared so far."""
        return [comparison for run in self.runs for comparison in run.comparisons]


def tell(
    story: Story,
    models: list[Model],
    server: httpx.Client,
    monitor_url: str,
    *,
    check: Callable[[], None],
    show: Callable[[Story], None],
    after_round: Callable[[Story], None] = lambda _: None,
) -> None:
    """Run the phases until the last is compared, or for ever.

    `check` and `show` are called all the time, `after_round` when all three phases of a round were compared.

    Raises OperatorError where a part of the loop fails. Threads that it started have ended when it returns.
    """
    settings, stop = story.settings, threading.Event()
    labels = Labels(monitor_url, stop)
    labels.start()
    try:
        with httpx.Client(timeout=10.0) as client:
            first = math.ceil((time.time() + 2 * _AHEAD_SECONDS) / settings.phase_seconds) * settings.phase_seconds
            scraped = 0.0
            while not _is_over(story):
                now = time.time()
                if _next_is_due(story, first, now):
                    story.runs = [*story.runs[-_KEPT_RUNS:], _start(story, models, server, labels, first, stop)]
                    story.started += 1
                check()
                labels.check()
                for run in story.runs:
                    run.traffic.check()
                if now - scraped >= _SCRAPE_SECONDS:
                    scraped = now
                    said = scrape(client, monitor_url)
                    for history in story.histories.values():
                        history.add(now, said)
                    if _compare_what_is_ready(story, models, said, client, monitor_url):
                        after_round(story)
                show(story)
                time.sleep(_TICK_SECONDS)
    finally:
        stop.set()


def _is_over(story: Story) -> bool:
    settings = story.settings
    wanted = len(PHASES) * len(settings.models)
    return settings.once and len(story.comparisons) == wanted


def _next_is_due(story: Story, first: float, now: float) -> bool:
    number = story.started
    if story.settings.once and number == len(PHASES):
        return False
    return now >= first + number * story.settings.phase_seconds - _AHEAD_SECONDS


def _start(
    story: Story, models: list[Model], server: httpx.Client, labels: Labels, first: float, stop: threading.Event
) -> PhaseRun:
    settings, number = story.settings, story.started
    phase = PHASES[number % len(PHASES)]
    start = first + number * settings.phase_seconds
    end = start + settings.phase_seconds
    tasks = []
    for place, model in enumerate(models):
        images = model.corrupted if phase.corrupted else model.clean
        offset = place / len(models)
        tasks += schedule(
            model.name, f"{number:03d}-{phase.name}", images, start, settings.phase_seconds, offset=offset
        )
    traffic = Traffic(tasks, end, server, labels, settings.label_delay_seconds, stop)
    return PhaseRun(number, phase, start, end, traffic)


def _compare_what_is_ready(
    story: Story, models: list[Model], said: Exposition, client: httpx.Client, monitor_url: str
) -> bool:
    """Whether the last phase of a round is compared by now, and was not before."""
    finished = False
    for run in story.runs:
        if time.time() < run.end or not run.traffic.done:
            continue
        compared = {comparison.model for comparison in run.comparisons}
        for model in models:
            if model.name not in compared:
                comparison = _compared(story.settings, run, model, said, client, monitor_url)
                run.comparisons += [comparison] if comparison else []
        if len(compared) < len(run.comparisons) == len(models):
            finished = finished or run.phase == PHASES[-1]
    return finished


def _compared(
    settings: DemoSettings, run: PhaseRun, model: Model, said: Exposition, client: httpx.Client, monitor_url: str
) -> Comparison | None:
    answers = run.traffic.answers[model.name]
    where = {
        "model": model.name,
        "version": model.version,
        "window": settings.phase_window,
        "maturity": "final",
    }
    ended = said.value("trueup_window_end_timestamp_seconds", **where)
    labelled = sum(answer.labelled for answer in answers)
    ready = ended == run.end and said.value("trueup_window_labels", **where) == labelled
    if not ready and time.time() < run.end + settings.label_delay_seconds + _PATIENCE_SECONDS:
        return None
    if ended != run.end:
        raise OperatorError(
            "the window of a phase did not become final",
            where=f"model {model.name}, phase {run.phase.name}",
            expected=f"trueup_window_end_timestamp_seconds {run.end:.0f}",
            got=f"{ended}",
        )
    rows = rows_of(answers, model.classes, run.start, run.end)
    window = _window(client, monitor_url, settings, model)
    return compare(model.name, run.phase.name, run.end, rows, model.reference, said, window, where)


def _window(client: httpx.Client, url: str, settings: DemoSettings, model: Model) -> Mapping[str, Any]:
    parameters = {"window": settings.phase_window, "maturity": "final", "version": model.version, "limit": 1}
    answer = client.get(f"{url}/v1/models/{model.name}/windows", params=parameters)
    answer.raise_for_status()
    window: Mapping[str, Any] = answer.json()["windows"][0]
    return window
