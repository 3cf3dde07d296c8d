"""Seeded traffic of a model whose reference is known, through real cycles: what alarms are tested on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from monitor.alarms.report import AlarmReport
from monitor.cycle import CycleReport, ModelCycle
from monitor.label_join import LabelSettings
from monitor.log.ingest import ingest
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog
from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference
from monitor.records import ModelSchema
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import State, open_state
from monitor.statistics.multiplicity import FalseAlarmBudget
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import Check, CheckSettings, Threshold
from monitor.windows import MICROSECONDS, WindowSettings
from tests.records_samples import CLASSES, EPOCH, MODEL, labels, predictions

OBSERVE_SECONDS = 600
STEP = OBSERVE_SECONDS * MICROSECONDS
START = EPOCH // (86_400 * MICROSECONDS) * 86_400 * MICROSECONDS
ROWS = 400
PSI = Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25))
ACCURACY = Check("accuracy", Threshold("below", 0.05, relative=True))
CROSS_ENTROPY = Check("cross_entropy", Threshold("above", 0.25, relative=True))


def settings(root: Path, *checks: Check, **changes: object) -> ModelSettings:
    """Panes of 5 minutes, observations and windows of 10, no season, a budget of one in 2,000 observations."""
    columns = tuple(check for check in checks if check.metric == PSI.metric)
    values = tuple(check for check in checks if check.metric != PSI.metric)
    made = ModelSettings(
        "pets",
        reference=root / "reference.trueup",
        windows=WindowSettings(300, (OBSERVE_SECONDS,), 0, 60),
        labels=LabelSettings(horizon_seconds=86_400, minimum=50),
        checks=CheckSettings(values, columns, minimum_labels=50, minimum_rows=100),
        false_alarms=FalseAlarmBudget(1, 2_000 * OBSERVE_SECONDS),
        observations=ObservationSettings(None, OBSERVE_SECONDS),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def traffic(
    number: int, *, shift: float = 0.0, rows: int = ROWS, seed: int = 0, version: str = "1", name: str = ""
) -> pa.RecordBatch:
    """The predictions of one observation (0, 1, …); `shift` moves the age by that many standard deviations."""
    ids = [f"{name}{version}-{number}-{place}" for place in range(rows)]
    made = predictions(
        ids,
        version=version,
        start=START + number * STEP,
        step=STEP // rows,
        seed=seed + 1000 * number + 17,
    )
    place = made.schema.get_field_index("f_age")
    ages = made.column(place).to_numpy() + 10 * shift
    return made.set_column(place, made.schema.field(place), pa.array(ages))


def truth(batch: pa.RecordBatch, error: float, seed: int = 0) -> pa.RecordBatch:
    """Labels of predictions that are wrong at this rate."""
    random = np.random.default_rng([seed, batch.num_rows, int(batch.column("event_time").cast(pa.int64())[0].as_py())])
    said = batch.column("prediction").to_pylist()
    wrong = random.random(len(said)) < error
    values = [
        CLASSES[(CLASSES.index(name) + 1 + int(random.integers(2))) % 3] if bad else name
        for name, bad in zip(said, wrong, strict=True)
    ]
    times = batch.column("event_time").cast(pa.int64()).to_numpy() + 1
    return labels(batch.column("prediction_id").to_pylist(), values, time=times.tolist())


def write_reference(path: Path, model: ModelSchema = MODEL, rows: int = 3_000) -> None:
    """A reference drawn as the quiet traffic is, wrong in a tenth of its rows."""
    batch = predictions([f"r{place}" for place in range(rows)], model=model, seed=99)
    values = truth(batch, 0.1).column("label")
    save_reference(build_reference(model, pa.Table.from_batches([batch]).append_column("label", values)), path)


@dataclass
class AlarmBench:
    """A log, a state and a cycle in a temporary folder."""

    root: Path
    settings: ModelSettings
    state: State = field(init=False)
    cycle: ModelCycle = field(init=False)
    writers: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        write_reference(self.root / "reference.trueup")
        self.open()

    def open(self) -> None:
        self.state = open_state(self.url or f"sqlite:///{self.root / 'state.db'}", exclusive=True)
        self.state.acquire(0)
        log = ModelLog(str(self.root / "log"), self.settings.name)
        self.cycle = ModelCycle(self.settings, log, self.state, ReferenceStore(self.settings))

    def restart(self, **changes: object) -> None:
        self.state.close()
        self.settings = replace(self.settings, **changes)  # type: ignore[arg-type]
        self.open()

    def send(self, *batches: pa.RecordBatch) -> None:
        self.writers += 1
        writer = SpoolWriter(self.root / "spool", writer=f"w{self.writers:05d}")
        for batch in batches:
            writer.append(batch)
        writer.close()
        progress = ingest(
            [self.root / "spool"], str(self.root / "log"), future_limit=lambda _: 2**62, set_aside=lambda *_: None
        )
        assert progress.errors == []
        with self.state.transaction() as state:
            for (model, source), newest in progress.newest.items():
                state.note_source(model, source, newest, newest)

    def run(self, until: int) -> CycleReport:
        """A cycle when event time has come to the end of observation `until` − 1."""
        return self.cycle.run(START + until * STEP + 120 * MICROSECONDS)

    def alarm(self, until: int, check: str = PSI.metric) -> AlarmReport:
        """The alarm of a check after such a cycle."""
        return {report.check: report for report in self.run(until).alarms}[check]

    def tables(self) -> dict[str, list[tuple[object, ...]]]:
        """Every row of the evidence and of the alarms, byte for byte."""
        with sqlite3.connect(self.root / "state.db") as connection:
            return {
                table: sorted(connection.execute(f"SELECT * FROM {table}").fetchall())
                for table in ("evidence", "alarms")
            }


# A bench with these checks, and settings that differ from `settings`.
Make = Callable[..., AlarmBench]
