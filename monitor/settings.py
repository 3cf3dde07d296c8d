"""The daemon's and its models' settings as the core takes them: plain, frozen, resolved.

What lives here: dataclasses that compose the parameter dataclasses of the core. What must not: parsing, files,
environment (that is `config`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from monitor.alarms.transitions import AlarmSettings
from monitor.label_join import LabelSettings
from monitor.records import Task
from monitor.statistics.multiplicity import FalseAlarmBudget
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import CheckSettings
from monitor.windows import WindowSettings

EpochUnit = Literal["s", "ms", "us"]


@dataclass(frozen=True)
class RetrainSettings:
    """When a model is trained again: on an alarm of any of `on`, at most once per cooldown, with enough labels."""

    on: tuple[str, ...]
    cooldown_seconds: float = 7 * 86_400.0
    minimum_labels: int = 2000
    runner: str = "finetune"


@dataclass(frozen=True)
class SqlLabels:
    """Ground truth in a database: a SQLAlchemy URL, a query with `:cursor` in it, the column that holds the cursor.

    `start` is the cursor of the first query (a number or an ISO time; None: 1970). `overlap_seconds`: so far before the
    newest time a query begins again, for rows that a long transaction commits late.
    """

    url: str
    query: str
    cursor: str
    every_seconds: float = 300.0
    start: int | str | None = None
    overlap_seconds: float = 60.0


@dataclass(frozen=True)
class ModelSettings:
    """One monitored model. Task and classes come from the reference where there is one."""

    name: str
    bundle: Path | None = None
    reference: Path | None = None
    task: Task | None = None
    classes: tuple[str, ...] = ()
    windows: WindowSettings = field(default_factory=WindowSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)
    checks: CheckSettings = field(default_factory=CheckSettings)
    segments: tuple[str, ...] = ()
    # By segment, the values to tell apart (in order) where a reference does not fix them; without them they are learnt.
    segment_values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # Map of wire name -> role or log name for files and HTTP, e.g. {"request_id": "prediction_id"}.
    column_map: dict[str, str] = field(default_factory=dict)
    # Wire names that files and HTTP may carry but that are never written down.
    excluded_columns: tuple[str, ...] = ()
    # IANA name; without it a time that names no offset is refused.
    timezone: str | None = None
    # How epoch numbers in time columns count; without it numbers are refused.
    epoch_unit: EpochUnit | None = None
    false_alarms: FalseAlarmBudget = field(default_factory=FalseAlarmBudget)
    observations: ObservationSettings = field(default_factory=ObservationSettings)
    # How patient alarms are; their minimum n is that of the checks.
    alarms: AlarmSettings = field(default_factory=AlarmSettings)
    retrain: RetrainSettings | None = None
    sql_labels: SqlLabels | None = None


@dataclass(frozen=True)
class HttpSettings:
    """Where the daemon listens, and who may speak to it. Tokens are SHA-256 hex digests by scope."""

    host: str = "127.0.0.1"
    port: int = 9464
    # scope ("ingest" | "read" | "admin") -> digests; empty: no token is asked for (loopback only)
    token_digests: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Where the digests were read from, to show and to read again on reload.
    tokens_file: Path | None = None
    maximum_body_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True)
class MonitorSettings:
    """The whole daemon."""

    log_url: str
    state_url: str
    spools: tuple[Path, ...]
    # The daemon's own spool for what comes over HTTP; one of `spools`.
    own_spool: Path
    models: tuple[ModelSettings, ...]
    http: HttpSettings = field(default_factory=HttpSettings)
    ingest_interval_seconds: float = 15.0
    evaluation_interval_seconds: float = 60.0
    evaluation_deadline_seconds: float = 300.0
    # Where records that could not be taken are kept with their original bytes.
    dead_letters: Path = Path("trueup-data/dead-letters")
    # Predictions and labels older than this may be deleted; None keeps them for ever.
    retention_seconds: float | None = None
