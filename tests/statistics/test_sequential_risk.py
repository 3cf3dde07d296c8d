"""Evidence that a labelled risk rose: formulas, quiet, and detection by the same build."""

import math

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import beta

from monitor.errors import DefectError
from monitor.statistics.evidence_counts import CellReference, no_evidence, observe
from monitor.statistics.labelled_risk import (
    count_above,
    loss_reference,
    risk_changed,
    risk_counts,
    risk_exceeds,
    risk_reference,
    upper_bound,
)

ODDS = (1.1, 1.2, 1.35, 1.6, 2.2, 4.0, 10.0)
LABELS = 500


def raised(p: float, k: int, n: int) -> float:
    terms = []
    for odds in ODDS:
        q = odds * p / (1 - p) / (1 + odds * p / (1 - p))
        terms.append(k * math.log(q) + (n - k) * math.log(1 - q))
    return float(np.logaddexp.reduce(terms) - math.log(len(ODDS)))


def test_beta_predictive_evidence_is_raised_odds_over_the_predictive() -> None:
    ref = risk_reference(["error"], [20], [200])
    state = observe(no_evidence(ref), risk_counts([15], [50]))
    predictive = betaln(20.5 + 15, 180.5 + 35) - betaln(20.5, 180.5)
    assert risk_changed(state, ref).log_evidence == pytest.approx(raised(20.5 / 201, 15, 50) - predictive, abs=1e-9)


def test_the_stream_before_a_start_enters_its_predictive() -> None:
    ref = risk_reference(["error"], [20], [200])
    state = observe(observe(no_evidence(ref), risk_counts([30], [300])), risk_counts([15], [50]))
    later = raised(50.5 / 501, 15, 50) - (betaln(50.5 + 15, 450.5 + 35) - betaln(50.5, 450.5))
    earlier = raised(20.5 / 201, 45, 350) - (betaln(20.5 + 45, 180.5 + 305) - betaln(20.5, 180.5))
    assert risk_changed(state, ref).log_evidence == pytest.approx(float(np.logaddexp(later, earlier)), abs=1e-9)


def test_bound_and_tolerance_evidence_is_raised_odds_over_the_tolerated_risk() -> None:
    ref = risk_reference(["error"], [20], [200])
    limit = beta.ppf(0.95, 21, 180) + 0.02
    state = observe(no_evidence(ref), risk_counts([25], [50]))
    expected = raised(limit, 25, 50) - 25 * math.log(limit) - 25 * math.log(1 - limit)
    assert risk_exceeds(state, ref, tolerance=0.02).log_evidence == pytest.approx(expected, abs=1e-9)


def test_its_mean_is_at_most_one_for_every_tolerated_risk() -> None:
    ref = risk_reference(["error"], [20], [200])
    limit = beta.ppf(0.95, 21, 180) + 0.01
    values = [
        math.exp(risk_exceeds(observe(no_evidence(ref), risk_counts([k], [30])), ref).log_evidence) for k in range(31)
    ]
    for p in (0.05, 0.1, limit):
        assert sum(math.comb(30, k) * p**k * (1 - p) ** (30 - k) * e for k, e in enumerate(values)) <= 1 + 1e-9
    assert sum(math.comb(30, k) * 0.5**30 * e for k, e in enumerate(values)) > 10


def test_upper_bounds_share_their_confidence() -> None:
    ref = risk_reference(["a", "b"], [20, 0], [200, 200])
    assert upper_bound(ref, 0.05) == pytest.approx([beta.ppf(0.975, 21, 180), beta.ppf(0.975, 1, 200)])
    assert upper_bound(risk_reference(["all"], [9], [9]), 0.05).tolist() == [1.0]


@pytest.mark.parametrize("risk", [0, 2000])
def test_a_reference_without_errors_or_with_nothing_else_gives_finite_evidence(risk: int) -> None:
    ref = risk_reference(["error"], [risk], [2000])
    for k in (0, 500):
        state = observe(no_evidence(ref), risk_counts([k], [500]))
        assert math.isfinite(risk_changed(state, ref).log_evidence)
        assert math.isfinite(risk_exceeds(state, ref).log_evidence)


