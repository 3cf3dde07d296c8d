"""Kolmogorov and Smirnov's statistic of two profiles is SciPy's of the rows, within the bound that it states."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ks_2samp

from monitor.profiles.numeric import NumericProfile
from monitor.profiles.standardise import standardise
from monitor.statistics.atoms import atoms
from monitor.statistics.divergence import kolmogorov_smirnov
from monitor.statistics.result import Estimate


@pytest.mark.parametrize("seed", range(20))
def test_probabilities_below_the_end_of_the_logit_axis_are_not_taken_for_one_value(seed: int) -> None:
    # A sure classifier gives most classes less than 1e-7, where the axis ends: stretches there have no width.
    rng = np.random.default_rng(seed)
    reference, current = (10.0 ** rng.uniform(-12, -5, rows) for rows in (361, 130))
    standardisation = standardise(reference, "logit")
    old, new = (NumericProfile.build(rows, standardisation) for rows in (reference, current))
    found = kolmogorov_smirnov(old, new, atoms(old, new))
    assert isinstance(found, Estimate)
    exact = ks_2samp(reference, current, method="asymp").statistic
    assert found.value <= exact + 1e-12
    assert exact <= found.value + found.error_bound + 1e-12
