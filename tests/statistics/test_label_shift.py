"""Label shift: the exact case of the paper, recovered mixes, and refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency

from monitor.profiles.model_profile import Reference, build_reference, profile_inputs, profile_outcomes
from monitor.statistics.label_shift import CONDITION_LIMIT, black_box_shift, label_shift_distance, warned
from monitor.statistics.result import Absent, Estimate, Reason
from monitor.statistics.summary import estimated_statistics, outcome_statistics
from tests.profiles.outcome_samples import classified, schema_of


def test_the_exact_case_is_solved_exactly() -> None:
    p = np.array([0.5, 0.3, 0.2])
    conditional = np.array([[0.8, 0.1, 0.1], [0.15, 0.7, 0.2], [0.05, 0.2, 0.7]])
    q = np.array([0.2, 0.3, 0.5])
    joint = conditional * p
    mix = black_box_shift(joint.T, conditional @ q)
    assert conditional @ q == pytest.approx([0.24, 0.34, 0.42])
    assert mix.shares == pytest.approx(q)
    assert mix.shares / mix.reference == pytest.approx([0.4, 1.0, 2.5])
    assert mix.condition == pytest.approx(np.linalg.cond(conditional))


def test_a_solution_below_zero_becomes_a_mix_of_the_others() -> None:
    confusion = np.array([[90.0, 10.0, 0.0], [10.0, 90.0, 0.0], [0.0, 0.0, 100.0]])
    mix = black_box_shift(confusion, np.array([0.02, 0.48, 0.5]))
    assert mix.shares[0] == 0.0
    assert mix.shares.sum() == pytest.approx(1.0)


def test_a_changed_mix_is_found_where_the_classes_look_as_they_did() -> None:
    reference = build_reference(schema_of(3), classified(20_000, 3, 1, shares=[0.5, 0.3, 0.2]))
    current = classified(10_000, 3, 2, shares=[0.2, 0.3, 0.5])
    found = label_shift_distance(reference, profile_inputs(reference, current))
    assert isinstance(found, Estimate)
    assert found.value == pytest.approx(0.3, abs=0.02)
    assert found.p_value is not None
    assert found.p_value < 1e-6
    assert found.detail.startswith("estimated shares: c")
    assert "c2 0.499 (reference 0.200)" in found.detail


def test_the_p_value_is_that_of_a_chi_square_test_and_uniform_without_a_shift() -> None:
    reference = build_reference(schema_of(3), classified(5_000, 3, 3))
    outcome = reference.outcome
    assert outcome is not None
    before = outcome.sums.confusion[:, :-1].sum(axis=0)  # type: ignore[union-attr]
    p_values = []
    for seed in range(100):
        profile = profile_inputs(reference, classified(1_000, 3, 100 + seed))
        found = label_shift_distance(reference, profile)
        assert isinstance(found, Estimate)
        now = profile.columns["prediction"].counts
        assert found.p_value == pytest.approx(chi2_contingency([before, now], correction=False).pvalue, rel=1e-9)
        p_values.append(found.p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.12


def test_an_ill_conditioned_confusion_is_refused_with_its_number() -> None:
    reference = build_reference(schema_of(3), classified(5_000, 3, 5, skill=0.2))
    found = label_shift_distance(reference, profile_inputs(reference, classified(1_000, 3, 6, skill=0.2)))
    assert isinstance(found, Absent)
    assert found.reason is Reason.ILL_CONDITIONED
    assert found.detail.endswith(f"at most {CONDITION_LIMIT:g}")


def test_at_the_limit_the_estimate_is_still_better_than_the_shares_of_the_predictions() -> None:
    # Just below the limit, with 2,000 reference rows and 500 now; far above it the shares are the better guess.
    def mean_errors(low: float, high: float) -> tuple[float, float]:
        rng, errors = np.random.default_rng(0), []
        while len(errors) < 150:
            classes = int(rng.choice([2, 3, 5]))
            d = rng.uniform(0.02, 0.6)
            conditional = np.eye(classes) * d + (1 - d) * rng.dirichlet(np.ones(classes), classes).T
            if not low < np.linalg.cond(conditional) < high:
                continue
            p, q = rng.dirichlet(np.full(classes, 3.0)), rng.dirichlet(np.full(classes, 3.0))
            labelled = rng.multinomial(2_000, p)
            confusion = np.array([rng.multinomial(labelled[k], conditional[:, k]) for k in range(classes)], float)
            now = rng.multinomial(500, conditional @ q)
            mix = black_box_shift(confusion, now.astype(float))
            errors.append((np.abs(mix.shares - q).sum() / 2, np.abs(now / 500 - q).sum() / 2))
        estimated, naive = np.mean(errors, axis=0)
        return float(estimated), float(naive)

    estimated, naive = mean_errors(CONDITION_LIMIT / 2, CONDITION_LIMIT)
    assert estimated < naive
    estimated, naive = mean_errors(3 * CONDITION_LIMIT, 30 * CONDITION_LIMIT)
    assert estimated > naive


def refused(reference: Reference, table: pa.Table) -> Reason:
    found = label_shift_distance(reference, profile_inputs(reference, table))
    assert isinstance(found, Absent)
    return found.reason


def test_what_cannot_be_told_is_absent_with_its_reason() -> None:
    table = classified(2_000, 3, 7)
    reference = build_reference(schema_of(3), table)
    assert refused(reference, table.slice(0, 99)) is Reason.TOO_FEW_ROWS
    assert refused(reference, table.drop_columns(["prediction"])) is Reason.COLUMN_MISSING
    assert refused(reference, table.drop_columns(["prediction"]).slice(0, 0)) is Reason.NO_ROWS
    assert refused(build_reference(schema_of(3), table.slice(0, 80)), table) is Reason.TOO_FEW_ROWS
    assert refused(build_reference(schema_of(3), table.drop_columns(["label"])), table) is Reason.NO_REFERENCE
    two = classified(2_000, 3, 8, shares=[0.5, 0.5, 0.0])
    assert refused(build_reference(schema_of(3), two), table) is Reason.ILL_CONDITIONED
    many = classified(2_000, 101, 9)
    assert refused(build_reference(schema_of(101), many), many) is Reason.NOT_APPLICABLE


def test_estimates_say_that_they_are_off_if_the_classes_shifted() -> None:
    """Two classes from 50 to 90 %: macro F1 is estimated far too high, and nothing else tells before labels do."""
    schema = schema_of(2)
    reference = build_reference(schema, classified(4_000, 2, 0, skill=1.0))
    same, shifted = classified(4_000, 2, 1, skill=1.0), classified(4_000, 2, 2, skill=1.0, shares=[0.1, 0.9])
    quiet = estimated_statistics(reference, profile_inputs(reference, same))
    loud = estimated_statistics(reference, profile_inputs(reference, shifted))
    for name in ("estimated_accuracy", "estimated_cross_entropy", "estimated_f1", "estimated_auroc"):
        was, now = quiet[name], loud[name]
        assert isinstance(was, Estimate)
        assert isinstance(now, Estimate)
        assert "seems to have shifted" not in was.detail
        assert "the mix of classes seems to have shifted (distance 0." in now.detail
        assert now.detail.startswith(was.detail)
    realised = outcome_statistics(reference, profile_outcomes(reference, shifted))["f1"]
    assert isinstance(realised, Estimate)
    assert loud["estimated_f1"].value > realised.value + 0.05  # type: ignore[union-attr]
    absent = warned({"estimated_f1": Absent(Reason.NO_ROWS)}, loud["label_shift_distance"])
    assert absent == {"estimated_f1": Absent(Reason.NO_ROWS)}
