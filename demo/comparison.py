"""What `/metrics` said of a phase beside the same numbers computed independently.

What lives here: from answers to rows, which sample belongs to which number, what difference is allowed, tables. What
must not: the computation itself (`independent`), HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demo.exposition import Exposition
from demo.independent import Number, Rows, numbers
from demo.traffic import Answer
from monitor.errors import OperatorError

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Row:
    """One number, twice. `said` is None where `/metrics` had no such sample; `allowed` is the largest difference."""

    metric: str
    column: str | None
    said: float | None
    computed: float
    allowed: float

    @property
    def difference(self) -> float | None:
        """How far apart they are."""
        return None if self.said is None else abs(self.said - self.computed)

    @property
    def agrees(self) -> bool:
        """Whether they are as near as they should be; never without a sample."""
        return self.difference is not None and self.difference <= self.allowed


@dataclass(frozen=True)
class Comparison:
    """All numbers of one phase of one model."""

    model: str
    phase: str
    window_end: float
    rows: tuple[Row, ...]

    @property
    def agrees(self) -> bool:
        """Whether every number agrees."""
        return all(row.agrees for row in self.rows)

    def value(self, metric: str, column: str | None = None) -> float:
        """The independent value of a number."""
        return next(row.computed for row in self.rows if (row.metric, row.column) == (metric, column))


def rows_of(answers: Sequence[Answer], classes: tuple[str, ...], start: float, end: float) -> Rows:
    """What the client has seen of a phase, in the order of the ids.

    Raises OperatorError where an answer came outside of the phase: only the server knows which window it is in.
    """
    late = [answer for answer in answers if answer.sent_at < start or answer.answered_at >= end]
    if late:
        raise OperatorError(
            f"{len(late)} answers took so long that it is not known which window they are in",
            where=late[0].prediction_id,
            expected=f"an answer within {end - start:g} s of the start of the phase",
            got=f"{late[0].answered_at - start:.1f} s",
            hint="This machine is very busy. Try again, or with a longer --phase-seconds.",
        )
    ordered = sorted(answers, key=lambda answer: answer.prediction_id)
    bodies = [answer.body for answer in ordered]
    return Rows(
        classes,
        [body["class"] if classes else body["value"] for body in bodies],
        np.array([[body["probabilities"][name] for name in classes] for body in bodies]) if classes else None,
        [answer.picture.truth if answer.labelled else None for answer in ordered],
        [answer.picture.pixels for answer in ordered],
    )


def compare(
    model: str,
    phase: str,
    window_end: float,
    rows: Rows,
    reference: Rows,
    exposition: Exposition,
    window: Mapping[str, Any],
    labels: Mapping[str, str],
) -> Comparison:
    """Every independent number beside its sample with `labels`; `window` is the same window in the monitor's JSON."""
    found = []
    for number in numbers(rows, reference):
        where = dict(labels) if number.column is None else {**labels, "column": number.column}
        found.append(
            Row(
                number.metric,
                number.column,
                exposition.value(number.metric, **where),
                number.value,
                _allowed(number, window),
            )
        )
    return Comparison(model, phase, window_end, tuple(found))


def _allowed(number: Number, window: Mapping[str, Any]) -> float:
    if number.statistic is None:
        return TOLERANCE
    stated = window["columns"][number.column].get(number.statistic, {})
    return float(stated.get("error_bound", 0.0)) + TOLERANCE
