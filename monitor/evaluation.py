"""One window's evaluation: merged profiles in, a judged result out. Pure.

What lives here: which statistics a window has, its coverage, maturity and verdicts. What must not: formulas, storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from monitor.label_join import Maturity
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.outcome import OutcomeProfile
from monitor.settings import ModelSettings
from monitor.statistics import summary
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import SegmentDrift, segment_statistics
from monitor.verdict import WindowResult, judge
from monitor.windows import Window


def evaluate_window(
    settings: ModelSettings,
    version: str,
    reference: Reference,
    window: Window,
    inputs: Profile,
    outcomes: OutcomeProfile,
    *,
    maturity: Maturity,
    revision: int,
    rolling: bool = False,
    columns: Mapping[str, Mapping[str, Result]] | None = None,
    drift: SegmentDrift | None = None,
) -> WindowResult:
    """Every statistic of the window with its verdicts.

    `columns` and `drift` (by segment) are those of the same inputs, if they are known.

    `inputs` and `outcomes` are the merged profiles of the window's panes, repeats removed; coverage is labelled
    predictions over predictions, undefined (absent) without predictions.
    """
    predictions, labels = inputs.rows, outcomes.rows
    coverage: Result = (
        Estimate(labels / predictions, predictions) if predictions else Absent(Reason.NO_ROWS, 0, "no predictions")
    )
    values: dict[str, Result] = {
        "label_coverage": coverage,
        **summary.outcome_statistics(reference, outcomes),
        **summary.estimated_statistics(reference, inputs),
    }
    if columns is None:
        columns = summary.column_statistics(reference, inputs)
    verdicts = judge(settings.checks, values, columns, summary.reference_values(reference))
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
        columns=columns,
        verdicts=verdicts,
        rolling=rolling,
        segments=segment_statistics(reference, inputs, outcomes, drift) if inputs.segments else {},
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
