"""Evidence of drift: its formulas, that it stays quiet, and that the same build which is quiet detects."""

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammaln
from scipy.stats import norm

from monitor.errors import DefectError
from monitor.statistics.drift_model import drift_model, psi_radius
from monitor.statistics.evidence_counts import CellReference, EvidenceCounts, flat_counts, no_evidence, observe
from monitor.statistics.sequential import Evidence, combine_phases, composite_evidence, early_warning, shiryaev_roberts

EDGES = norm.ppf(np.arange(1, 10) / 10)
ROWS = 500
CATEGORIES = np.array([0.5, 0.25, 0.15, 0.08, 0.02, 0.0, 0.0])


def numeric(shift: float = 0.0, missing: float = 0.01) -> np.ndarray:
    """Cell probabilities of a normal column in the reference's deciles, null last."""
    deciles = np.diff(np.concatenate(([0.0], norm.cdf(EDGES - shift), [1.0])))
    return np.append(deciles * (1 - missing), missing)


QUIET = [numeric()] * 4 + [CATEGORIES]
SIZES, ORDERED = (11,) * 4 + (7,), (10,) * 4 + (0,)
NAMES = ("a", "b", "c", "d", "kind")


def sample(rng: np.random.Generator, probabilities: list, rows: int = ROWS) -> np.ndarray:
    return flat_counts([rng.multinomial(rows, p) for p in probabilities])


def reference(rng: np.random.Generator, rows: int = 10_000) -> CellReference:
    return CellReference(NAMES, SIZES, ORDERED, sample(rng, QUIET, rows))


def two_cells(above: int, below: int) -> CellReference:
    return CellReference(("x",), (2,), (0,), np.array([above, below]))


