"""The keys below `checks`: limits of every statistic, and how they become checks.

What lives here: the base of all sections, and the sections of limits. What must not: the grammar of one limit (that is
`thresholds`), other sections.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from monitor.config.document import Location
from monitor.config.thresholds import DRIFT_METRICS, VALUE_METRICS, drift_threshold, ordered, value_threshold
from monitor.config.values import Limit
from monitor.errors import OperatorError
from monitor.verdict import Check, Threshold


class FaultsError(ValueError):
    """Several faults of one section, each at a location inside it."""

    def __init__(self, faults: list[tuple[Location, str]]) -> None:
        self.faults = faults
        super().__init__("; ".join(message for _, message in faults))


class Section(BaseModel):
    """A mapping of the file: unknown keys are refused, an empty one has all defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_has_defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class LimitsSection(Section):
    """The thresholds of one check."""

    warning: Limit | None = None
    critical: Limit | None = None

    @model_validator(mode="after")
    def _not_empty(self) -> LimitsSection:
        if self.warning is None and self.critical is None:
            raise ValueError("a check needs a threshold (expected warning, critical or both)")
        return self


class DriftSection(Section):
    """Checks of every column."""

    psi: LimitsSection | None = None
    js: LimitsSection | None = None
    ks: LimitsSection | None = None
    mmd: LimitsSection | None = None
    frechet: LimitsSection | None = None
    domain_auroc: LimitsSection | None = None
    minimum_rows: int = Field(default=200, ge=1)


class ChecksSection(Section):
    """Exactly these checks; left out altogether there are default ones."""

    accuracy: LimitsSection | None = None
    balanced_accuracy: LimitsSection | None = None
    precision: LimitsSection | None = None
    recall: LimitsSection | None = None
    f1: LimitsSection | None = None
    auroc: LimitsSection | None = None
    cross_entropy: LimitsSection | None = None
    brier_score: LimitsSection | None = None
    expected_calibration_error: LimitsSection | None = None
    estimated_accuracy: LimitsSection | None = None
    estimated_accuracy_error: LimitsSection | None = None
    estimated_cross_entropy: LimitsSection | None = None
    estimated_f1: LimitsSection | None = None
    estimated_auroc: LimitsSection | None = None
    label_shift_distance: LimitsSection | None = None
    mean_squared_error: LimitsSection | None = None
    root_mean_squared_error: LimitsSection | None = None
    mean_absolute_error: LimitsSection | None = None
    r_squared: LimitsSection | None = None
    bias: LimitsSection | None = None
    estimated_mean_squared_error: LimitsSection | None = None
    estimated_root_mean_squared_error: LimitsSection | None = None
    estimated_mean_absolute_error: LimitsSection | None = None
    label_coverage: LimitsSection | None = None
    label_delay_seconds: LimitsSection | None = None
    label_delay_p50_seconds: LimitsSection | None = None
    label_delay_p95_seconds: LimitsSection | None = None
    drift: DriftSection = DriftSection()

    @model_validator(mode="after")
    def _thresholds_make_sense(self) -> ChecksSection:
        faults: list[tuple[Location, str]] = []
        self.checks(faults)
        if faults:
            raise FaultsError(faults)
        return self

    def checks(self, faults: list[tuple[Location, str]]) -> tuple[tuple[Check, ...], tuple[Check, ...]]:
        """Checks of values and of columns; what is wrong with one is added to `faults`."""
        values = []
        for metric in VALUE_METRICS:
            resolve = functools.partial(value_threshold, metric)
            values.append(_check(metric, getattr(self, metric), resolve, (metric,), faults))
        columns = []
        for short, metric in DRIFT_METRICS.items():
            limits = getattr(self.drift, short)
            columns.append(_check(metric, limits, drift_threshold, ("drift", short), faults))
        return tuple(filter(None, values)), tuple(filter(None, columns))


def _check(
    metric: str,
    limits: LimitsSection | None,
    resolve: Callable[[Threshold | float], Threshold],
    location: Location,
    faults: list[tuple[Location, str]],
) -> Check | None:
    if limits is None:
        return None
    resolved: dict[str, Threshold | None] = {}
    for level in ("warning", "critical"):
        written = getattr(limits, level)
        try:
            resolved[level] = None if written is None else resolve(written)
        except OperatorError as error:
            faults.append(((*location, level), str(error)))
            return None
    try:
        ordered(resolved["warning"], resolved["critical"])
    except OperatorError as error:
        faults.append((location, str(error)))
        return None
    return Check(metric, **resolved)
