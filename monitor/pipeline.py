"""The daemon's durable parts put together: state, logs, references, the cycle of every model, and taking records in.

What lives here: opening them, one ingest run, what comes over HTTP or out of files into the own spool. What must not:
schedules, HTTP, rendering, decisions.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from monitor.clock import BelievedClock, believed_clock
from monitor.cycle import ModelCycle
from monitor.errors import OperatorError
from monitor.fault_points import fault_point
from monitor.label_sources import SQL, LabelSources
from monitor.log.dead_letters import DeadLetters
from monitor.log.ingest import Progress, ingest
from monitor.log.maintenance import Maintenance, maintain
from monitor.log.rejection import Rejected, RejectReason
from monitor.log.roles import SourceRules
from monitor.log.spool import SpoolSettings, SpoolWriter
from monitor.log.tables import ModelLog
from monitor.matching import REPEAT_HORIZON_SECONDS
from monitor.records import FEATURE_PREFIX, Kind, ModelSchema
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings, MonitorSettings
from monitor.state import State, Transaction, open_state
from monitor.window_codec import iso
from monitor.windows import MICROSECONDS, format_duration

# Records that name no model we know are counted under this name.
NO_MODEL = ""
REJECTED = "rejected"
REJECTED_BY_SOURCE = "rejected by source"
# Cursors of what the clock was believed to be when records were last taken in.
_CLOCK = ("clock", "clock ran", "clock set back")


class OwnSpool:
    """The daemon's own spool: durable before a request is answered. Any thread may call.

    Every process has a writer of its own: a number that was used before would be taken for a repeat.
    """

    def __init__(self, root: Path) -> None:
        self._lock = threading.Lock()
        self._writer = SpoolWriter(root, SpoolSettings(fsync="always"))

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Append batches; durable on return. Raises SpoolFullError, or OSError as the disk reports it."""
        with self._lock:
            for batch in batches:
                self._writer.append(batch)
        fault_point("request.durable")

    def seal(self) -> None:
        """Make what was written available to the ingester."""
        with self._lock:
            self._writer.seal()

    def close(self) -> None:
        """Seal what is open and let go."""
        with self._lock:
            self._writer.close()


@dataclass
class ModelParts:
    """What belongs to one configured model."""

    settings: ModelSettings
    log: ModelLog
    references: ReferenceStore
    cycle: ModelCycle
    _features: dict[str, pa.DataType] = field(default_factory=dict)

    @property
    def schema(self) -> ModelSchema | None:
        """Name, task and classes: the configuration's, else the reference's; None while neither is known."""
        return model_schema(self.settings, self.references)

    @property
    def problems(self) -> list[str]:
        """What is wrong with the model's references, for people."""
        found = list(self.references.problems.values())
        reference = self.references.any()
        # A reference file that was built of rows bears no name that a server would use.
        if self.settings.bundle and reference is not None and reference.schema.model != self.settings.name:
            found.append(
                f"its reference is of a model {reference.schema.model!r}: what a server captures goes by that name, "
                f"and not to {self.settings.name!r}"
            )
        return found

    def rules(self, *, version: str | None = None, source: str | None = None) -> SourceRules | None:
        """How records of the model are written; None where its task and classes are not known."""
        schema = self.schema
        if schema is None:
            return None
        return SourceRules.of(schema, self.settings, version=version, source=source, features=self._features)

    def learn_features(self) -> None:
        """Take the types of the features from the log, so that a later record is held to them."""
        self._features = feature_types(self.log)


