"""A model's past as a stream of observations: rows of whole stretches of event time, as many as can be handled. Pure.

What lives here: what an observation of the past is, how a past is cut into pieces, and a stream drawn anew from it.
What must not: reading the log, evidence, alarms; a random generator is an argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import OperatorError
from monitor.statistics.seasons import ObservationSettings
from monitor.windows import MICROSECONDS, Window, format_duration


@dataclass(frozen=True, eq=False)
class Observation:
    """Rows of one whole stretch: one per prediction, in the order of event time, with `label` and `label_time`.

    Both are null where the truth is not known. `seen`: rows that the log holds of the stretch, of which `rows` are
    all, or a random sample.
    """

    window: Window
    rows: pa.Table
    seen: int


@dataclass(frozen=True, eq=False)
class Past:
    """Observations of one version, oldest first and without gaps in time (one without rows is empty).

    `first`, `last`: event time (microseconds) that the log covers. `whole`: False where it holds no whole observation,
    and the only one here is as much of one as there is. `drawn_anew`: the rows are resampled.
    """

    version: str
    observations: tuple[Observation, ...]
    settings: ObservationSettings
    first: int
    last: int
    whole: bool = True
    drawn_anew: bool = False

    @property
    def seconds(self) -> float:
        """How long all observations are together."""
        return len(self.observations) * self.settings.length_seconds

    @property
    def sampled(self) -> bool:
        """Whether some observation is a sample of its rows."""
        return any(item.seen > item.rows.num_rows for item in self.observations)

    @property
    def rows_per_observation(self) -> float:
        """Median of the rows of one observation; 0 without any."""
        counts = [item.rows.num_rows for item in self.observations]
        return float(np.median(counts)) if counts else 0.0


@dataclass(frozen=True, eq=False)
class Piece:
    """Rows of a stretch that lies in one observation and in one alarm window."""

    start: int
    rows: pa.Table


def pieces(observation: Observation, window_seconds: float) -> list[Piece]:
    """The rows of an observation cut where windows begin, in the order of time; stretches without rows are left out."""
    if not observation.rows.num_rows:
        return []
    size = round(window_seconds * MICROSECONDS)
    times = event_times(observation.rows)
    window = times // size
    edges = [0, *(np.flatnonzero(np.diff(window)) + 1).tolist(), times.size]
    return [
        Piece(max(int(window[low]) * size, observation.window.start), observation.rows.slice(low, high - low))
        for low, high in pairwise(edges)
    ]


def drawn_anew(past: Past, random: np.random.Generator, count: int) -> Past:
    """A stream of `count` observations from the rows of the past: one of its observations at random, then its rows.

    Rows are drawn with replacement and keep their time of the season and the delay of their label. Between observations
    there is as much variation as the past had, none where it had one only; whatever moved slowly is mixed. Raises
    OperatorError for a past without rows.
    """
    having = [item for item in past.observations if item.rows.num_rows]
    if not having:
        raise OperatorError("nothing to draw from", where=f"version {past.version}", expected="predictions in the log")
    size = round(past.settings.length_seconds * MICROSECONDS)
    # Whole seasons lie on whole seasons, so that a phase meets rows of its own phase.
    season = max(size, round((past.settings.season_seconds or 0.0) * MICROSECONDS))
    begin = past.observations[0].window.start // season * season
    phases = season // size
    by_phase = [[item for item in having if item.window.start // size % phases == phase] for phase in range(phases)]
    observations = []
    for number in range(count):
        start = begin + number * size
        source = by_phase[start // size % phases] or having
        item = source[int(random.integers(len(source)))]
        places = np.sort(random.integers(item.rows.num_rows, size=item.rows.num_rows))
        rows = _moved(item.rows.take(pa.array(places)), start - item.window.start)
        window = Window(start, start + size, past.settings.length_seconds)
        observations.append(Observation(window, rows, rows.num_rows))
    return Past(past.version, tuple(observations), past.settings, begin, begin + count * size, drawn_anew=True)


def needed_seconds(settings: ObservationSettings, observations: int) -> float:
    """How much event time a log must cover to hold that many whole observations wherever it begins."""
    return (observations + 1) * settings.length_seconds


def too_short(past: Past, observations: int) -> OperatorError:
    """The error for a past that holds fewer observations than are needed."""
    length = past.settings.length_seconds
    return OperatorError(
        "the past is too short to put drifts into it",
        where=f"version {past.version}",
        expected=f"{observations} whole observations of {format_duration(length)}, which "
        f"{format_duration(needed_seconds(past.settings, observations))} of traffic hold",
        got=f"{len(past.observations)} in {format_duration(round((past.last - past.first) / MICROSECONDS) or 1)}",
        hint="--resample draws seasons from the rows that are there; --horizon makes do with fewer observations.",
    )


def event_times(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Event times of rows in microseconds, int64."""
    return np.asarray(rows.column("event_time").cast(pa.int64()).to_numpy(), dtype=np.int64)


def label_times(rows: pa.Table) -> npt.NDArray[np.int64]:
    """When labels became known, in microseconds, int64; of labelled rows only."""
    return np.asarray(rows.column("label_time").cast(pa.int64()).to_numpy(), dtype=np.int64)


def labelled(rows: pa.Table) -> pa.Table:
    """The rows whose truth is known."""
    return rows.filter(pc.is_valid(rows.column("label")))


def in_order(rows: pa.Table) -> pa.Table:
    """The rows in the order of event time; equal times keep their order."""
    times = event_times(rows)
    if np.all(times[:-1] <= times[1:]):
        return rows
    return rows.take(pa.array(np.argsort(times, kind="stable")))


def whole_windows(first: int, last: int, settings: ObservationSettings) -> Sequence[Window]:
    """The whole observations between two event times, oldest first.

    The last one may lack a twenty-fourth: traffic that is made every few minutes never ends to the second.
    """
    size = round(settings.length_seconds * MICROSECONDS)
    start = -(-first // size) * size
    end = last + size // 24
    return [Window(at, at + size, settings.length_seconds) for at in range(start, end - size + 1, size)]


def _moved(rows: pa.Table, by: int) -> pa.Table:
    for name in ("event_time", "label_time"):
        place = rows.schema.get_field_index(name)
        if place >= 0:
            field = rows.schema.field(place)
            moved = pc.add(rows.column(place).cast(pa.int64()), pa.scalar(by, pa.int64())).cast(field.type)
            rows = rows.set_column(place, field, moved)
    return rows