def delay(rng: np.random.Generator, risk: float, detector, run_length: float = 2016.0) -> tuple[bool, float]:
    """Whether it alarmed in 100 quiet batches, and how many batches the rise took."""
    ref: CellReference = risk_reference(["error"], [int(rng.binomial(2000, 0.1))], [2000])
    state, limit = no_evidence(ref), math.log(run_length)
    for _ in range(100):
        state = observe(state, risk_counts([int(rng.binomial(LABELS, 0.1))], [LABELS]))
        if detector(state, ref).log_evidence >= limit:
            return True, math.nan
    for batch in range(1, 60):
        state = observe(state, risk_counts([int(rng.binomial(LABELS, risk))], [LABELS]))
        if detector(state, ref).log_evidence >= limit:
            return False, batch
    return False, math.inf


@pytest.mark.parametrize(("risk", "within"), [(0.12, 34), (0.15, 5), (0.2, 1)])
def test_the_predictive_is_quiet_and_finds_a_raised_risk(risk: float, within: float) -> None:
    rng = np.random.default_rng(41)
    results = [delay(rng, risk, risk_changed) for _ in range(30)]
    assert sum(false for false, _ in results) <= 1
    assert np.nanmedian([found for _, found in results]) <= within


def test_bound_and_tolerance_is_quiet_for_an_accepted_risk_and_finds_a_worse_one() -> None:
    rng = np.random.default_rng(43)
    accepted = [delay(rng, 0.105, risk_exceeds) for _ in range(15)]
    worse = [delay(rng, 0.2, risk_exceeds) for _ in range(15)]
    assert all(found == math.inf for _, found in accepted)
    assert np.median([found for _, found in worse]) <= 2


def test_losses_above_the_references_quantiles_show_a_heavier_tail() -> None:
    rng = np.random.default_rng(44)
    known = rng.exponential(size=4000)
    limits, ref = loss_reference(known)
    assert limits == pytest.approx(np.quantile(known, [0.5, 0.75, 0.9, 0.97]), rel=0.01)
    quiet, tail = no_evidence(ref), no_evidence(ref)
    for _ in range(30):
        losses = rng.exponential(size=LABELS)
        quiet = observe(quiet, risk_counts(count_above(losses, limits), [LABELS] * 4))
        worse = np.where(rng.random(LABELS) < 0.05, losses + 4, losses)
        tail = observe(tail, risk_counts(count_above(worse, limits), [LABELS] * 4))
    assert risk_changed(quiet, ref).log_evidence < math.log(500)
    found = risk_exceeds(tail, ref)
    assert found.log_evidence > math.log(500)
    assert max(found.columns, key=found.columns.__getitem__) == "loss above its 97% quantile"


def test_a_loss_with_few_values_keeps_every_limit_once() -> None:
    limits, ref = loss_reference(np.array([0.0] * 60 + [1.0] * 30 + [math.nan] + [2.0] * 10), "squared error")
    assert limits == (0.0, 1.0, 2.0)
    assert ref.rows.tolist() == [100] * 3
    assert ref.counts.reshape(3, 2)[:, 0].tolist() == [40, 10, 0]
    assert ref.names[0] == "squared error above its 50% quantile"
    with pytest.raises(DefectError, match="a reference without losses has no limits"):
        loss_reference(np.array([math.nan]))


def test_an_undefined_loss_counts_as_above_every_limit() -> None:
    assert count_above(np.array([0.5, 1.0, math.nan, math.inf]), [0.5, 10.0]) == (3, 2)


def test_risks_that_cannot_be_are_refused() -> None:
    with pytest.raises(DefectError, match=r"risks that cannot be .*got \[3\] of \[2\]"):
        risk_counts([3], [2])
    with pytest.raises(DefectError, match="risks that cannot be"):
        risk_counts([-1], [2])


def test_before_any_observation_there_is_no_evidence_of_a_risk() -> None:
    ref = risk_reference(["errors"], [200], [2000])
    for detector in (risk_changed, risk_exceeds):
        assert detector(no_evidence(ref), ref).log_evidence == -math.inf