class TestCompositeNull:
    def test_an_e_value_is_alternatives_over_the_largest_likelihood_in_the_ball(self) -> None:
        """Hand-worked on two cells: the ball is an interval of p, its nearer end the maximiser."""
        ref = two_cells(300, 700)
        model = drift_model(ref, tolerance=0.02)
        state = observe(no_evidence(ref), np.array([60, 40]))
        end = brentq(lambda p: 0.3 * math.log(0.3 / p) + 0.7 * math.log(0.7 / (1 - p)) - 0.02, 0.3, 0.9)
        null = 60 * math.log(end) + 40 * math.log(1 - end)
        prior = np.array([300.5, 700.5]) / 1001
        mixtures = []
        for concentration, weight in ((20.0, 0.25), (200.0, 0.25), (30.0, 0.25), (30.0, 0.25)):
            # Of two cells, "one cell changed" is a Beta as well, once for each of them.
            a, b = concentration * prior
            terms = gammaln(a + b) - gammaln(a + b + 100) + gammaln(a + 60) - gammaln(a) + gammaln(b + 40) - gammaln(b)
            mixtures.append(math.log(weight) + float(terms))
        expected = np.logaddexp.reduce(mixtures) - null
        assert composite_evidence(state, model).log_evidence == pytest.approx(float(expected), abs=1e-9)

    def test_starts_are_summed_and_columns_averaged(self) -> None:
        ref = CellReference(("x", "y"), (2, 2), (0, 0), np.array([50, 50, 30, 70]))
        log_e = np.log([[1.0, 2.0], [3.0, 10.0]])
        state = observe(observe(no_evidence(ref), np.array([1, 1, 1, 1])), np.array([1, 1, 1, 1]))
        evidence = shiryaev_roberts(log_e, state, ref)
        assert evidence.columns == pytest.approx({"x": math.log(4), "y": math.log(12)})
        assert evidence.log_evidence == pytest.approx(math.log(8))
        assert evidence.since == {"x": 2, "y": 2}

    def test_its_mean_is_at_most_one_for_every_distribution_in_the_ball(self) -> None:
        """Exact, over all outcomes of 40 rows in two cells, at the reference and at both ends of the ball."""
        ref = two_cells(30, 70)
        model = drift_model(ref, tolerance=0.05)
        ends = [
            brentq(lambda p: 0.3 * math.log(0.3 / p) + 0.7 * math.log(0.7 / (1 - p)) - model.radius[0], *side)
            for side in ((1e-6, 0.3), (0.3, 1 - 1e-6))
        ]
        values = [
            math.exp(composite_evidence(observe(no_evidence(ref), np.array([k, 40 - k])), model).log_evidence)
            for k in range(41)
        ]
        for p in (0.3, *ends):
            mean = sum(math.comb(40, k) * p**k * (1 - p) ** (40 - k) * e for k, e in enumerate(values))
            assert mean <= 1.0
        outside = sum(math.comb(40, k) * 0.9**k * 0.1 ** (40 - k) * e for k, e in enumerate(values))
        assert outside > 10

    def test_cells_that_the_reference_never_saw_give_evidence_and_not_nan(self) -> None:
        """A 0·log 0 once silenced a detector that looked perfectly quiet."""
        ref = CellReference(("kind",), (7,), (0,), np.array([500, 250, 150, 80, 20, 0, 0]))
        state = observe(no_evidence(ref), np.array([0, 0, 0, 0, 0, 100, 100]))
        evidence = composite_evidence(state, drift_model(ref))
        assert math.isfinite(evidence.log_evidence)
        assert evidence.log_evidence > 100
        warning = early_warning(state, drift_model(ref))
        assert math.isfinite(warning.log_evidence)
        assert warning.log_evidence > 100

    def test_a_column_without_rows_neither_adds_evidence_nor_breaks_the_others(self) -> None:
        rng = np.random.default_rng(3)
        ref = reference(rng)
        counts = sample(rng, [numeric(1.0), *QUIET[1:]])
        counts[11:22] = 0
        evidence = composite_evidence(observe(no_evidence(ref), counts), drift_model(ref))
        assert evidence.columns["b"] == pytest.approx(0.0, abs=1e-9)
        assert evidence.columns["a"] > 50

    def test_evidence_that_is_not_a_number_stops_the_detector(self) -> None:
        ref = two_cells(5, 5)
        state = observe(no_evidence(ref), np.array([1, 1]))
        with pytest.raises(DefectError, match="x: evidence is not a number"):
            shiryaev_roberts(np.array([[math.nan]]), state, ref)

    def test_evidence_of_another_reference_is_refused(self) -> None:
        state = observe(no_evidence(two_cells(5, 5)), np.array([1, 1]))
        with pytest.raises(DefectError, match="evidence of another reference"):
            composite_evidence(state, drift_model(two_cells(6, 5)))

    def test_before_any_observation_there_is_no_evidence(self) -> None:
        ref = two_cells(5, 5)
        assert composite_evidence(no_evidence(ref), drift_model(ref)) == Evidence(
            0, -math.inf, {"x": -math.inf}, {"x": 0}
        )


