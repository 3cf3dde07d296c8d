"""Drift of embeddings: closed forms, the level on real data, power on real shifts, and why a number is absent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from scipy.linalg import sqrtm
from scipy.stats import binom, gamma, norm
from scipy.stats import f as f_distribution
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.metrics.pairwise import rbf_kernel

from monitor.comparison_verdict import Limits, judge_embedding
from monitor.profiles.embedding import EmbeddingProfile, profile_embedding
from monitor.profiles.embedding_fit import EmbeddingReference, fit_embedding, frechet_bias
from monitor.profiles.embedding_rows import NO_IDS, Rows
from monitor.profiles.model_profile import build_reference, profile_inputs
from monitor.records import EMBEDDING, ModelSchema
from monitor.statistics.embedding_drift import (
    STATISTICS,
    domain_classifier_auroc,
    embedding_statistics,
    frechet,
    frechet_distance,
    gamma_tail,
    maximum_mean_discrepancy,
)
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.summary import column_statistics
from tests.profiles.embedding_samples import activations, as_table, draw

LEVEL = 0.05
Fitted = tuple[EmbeddingReference, EmbeddingProfile]


def fitted(vectors: np.ndarray) -> Fitted:
    found = fit_embedding(as_table(vectors), "m")
    assert found is not None
    return found


def profiled(fit: Fitted, vectors: np.ndarray) -> EmbeddingProfile:
    # A profile's rows without the detour of a table: `tests/profiles` holds that way.
    return EmbeddingProfile.build(Rows(vectors.astype("<f2"), NO_IDS, 0, 0), fit[0].space)


def value(result: Result) -> float:
    assert isinstance(result, Estimate)
    return result.value


def p_value(result: Result) -> float:
    assert isinstance(result, Estimate)
    assert result.p_value is not None
    return result.p_value


@pytest.fixture(scope="module")
def reference() -> Fitted:
    return fitted(draw(1_200, 1))


@pytest.fixture(scope="module")
def layered() -> Fitted:
    return fitted(activations(draw(1_200, 1)))


@pytest.fixture(scope="module")
def references() -> list[Fitted]:
    return [fitted(draw(400, 10_000 + pair)) for pair in range(200)]


class TestFrechet:
    def test_the_closed_form_of_two_normal_distributions(self) -> None:
        one = np.array([1.0, 1.0]), 2 * np.eye(2)
        two = np.zeros(2), np.array([[2.0, -1.0], [-1.0, 2.0]])
        assert frechet(*one, *two) == pytest.approx(2.2725933896874526, rel=1e-14)
        assert frechet(*two, *one) == pytest.approx(2.2725933896874526, rel=1e-14)
        assert frechet(*one, *one) == pytest.approx(0, abs=1e-14)

    def test_it_is_scipys_matrix_root_on_any_covariances(self) -> None:
        rng = np.random.default_rng(2)
        a, b = (rng.normal(0, 1, (50, 8)) @ rng.normal(0, 1, (8, 8)) for _ in range(2))
        means, covariances = (a.mean(0), b.mean(0)), (np.cov(a.T), np.cov(b.T))
        root = sqrtm(covariances[0] @ covariances[1]).real
        expected = np.sum((means[0] - means[1]) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
        assert frechet(means[0], covariances[0], means[1], covariances[1]) == pytest.approx(expected, rel=1e-9)

    def test_without_drift_the_correction_takes_off_what_chance_gives(self, reference: Fitted) -> None:
        for n in (200, 2_000):
            profiles = [profiled(reference, draw(n, 100 + i)) for i in range(30)]
            # Against many references, or the one at hand would be judged and not the correction.
            others = [profiled(reference, draw(600, 500 + i)) for i in range(30)]
            pairs = list(zip(others, profiles, strict=True))
            corrected = np.mean([value(frechet_distance(old, new, reference[0].null)) for old, new in pairs])
            bias = reference[0].null.frechet_bias * (1 / n + 1 / 600)
            assert abs(corrected) < 0.1 * bias, n

    def test_the_bias_of_normal_coordinates_is_the_one_worked_by_hand(self) -> None:
        # λ = 4 and 1: Σλ + ½ (2·16/8 + 2·4/5 + 2·1/2) = 5 + 3.3.
        z = np.random.default_rng(3).normal(0, 1, (400_000, 2)) * [2.0, 1.0]
        assert frechet_bias(z) == pytest.approx(8.3, rel=0.01)

    def test_a_moved_mean_is_its_squared_distance(self, reference: Fitted) -> None:
        result = frechet_distance(reference[1], profiled(reference, draw(1_797, 4) + 2.0), reference[0].null)
        # 64 numbers moved by 2 are 256 apart; the basis leaves out the pixels that are always blank.
        assert value(result) == pytest.approx(256, rel=0.1)

    def test_it_is_absent_below_three_rows_for_each_coordinate(self, reference: Fitted) -> None:
        least = 3 * reference[0].space.coordinates
        result = frechet_distance(reference[1], profiled(reference, draw(least - 1, 5)), reference[0].null)
        assert result == Absent(Reason.TOO_FEW_ROWS, least - 1, f"at least {least} embeddings a side")
        assert isinstance(
            frechet_distance(reference[1], profiled(reference, draw(least, 5)), reference[0].null), Estimate
        )


def _more_zeros(seed: int) -> np.ndarray:
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(seed)
    zeros = np.flatnonzero(load_digits().target == 0)
    return np.concatenate([draw(1_778, 700 + seed), load_digits().data[rng.choice(zeros, 222)]])


def _shifted(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    moved = np.roll(x.reshape(-1, 8, 8), 1, axis=2).reshape(-1, 64)
    return np.where(rng.random((len(x), 1)) < 0.2, moved, x)


class TestDiscrepancy:
    def test_it_is_the_unbiased_estimate_on_the_exact_kernel_within_the_error_of_the_features(
        self, layered: Fitted
    ) -> None:
        space = layered[0].space
        x, y = activations(draw(300, 6)) * 1.3, activations(draw(400, 7))
        result = maximum_mean_discrepancy(profiled(layered, y), profiled(layered, x), layered[0].null)
        a, b = (space.project(item.astype(np.float16)) for item in (x, y))
        gamma_ = 1 / (2 * space.bandwidth**2)
        within = [(rbf_kernel(z, gamma=gamma_).sum() - len(z)) / (len(z) * (len(z) - 1)) for z in (a, b)]
        exact = sum(within) - 2 * rbf_kernel(a, b, gamma=gamma_).mean()
        assert exact > 0.01
        assert value(result) == pytest.approx(exact, rel=0.15)

    def test_it_averages_to_zero_without_drift(self, reference: Fitted) -> None:
        found = [
            value(
                maximum_mean_discrepancy(
                    profiled(reference, draw(150, 200 + i)), profiled(reference, draw(100, 300 + i)), reference[0].null
                )
            )
            for i in range(60)
        ]
        assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(60)
        assert min(found) < 0 < max(found)

    @pytest.mark.parametrize("n", [200, 2_000])
    def test_of_200_pairs_of_one_real_distribution_at_most_the_level_are_called_drifted(
        self, references: list[Fitted], n: int
    ) -> None:
        """Digits: every pair has a reference of its own (basis, bandwidth, moments) and a sample of its own."""
        calls, verdicts = np.zeros((200, 2), dtype=bool), 0
        for pair, fit in enumerate(references):
            current = profiled(fit, draw(n, 50_000 + pair))
            found = embedding_statistics(*fit, current)
            calls[pair] = [p_value(found[name]) < LEVEL for name in (STATISTICS[0], "domain_classifier_auroc")]
            verdicts += judge_embedding(found, 400, Limits()).state != "ok"
        assert np.all(calls.sum(axis=0) <= LEVEL * 200), calls.sum(axis=0)
        # A quick look calls what is sure at 1 % and large enough.
        assert verdicts <= 2
        # Whoever looks at both: what 200 calls of a test with this very level stay under in 99 of 100 tries.
        assert calls.any(axis=1).sum() <= binom.ppf(0.99, 200, LEVEL)

    def test_a_reference_that_is_compared_with_the_rows_that_chose_its_basis_would_not_hold_it(self) -> None:
        """Why the rows are split: 1,280 numbers, 64 directions chosen by 400 rows and compared with the same ones."""
        calls = {"same": 0, "held": 0}
        for pair in range(10):
            rows = activations(draw(800, 20_000 + pair), 1_280)
            noise = np.random.default_rng(pair)
            rows = rows + noise.normal(0, 3, rows.shape)
            current = activations(draw(800, 60_000 + pair), 1_280)
            current = current + noise.normal(0, 3, current.shape)
            fit = fitted(rows)
            new = profiled(fit, current)
            calls["held"] += p_value(maximum_mean_discrepancy(fit[1], new, fit[0].null)) < LEVEL
            everything = profiled(fit, rows)
            chosen = replace(
                everything,
                count=everything.count - fit[1].count,
                total=everything.total - fit[1].total,
                features=everything.features - fit[1].features,
            )
            calls["same"] += p_value(maximum_mean_discrepancy(chosen, new, fit[0].null)) < LEVEL
            assert chosen.count == 400
        assert calls["same"] == 10
        assert calls["held"] <= binom.ppf(0.99, 10, LEVEL)

    @pytest.mark.parametrize(
        ("name", "shift"),
        [
            ("one digit is twice as frequent", lambda x, _: x),
            ("contrast falls by a tenth", lambda x, _: x * 0.9),
            ("noise of 1.5 of 16 grey levels", lambda x, rng: x + rng.normal(0, 1.5, x.shape)),
            ("shifted by one pixel in one of five", _shifted),
        ],
        ids=lambda item: item if isinstance(item, str) else "",
    )
    def test_real_shifts_are_found_at_2000_rows(self, reference: Fitted, name: str, shift: object) -> None:
        rng = np.random.default_rng(8)
        found = 0
        for i in range(10):
            vectors = draw(2_000, 400 + i) if "frequent" not in name else _more_zeros(i)
            new = profiled(reference, shift(vectors, rng))  # type: ignore[operator]
            found += p_value(maximum_mean_discrepancy(reference[1], new, reference[0].null)) < 0.01
        assert found == 10

    def test_drift_outside_the_basis_is_found(self, layered: Fitted) -> None:
        space = layered[0].space
        random = np.random.default_rng(9).normal(0, 1, (500, 200))
        outside = random - random @ space.basis @ space.basis.T
        little, much = (profiled(layered, activations(draw(500, 10)) + size * outside) for size in (0.5, 3.0))
        # The classifier weighs every coordinate by its own variance, the kernel by that of all of them.
        assert p_value(domain_classifier_auroc(layered[1], little)) < 0.001
        assert p_value(maximum_mean_discrepancy(layered[1], much, layered[0].null)) < 0.001

    def test_the_tail_is_scipys_gamma_distribution(self) -> None:
        for skewness in (0.2, 1.0, 2.5):
            shape = 4 / skewness**2
            oracle = gamma(shape, loc=-np.sqrt(shape), scale=1 / np.sqrt(shape))
            for z in (-1.0, 0.0, 1.645, 4.0):
                assert gamma_tail(z, skewness) == pytest.approx(float(oracle.sf(z)), rel=1e-9)
        assert gamma_tail(1.5, 0.0) == pytest.approx(float(norm.sf(1.5)))
        assert gamma_tail(-100.0, 1.0) == 1.0


class TestDomainClassifier:
    def test_it_is_the_auroc_of_scikit_learns_linear_discriminant_on_new_rows(self, reference: Fitted) -> None:
        space = reference[0].space
        moved = np.random.default_rng(11).normal(0.4, 1, 64)
        old, new = draw(4_000, 12), draw(4_000, 13) + moved
        z = [space.project(item.astype(np.float16)) for item in (old, new)]
        train = np.concatenate([part[:2_000] for part in z])
        test = np.concatenate([part[2_000:] for part in z])
        side = np.repeat([0, 1], 2_000)
        oracle = roc_auc_score(side, LinearDiscriminantAnalysis().fit(train, side).decision_function(test))
        found = domain_classifier_auroc(profiled(reference, old), profiled(reference, new))
        assert oracle > 0.7
        assert value(found) == pytest.approx(oracle, abs=0.03)

    def test_two_normal_distributions_one_deviation_apart(self) -> None:
        rng = np.random.default_rng(14)
        fit = fitted(rng.normal(0, 1, (20_000, 3)))
        found = domain_classifier_auroc(fit[1], profiled(fit, rng.normal(0, 1, (20_000, 3)) + np.array([1.0, 0, 0])))
        assert value(found) == pytest.approx(float(norm.cdf(1 / np.sqrt(2))), abs=0.01)  # 0.760

    def test_without_drift_it_is_about_a_half_even_for_few_rows(self, reference: Fitted) -> None:
        found = [value(domain_classifier_auroc(reference[1], profiled(reference, draw(100, i)))) for i in range(30)]
        assert min(found) >= 0.5
        assert np.mean(found) < 0.58

    def test_few_rows_are_told_apart_in_few_directions_and_by_hotellings_test(self, reference: Fitted) -> None:
        """Five rows of the smaller side a direction: 60 rows are compared in 12 directions of largest variance."""
        old, new = (profiled(reference, draw(n, seed)) for n, seed in ((300, 21), (60, 22)))
        z = [reference[0].space.project(draw(n, seed).astype(np.float16)) for n, seed in ((300, 21), (60, 22))]
        pooled = (299 * np.cov(z[0].T) + 59 * np.cov(z[1].T)) / 358
        vectors = np.linalg.eigh(pooled)[1][:, -12:]
        a, b = (part @ vectors for part in z)
        gap, inside = a.mean(0) - b.mean(0), (299 * np.cov(a.T) + 59 * np.cov(b.T)) / 358
        square = gap @ np.linalg.solve(inside, gap) * 300 * 60 / 360
        oracle = f_distribution.sf(square * (358 - 12 + 1) / (358 * 12), 12, 358 - 12 + 1)
        assert p_value(domain_classifier_auroc(old, new)) == pytest.approx(min(2 * oracle, 1), rel=1e-6)

    def test_equal_embeddings_on_both_sides_cannot_be_told_apart(self) -> None:
        fit = fitted(np.random.default_rng(15).normal(0, 1, (200, 3)))
        same = profiled(fit, np.ones((100, 3)))
        assert domain_classifier_auroc(same, same) == Absent(Reason.REFERENCE_CONSTANT, 100)


class TestAbsence:
    def test_every_statistic_is_there_with_enough_rows(self, reference: Fitted) -> None:
        found = embedding_statistics(*reference, profiled(reference, draw(300, 16)))
        assert tuple(found) == STATISTICS
        assert all(isinstance(result, Estimate) for result in found.values())
        discrepancy = found["maximum_mean_discrepancy"]
        assert value(found["maximum_mean_discrepancy_p_value"]) == p_value(discrepancy)

    def test_missing_embeddings_are_the_share_above_the_references(self) -> None:
        fit = fit_embedding(as_table(draw(400, 17), null=tuple(range(40))), "m")
        assert fit is not None
        new = profile_embedding(as_table(draw(200, 18), null=tuple(range(100))), fit[0].space)
        found = embedding_statistics(*fit, new)
        assert value(found["missing_rate_difference"]) == pytest.approx(0.5 - 0.1)

    def test_too_few_rows_say_how_many_are_needed(self, reference: Fitted) -> None:
        found = embedding_statistics(*reference, profiled(reference, draw(29, 19)))
        few = Absent(Reason.TOO_FEW_ROWS, 29, "at least 30 embeddings a side")
        assert found["maximum_mean_discrepancy"] == found["maximum_mean_discrepancy_p_value"] == few
        assert found["domain_classifier_auroc"] == few
        assert isinstance(found["missing_rate_difference"], Estimate)

    def test_another_dimension_is_named(self, reference: Fitted) -> None:
        new = profile_embedding(as_table(np.zeros((50, 32))), reference[0].space)
        assert embedding_statistics(*reference, new) == {
            "maximum_mean_discrepancy": Absent(Reason.DIMENSION_DIFFERS, 50, "the reference's have 64 numbers")
        }

    def test_a_reference_without_embeddings_is_named(self) -> None:
        new = profile_embedding(as_table(np.ones((50, 32))), None)
        found = embedding_statistics(None, None, new)["maximum_mean_discrepancy"]
        assert found == Absent(Reason.NO_REFERENCE, 50, "the reference has no embeddings, or too few")

    def test_windows_that_lack_the_column_say_so(self, reference: Fitted) -> None:
        missing = {"maximum_mean_discrepancy": Absent(Reason.COLUMN_MISSING, 0)}
        assert embedding_statistics(*reference, None) == missing
        empty = profile_embedding(as_table(np.zeros((3, 64)), null=(0, 1, 2)), reference[0].space)
        assert embedding_statistics(*reference, empty) == {"maximum_mean_discrepancy": Absent(Reason.COLUMN_MISSING, 3)}

    def test_a_model_without_embeddings_has_no_such_column(self) -> None:
        assert embedding_statistics(None, None, None) == {}


def test_the_summary_has_it_as_the_column_embedding() -> None:
    schema = ModelSchema("m", "regression")

    def rows(seed: int) -> pa.Table:
        table = as_table(activations(draw(500, seed)))
        return table.append_column("prediction", pa.array(np.random.default_rng(seed).normal(0, 1, 500)))

    reference = build_reference(schema, rows(1))
    found = column_statistics(reference, profile_inputs(reference, rows(2)))
    assert set(found) == {"prediction", EMBEDDING}
    assert tuple(found[EMBEDDING]) == STATISTICS
    bare = build_reference(schema, rows(1).drop_columns([EMBEDDING]))
    found = column_statistics(bare, profile_inputs(bare, rows(2)))
    assert found[EMBEDDING]["maximum_mean_discrepancy"].reason == Reason.NO_REFERENCE  # type: ignore[union-attr]
