"""What a statistic returns: a number with its uncertainty, or its typed absence.

What lives here: result types. What must not: formulas. Absence is a value, never NaN, -1 or an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a statistic has no value."""

    TOO_FEW_ROWS = "too_few_rows"
    TOO_FEW_LABELS = "too_few_labels"
    NO_ROWS = "no_rows"
    NO_LABELS = "no_labels"
    COLUMN_MISSING = "column_missing"
    DIMENSION_DIFFERS = "dimension_differs"
    NO_REFERENCE = "no_reference"
    REFERENCE_CONSTANT = "reference_constant"
    REFERENCE_EMPTY = "reference_empty"
    ONE_CLASS = "one_class"
    NOT_APPLICABLE = "not_applicable"
    ILL_CONDITIONED = "ill_conditioned"
    OVERFLOW = "overflow"
    CALIBRATION_MISSING = "calibration_missing"
    BUDGET = "series_budget"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A finite value from n observations.

    `lower`/`upper`: interval at `level` (two-sided), if there is one. `p_value`: of the no-difference null, if there is
    one. `error_bound`: the largest absolute difference from the exact statistic that the profile's cells allow.
    `detail` is for people: what the value assumes, or is made of.
    """

    value: float
    n: int
    lower: float | None = None
    upper: float | None = None
    level: float | None = None
    p_value: float | None = None
    error_bound: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Absent:
    """No value, and why. `detail` is for people; decisions use `reason` only."""

    reason: Reason
    n: int = 0
    detail: str = ""


Result = Estimate | Absent