class TestQuietAndDetecting:
    """Every build that is shown to be quiet is shown to detect with the same reference, model and limit."""

    RUN_LENGTH = 500

    def run(self, seed: int, drift: list, quiet: int, drifted: int, rows: int = 10_000, **model: float) -> tuple:
        rng = np.random.default_rng(seed)
        ref = reference(rng, rows)
        prepared = drift_model(ref, **model)
        limit = math.log(self.RUN_LENGTH)
        state, false_alarms = no_evidence(ref), 0
        for _ in range(quiet):
            state = observe(state, sample(rng, QUIET))
            if composite_evidence(state, prepared).log_evidence >= limit:
                false_alarms, state = false_alarms + 1, no_evidence(ref)
        for pane in range(1, drifted + 1):
            state = observe(state, sample(rng, drift))
            evidence = composite_evidence(state, prepared)
            if evidence.log_evidence >= limit:
                return false_alarms, pane, max(evidence.columns, key=evidence.columns.__getitem__), evidence
        return false_alarms, None, None, None

    @pytest.mark.parametrize(
        ("drift", "within"),
        [
            ([numeric(0.25), *QUIET[1:]], 3),
            ([numeric(0.5), *QUIET[1:]], 1),
            ([numeric(0.0, missing=0.05), *QUIET[1:]], 4),
        ],
    )
    def test_quiet_for_its_run_length_then_quick(self, drift: list, within: int) -> None:
        results = [self.run(seed, drift, quiet=150, drifted=10) for seed in range(5)]
        assert sum(false for false, *_ in results) == 0
        assert all(pane is not None for _, pane, *_ in results)
        assert np.median([pane for _, pane, *_ in results]) <= within
        assert all(column == "a" for *_, column, _ in results)

    def test_a_category_shift_is_found_and_named(self) -> None:
        moved = CATEGORIES + np.array([-0.15, 0.15, 0, 0, 0, 0, 0])
        false, pane, column, _ = self.run(3, [*QUIET[:4], moved], quiet=100, drifted=5)
        assert (false, column) == (0, "kind")
        assert pane is not None
        assert pane <= 2

    def test_a_small_reference_is_quiet_and_still_detects(self) -> None:
        results = [self.run(seed, [numeric(0.5), *QUIET[1:]], quiet=150, drifted=10, rows=2000) for seed in range(6)]
        assert sum(false for false, *_ in results) == 0
        assert all(pane is not None and pane <= 3 for _, pane, *_ in results)

    def test_drift_inside_the_tolerance_never_alarms_and_beyond_it_does(self) -> None:
        tolerated = psi_radius(0.1)
        inside = [numeric(0.25), *QUIET[1:]]  # PSI 0.06
        outside = [numeric(0.5), *QUIET[1:]]  # PSI 0.24
        assert self.run(1, inside, quiet=20, drifted=200, tolerance=tolerated)[1] is None
        false, pane, *_ = self.run(1, outside, quiet=20, drifted=20, tolerance=tolerated)
        assert false == 0
        assert pane is not None

    def test_the_start_with_most_evidence_is_where_the_drift_began(self) -> None:
        _, pane, column, evidence = self.run(2, [numeric(0.25), *QUIET[1:]], quiet=60, drifted=10)
        assert pane is not None
        assert evidence.since[column] == pytest.approx(61, abs=2)

    def test_every_row_in_five_copies_alarms_at_once_unless_counts_are_divided(self) -> None:
        rng = np.random.default_rng(8)
        ref = CellReference(NAMES, SIZES, ORDERED, 5 * sample(rng, QUIET, 2000))
        naive, divided = drift_model(ref), drift_model(ref, design_effect=5.0)
        state, naive_alarms, divided_alarms = no_evidence(ref), 0, 0
        for _ in range(100):
            state = observe(state, 5 * sample(rng, QUIET, 100))
            naive_alarms += composite_evidence(state, naive).log_evidence >= math.log(100)
            divided_alarms += composite_evidence(state, divided).log_evidence >= math.log(100)
        assert naive_alarms > 50
        assert divided_alarms == 0
        for _ in range(10):
            state = observe(state, 5 * sample(rng, [numeric(0.5), *QUIET[1:]], 100))
        assert composite_evidence(state, divided).log_evidence >= math.log(100)

    def test_dividing_copies_away_gives_exactly_the_evidence_of_the_rows(self) -> None:
        rng = np.random.default_rng(9)
        plain, copied = sample(rng, QUIET, 2000), sample(rng, [numeric(0.3), *QUIET[1:]], 200)
        one = CellReference(NAMES, SIZES, ORDERED, plain)
        five = CellReference(NAMES, SIZES, ORDERED, 5 * plain)
        a = composite_evidence(observe(no_evidence(one), copied), drift_model(one))
        b = composite_evidence(observe(no_evidence(five), 5 * copied), drift_model(five, design_effect=5.0))
        # The half row of smoothing is half of a copied row there, so equal only nearly.
        assert a.log_evidence == pytest.approx(b.log_evidence, rel=0.01)


