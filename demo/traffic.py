"""The clients of the demo: images to TorchServe at an even pace, and later their labels to the monitor.

What lives here: threads that send, and what they got back. What must not: what is made of the answers.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from demo.images import Picture
from demo.settings import GUARD_SECONDS, UNLABELLED_EVERY
from monitor.errors import OperatorError

_SENDERS = 3
_LEAD_SECONDS = 0.2
_LABEL_BATCH_SECONDS = 0.5
_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, eq=False)
class Answer:
    """One answered image: what was sent, when, what came back, and whether its label will follow."""

    prediction_id: str
    picture: Picture
    sent_at: float
    answered_at: float
    body: Mapping[str, Any]
    labelled: bool


@dataclass(frozen=True, eq=False)
class Task:
    """An image to be sent to a model at a time (seconds since the epoch)."""

    due: float
    model: str
    prediction_id: str
    picture: Picture
    labelled: bool


def schedule(
    model: str, prefix: str, images: Sequence[Picture], start: float, seconds: float, *, offset: float = 0.0
) -> list[Task]:
    """Every image once between `start` and the guard at the end of the phase, evenly spaced."""
    pace = (seconds - GUARD_SECONDS - _LEAD_SECONDS) / max(len(images), 1)
    return [
        Task(
            start + _LEAD_SECONDS + (place + offset) * pace,
            model,
            f"{prefix}-{place:04d}",
            picture,
            labelled=place % UNLABELLED_EVERY != UNLABELLED_EVERY - 1,
        )
        for place, picture in enumerate(images)
    ]


@dataclass(frozen=True, eq=False)
class Labels:
    """Sends each label when it is due, many in a request; `start` it, `close` it."""

    url: str
    stop: threading.Event
    waiting: list[tuple[float, str, str, str | float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Send from now on, in a thread of its own."""
        threading.Thread(target=self._run, name="labels", daemon=True).start()

    def add(self, due: float, model: str, prediction_id: str, truth: str | float) -> None:
        """A label that becomes known at `due`."""
        with self._lock:
            self.waiting.append((due, model, prediction_id, truth))

    def check(self) -> None:
        """Raise OperatorError where the monitor did not take a label."""
        if self.faults:
            raise OperatorError("labels were not taken", where=f"{self.url}/v1/labels", got=self.faults[0])

    def _run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=_TIMEOUT_SECONDS) as client:
            while not self.stop.wait(_LABEL_BATCH_SECONDS):
                now = time.time()
                with self._lock:
                    due = [label for label in self.waiting if label[0] <= now]
                    self.waiting[:] = [label for label in self.waiting if label[0] > now]
                if due and (fault := _post(client, due, now)):
                    self.faults.append(fault)


def _post(client: httpx.Client, due: Sequence[tuple[float, str, str, str | float]], now: float) -> str | None:
    known = datetime.fromtimestamp(now, UTC).isoformat()
    records = [
        {"model": model, "prediction_id": name, "label": truth, "label_time": known, "source": "demo"}
        for _, model, name, truth in due
    ]
    try:
        answer = client.post("/v1/labels", json=records)
    except httpx.TransportError as error:
        return f"{type(error).__name__}: {error}"
    taken = answer.json().get("accepted") if answer.status_code == 202 else None
    return None if taken == len(records) else f"HTTP {answer.status_code}: {answer.text[:300]}"


class Traffic:
    """The images of one phase on their way. Threads start at once and wait for the first image to be due."""

    def __init__(
        self,
        tasks: Sequence[Task],
        end: float,
        server: httpx.Client,
        labels: Labels,
        label_delay_seconds: float,
        stop: threading.Event,
    ) -> None:
        self.answers: dict[str, list[Answer]] = {task.model: [] for task in tasks}
        self.unsent = 0
        self._faults: list[str] = []
        self._tasks = iter(sorted(tasks, key=lambda task: task.due))
        self._last_call = end - GUARD_SECONDS / 2
        self._server, self._labels, self._delay, self._stop = server, labels, label_delay_seconds, stop
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name=f"sender {i}", daemon=True) for i in range(_SENDERS)]
        for thread in self._threads:
            thread.start()

    @property
    def answered(self) -> int:
        """Images answered so far, by all models."""
        return sum(map(len, self.answers.values()))

    @property
    def done(self) -> bool:
        """Whether every image was answered or given up."""
        return not any(thread.is_alive() for thread in self._threads)

    def check(self) -> None:
        """Raise OperatorError where the server did not answer an image."""
        if self._faults:
            raise OperatorError("an image was not answered", where=str(self._server.base_url), got=self._faults[0])

    def _run(self) -> None:
        while True:
            with self._lock:
                task = next(self._tasks, None)
            if task is None or self._stop.wait(max(task.due - time.time(), 0.0)):
                return
            if time.time() > self._last_call:
                # A machine that is too slow for the pace sends fewer images; those that it sends count.
                with self._lock:
                    self.unsent += 1
                continue
            self._send(task)

    def _send(self, task: Task) -> None:
        headers = {"X-Prediction-Id": task.prediction_id, "Content-Type": "image/png"}
        sent_at = time.time()
        try:
            answer = self._server.post(f"/predictions/{task.model}", content=task.picture.png, headers=headers)
        except httpx.TransportError as error:
            self._faults.append(f"{type(error).__name__}: {error}")
            return
        answered_at = time.time()
        if answer.status_code != 200:
            self._faults.append(f"HTTP {answer.status_code}: {answer.text[:300]}")
            return
        with self._lock:
            self.answers[task.model].append(
                Answer(task.prediction_id, task.picture, sent_at, answered_at, answer.json(), task.labelled)
            )
        if task.labelled:
            self._labels.add(answered_at + self._delay, task.model, task.prediction_id, task.picture.truth)
