"""One window's evaluation: merged profiles in, a judged result out. Pure.

What lives here: which statistics a window has, its coverage, maturity and verdicts. What must not: formulas, storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from monitor.label_join import Maturity
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import OutcomeProfile
from monitor.settings import ModelSettings
from monitor.statistics import summary
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import SegmentDrift, segment_drift, segment_statistics
from monitor.verdict import WindowResult, judge
from monitor.windows import Window


@dataclass(frozen=True)
class InputStatistics:
    """What a window's inputs say by themselves, whatever labels come. `has_segments`: some are left to `profile`."""

    rows: int
    estimated: Mapping[str, Result]
    columns: Mapping[str, Mapping[str, Result]]
    drift: SegmentDrift
    has_segments: bool

    @classmethod
    def of(cls, reference: Reference, inputs: Profile) -> InputStatistics:
        """From the merged profile of a window's panes, repeats removed."""
        return cls(
            inputs.rows,
            summary.estimated_statistics(reference, inputs),
            summary.column_statistics(reference, inputs),
            segment_drift(reference, inputs),
            bool(inputs.segments),
        )


def evaluate_window(
    settings: ModelSettings,
    version: str,
    reference: Reference,
    window: Window,
    inputs: InputStatistics,
    outcomes: OutcomeProfile,
    *,
    maturity: Maturity,
    revision: int,
    rolling: bool = False,
    profile: Profile | None = None,
) -> WindowResult:
    """Every statistic of the window with its verdicts.

    `inputs` and `outcomes` are of the window's panes, repeats removed, and so is `profile`, which is needed where there
    are segments; coverage is labelled predictions over predictions, undefined (absent) without predictions.
    """
    predictions, labels = inputs.rows, outcomes.rows
    coverage: Result = (
        Estimate(labels / predictions, predictions) if predictions else Absent(Reason.NO_ROWS, 0, "no predictions")
    )
    values: dict[str, Result] = {
        "label_coverage": coverage,
        **summary.outcome_statistics(reference, outcomes),
        **inputs.estimated,
    }
    verdicts = judge(settings.checks, values, inputs.columns, summary.reference_values(reference))
    return WindowResult(
        model=settings.name,
        version=version,
        window=window,
        maturity=maturity,
        revision=revision,
        predictions=predictions,
        labels=labels,
        label_coverage=labels / predictions if predictions else None,
        values=values,
        columns=inputs.columns,
        verdicts=verdicts,
        rolling=rolling,
        segments={} if profile is None else segment_statistics(reference, profile, outcomes, inputs.drift),
        classes=summary.worst_class_statistics(reference, outcomes),
    )


def fingerprint(reference: str, panes: Iterable[tuple[str, int, str]]) -> str:
    """What a window was made of: the reference and (kind, start, digest) of every pane, as a hex digest.

    Two evaluations with the same fingerprint have the same values, so a window is revised only when it differs.
    """
    digest = hashlib.blake2b(reference.encode(), digest_size=16)
    for kind, start, content in panes:
        digest.update(f"{kind} {start} {content}\n".encode())
    return digest.hexdigest()
