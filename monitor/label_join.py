"""How predictions and labels become outcomes, and when a window's truth is complete.

What lives here: settings and pure rules of the label join (winners, maturity). What must not: reading tables, clocks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from monitor.windows import MICROSECONDS, Window

Maturity = Literal["provisional", "final"]


@dataclass(frozen=True)
class LabelSettings:
    """What is expected of ground truth.

    `horizon_seconds`: after a window's end plus this, its labels are taken to be all there. `final_at_coverage`: the
    share of `expected_coverage` at which a window is final earlier. `expected_coverage`: the share of predictions that
    are ever labelled (0–1]. `minimum`: labels below which performance is not judged.
    """

    horizon_seconds: float = 14 * 86_400.0
    final_at_coverage: float = 0.95
    expected_coverage: float = 1.0
    minimum: int = 200


def maturity(window: Window, predictions: int, labels: int, settings: LabelSettings, now: int) -> Maturity:
    """`final` once coverage reached its goal or the label horizon has passed, else `provisional`."""
    if now >= window.end + round(settings.horizon_seconds * MICROSECONDS):
        return "final"
    # Less what the product of two fractions may be rounded up by: 90 of 10,000 are 0.9 of 0.01.
    goal = settings.final_at_coverage * settings.expected_coverage * (1 - 1e-9)
    return "final" if predictions and labels >= goal * predictions else "provisional"
