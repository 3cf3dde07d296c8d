"""What a check is judged with beside its evidence: null regions, built once, and what else stays the same for a while.

What lives here: from settings and a watch to the context that `judge` takes. What must not: evidence, state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from monitor.alarms import evidence
from monitor.alarms.evidence import CheckEvidence
from monitor.alarms.judge import Context
from monitor.alarms.plan import Watch, tolerated
from monitor.settings import ModelSettings
from monitor.statistics.drift_model import DriftModel, drift_model
from monitor.statistics.evidence_cells import CellLayout

# Null regions kept in memory: one for each check, version and phase.
_KEPT = 512


def detectors_of(watch: Watch, settings: ModelSettings) -> int:
    """How many detectors a check has: one for each phase of the season, of inputs."""
    return settings.observations.phases if isinstance(watch.cells, CellLayout) else 1


@dataclass
class NullRegions:
    """Null regions by reference, tolerance and number of phases."""

    _kept: dict[tuple[str, float, int, float], DriftModel] = field(default_factory=dict)

    def of(self, watch: Watch, detector: CheckEvidence, phases: int, design_effect: float) -> DriftModel:
        """The null region of a check, of one of `phases` detectors."""
        reference = evidence.phase_reference(detector, watch.reference)
        key = (reference.identity, watch.null_tolerance, phases, design_effect)
        if key not in self._kept:
            if len(self._kept) >= _KEPT:
                self._kept.clear()
            self._kept[key] = drift_model(reference, watch.null_tolerance, design_effect, 0.01 / phases)
        return self._kept[key]

    def context(self, settings: ModelSettings, watch: Watch, own: Mapping[str, float]) -> Context:
        """What a check of these settings is judged with; `own`: the reference's own values, by metric."""
        observed, phases = settings.observations, detectors_of(watch, settings)
        return Context(
            observed,
            own,
            {check.metric: tolerated(check) for check in settings.checks.values},
            settings.checks.minimum_labels,
            lambda detector: self.of(watch, detector, phases, observed.design_effect),
        )
