"""One promise for everything that is looked at: the false-alarm budget of a model, and how its checks share it.

What lives here: the budget as an average run length, its split over checks, how much of it each used; and the false
discovery rate, which orders explanations and decides nothing. What must not: evidence formulas, alarms.

Check i, watched r_i times a second, holds the share w_i (Σ w = 1) and alarms at ln(T r_i / w_i), T the seconds to one
false alarm. Its evidence R_i less the observations opened is a supermartingale, so Σ w_i R_i / r_i less the seconds is
one too, whatever the checks have to do with each other; at the first alarm of any it is at least T. So the mean time to
the first false alarm of the model is at least T, and no correction for columns, windows or checks is left to make.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.errors import OperatorError
from monitor.statistics.evidence_counts import Floats
from monitor.statistics.sequential import Evidence
from monitor.windows import format_duration, parse_duration

_BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s+per\s+(\S.*?)\s*")


@dataclass(frozen=True)
class FalseAlarmBudget:
    """How many false alarms of one model are accepted in how long; by default one in 90 days."""

    alarms: float = 1.0
    seconds: float = 90 * 86_400.0

    def __post_init__(self) -> None:
        if not (self.alarms > 0 and self.seconds > 0):
            raise OperatorError("a false-alarm budget must be above 0", expected="such as 1 per 90d", got=str(self))

    @property
    def run_length_seconds(self) -> float:
        """Mean seconds to a false alarm that are promised, at least."""
        return self.seconds / self.alarms

    def __str__(self) -> str:
        return f"{self.alarms:g} per {format_duration(self.seconds)}"


def parse_budget(text: str) -> FalseAlarmBudget:
    """The budget of a setting such as `1 per 90d`; raises OperatorError for anything else."""
    match = _BUDGET.fullmatch(text)
    if match is None:
        raise OperatorError("not a false-alarm budget", expected="a number, per, a duration: 1 per 90d", got=text)
    return FalseAlarmBudget(float(match.group(1)), parse_duration(match.group(2)))


@dataclass(frozen=True)
class Share:
    """What one check holds of the budget.

    `share`: 0–1, all shares of a model sum to 1. `run_length`: observations to a false alarm that its own share
    promises. `observation_seconds`: how long one observation lasts.
    """

    check: str
    share: float
    run_length: float
    observation_seconds: float

    @property
    def log_threshold(self) -> float:
        """Evidence at which the check may alarm, in nats: ln(run_length)."""
        return math.log(self.run_length)


def split_budget(
    budget: FalseAlarmBudget, observation_seconds: Mapping[str, float], weights: Mapping[str, float] | None = None
) -> dict[str, Share]:
    """The share of every check; `observation_seconds` by check says how often each is watched, `weights` how to split.

    Without weights all checks hold the same. run_length = T / (observation_seconds · share). Raises OperatorError where
    a weight is missing, not positive or of no check, or where the budget allows an alarm at every observation.
    """
    weights = weights or dict.fromkeys(observation_seconds, 1.0)
    if set(weights) != set(observation_seconds) or not all(weight > 0 for weight in weights.values()):
        raise OperatorError(
            "every check needs a share of the false-alarm budget",
            expected=f"weights above 0 for {', '.join(sorted(observation_seconds))}",
            got=", ".join(f"{check}: {weight:g}" for check, weight in sorted(weights.items())),
        )
    total, shares = sum(weights.values()), {}
    for check, seconds in observation_seconds.items():
        share = weights[check] / total
        length = budget.run_length_seconds / (seconds * share)
        if length < 2:
            raise OperatorError(
                "the false-alarm budget allows an alarm at every observation",
                where=f"check {check}",
                expected=f"at most one false alarm in {format_duration(2 * seconds)}",
                got=str(budget),
            )
        shares[check] = Share(check, share, length, seconds)
    return shares


@dataclass(frozen=True)
class BudgetUse:
    """How far one check has used what it holds.

    `evidence`, `threshold`: nats. `false_alarms`: the false alarms that its observations so far allow, at most (a
    fraction of the model's budget per period). `observations`: how many it has seen.
    """

    check: str
    share: float
    run_length: float
    observations: int
    false_alarms: float
    evidence: float
    threshold: float

    @property
    def over(self) -> bool:
        """Whether the evidence has reached the check's share of the budget."""
        return self.evidence >= self.threshold


def budget_use(share: Share, evidence: Evidence) -> BudgetUse:
    """Use of a share by the evidence of its check."""
    used = evidence.observations / share.run_length
    return BudgetUse(
        share.check,
        share.share,
        share.run_length,
        evidence.observations,
        used,
        evidence.log_evidence,
        share.log_threshold,
    )


def false_discovery_rates(p_values: Sequence[float]) -> Floats:
    """Benjamini–Hochberg adjusted p-values in the order given, float64 [m], 0–1; for ordering an explanation only.

    q_(i) = min over j ≥ i of p_(j) · m / j, at most 1. Guarantee: for one look at independent or positively dependent
    columns, naming those with q ≤ α names in the mean at most a share α wrongly. It holds for no repeated look, so it
    never decides an alarm. Source: Benjamini, Hochberg, J. R. Statist. Soc. B 57 (1995).
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    adjusted = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    result = np.empty_like(p)
    result[order] = adjusted
    return result
