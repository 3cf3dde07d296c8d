"""Profiles of embeddings: what they sum, how they merge, what their bytes keep, and what a reference chooses."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics.pairwise import rbf_kernel

from monitor.errors import DefectError, OperatorError
from monitor.profiles.codec import decode_profile, decode_reference, encode_profile, encode_reference, load_reference
from monitor.profiles.embedding import FEATURE_PAIRS, NO_SPACE, SAMPLE_ROWS, EmbeddingProfile, profile_embedding
from monitor.profiles.embedding_fit import MINIMUM_ROWS, fit_embedding, kernel_moments, median_distance
from monitor.profiles.embedding_rows import Rows, dimension_of, hash_texts, pseudo_random, read_rows
from monitor.profiles.model_profile import Profile, Reference, build_reference, profile_inputs
from monitor.records import EMBEDDING, ModelSchema
from tests.golden import make as golden
from tests.profiles.embedding_samples import activations, as_table, draw

SCHEMA = ModelSchema("digits", "regression")


def model_rows(vectors: np.ndarray, prefix: str = "id", null: tuple[int, ...] = ()) -> pa.Table:
    return as_table(vectors, prefix, null=null).append_column("prediction", pa.array(np.linspace(0, 1, len(vectors))))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(SCHEMA, model_rows(activations(draw(800, 1))))


@pytest.fixture(scope="module")
def table() -> pa.Table:
    vectors = activations(draw(3_000, 10))
    vectors[17] = np.nan
    return model_rows(vectors, null=(0, 2_999))


def part(reference: Reference) -> EmbeddingProfile:
    assert reference.profile.embedding is not None
    return reference.profile.embedding


def embedded(reference: Reference, table: pa.Table) -> EmbeddingProfile:
    profile = profile_inputs(reference, table).embedding
    assert profile is not None
    return profile


def assert_same(a: EmbeddingProfile, b: EmbeddingProfile, table: pa.Table) -> None:
    """Counts and the sample exactly, sums within 1e-12 of the sum of absolute terms."""
    counts = ("count", "null", "wrong_dimension", "not_finite", "sample")
    assert [getattr(a, name) for name in counts] == [getattr(b, name) for name in counts]
    z = np.concatenate([a.space.project(rows.matrix) for rows in read_rows(table, a.space.dimension)])
    z = z[np.isfinite(z).all(axis=1)]
    # The distance from the basis is a difference of squared lengths: its terms are as large as these.
    scale = np.maximum(np.abs(z).sum(axis=0), len(z) * np.sqrt(np.mean(np.sum(z * z, axis=1))))
    upper = np.triu_indices(scale.size)
    assert np.all(np.abs(a.total - b.total) <= 1e-12 * scale)
    assert np.all(np.abs(a.products - b.products) <= 1e-12 * (np.outer(scale, scale) / max(len(z), 1))[upper])
    assert np.all(np.abs(a.features - b.features) <= 1e-12 * np.abs(a.space.features(z)).sum(axis=0))


class TestSums:
    def test_they_are_those_of_every_row_by_itself(self, reference: Reference) -> None:
        vectors = activations(draw(50, 2))
        profile = embedded(reference, model_rows(vectors))
        space = profile.space
        centred = vectors.astype(np.float16).astype(np.float64) - space.centre
        z = centred @ space.basis.astype(np.float64)
        outside = np.sqrt(np.sum(centred**2, 1) - np.sum(z**2, 1) + space.residual**2) - space.residual
        z = np.column_stack((z, outside))
        np.testing.assert_allclose(profile.total, z.sum(0), rtol=1e-9, atol=1e-6)
        np.testing.assert_allclose(profile.covariance(), np.cov(z.T), rtol=1e-7, atol=1e-6)
        cosines = np.cos(z @ space.frequencies)
        np.testing.assert_allclose(profile.features[:FEATURE_PAIRS], cosines.sum(0), atol=1e-7)
        sines = np.sin(z @ space.frequencies)
        np.testing.assert_allclose(profile.features[FEATURE_PAIRS:], sines.sum(0), atol=1e-7)

    def test_the_basis_is_the_one_of_scikit_learn(self) -> None:
        # With all rows in the part that chooses, which a reference never does.
        from monitor.profiles.embedding_fit import principal_components

        for vectors in (draw(300, 3), activations(draw(150, 3), 400)):
            centre, basis, explained = principal_components(vectors)
            oracle = PCA(n_components=basis.shape[1], svd_solver="full").fit(vectors)
            np.testing.assert_allclose(centre, oracle.mean_, atol=1e-5)
            overlap = np.abs(np.sum(basis[:, :20] * oracle.components_[:20].T, axis=0))
            np.testing.assert_allclose(overlap, 1, atol=1e-4)
            assert explained == pytest.approx(oracle.explained_variance_ratio_.sum(), abs=1e-6)

    def test_inner_products_of_features_are_the_gaussian_kernel_within_its_error(self, reference: Reference) -> None:
        space = part(reference).space
        z = space.project(activations(draw(200, 4)))
        phi = space.features(z)
        exact = rbf_kernel(z, gamma=1 / (2 * space.bandwidth**2))
        error = phi @ phi.T / FEATURE_PAIRS - exact
        np.testing.assert_allclose(np.sum(phi * phi, 1), FEATURE_PAIRS)
        # Var = (1 + k(2x) − 2 k(x)²) / 2 / 512 (Sutherland & Schneider 2015), at most 1/1024 each.
        assert np.sqrt(np.mean(error**2)) < 1 / np.sqrt(2 * FEATURE_PAIRS)
        assert np.abs(error).max() < 5 / np.sqrt(2 * FEATURE_PAIRS)

    def test_the_bandwidth_is_the_median_distance(self) -> None:
        z = np.array([[0.0], [1.0], [3.0]])  # distances 1, 2 and 3
        assert median_distance(z) == 2.0
        assert median_distance(np.zeros((5, 2))) == 1.0

    def test_a_vector_outside_the_basis_is_seen_by_its_distance(self, reference: Reference) -> None:
        space = part(reference).space
        inside = activations(draw(100, 5))
        random = np.random.default_rng(6).normal(0, 1, (100, 200))
        outside = random - random @ space.basis @ space.basis.T
        near, far = space.project(inside), space.project(inside + 3 * outside)
        np.testing.assert_allclose(near[:, :-1], far[:, :-1], atol=1e-3)
        assert far[:, -1].min() > near[:, -1].max()

    def test_a_complete_basis_has_no_distance(self) -> None:
        vectors = np.random.default_rng(7).normal(0, 1, (200, 5))
        fitted = build_reference(SCHEMA, model_rows(vectors)).embedding
        assert fitted is not None
        assert (fitted.space.coordinates, fitted.space.residual) == (5, 0.0)
        assert fitted.space.explained == pytest.approx(1)


class TestRows:
    def test_every_row_without_a_place_is_counted(self, reference: Reference) -> None:
        vectors = activations(draw(20, 8))
        vectors[3, 7] = np.inf
        vectors[4, 0] = np.nan
        table = model_rows(vectors, null=(1, 2, 5))
        short = model_rows(activations(draw(4, 8), 100)).cast(table.schema)
        profile = embedded(reference, pa.concat_tables([table, short]))
        assert (profile.count, profile.null, profile.wrong_dimension, profile.not_finite) == (15, 3, 4, 2)
        assert (profile.rows, profile.missing) == (24, 9)
        assert np.isfinite(profile.features).all()
        assert not {"id-3", "id-4"} & {name for _, name in profile.sample}

    @pytest.mark.parametrize("kind", [pa.large_binary(), pa.binary(400)], ids=str)
    def test_other_binary_types_are_the_same_rows(self, reference: Reference, kind: pa.DataType) -> None:
        table = model_rows(activations(draw(30, 9)), null=(4,))
        other = table.set_column(1, EMBEDDING, table.column(EMBEDDING).cast(kind))
        assert_same(embedded(reference, table), embedded(reference, other), table)

    def test_a_column_of_nulls_has_no_embeddings(self, reference: Reference) -> None:
        table = model_rows(activations(draw(3, 9)))
        for nulls in (pa.nulls(3), pa.nulls(3, pa.binary())):
            profile = embedded(reference, table.set_column(1, EMBEDDING, nulls))
            assert (profile.count, profile.null) == (0, 3)

    def test_a_table_without_the_column_has_no_profile(self, reference: Reference) -> None:
        assert profile_inputs(reference, pa.table({"prediction": [1.0]})).embedding is None

    @pytest.mark.parametrize(
        "kind",
        [pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 200), pa.list_(pa.float16())],
        ids=str,
    )
    def test_lists_of_numbers_as_files_have_them_are_the_same_rows(
        self, reference: Reference, kind: pa.DataType
    ) -> None:
        vectors = activations(draw(30, 9)).astype(np.float16)
        table = model_rows(vectors, null=(4,))
        lists = [None if i == 4 else row.tolist() for i, row in enumerate(vectors.astype(np.float64))]
        if pa.types.is_float16(kind.value_type):
            lists = [None if i == 4 else list(row) for i, row in enumerate(vectors)]
        other = table.set_column(1, EMBEDDING, pa.array(lists, kind))
        assert_same(embedded(reference, table), embedded(reference, other), table)
        assert dimension_of(other) == 200

    def test_lists_with_holes_or_out_of_the_range_of_float16_are_not_finite(self, reference: Reference) -> None:
        vectors = activations(draw(3, 9)).tolist()
        vectors[0][5], vectors[1][5] = None, 1e6
        profile = embedded(reference, pa.table({EMBEDDING: pa.array(vectors, pa.list_(pa.float64()))}))
        assert (profile.count, profile.not_finite) == (1, 2)

    @pytest.mark.parametrize("values", [["text", None], [[["nested"]], None], [3, None]], ids=str)
    def test_other_types_have_another_dimension(self, reference: Reference, values: list[object]) -> None:
        table = pa.table({EMBEDDING: values})
        profile = embedded(reference, table)
        assert (profile.count, profile.null, profile.wrong_dimension) == (0, 1, 1)
        assert dimension_of(table) == 0

    def test_half_a_number_is_another_dimension(self, reference: Reference) -> None:
        profile = embedded(reference, pa.table({EMBEDDING: pa.array([b"a" * 401], pa.binary())}))
        assert (profile.count, profile.wrong_dimension) == (0, 1)

    def test_the_dimension_is_what_the_field_says_else_the_most_frequent(self) -> None:
        table = as_table(np.zeros((2, 7)))
        assert dimension_of(table) == 7
        bare = pa.table({EMBEDDING: pa.array([b"ab" * 3, b"ab" * 3, b"ab", None], pa.binary())})
        assert dimension_of(bare) == 3
        assert dimension_of(pa.table({EMBEDDING: pa.nulls(2)})) == 0

    def test_without_a_reference_they_are_only_counted(self) -> None:
        profile = profile_embedding(as_table(np.zeros((4, 3)), null=(0,)), None)
        assert profile is not None
        assert (profile.space, profile.null, profile.wrong_dimension, profile.count) == (NO_SPACE, 1, 3, 0)
        assert profile_embedding(as_table(np.zeros((1, 3)), null=(0,)), None) is None


class TestMerge:
    @pytest.mark.parametrize("cuts", [(1,), (7, 8, 1_500), (1_024, 2_048), tuple(range(100, 3_000, 100))])
    def test_any_partition_in_any_order_is_the_whole(
        self, reference: Reference, table: pa.Table, cuts: tuple[int, ...]
    ) -> None:
        edges = [0, *cuts, table.num_rows]
        parts = [table.slice(a, b - a) for a, b in pairwise(edges)]
        order = np.random.default_rng(len(cuts)).permutation(len(parts))
        profiles = [embedded(reference, parts[i]) for i in order]
        whole = embedded(reference, table)
        assert_same(reduce(EmbeddingProfile.merge, profiles), whole, table)
        assert_same(reduce(lambda a, b: b.merge(a), profiles), whole, table)

    def test_shuffled_rows_are_the_same_profile(self, reference: Reference, table: pa.Table) -> None:
        shuffled = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
        assert_same(embedded(reference, shuffled), embedded(reference, table), table)

    def test_the_empty_profile_is_the_identity(self, reference: Reference, table: pa.Table) -> None:
        whole = embedded(reference, table)
        empty = EmbeddingProfile.empty(whole.space)
        for merged in (whole.merge(empty), empty.merge(whole)):
            assert merged.sample == whole.sample
            for name in ("total", "products", "features"):
                np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))

    def test_a_window_whose_panes_lack_it_in_part_has_what_there_is(self, reference: Reference) -> None:
        with_it = profile_inputs(reference, model_rows(activations(draw(9, 1))))
        without = profile_inputs(reference, pa.table({"prediction": [1.0, 2.0]}))
        for merged in (with_it.merge(without), without.merge(with_it), Profile.empty(reference).merge(with_it)):
            assert merged.embedding is not None
            assert merged.embedding.count == 9

    def test_another_space_is_refused(self, reference: Reference) -> None:
        own = part(reference)
        space = replace(own.space, seed=own.space.seed + 1)
        with pytest.raises(DefectError, match="embeddings of different references cannot be merged"):
            own.merge(EmbeddingProfile.empty(space))


class TestSample:
    def test_it_is_the_ids_with_the_smallest_hash(self, reference: Reference) -> None:
        table = model_rows(activations(draw(1_000, 11)), "pane")
        ids = table.column("prediction_id").to_pylist()
        hashes = hash_texts(pa.array(ids, pa.large_string())).tolist()
        expected = tuple(sorted(zip(hashes, ids, strict=True))[:SAMPLE_ROWS])
        assert embedded(reference, table).sample == expected

    def test_repeated_ids_are_in_it_once(self, reference: Reference) -> None:
        table = model_rows(activations(draw(500, 11)), "pane")
        repeated = pa.concat_tables([table.slice(0, 200)] * 3)
        assert embedded(reference, repeated).sample == embedded(reference, table.slice(0, 200)).sample

    def test_every_id_is_as_likely(self) -> None:
        ids = [f"0192f{i:04x}-aaaa-7000-8000-{i % 7:012x}" for i in range(20_000)]
        hashes = hash_texts(pa.array(ids, pa.large_string()))
        assert len(set(hashes.tolist())) == len(ids)
        counts = np.bincount((hashes >> np.uint64(58)).astype(int), minlength=64)
        chi_square = np.sum((counts - len(ids) / 64) ** 2 / (len(ids) / 64))
        assert chi_square < 120  # 63 degrees of freedom: P < 1e-5

    def test_hashes_do_not_depend_on_what_lies_around(self) -> None:
        texts = ["", "a", "b", "ab", "ba", "é", "x" * 300]
        together = hash_texts(pa.array(["zz", *texts], pa.large_string())[1:])
        assert together.tolist() == [hash_texts(pa.array([text], pa.large_string()))[0] for text in texts]
        assert len(set(together.tolist())) == len(texts)


class TestFit:
    def test_the_rows_that_chose_the_space_are_not_in_its_profile(self) -> None:
        reference = build_reference(SCHEMA, model_rows(activations(draw(801, 12)), null=(5,)))
        assert part(reference).count == 400
        assert part(reference).missing == 0
        assert reference.embedding is not None
        assert reference.embedding.missing_rate == pytest.approx(1 / 801)
        assert reference.profile.rows == 801

    @pytest.mark.parametrize("rows", [1, MINIMUM_ROWS - 1])
    def test_too_few_rows_make_none(self, rows: int) -> None:
        reference = build_reference(SCHEMA, model_rows(draw(rows, 13)))
        assert reference.embedding is None
        assert reference.profile.embedding is None

    def test_equal_rows_and_no_rows_make_none(self) -> None:
        assert fit_embedding(as_table(np.ones((100, 4))), "m") is None
        assert fit_embedding(pa.table({"prediction": [1.0]}), "m") is None
        assert fit_embedding(pa.table({EMBEDDING: pa.nulls(100, pa.binary())}), "m") is None

    def test_it_is_the_same_every_time_and_in_any_chunks(self, reference: Reference) -> None:
        table = model_rows(activations(draw(800, 1)))
        chunked = pa.concat_tables([table.slice(0, 13), table.slice(13, 400), table.slice(413)])
        again = build_reference(SCHEMA, chunked)
        assert again.identity == reference.identity
        assert again.embedding is not None
        assert reference.embedding is not None
        assert again.embedding.null == reference.embedding.null

    def test_the_order_of_the_rows_does_not_matter(self, reference: Reference) -> None:
        table = model_rows(activations(draw(800, 1)))
        shuffled = table.take(pa.array(np.random.default_rng(5).permutation(800)))
        assert build_reference(SCHEMA, shuffled).identity == reference.identity

    def test_without_ids_rows_are_split_all_the_same(self) -> None:
        found = fit_embedding(as_table(activations(draw(800, 1))).drop_columns(["prediction_id"]), "m")
        assert found is not None
        assert found[1].count == 400

    def test_another_embedding_is_another_reference(self, reference: Reference) -> None:
        other = build_reference(SCHEMA, model_rows(activations(draw(800, 2))))
        assert other.identity != reference.identity

    def test_the_random_numbers_are_those_of_the_first_release(self) -> None:
        np.testing.assert_array_equal(pseudo_random(7, 3), [0.6250954666046671, 0.8972138009695756, 0.7756856902451936])

    def test_the_moments_of_the_kernel_have_no_bias(self) -> None:
        # Ten directions of known variances: tr Σ² and tr Σ³ by hand, from 40 rows at a time.
        rng = np.random.default_rng(3)
        scale = np.linspace(0.2, 2, 10)
        found = np.array(
            [kernel_moments(rng.normal(0, scale * np.sqrt(FEATURE_PAIRS), (40, 10))) for _ in range(2_000)]
        )
        exact = np.array([np.sum(scale**4), np.sum(scale**6)])
        error = found.std(axis=0) / np.sqrt(len(found))
        # The cube is right to first order in 1/n only.
        assert np.all(np.abs(found.mean(axis=0) - exact) <= 4 * error + np.array([0, 0.01]) * exact)


class TestCodec:
    def test_a_profile_comes_back_bit_for_bit(self, reference: Reference) -> None:
        vectors = activations(draw(300, 14))
        vectors[9] = np.inf
        profile = profile_inputs(reference, model_rows(vectors, null=(4, 5)))
        back = decode_profile(encode_profile(profile), reference).embedding
        assert back is not None
        assert profile.embedding is not None
        for name in vars(EmbeddingProfile.empty(back.space)):
            np.testing.assert_array_equal(getattr(back, name), getattr(profile.embedding, name))

    def test_profiles_without_rows_or_without_embeddings_come_back(self, reference: Reference) -> None:
        empty = profile_inputs(reference, model_rows(np.zeros((2, 200)), null=(0, 1)))
        back = decode_profile(encode_profile(empty), reference).embedding
        assert back is not None
        assert (back.count, back.null, back.total.size) == (0, 2, 65)
        bare = profile_inputs(reference, pa.table({"prediction": [1.0]}))
        assert decode_profile(encode_profile(bare), reference).embedding is None

    def test_rows_that_no_reference_knows_come_back(self) -> None:
        reference = build_reference(SCHEMA, model_rows(draw(9, 1)))
        profile = profile_inputs(reference, model_rows(draw(9, 1)))
        back = decode_profile(encode_profile(profile), reference).embedding
        assert back is not None
        assert (back.space, back.wrong_dimension) == (NO_SPACE, 9)

    def test_a_reference_comes_back_and_profiles_alike(self, reference: Reference) -> None:
        back = decode_reference(encode_reference(reference))
        assert back.embedding is not None
        assert reference.embedding is not None
        assert back.embedding.null == reference.embedding.null
        assert back.embedding.space.identity == reference.embedding.space.identity
        table = model_rows(activations(draw(40, 15)))
        np.testing.assert_array_equal(embedded(back, table).features, embedded(reference, table).features)

    def test_a_pane_is_under_32_kilobytes_and_a_reference_under_400(self) -> None:
        table = model_rows(activations(draw(700, 16), 1_280), "0192f000-0000-7000-8000")
        reference = build_reference(SCHEMA, table)
        bare = profile_inputs(reference, table.drop_columns([EMBEDDING]))
        pane = len(encode_profile(profile_inputs(reference, table))) - len(encode_profile(bare))
        assert 20_000 < pane < 32_000
        assert len(encode_reference(reference)) < 400_000

    def test_a_damaged_profile_is_refused(self, reference: Reference) -> None:
        data = bytearray(encode_profile(reference.profile))
        data[-1] ^= 1
        with pytest.raises(OperatorError, match="a profile is damaged"):
            decode_profile(bytes(data), reference)

    def test_files_of_the_first_release_are_read(self) -> None:
        reference = load_reference(golden.FOLDER / "embedding_reference.trueup")
        stored = decode_profile((golden.FOLDER / "embedding_profile.bin").read_bytes(), reference).embedding
        assert stored is not None
        assert (stored.count, stored.null) == (294, 6)
        current = golden.embedded(200, 300)
        assert_same(stored, embedded(reference, current), current)

    def test_files_from_before_there_were_embeddings_are_read(self) -> None:
        reference = load_reference(golden.FOLDER / "reference.trueup")
        profile = decode_profile((golden.FOLDER / "profile.bin").read_bytes(), reference)
        assert (reference.embedding, reference.profile.embedding, profile.embedding) == (None, None, None)


def test_twenty_thousand_records_of_1280_numbers_take_about_a_second() -> None:
    random = np.random.default_rng(17)
    vectors = random.normal(0, 1, (5_000, 1_280)).astype(np.float16)
    rows = Rows(vectors, pa.array([f"id-{i}" for i in range(5_000)], pa.large_string()), 0, 0)
    fitted = fit_embedding(as_table(vectors[:500].astype(np.float64)), "m")
    assert fitted is not None
    EmbeddingProfile.build(replace(rows, matrix=vectors[:64], ids=rows.ids[:64]), fitted[0].space)
    started = time.process_time()
    EmbeddingProfile.build(rows, fitted[0].space)
    # Measured 0.16 s; a step per row in Python would take longer than this.
    assert time.process_time() - started < 0.75
