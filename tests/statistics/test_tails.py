"""Closed forms of tail probabilities are SciPy's, from the middle to where they are hardly anything."""

import numpy as np
import pytest
from scipy.special import chdtrc, kolmogorov
from scipy.stats import betabinom, norm

from monitor.statistics.tails import chi_square_tail, kolmogorov_tail, normal_tails, outside_tail


@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 10, 25, 64, 65, 66, 200, 999])
def test_the_chi_square_tail_is_that_of_scipy(degrees: int) -> None:
    for value in (0.0, 1e-9, 0.1, 1.0, degrees / 2, float(degrees), 2.0 * degrees, 10.0 * degrees, 1e6):
        assert chi_square_tail(value, degrees) == pytest.approx(chdtrc(degrees, value), rel=1e-9, abs=1e-300)
    assert chi_square_tail(-1e-12, degrees) == 1.0
    assert chi_square_tail(float("inf"), degrees) == 0.0


def test_without_degrees_of_freedom_there_is_no_tail() -> None:
    assert chi_square_tail(3.0, 0) is None


def test_kolmogorovs_and_the_normal_tails_are_those_of_scipy() -> None:
    for x in np.concatenate((np.linspace(0, 3, 301), [5.0, 10.0, 40.0])):
        assert kolmogorov_tail(float(x)) == pytest.approx(kolmogorov(x), rel=1e-9, abs=1e-14)
        assert normal_tails(float(-x)) == pytest.approx(2 * norm.sf(x), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize(("rows", "reference_rows"), [(1, 1), (300, 300), (285, 284), (1_000_000, 100_000), (50, 9)])
def test_what_lies_outside_by_chance_is_what_scipy_says(rows: int, reference_rows: int) -> None:
    for outside in sorted({1, 2, 5, 11, 40, rows} & set(range(rows + 1))):
        exact = betabinom.sf(outside - 1, rows, 2, reference_rows - 1) if reference_rows > 1 else 1.0
        assert outside_tail(outside, rows, reference_rows) == pytest.approx(exact, rel=1e-5, abs=1e-8)


def test_nothing_outside_is_no_surprise_and_more_than_there_is_impossible() -> None:
    assert outside_tail(0, 10, 10) == 1.0
    assert outside_tail(3, 10, 0) == 1.0
    assert outside_tail(11, 10, 10) == 0.0
