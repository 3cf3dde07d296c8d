"""The null region of a reference, and that no distribution in it makes counts likelier than the bound says."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize
from scipy.stats import beta, chi2, norm

from monitor.errors import DefectError
from monitor.statistics.drift_model import DriftModel, drift_model, psi_radius
from monitor.statistics.evidence_counts import CellReference
from monitor.statistics.null_likelihood import ball_likelihood, largest_null_likelihood


def deciles(rows: int = 10_000) -> CellReference:
    return CellReference(("x",), (11,), (10,), np.array([rows // 10] * 10 + [rows // 100]))


def categories(*counts: int) -> CellReference:
    return CellReference(("kind",), (len(counts),), (0,), np.array(counts))


def divergence(share: np.ndarray, p: np.ndarray) -> float:
    used = share > 0
    return float(np.sum(share[used] * np.log(share[used] / p[used])))


def inside(model: DriftModel, p: np.ndarray) -> bool:
    """Whether a distribution is in the null region of the only column."""
    score = float(model.scores @ p)
    return bool(
        divergence(model.share, p) <= model.radius[0]
        and (model.lower <= p).all()
        and (p <= model.upper).all()
        and (not model.scored[0] or model.score_low[0] <= score <= model.score_high[0])
    )


def likelihood(counts: np.ndarray, p: np.ndarray) -> float:
    used = counts > 0
    return float(np.sum(counts[used] * np.log(p[used])))


class TestRegion:
    def test_ball_cells_and_mean_score_share_the_miss(self) -> None:
        model = drift_model(deciles(), miss=0.01)
        rows = 10_100
        assert model.radius[0] == pytest.approx(chi2.isf(0.004, 10) / (2 * rows))
        assert model.upper[0] == pytest.approx(beta.ppf(1 - 0.003 / 22, 1001, rows - 1000))
        assert model.lower[10] == pytest.approx(beta.ppf(0.003 / 22, 100, rows - 99))
        width = model.score_high[0] - model.score_low[0]
        assert width == pytest.approx(2 * norm.isf(0.0015) * math.sqrt(1000 / 1010 * 1.01 / rows), rel=0.01)

    def test_categories_share_it_between_ball_and_cells(self) -> None:
        model = drift_model(categories(30, 70), miss=0.014)
        assert model.radius[0] == pytest.approx(chi2.isf(0.008, 1) / 200)
        assert model.upper[0] == pytest.approx(beta.ppf(1 - 0.0015, 31, 70))
        assert not model.scored[0]

    def test_the_miss_is_shared_by_the_columns(self) -> None:
        both = CellReference(("a", "b"), (2, 2), (0, 0), np.array([30, 70, 30, 70]))
        assert drift_model(both, miss=0.028).radius[0] == pytest.approx(
            drift_model(categories(30, 70), miss=0.014).radius[0]
        )

    def test_a_design_effect_widens_it_as_fewer_rows_would(self) -> None:
        wide, small = drift_model(deciles(10_000), design_effect=10.0), drift_model(deciles(1_000))
        assert wide.radius == pytest.approx(small.radius)
        assert wide.upper == pytest.approx(small.upper)
        assert wide.score_high == pytest.approx(small.score_high, rel=1e-3)

    def test_the_distribution_behind_a_reference_is_inside_as_often_as_promised(self) -> None:
        """600 references of 2,000 rows with rare cells: 0.01 may miss; 5 % of them are outside a region of 5 %."""
        rng = np.random.default_rng(81)
        truth = np.array([0.1] * 9 + [0.095, 0.005])
        outside = {0.01: 0, 0.3: 0}
        for _ in range(600):
            counts = rng.multinomial(2000, truth)
            for miss in outside:
                outside[miss] += not inside(drift_model(CellReference(("x",), (11,), (10,), counts), miss=miss), truth)
        assert outside[0.01] <= 12
        assert 0 < outside[0.3] / 600 <= 0.3

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.floats(0.001, 1), min_size=11, max_size=11), st.floats(0, 1), st.sampled_from([0.01, 0.1, 0.5]))
    def test_all_that_is_tolerated_is_inside(self, weights: list[float], mix: float, tolerance: float) -> None:
        model = drift_model(deciles(), tolerance=tolerance)
        end = np.array(weights) / sum(weights)
        p = model.share + mix * (end - model.share)
        while divergence(model.share, p) > tolerance:
            p = model.share + 0.8 * (p - model.share)
        assert inside(model, p)

    def test_empty_and_full_cells_may_move_as_far_as_the_tolerance_says(self) -> None:
        model = drift_model(categories(1000, 0), tolerance=0.1)
        assert model.upper[1] == pytest.approx(1 - math.exp(-0.1))
        assert model.lower[0] == pytest.approx(math.exp(-0.1))

    def test_a_tolerated_psi_is_half_of_it_in_nats(self) -> None:
        """Second order: a shift of a tenth of a standard deviation, PSI 0.0096 on deciles."""
        edges = np.concatenate(([-np.inf], norm.ppf(np.arange(1, 10) / 10), [np.inf]))
        p, r = np.diff(norm.cdf(edges - 0.1)), np.full(10, 0.1)
        psi = float(np.sum((p - r) * np.log(p / r)))
        assert divergence(r, p) == pytest.approx(psi_radius(psi), rel=0.05)

    def test_a_null_that_cannot_be_is_refused(self) -> None:
        with pytest.raises(DefectError, match="tolerance >= 0, design effect >= 1"):
            drift_model(categories(5, 5), design_effect=0.5)
        with pytest.raises(DefectError, match="tolerance >= 0, design effect >= 1"):
            drift_model(categories(5, 5), tolerance=-0.1)


def ball_by_bisection(counts: np.ndarray, share: np.ndarray, radius: float) -> float:
    observed = counts / counts.sum()

    def excess(w: float) -> float:
        return divergence(share, (1 - w) * observed + w * share) - radius

    w = 0.0 if (observed[share > 0] > 0).all() and excess(0.0) <= 0 else brentq(excess, 1e-13, 1.0, xtol=1e-14)
    return likelihood(counts, (1 - w) * observed + w * share)


class TestLargestLikelihood:
    def test_the_maximum_over_the_ball_equals_bisection(self) -> None:
        rng = np.random.default_rng(5)
        for _ in range(100):
            cells = int(rng.integers(2, 12))
            known = rng.integers(0, 200, size=cells)
            known[0] += 1
            model = drift_model(categories(*known), tolerance=float(rng.choice([0.0, 0.001, 0.05, 0.5])))
            counts = rng.multinomial(int(rng.integers(1, 3000)), rng.dirichlet(np.full(cells, 0.5)))[None].astype(float)
            ours = ball_likelihood(counts, counts / counts.sum(), model)[0, 0]
            exact = ball_by_bisection(counts[0], model.share, float(model.radius[0]))
            assert ours == pytest.approx(exact, rel=1e-7, abs=1e-6)
            assert ours >= exact - 1e-7

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(st.integers(0, 400), min_size=11, max_size=11),
        st.lists(st.floats(-1, 1), min_size=11, max_size=11),
        st.sampled_from([0.0, 0.02]),
    )
    def test_no_distribution_in_the_region_makes_counts_likelier(
        self, counts: list[int], direction: list[float], tolerance: float
    ) -> None:
        model = drift_model(deciles(2000), tolerance=tolerance)
        p = model.share * np.exp(np.array(direction))
        p /= p.sum()
        while not inside(model, p):
            p = model.share + 0.9 * (p - model.share)
        seen = np.array(counts, dtype=float)
        assert largest_null_likelihood(seen[None], model)[0, 0] >= likelihood(seen, p) - 1e-9

    def test_counts_inside_the_region_have_their_own_likelihood(self) -> None:
        model = drift_model(deciles())
        seen = np.array([[100.0] * 10 + [10.0]])
        assert largest_null_likelihood(seen, model)[0, 0] == pytest.approx(likelihood(seen[0], seen[0] / 1010))

    def test_two_cells_are_held_to_the_nearer_end_of_their_interval(self) -> None:
        model = drift_model(categories(300, 700))
        seen = np.array([[60.0, 40.0]])
        ball = brentq(lambda p: divergence(model.share, np.array([p, 1 - p])) - model.radius[0], 0.3, 0.9)
        end = min(ball, model.upper[0], 1 - model.lower[1])
        expected = likelihood(seen[0], np.array([end, 1 - end]))
        assert largest_null_likelihood(seen, model)[0, 0] == pytest.approx(expected, abs=1e-6)

    def test_a_shift_is_held_to_the_interval_of_its_mean_score(self) -> None:
        """Against SLSQP on the same problem, where the ball and the cells do not bind."""
        model = drift_model(deciles())
        edges = norm.ppf(np.arange(1, 10) / 10)
        moved = np.append(np.diff(np.concatenate(([0.0], norm.cdf(edges - 0.1), [1.0]))) * 0.99, 0.01)
        seen = np.round(50_000 * moved)[None]
        start = model.share + 1e-4
        found = minimize(
            lambda p: -float(seen[0] @ np.log(p)) / 50_000,
            start / start.sum(),
            method="SLSQP",
            bounds=[(1e-6, 1)] * 11,
            constraints=[
                {"type": "eq", "fun": lambda p: p.sum() - 1},
                {"type": "ineq", "fun": lambda p: model.score_high[0] - model.scores @ p},
            ],
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert found.success
        assert largest_null_likelihood(seen, model)[0, 0] == pytest.approx(-50_000 * found.fun, abs=0.5)

    def test_columns_without_rows_and_cells_without_counts_are_never_nan(self) -> None:
        model = drift_model(categories(500, 0, 0))
        for seen in ([0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0], [9.0, 0.0, 0.0]):
            assert np.isfinite(largest_null_likelihood(np.array([seen]), model)).all()
        assert largest_null_likelihood(np.zeros((1, 3)), model)[0, 0] == 0.0
