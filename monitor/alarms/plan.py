"""Which checks of a model may alarm, what each is weighed on, and its share of the false-alarm budget. Pure.

What lives here: from settings and a reference to the watches, and the effect of a window on each. What must not: state,
evidence that was consumed (that is `evidence`), clocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from monitor.alarms.evidence import label_interval_seconds
from monitor.alarms.transitions import AlarmSettings, Effect
from monitor.profiles.model_profile import Reference
from monitor.settings import ModelSettings
from monitor.statistics.embedding_drift import STATISTICS as EMBEDDING_STATISTICS
from monitor.statistics.evidence_cells import CellLayout, cell_layout
from monitor.statistics.evidence_counts import CellReference
from monitor.statistics.multiplicity import Share, split_budget
from monitor.statistics.result import Estimate
from monitor.statistics.risk_cells import RiskCells, risk_cells
from monitor.statistics.summary import reference_values
from monitor.verdict import LEARNING, Check, Threshold, WindowResult
from monitor.windows import format_duration

# Without an accepted rate of errors of its own, this much (0–1) over the reference's upper bound is accepted of a risk.
RISK_TOLERANCE = 0.01
_FROM_ERRORS = frozenset({"accuracy", "balanced_accuracy", "recall", "precision", "f1"})


@dataclass(frozen=True, eq=False)
class Watch:
    """One check that may alarm.

    `cells`: what inputs are counted in, or the risks that labels are. `threshold`: the tighter one of the operator's,
    which is what is tolerated. `own`: the reference's value of the metric. `null_tolerance`: what of the tolerance is
    inside the null of the evidence (nats of a column, or a difference of rates).
    """

    check: Check
    share: Share
    cells: CellLayout | RiskCells
    threshold: Threshold
    own: float | None
    null_tolerance: float
    settings: AlarmSettings

    @property
    def minimum_n(self) -> int:
        """Rows, or labels, below which an effect is not judged."""
        return self.settings.minimum_n

    @property
    def name(self) -> str:
        """Name of the check: its metric."""
        return self.check.metric

    @property
    def reference(self) -> CellReference:
        """The reference's counts in the cells."""
        return self.cells.reference

    @property
    def tolerance(self) -> float:
        """The tolerance in the unit of the effect."""
        limit = self.threshold.limit(self.own)
        assert limit is not None  # a plan watches no check without a limit
        if self.threshold.side == "above":
            return limit
        return 0.0 if self.own is None else self.own - limit


@dataclass(frozen=True, eq=False)
class AlarmPlan:
    """All checks of one version that may alarm, and why others may not."""

    watches: tuple[Watch, ...]
    unwatched: dict[str, str]


def alarm_plan(settings: ModelSettings, reference: Reference, versions: int = 1) -> AlarmPlan:
    """The watches of one version; `versions` that are watched at once share the model's budget equally."""
    values = reference_values(reference)
    found: dict[str, tuple[Check, CellLayout | RiskCells, float | None]] = {}
    unwatched: dict[str, str] = {}
    inputs = any(column.rows for column in reference.profile.columns.values())
    for check in settings.checks.columns:
        if check.metric in EMBEDDING_STATISTICS:
            unwatched[check.metric] = "evidence over time is weighed on columns, and an embedding is none"
        elif not inputs:
            unwatched[check.metric] = "the reference has no column that holds rows"
        elif tolerated(check).learnt:
            unwatched[check.metric] = LEARNING
        else:
            found[check.metric] = (check, cell_layout(reference), None)
    for check in settings.checks.values:
        cells, own = risk_cells(check.metric, reference), values.get(check.metric)
        if isinstance(cells, str):
            unwatched[check.metric] = cells
        elif tolerated(check).learnt:
            unwatched[check.metric] = LEARNING
        elif tolerated(check).limit(own) is None:
            unwatched[check.metric] = "its limit is relative to the reference, which has no value of it"
        else:
            found[check.metric] = (check, cells, own)
    shares = budget_shares(settings, {name: isinstance(item[1], RiskCells) for name, item in found.items()}, versions)
    return AlarmPlan(
        tuple(_watch(settings, shares[name], *item) for name, item in found.items()),
        unwatched,
    )