class Pipeline:
    """State, logs and cycles of a configuration, held exclusively until `close`."""

    def __init__(
        self,
        settings: MonitorSettings,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._monotonic = monotonic
        self._noted_at: float | None = None
        # What is wrong with the clock, for people; None where nothing is.
        self.clock_problem: str | None = None
        self.state: State = open_state(settings.state_url, exclusive=True)
        try:
            self.state.acquire(self.now())
            self.own_spool = OwnSpool(settings.own_spool)
        except BaseException:
            self.state.close()
            raise
        self.dead_letters = DeadLetters(settings.dead_letters)
        self._label_sources = LabelSources(self.state, self, self.now)
        self.models = {model.name: model_parts(model, settings, self.state) for model in settings.models}

    def now(self) -> int:
        """Microseconds since the epoch."""
        return round(self._clock() * MICROSECONDS)

    def ingest(self) -> Progress:
        """Move what the spools hold into the logs, and remember how far every source is.

        Safe to kill at any point: the log commits a segment once, and a source that was not noted is seen by its panes.
        """
        self.own_spool.seal()
        with self.state.transaction(write=False) as state:
            believed = self._believe(state)
        progress = ingest(
            self.settings.spools,
            self.settings.log_url,
            future_limit=lambda model: believed.reached + self._future_guard(model),
            set_aside=self._set_aside,
        )
        fault_point("ingest.unnoted")
        now = self.now()
        with self.state.transaction() as state:
            self._note_clock(state, now)
            for (model, source), newest in progress.newest.items():
                state.note_source(model, source, newest, now)
            for (model, reason), rows in progress.rejected.items():
                state.add(model, REJECTED, reason, rows)
                state.add(model, REJECTED_BY_SOURCE, "spool", rows)
            if progress.damaged_bytes:
                state.add(NO_MODEL, "spool", "damaged_bytes", progress.damaged_bytes)
        for parts in self.models.values():
            parts.learn_features()
        return progress

    def read_label_sources(self) -> dict[str, int | str]:
        """Read the databases with ground truth that are due: by model how many labels, or why none could be read."""
        models = {name: parts for name, parts in self.models.items() if parts.settings.sql_labels}
        settings = [parts.settings for parts in models.values()]
        return self._label_sources.read_due(settings, lambda name: models[name].rules(source=SQL))

    def write(self, batches: Sequence[pa.RecordBatch]) -> None:
        """Put batches into the own spool; durable on return."""
        self.own_spool.write(batches)

    def maintain(self) -> dict[str, Maintenance]:
        """Merge small files of every log, drop what is over the retention, delete what nobody refers to any more.

        A clock that has jumped ahead drops nothing until it has run for a day: what is dropped does not come back.
        """
        retention = self.settings.retention_seconds
        with self.state.transaction(write=False) as state:
            if state.cursor(NO_MODEL, _CLOCK[0]) and not self._believe(state).established:
                retention = None
        logs = {name: parts.log for name, parts in self.models.items()}
        done = {name: maintain(log, self.now(), retention_seconds=retention) for name, log in logs.items()}
        if retention is not None:
            # Two days more than the log keeps: of a whole day, and of repeats up to a day after their winner.
            before = self.now() - round((retention + 2 * REPEAT_HORIZON_SECONDS) * MICROSECONDS)
            with self.state.transaction() as state:
                for name in logs:
                    state.prune_superseded(name, before)
        return done

    def reject(self, rejected: Sequence[Rejected], *, source: str, model: str, kind: Kind) -> None:
        """Count rejected records and keep them as dead letters. Raises OSError as the disk reports it."""
        known = model if model in self.models else NO_MODEL
        with self.state.transaction() as state:
            count_rejected(state, known, rejected)
            state.add(known, REJECTED_BY_SOURCE, source.split(maxsplit=1)[0], len(rejected))
        self.dead_letters.add(rejected, source=source, model=model, kind=kind, now=self.now())

    def close(self) -> None:
        """Let go of everything."""
        self.own_spool.close()
        self.state.close()

    def take_over(self, models: Sequence[ModelSettings]) -> list[str]:
        """Work with these models from now on; returns the names of those that are new or changed, for new workers."""
        parts = {
            model.name: self.models[model.name]
            if model.name in self.models and self.models[model.name].settings == model
            else model_parts(model, self.settings, self.state)
            for model in models
        }
        changed = [name for name, made in parts.items() if made is not self.models.get(name)]
        self.models = parts
        return changed

    def _believe(self, state: Transaction) -> BelievedClock:
        """What the time is believed to be, of what the state knows and the clock shows."""
        reached, ran, set_back = (state.cursor(NO_MODEL, name) for name in _CLOCK)
        known = BelievedClock(reached, ran, set_back or None) if reached else None
        # How long nobody looked is known within a process only: over a restart nothing is taken to have passed.
        elapsed = 0.0 if self._noted_at is None else self._monotonic() - self._noted_at
        return believed_clock(known, self.now(), round(elapsed * MICROSECONDS))

    def _note_clock(self, state: Transaction, now: int) -> None:
        believed, looked = self._believe(state), self._monotonic()
        for name, value in zip(_CLOCK, (believed.reached, believed.ran, believed.set_back or 0), strict=True):
            state.set_cursor(NO_MODEL, name, value)
        self._noted_at, self.clock_problem = looked, None
        if believed.set_back is not None:
            behind = format_duration((believed.reached - now) // MICROSECONDS)
            self.clock_problem = (
                f"the clock shows {iso(now)}, {behind} behind what it had reached: "
                f"event times are held against {iso(believed.reached)}"
            )

    def _future_guard(self, model: str) -> int:
        """How far ahead of the clock (µs) event times of a model may be."""
        guards = [parts.settings.windows.future_guard_seconds for parts in self.models.values()]
        parts = self.models.get(model)
        guard = parts.settings.windows.future_guard_seconds if parts else max(guards)
        return round(guard * MICROSECONDS)

    def _set_aside(self, model: str, kind: Kind, reason: str, rows: pa.Table) -> None:
        now = self.now()
        self.dead_letters.add(set_aside_rows(reason, rows, now), source="spool", model=model, kind=kind, now=now)


def model_parts(model: ModelSettings, settings: MonitorSettings, state: State) -> ModelParts:
    """The parts of one model; its references are looked for at once."""
    log = ModelLog(settings.log_url, model.name)
    references = ReferenceStore(model)
    references.refresh()
    parts = ModelParts(model, log, references, ModelCycle(model, log, state, references))
    parts.learn_features()
    return parts


def record_rules(
    settings: MonitorSettings, model: ModelSettings, *, version: str | None = None, source: str | None = None
) -> SourceRules:
    """How records of a model are written, for a command that runs beside the daemon.

    Raises OperatorError where the model's task and classes are known neither from the configuration nor a reference.
    """
    references = ReferenceStore(model)
    references.refresh()
    known = references.versions()
    schema = model_schema(model, references)
    if schema is None:
        problems = "; ".join(references.problems.values()) or "no reference"
        raise OperatorError(
            "the model's task and classes are not known",
            where=f"model {model.name}",
            expected="a bundle or a reference, or task and classes in the configuration",
            got=problems,
        )
    features = feature_types(ModelLog(settings.log_url, model.name))
    only = known[0] if len(known) == 1 else None
    return SourceRules.of(schema, model, version=version or only, source=source, features=features)


def model_schema(settings: ModelSettings, references: ReferenceStore) -> ModelSchema | None:
    """Name, task and classes: the configuration's, else the reference's; None while neither is known."""
    if settings.task == "regression" or settings.classes:
        return ModelSchema(settings.name, settings.task or "classification", settings.classes)
    reference = references.any()
    if reference is None:
        return None
    return ModelSchema(settings.name, reference.schema.task, reference.schema.classes)


def feature_types(log: ModelLog) -> dict[str, pa.DataType]:
    """Types of the features that the log holds: later records are held to them."""
    known = log.schema("predictions")
    features = [] if known is None else [item for item in known if item.name.startswith(FEATURE_PREFIX)]
    return {item.name.removeprefix(FEATURE_PREFIX): item.type for item in features}


def find_model(settings: MonitorSettings, name: str | None) -> ModelSettings:
    """The model of that name, or the only one; raises OperatorError that lists those there are."""
    known = {model.name: model for model in settings.models}
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name is None:
        raise OperatorError("which model?", expected=f"--model with one of {', '.join(sorted(known))}")
    if name not in known:
        raise OperatorError("no such model in the configuration", expected=", ".join(sorted(known)), got=name)
    return known[name]


def count_rejected(state: Transaction, model: str, rejected: Sequence[Rejected]) -> None:
    """Add to the model's counters of rejected records, by reason."""
    counts: dict[str, int] = {}
    for row in rejected:
        counts[row.reason.value] = counts.get(row.reason.value, 0) + 1
    for reason, count in counts.items():
        state.add(model, REJECTED, reason, count)


def set_aside_rows(reason: str, rows: pa.Table, now: int) -> list[Rejected]:
    """Rows of the spool that the log could not take at `now` (µs), as rejected records with their values as JSON."""
    why = RejectReason(reason)
    return [
        Rejected(why, _message(why, row, now), place, orjson.dumps(_as_sent(row), default=str))
        for place, row in enumerate(rows.to_pylist(), 1)
    ]


def _message(why: RejectReason, row: dict[str, Any], now: int) -> str:
    if why is RejectReason.FUTURE_EVENT_TIME:
        moment = row["event_time"].isoformat().replace("+00:00", "Z")
        return f"event time {moment} was in the future by the monitor's clock, which showed {iso(now)}"
    return why.value.replace("_", " ")


def _as_sent(row: dict[str, Any]) -> dict[str, Any]:
    """The row with its embedding as the numbers that a file or a request would hold."""
    return {
        name: np.frombuffer(value, "<f2").astype(float).tolist() if isinstance(value, bytes) else value
        for name, value in row.items()
    }
