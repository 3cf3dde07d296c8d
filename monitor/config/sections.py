"""The keys of the configuration file: sections with their defaults and checks.

What lives here: pydantic models, one per mapping of the file. What must not: YAML, lines, files; the settings that the
core takes are built from these in `load`.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from monitor.alarms.evidence import label_interval_seconds
from monitor.config.check_sections import ChecksSection, FaultsError, Section
from monitor.config.document import Location
from monitor.config.thresholds import (
    VALUE_METRICS,
    default_drift_checks,
    default_value_checks,
)
from monitor.config.values import Budget, Duration, DurationOrZero, Name, Segments, TimeZone, refusing
from monitor.errors import OperatorError, TrueupError
from monitor.records import ModelSchema, Task
from monitor.settings import EpochUnit
from monitor.statistics.multiplicity import FalseAlarmBudget, split_budget
from monitor.statistics.risk_cells import WEIGHED_METRICS
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import CheckSettings
from monitor.windows import WindowSettings, format_duration

_LISTEN = re.compile(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})")
_SAFER = "http.tokens_file, or an address of this machine only such as 127.0.0.1:9464"


class LogSection(Section):
    """The prediction log."""

    url: str = Field(default="./trueup-data/log", description="a folder, or s3://, gs://, az://")
    retention: Duration | None = Field(
        default=None, description="how long predictions and labels are kept; default: for ever"
    )


class StateSection(Section):
    """Panes, windows, cursors."""

    url: str = Field(default="sqlite:///trueup-data/state.db", description="SQLAlchemy URL")


class IngestSection(Section):
    """From spools to the log."""

    every: Duration = 15.0


class EvaluateSection(Section):
    """From the log to numbers."""

    every: Duration = 60.0
    deadline: Duration = 300.0


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class HttpSection(Section):
    """Where the daemon listens, and who may speak to it."""

    listen: str = Field(default="127.0.0.1:9464", description="address:port")
    tokens_file: str | None = Field(
        default=None, description="YAML: ingest, read, admin, each with tokens or sha256: digests"
    )
    maximum_body_bytes: int = Field(default=16 * 1024 * 1024, ge=1024, le=1024**3)

    @model_validator(mode="after")
    def _only_loopback_without_tokens(self) -> HttpSection:
        match = _LISTEN.fullmatch(self.listen)
        if match is None or int(match.group(2)) > 65_535:
            message = f"not an address (expected host:port such as 127.0.0.1:9464, got {self.listen!r})"
            raise FaultsError([(("listen",), message)])
        if self.tokens_file is None and not _is_loopback(self.address[0]):
            message = f"other machines may connect and no tokens are asked for (expected {_SAFER}, got {self.listen!r})"
            raise FaultsError([(("listen",), message)])
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]") or "0.0.0.0", int(port)


class SqlLabelsSection(Section):
    """Ground truth in a database."""

    url: str = Field(description="SQLAlchemy URL; ${VARIABLE}s of the environment are put in")
    query: str = Field(description="with :cursor, such as select id as prediction_id, … where updated_at > :cursor")
    cursor: Name = Field(description="column that grows with every change, such as updated_at")
    every: Duration = 300.0
    start: int | str | None = Field(default=None, description="cursor of the first query; default: 1970")
    overlap: DurationOrZero = Field(default=60.0, description="a time as cursor begins again so far before")

    @field_validator("start", mode="before")
    @classmethod
    def _yaml_times(cls, value: Any) -> Any:
        return value.isoformat() if isinstance(value, datetime.date) else value

    @model_validator(mode="after")
    def _makes_sense(self) -> SqlLabelsSection:
        faults: list[tuple[Location, str]] = []
        if "://" not in self.url:
            faults.append((("url",), "not a SQLAlchemy URL (expected such as postgresql+psycopg://user@host/database)"))
        if re.search(r"(?<!:):cursor\b", self.query) is None:
            faults.append((("query",), f"the query does not use its cursor (expected … where {self.cursor} > :cursor)"))
        if isinstance(self.start, str):
            try:
                datetime.datetime.fromisoformat(self.start)
            except ValueError:
                faults.append((("start",), f"expected a number or an ISO 8601 time, got {self.start!r}"))
        if faults:
            raise FaultsError(faults)
        return self


class LabelsSection(Section):
    """What is expected of ground truth."""

    horizon: Duration = 14 * 86_400.0
    final_at_coverage: float = Field(default=0.95, gt=0, le=1)
    expected_coverage: float = Field(default=1.0, gt=0, le=1)
    minimum: int = Field(default=200, ge=1)
    sql: SqlLabelsSection | None = None


class SeasonSection(Section):
    """What one observation of the evidence against the false-alarm budget is; `season: 1d` is a short form."""

    length: Duration | None = 86_400.0
    observe: Duration = 3_600.0
    match: Literal["season", "phase"] = "season"
    design_effect: float = Field(default=1.0, description="what counts are divided by where rows come in clusters")

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        return {"length": value} if isinstance(value, str) else value

    @field_validator("length", mode="before")
    @classmethod
    def _may_be_off(cls, value: Any) -> Any:
        return None if value == "off" else value

    @model_validator(mode="after")
    def _makes_sense(self) -> SeasonSection:
        refusing(lambda _: self.settings)(None)
        return self

    @property
    def settings(self) -> ObservationSettings:
        """As the evidence takes it."""
        return ObservationSettings(self.length, self.observe, self.match, self.design_effect)


class AlarmsSection(Section):
    """How patient alarms are."""

    holdoff: DurationOrZero = Field(default=0.0, description="how long effect and evidence must both hold to fire")
    keep_firing: DurationOrZero = Field(default=0.0, description="how long the effect must be back inside to resolve")
    show_resolved: DurationOrZero = Field(default=3_600.0, description="how long an alarm is shown as resolved")


class RetrainSection(Section):
    """When the model is trained again."""

    on: list[str] = Field(min_length=1)
    cooldown: Duration = 7 * 86_400.0
    minimum_labels: int = Field(default=2000, ge=1)
    runner: Literal["finetune"] = "finetune"


class ColumnsSection(Section):
    """How columns of files and HTTP bodies are called."""

    map: dict[str, Name] = Field(default_factory=dict, description="role: column, such as id: request_id")
    exclude: list[Name] = Field(default_factory=list, description="columns that are never written down")
    timezone: TimeZone | None = Field(
        default=None, description="of times that name no offset; without it they are refused"
    )
    epoch: EpochUnit | None = Field(
        default=None, description="unit of times that are numbers; without it they are refused"
    )


class ModelSection(Section):
    """One model."""

    task: Task | None = None
    classes: list[Name] = Field(default_factory=list, description="class names, in the model's order")
    bundle: str | None = Field(
        default=None, description="folder of a model (or of one version) that trueup finetune made"
    )
    reference: str | None = Field(default=None, description="reference file, for all versions without a bundle")
    panes: Duration = 300.0
    windows: list[Duration] = Field(default=[3_600.0, 86_400.0, 604_800.0], min_length=1, max_length=10)
    allowed_lateness: DurationOrZero = 600.0
    idle_after: Duration = 60.0
    future_guard: DurationOrZero = 300.0
    labels: LabelsSection = LabelsSection()
    segments: Segments = Field(
        default_factory=dict, description="names of segments, or by name the values to tell apart"
    )
    columns: ColumnsSection = ColumnsSection()
    checks: ChecksSection | None = None
    false_alarms: Budget = FalseAlarmBudget()
    season: SeasonSection = SeasonSection()
    alarms: AlarmsSection = AlarmsSection()
    retrain: RetrainSection | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> ModelSection:
        faults = [*self._identity_faults(), *self._window_faults(), *self._check_faults(), *self._budget_faults()]
        if faults:
            raise FaultsError(faults)
        return self

    def _identity_faults(self) -> Iterator[tuple[Location, str]]:
        if self.bundle is None and self.reference is None and self.task != "regression" and not self.classes:
            yield (), "nothing is known of the model (expected bundle, reference, or task and classes)"
        if self.task == "regression" and self.classes:
            yield ("classes",), "a regression model has no classes"
        if self.classes:
            try:
                ModelSchema("", "classification", tuple(self.classes))
            except TrueupError as error:
                yield ("classes",), error.what + (f" ({error.got})" if error.got else "")

    def _window_faults(self) -> Iterator[tuple[Location, str]]:
        for index, window in enumerate(self.windows):
            try:
                WindowSettings(pane_seconds=self.panes, window_seconds=(window,))
            except OperatorError as error:
                yield ("windows", index), str(error)
            if window in self.windows[:index]:
                yield ("windows", index), "given twice"

    def _check_faults(self) -> Iterator[tuple[Location, str]]:
        checks = self.check_settings(self.task)
        for check in checks.values:
            task = VALUE_METRICS[check.metric][1]
            if self.checks is not None and self.task and task not in (None, self.task):
                yield ("checks", check.metric), f"a {self.task} model has no {check.metric}"
        metrics = [check.metric for check in checks.values]
        for index, metric in enumerate(self.retrain.on if self.retrain else ()):
            if metric not in metrics:
                message = f"not among the model's checks (expected one of {', '.join(metrics) or 'none'}, got {metric})"
                yield ("retrain", "on", index), message

    def _budget_faults(self) -> Iterator[tuple[Location, str]]:
        observed, checks = self.season.settings, self.check_settings(self.task)
        seconds = {check.metric: observed.length_seconds for check in checks.columns}
        labelled = [check.metric for check in checks.values if check.metric in WEIGHED_METRICS]
        seconds |= dict.fromkeys(labelled, label_interval_seconds(observed))
        for metric, length in seconds.items():
            try:
                # Each by itself: which of them can alarm at all is known only with a reference.
                split_budget(self.false_alarms, {metric: length})
            except OperatorError as error:
                yield ("false_alarms",), str(error)
                return

    def check_settings(self, task: Task | None) -> CheckSettings:
        """The checks as they are judged; the default ones are those of the task."""
        values, columns = default_value_checks(task), default_drift_checks()
        if self.checks is not None:
            values, columns = self.checks.checks([])
        minimum_rows = self.checks.drift.minimum_rows if self.checks else CheckSettings.minimum_rows
        return CheckSettings(values, columns, self.labels.minimum, minimum_rows)


class ConfigFile(Section):
    """The whole file."""

    log: LogSection = LogSection()
    state: StateSection = StateSection()
    spool: list[str] = Field(
        default=["./trueup-data/spool"], min_length=1, description="folders that model servers write to"
    )
    own_spool: str | None = Field(
        default=None, description="spool for what comes over HTTP; default: the first of spool"
    )
    dead_letters: str = Field(
        default="./trueup-data/dead-letters", description="folder of records that could not be taken"
    )
    http: HttpSection = HttpSection()
    ingest: IngestSection = IngestSection()
    evaluate: EvaluateSection = EvaluateSection()
    models: dict[str, ModelSection] = Field(min_length=1)

    @field_validator("spool", mode="before")
    @classmethod
    def _one_spool(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keeps_what_it_needs(self) -> ConfigFile:
        faults: list[tuple[Location, str]] = []
        for name, model in self.models.items():
            needed = model.labels.horizon + max(model.windows)
            if self.log.retention is not None and self.log.retention < needed:
                message = f"too short for model {name}: a late label could not be joined, nor its window made again"
                expected = f"label horizon + longest window = {format_duration(needed)} or more"
                got = format_duration(self.log.retention)
                faults.append((("log", "retention"), f"{message} (expected {expected}, got {got})"))
        if faults:
            raise FaultsError(faults)
        return self
