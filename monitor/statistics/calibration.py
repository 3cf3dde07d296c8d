"""How far the confidence is from the accuracy at it.

What lives here: the expected calibration error and its interval. What must not: calibrators (they are frozen with the
reference, in `monitor.profiles.calibrators`).
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from monitor.profiles.outcome import ClassificationSums
from monitor.statistics.intervals import LEVEL, MINIMUM_N, normal_interval
from monitor.statistics.result import Absent, Estimate, Reason, Result


def expected_calibration_error(sums: ClassificationSums) -> Result:
    """ECE = Σ_cells |Σ confidence − Σ correct| / n over 20 equal cells of top confidence (Naeini et al. 2015), 0 to 1.

    The value is biased upwards: chance alone gives about Σ_cells √(2/π) √n_c sd_c / n to a calibrated model. The lower
    bound therefore gives that much way, and reaches 0 where chance explains the value; the interval is of the error in
    these cells, ± 1.96 standard errors by the delta method. It covers at least at its level, more where the error is
    small. Absent without labels; without an interval below 10 rows.
    """
    n = sums.scored
    if n == 0:
        return Absent(Reason.NO_LABELS)
    count, confidence, correct, squares = sums.calibration.T
    gaps = confidence - correct
    value = float(np.abs(gaps).sum()) / n
    if n < MINIMUM_N:
        return Estimate(value, n)
    within = np.maximum(squares - gaps**2 / np.maximum(count, 1), 0.0)
    chance = sqrt(2 / pi) * float(np.sqrt(within).sum()) / n
    # Σ over rows of (±(confidence − correct) − ECE)²: the sign of a cell is that of its gap, and squares away.
    variance = max(float(squares.sum()) / n - value**2, 0.0) / (n - 1)
    lower, upper = normal_interval(value, variance)
    return Estimate(value, n, max(lower - chance, 0.0), min(upper, 1.0), LEVEL)
