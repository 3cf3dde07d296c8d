"""The false-alarm budget: parsing, its split, what was used, and that the union of checks keeps it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from monitor.errors import OperatorError
from monitor.statistics.evidence_counts import no_evidence, observe
from monitor.statistics.labelled_risk import risk_counts, risk_exceeds, risk_reference, upper_bound
from monitor.statistics.multiplicity import (
    FalseAlarmBudget,
    budget_use,
    false_discovery_rates,
    parse_budget,
    split_budget,
)
from monitor.statistics.sequential import Evidence

DAY, HOUR = 86_400.0, 3_600.0


def test_a_budget_reads_as_it_is_written() -> None:
    assert parse_budget("1 per 90d") == FalseAlarmBudget(1, 90 * DAY) == FalseAlarmBudget()
    assert parse_budget(" 0.5 per 12h ").run_length_seconds == DAY
    assert str(parse_budget("2 per 7d")) == "2 per 7d"


@pytest.mark.parametrize("text", ["", "one per day", "1 every 90d", "1 per", "1 per soon", "0 per 90d", "-1 per 90d"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(OperatorError):
        parse_budget(text)


def test_a_check_alone_holds_the_whole_budget_in_its_own_observations() -> None:
    shares = split_budget(FalseAlarmBudget(), {"drift": DAY})
    assert shares["drift"].run_length == pytest.approx(90)
    assert shares["drift"].log_threshold == pytest.approx(math.log(90))
    assert split_budget(FalseAlarmBudget(), {"drift": HOUR})["drift"].run_length == pytest.approx(2160)


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.01, 5), min_size=1, max_size=6),
    st.floats(10, 1000),
)
def test_the_false_alarms_of_all_shares_add_up_to_the_budget(weights: dict[str, float], days: float) -> None:
    budget = FalseAlarmBudget(1, days * DAY)
    shares = split_budget(budget, dict.fromkeys(weights, 60.0), weights)
    assert sum(share.share for share in shares.values()) == pytest.approx(1)
    per_second = sum(1 / (share.run_length * share.observation_seconds) for share in shares.values())
    assert per_second * budget.seconds == pytest.approx(1)


def test_a_split_that_cannot_be_is_refused_and_says_what_is_needed() -> None:
    with pytest.raises(OperatorError, match=r"weights above 0 for accuracy, drift, got drift: 1"):
        split_budget(FalseAlarmBudget(), {"drift": DAY, "accuracy": HOUR}, {"drift": 1.0})
    with pytest.raises(OperatorError, match="every check needs a share"):
        split_budget(FalseAlarmBudget(), {"drift": DAY}, {"drift": 0.0})
    with pytest.raises(OperatorError, match="check drift: the false-alarm budget allows an alarm at every observation"):
        split_budget(FalseAlarmBudget(1, DAY), {"drift": DAY})


def test_use_says_how_far_a_check_is() -> None:
    share = split_budget(FalseAlarmBudget(), {"drift": DAY, "accuracy": DAY})["drift"]
    use = budget_use(share, Evidence(45, math.log(200), {}, {}))
    assert use.run_length == pytest.approx(180)
    assert use.false_alarms == pytest.approx(0.25)
    assert use.over
    assert not budget_use(share, Evidence(45, math.log(179), {}, {})).over
    assert not budget_use(share, Evidence(45, math.nan, {}, {})).over


def test_the_union_of_checks_keeps_the_run_length_at_the_edge_of_their_null() -> None:
    """Two fully dependent detectors at the worst tolerated risk: mean run to the first alarm of any at least T."""
    rng, run_length, lengths = np.random.default_rng(51), 40.0, []
    ref = risk_reference(["error"], [100], [1000])
    limit = 0.1 + 0.03
    shares = split_budget(FalseAlarmBudget(1, run_length * HOUR), {"one": HOUR, "two": HOUR})
    tolerance = limit - float(upper_bound(ref, 0.05)[0])
    for _ in range(50):
        state, over = no_evidence(ref), False
        while not over and state.observations < 200:
            state = observe(state, risk_counts([int(rng.binomial(100, limit))], [100]))
            evidence = risk_exceeds(state, ref, tolerance=tolerance)
            over = any(budget_use(share, evidence).over for share in shares.values())
        lengths.append(state.observations)
    assert np.mean(lengths) >= run_length
    worse = no_evidence(ref)
    for _ in range(10):
        worse = observe(worse, risk_counts([30], [100]))
    assert budget_use(shares["one"], risk_exceeds(worse, ref, tolerance=tolerance)).over


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_false_discovery_rates_are_scipys(p_values: list[float]) -> None:
    assert false_discovery_rates(p_values) == pytest.approx(false_discovery_control(p_values), abs=1e-12)


def test_no_columns_have_no_false_discovery_rates() -> None:
    assert false_discovery_rates([]).size == 0