def budget_shares(settings: ModelSettings, labelled: dict[str, bool], versions: int = 1) -> dict[str, Share]:
    """The share of every check, by whether it is weighed on labels; equal shares of equal versions."""
    if not labelled:
        return {}
    observed = settings.observations
    seconds = {
        check: label_interval_seconds(observed) if is_labelled else observed.length_seconds
        for check, is_labelled in labelled.items()
    }
    budget = replace(settings.false_alarms, alarms=settings.false_alarms.alarms / max(versions, 1))
    return split_budget(budget, seconds)


def assumption(settings: ModelSettings) -> str:
    """What must be true of the traffic for the promised run length, for people; printed next to the budget."""
    observed, effect = settings.observations, settings.observations.design_effect
    length = format_duration(observed.length_seconds)
    alike = {
        "off": f"stretches of {length} are alike",
        "season": f"stretches of {length} are alike (what repeats within one does not matter)",
        "phase": f"stretches of {length} are like those of the same phase of other seasons",
    }["off" if observed.season_seconds is None else observed.match]
    divided = "" if effect == 1 else f" after counts are divided by {effect:g}"
    return (
        f"The budget holds where {alike}, rows within one are independent{divided}, and whether or when a label "
        "arrives does not depend on the loss. trueup doctor judges the first two on your own traffic."
    )


def alarm_window_seconds(settings: ModelSettings) -> float:
    """The windows whose effect is judged: the shortest that hold a whole observation, else the longest there are."""
    lengths = sorted(settings.windows.window_seconds)
    needed = settings.observations.length_seconds
    return next((length for length in lengths if length >= needed), lengths[-1])


def tolerated(check: Check) -> Threshold:
    """What the operator tolerates: up to the first of the two limits, that are known."""
    limits = [item for item in (check.warning, check.critical) if item is not None]
    return next((item for item in limits if not item.learnt), limits[0])


def window_effect(watch: Watch, result: WindowResult) -> Effect:
    """The effect of a window on a check; larger is worse.

    A limit from above is the tolerance of the value itself. With one from below the effect is how far the value fell
    from the reference's own, or under the limit where the reference has none.
    """
    end, revision = result.window.end, result.revision
    if isinstance(watch.cells, CellLayout):
        found = [statistics.get(watch.name) for statistics in result.columns.values()]
        present = [item for item in found if isinstance(item, Estimate)]
        judged = [item for item in present if item.n >= watch.minimum_n]
        worst = max(judged or present, key=lambda item: item.value, default=None)
    else:
        value = result.values.get(watch.name)
        worst = value if isinstance(value, Estimate) else None
    tolerance = watch.tolerance
    if worst is None:
        return Effect(None, tolerance, 0, end, revision)
    return Effect(_harm(watch, worst.value), tolerance, worst.n, end, revision)


def _harm(watch: Watch, value: float) -> float:
    if watch.threshold.side == "above":
        return value
    base = watch.own if watch.own is not None else watch.threshold.limit(None)
    assert base is not None
    return base - value


def _watch(
    settings: ModelSettings, share: Share, check: Check, cells: CellLayout | RiskCells, own: float | None
) -> Watch:
    checks, threshold = settings.checks, tolerated(check)
    limit = threshold.limit(own)
    assert limit is not None
    if isinstance(cells, CellLayout):
        patient = replace(settings.alarms, minimum_n=checks.minimum_rows)
        return Watch(check, share, cells, threshold, own, tolerated_radius(check.metric, limit), patient)
    patient = replace(settings.alarms, minimum_n=checks.minimum_labels)
    accepted = own - limit if check.metric in _FROM_ERRORS and own is not None else RISK_TOLERANCE
    return Watch(check, share, cells, threshold, own, max(accepted, 0.0), patient)


def tolerated_radius(metric: str, limit: float) -> float:
    """Nats of KL(reference ‖ p) that stand for a tolerated distance, for the null of the evidence.

    PSI: half of it. Jensen–Shannon distance d (base 2): 4 ln 2 d², equal to second order. Kolmogorov–Smirnov D: 2 D²,
    within which D is never exceeded (Pinsker). Of any other nothing is inside the null; the effect alone is held
    against it.
    """
    if metric.startswith("population_stability_index"):
        return max(limit, 0.0) / 2.0
    if metric == "jensen_shannon_distance":
        return 2.772588722239781 * limit * limit
    if metric == "kolmogorov_smirnov_statistic":
        return 2.0 * limit * limit
    return 0.0