class TestEarlyWarning:
    def test_it_warns_of_a_small_shift_before_the_composite_null_does(self) -> None:
        rng, limit = np.random.default_rng(21), math.log(500)
        ref = reference(rng)
        model, state = drift_model(ref), no_evidence(ref)
        for _ in range(40):
            state = observe(state, sample(rng, QUIET))
            assert early_warning(state, model).log_evidence < limit
        warned = decided = None
        for pane in itertools.count(1):
            state = observe(state, sample(rng, [numeric(0.15), *QUIET[1:]]))
            if warned is None and early_warning(state, model).log_evidence >= limit:
                warned = pane
            if composite_evidence(state, model).log_evidence >= limit:
                decided = pane
                break
            assert pane < 60
        assert warned is not None
        assert warned < decided

    def test_it_absorbs_a_drift_that_stays_which_is_why_it_never_decides(self) -> None:
        rng = np.random.default_rng(22)
        ref = reference(rng, 2000)
        model, state = drift_model(ref), no_evidence(ref)
        drifted = [numeric(0.5), *QUIET[1:]]
        for _ in range(400):
            state = observe(state, sample(rng, drifted))
        recent = EvidenceCounts(state.reference, state.observations, state.starts[-8:], state.since[-8:], state.total)
        assert early_warning(recent, model).columns["a"] < math.log(500)
        assert composite_evidence(recent, model).columns["a"] > math.log(500)

    def test_its_mean_over_references_and_streams_is_one(self) -> None:
        """Exact by enumeration: reference, stream before and rows since the start drawn from a Beta(½, ½) rate."""
        total = 0.0
        for in_reference, now in itertools.product(range(7), range(5)):
            ref = two_cells(in_reference, 6 - in_reference)
            state = observe(no_evidence(ref), np.array([now, 4 - now]))
            e = math.exp(early_warning(state, drift_model(ref)).log_evidence)
            k, n = in_reference + now, 10
            seen = gammaln(k + 0.5) + gammaln(n - k + 0.5) - gammaln(n + 1) - 2 * gammaln(0.5)
            total += math.comb(6, in_reference) * math.comb(4, now) * math.exp(seen) * e
        assert total == pytest.approx(1.0, abs=1e-9)


class TestPhases:
    def test_phases_add_over_the_season_and_average_over_columns(self) -> None:
        a = Evidence(3, 0.0, {"x": 1.0, "y": 2.0}, {"x": 2, "y": 3})
        b = Evidence(2, 0.0, {"x": 3.0, "y": 0.0}, {"x": 1, "y": 1})
        both = combine_phases([a, b])
        assert both.observations == 5
        assert both.columns["x"] == pytest.approx(math.log(math.e + math.e**3))
        mean = (math.e + math.e**3 + math.e**2 + 1) / 2
        assert both.log_evidence == pytest.approx(math.log(mean))
        # Column x began in the first season's second phase, y in the third season's first.
        assert both.since == {"x": 2, "y": 5}

    def test_a_daily_cycle_alarms_by_the_hour_and_is_quiet_by_phase_where_a_new_drift_is_still_found(self) -> None:
        rng, limit, hours = np.random.default_rng(31), math.log(500), 6
        cycle = [numeric(0.6 * math.sin(2 * math.pi * hour / hours)) for hour in range(hours)]
        rest = QUIET[1:]
        whole = CellReference(NAMES, SIZES, ORDERED, sum(sample(rng, [p, *rest], 1500) for p in cycle))
        phased = [CellReference(NAMES, SIZES, ORDERED, sample(rng, [p, *rest], 1500)) for p in cycle]
        models = [drift_model(ref) for ref in phased]
        naive, states, naive_alarm = no_evidence(whole), [no_evidence(ref) for ref in phased], False
        for pane in range(60 * hours):
            phase = pane % hours
            counts = sample(rng, [cycle[phase], *rest])
            naive = observe(naive, counts)
            naive_alarm |= composite_evidence(naive, drift_model(whole)).log_evidence >= limit
            states[phase] = observe(states[phase], counts)
        quiet = combine_phases([composite_evidence(s, m) for s, m in zip(states, models, strict=True)])
        assert naive_alarm
        assert quiet.log_evidence < limit
        for phase in range(2):
            moved = [numeric(0.6 * math.sin(2 * math.pi * phase / hours) + 0.8), *rest]
            states[phase] = observe(states[phase], sample(rng, moved))
        loud = combine_phases([composite_evidence(s, m) for s, m in zip(states, models, strict=True)])
        assert loud.log_evidence >= limit

    def test_no_phases_are_refused(self) -> None:
        with pytest.raises(DefectError, match="no phases to combine"):
            combine_phases([])
