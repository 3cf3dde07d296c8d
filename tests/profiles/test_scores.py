"""Score cells: in order, narrow towards 0 and 1, and the same for every profile."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.profiles.scores import ScoreCells

CELLS = ScoreCells(5)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=50))
def test_a_larger_probability_is_never_in_a_lower_cell(values: list[float]) -> None:
    ordered = np.sort(np.array(values))
    cells = CELLS.cells(ordered)
    assert (np.diff(cells) >= 0).all()
    assert cells.min() >= 0
    assert cells.max() < CELLS.size


@pytest.mark.parametrize("bits", [2, 3, 4, 5])
def test_the_middle_of_a_cell_is_in_it_and_mirrors_that_of_the_complement(bits: int) -> None:
    cells = ScoreCells(bits)
    assert cells.cells(cells.middles).tolist() == list(range(cells.size))
    assert cells.middles + cells.middles[::-1] == pytest.approx(1)


def test_a_cell_is_no_wider_than_its_share_of_the_distance_from_certainty() -> None:
    p = np.random.default_rng(1).random(100_000) ** 4
    seen = CELLS.middles[CELLS.cells(p)]
    inside = np.minimum(p, 1 - p) > 2.0**-24
    assert (np.abs(seen - p) <= np.minimum(p, 1 - p) / 32)[inside].all()


def test_certainty_is_in_the_outermost_cells_and_one_half_in_the_upper_half() -> None:
    assert CELLS.cells(np.array([0.0, 1e-300, 0.5, np.nextafter(0.5, 0), 1.0])).tolist() == [
        0,
        0,
        CELLS.size // 2,
        CELLS.size // 2 - 1,
        CELLS.size - 1,
    ]


def test_more_classes_have_fewer_cells_each_and_never_more_than_a_hundred_need() -> None:
    sizes = [ScoreCells.of(classes).size for classes in (2, 10, 11, 20, 40, 100)]
    assert sizes == [1472, 1472, 736, 736, 368, 184]
