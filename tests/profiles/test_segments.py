"""Segments: slots, their sums against whole profiles of their rows, laws of merging, encodings."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.errors import DefectError
from monitor.profiles.codec import (
    decode_outcome,
    decode_profile,
    decode_reference,
    encode_outcome,
    encode_profile,
    encode_reference,
    load_reference,
)
from monitor.profiles.model_profile import (
    Profile,
    Reference,
    build_reference,
    empty_outcome,
    profile_inputs,
    profile_outcomes,
    with_segments,
)
from monitor.profiles.outcome import REGRESSION_TERMS, ClassificationSums
from monitor.profiles.segments import MAXIMUM_VALUES, MISSING, OTHER, SegmentSpec, kept_values
from monitor.records import ModelSchema
from monitor.statistics.divergence import category_cells, decile_cells
from tests.golden.make import FOLDER, MEASURED, SCHEMA, embedded, measured, rows, told_apart
from tests.profiles.segment_samples import segmented
from tests.profiles.test_outcome import equal, leaves

ROWS = 3_000
each_task = pytest.mark.parametrize("task", ["classification", "regression"])
CASES = {task: segmented(task, ROWS, 5) for task in ("classification", "regression")}
REFERENCES = {task: build_reference(schema, table) for task, (schema, table) in CASES.items()}
PLAIN = {
    task: build_reference(schema, table.drop_columns(["s_region", "s_device"]))
    for task, (schema, table) in CASES.items()
}
CURRENT = {task: segmented(task, ROWS, 6)[1] for task in CASES}


def of_slot(table: pa.Table, spec: SegmentSpec, place: int) -> pa.Table:
    """The rows of a slot, chosen without `places`."""
    values = table.column(f"s_{spec.name}")
    if place < len(spec.values):
        return table.filter(pc.equal(values, spec.values[place]))
    if place > len(spec.values):
        return table.filter(pc.is_null(values))
    return table.filter(pc.invert(pc.is_in(values, value_set=pa.array([*spec.values, None], pa.string()))))


def test_the_most_frequent_values_are_kept_in_the_order_of_their_names_and_ties_go_by_name() -> None:
    assert kept_values({"b": 5, "a": 5, "c": 5, "z": 9, "none": 0}, 3) == ("a", "b", "z")
    assert kept_values({f"v{k:07d}": 1 for k in range(100_000)}) == tuple(f"v{k:07d}" for k in range(MAXIMUM_VALUES))


def test_a_value_called_other_is_a_value_and_one_called_as_a_slot_is_written_is_not() -> None:
    assert kept_values({"other": 3, OTHER: 9, MISSING: 9, "eu": 1}) == ("eu", "other")
    spec = SegmentSpec("region", ("eu", "other"))
    batch = pa.table({"s_region": ["eu", "other", OTHER, MISSING, None, "new"]})
    assert [spec.slots[place] for place in spec.places(batch)] == ["eu", "other", OTHER, OTHER, MISSING, OTHER]


def test_rows_of_before_there_was_the_column_are_missing_and_whole_numbers_are_their_text() -> None:
    spec = SegmentSpec("store", ("1", "2"))
    assert spec.places(pa.table({"f_x": [1.0, 2.0]})).tolist() == [3, 3]
    assert spec.places(pa.table({"s_store": [1, 2, 3, None]})).tolist() == [0, 1, 2, 3]
    assert spec.places(pa.table({"s_store": pa.array([None, None], pa.null())})).tolist() == [3, 3]
    assert spec.places(pa.table({"s_store": pa.array([], pa.string())})).tolist() == []


@each_task
def test_a_segment_that_no_row_has_a_value_of_is_none_of_the_reference(task: str) -> None:
    schema, table = CASES[task]
    place = table.column_names.index("s_region")
    for nulls in (pa.nulls(ROWS, pa.string()), pa.nulls(ROWS)):
        reference = build_reference(schema, table.set_column(place, "s_region", nulls))
        assert [spec.name for spec in reference.segments] == ["device"]
        assert reference.identity == build_reference(schema, table.drop_columns(["s_region"])).identity


@each_task
def test_the_reference_keeps_twenty_values_and_counts_its_own_rows_by_them(task: str) -> None:
    reference = REFERENCES[task]
    device, region = reference.segments
    assert (region.name, region.values) == ("region", ("apac", "eu", "other", "us"))
    assert len(device.values) == MAXIMUM_VALUES
    assert reference.outcome is not None
    for spec in reference.segments:
        for place, slot in enumerate(spec.slots):
            count = of_slot(CASES[task][1], spec, place).num_rows
            assert reference.profile.segments[spec.name].rows[place] == count, slot
            assert reference.outcome.segments[spec.name].rows[place] == count, slot
    assert reference.identity != PLAIN[task].identity


@each_task
def test_a_slot_holds_what_a_whole_profile_of_its_rows_says(task: str) -> None:
    reference, table = REFERENCES[task], CURRENT[task]
    profile, outcome, layout = (
        profile_inputs(reference, table),
        profile_outcomes(reference, table),
        reference.segment_cells,
    )
    for spec in reference.segments:
        inputs, outcomes = profile.segments[spec.name], outcome.segments[spec.name]
        held = sum(
            (reference.profile.segments[spec.name].dense(i, layout.total) for i in range(len(spec.slots))), start=0
        )
        for place in range(len(spec.slots)):
            own, dense = of_slot(table, spec, place), inputs.dense(place, layout.total)
            assert (inputs.rows[place], outcomes.rows[place]) == (own.num_rows, own.num_rows)
            if not own.num_rows:
                assert not dense.any()
                continue
            whole, realised = profile_inputs(reference, own), profile_outcomes(reference, own)
            for number, column in enumerate(reference.columns):
                cells = slice(layout.offsets[number], layout.offsets[number + 1])
                then, now = reference.profile.columns[column.name], whole.columns[column.name]
                compared = decile_cells if column.standardisation is not None else category_cells
                used = (held[cells] > 0) | (dense[cells] > 0)
                counts = compared(then, now)  # type: ignore[operator]
                assert np.array_equal(dense[cells][used], counts.current), column.name
                assert np.array_equal(held[cells][used], counts.reference), column.name
            assert outcomes.unusable[place] == realised.unusable
            assert whole.estimated is not None
            assert inputs.estimated is not None
            estimated = inputs.estimated.slot(place)
            if isinstance(realised.sums, ClassificationSums):
                equal(replace(whole.estimated, scores=np.zeros((0, 0), np.int64)), estimated)
                sums = outcomes.classification(place, 3)
                equal(replace(realised.sums, scores=sums.scores), sums)
            else:
                equal(whole.estimated, estimated)
                found = outcomes.regression(place, reference.estimators)
                for name in REGRESSION_TERMS:
                    assert getattr(found, name) == pytest.approx(getattr(realised.sums, name), rel=1e-9, abs=1e-6), name


@each_task
def test_sums_over_the_values_are_those_of_the_whole(task: str) -> None:
    reference = REFERENCES[task]
    profile, outcome = profile_inputs(reference, CURRENT[task]), profile_outcomes(reference, CURRENT[task])
    for spec in reference.segments:
        inputs, outcomes = profile.segments[spec.name], outcome.segments[spec.name]
        slots = range(len(spec.slots))
        assert (inputs.rows.sum(), outcomes.rows.sum()) == (profile.rows, outcome.rows)
        assert outcomes.unusable.sum() == outcome.unusable
        if isinstance(outcome.sums, ClassificationSums):
            parts = [outcomes.classification(place, 3) for place in slots]
            assert np.array_equal(sum(part.confusion for part in parts), outcome.sums.confusion)
            assert np.array_equal(sum(part.classes for part in parts), outcome.sums.classes)


@each_task
@pytest.mark.parametrize("seed", [1, 2])
def test_any_split_and_order_of_the_rows_gives_the_same_segments(task: str, seed: int) -> None:
    reference, table = REFERENCES[task], CURRENT[task]
    rng = np.random.default_rng(seed)
    shuffled = table.take(pa.array(rng.permutation(ROWS)))
    cuts = [0, *sorted(rng.integers(0, ROWS, 6).tolist()), ROWS]
    pieces = [shuffled.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
    inputs, outcomes = Profile.empty(reference), empty_outcome(reference)
    for piece in pieces:
        inputs, outcomes = (
            inputs.merge(profile_inputs(reference, piece)),
            outcomes.merge(profile_outcomes(reference, piece)),
        )
    whole, realised = profile_inputs(reference, table), profile_outcomes(reference, table)
    for name in ("region", "device"):
        same(whole.segments[name], inputs.segments[name])
        same(realised.segments[name], outcomes.segments[name])


def same(a: object, b: object) -> None:
    """Integers exactly; float sums, whose terms may differ in sign, to what their size allows."""
    mine, its = leaves(a), leaves(b)
    assert mine.keys() == its.keys()
    for path, leaf in mine.items():
        if leaf.dtype.kind == "f":
            scale = float(np.abs(leaf).max(initial=1.0))
            np.testing.assert_allclose(leaf, its[path], rtol=1e-12, atol=1e-12 * scale, err_msg=path)
        else:
            assert np.array_equal(leaf, its[path]), path


@each_task
def test_merging_is_associative_and_commutative_and_has_an_identity(task: str) -> None:
    reference, table = REFERENCES[task], CURRENT[task]
    a, b, c = (profile_inputs(reference, table.slice(start, 900)) for start in (0, 900, 1800))
    d, e, f = (profile_outcomes(reference, table.slice(start, 900)) for start in (0, 900, 1800))
    for name in ("region", "device"):
        same(a.merge(b).merge(c).segments[name], a.merge(b.merge(c)).segments[name])
        same(a.merge(b).segments[name], b.merge(a).segments[name])
        same(a.merge(Profile.empty(reference)).segments[name], a.segments[name])
        same(Profile.empty(reference).merge(a).segments[name], a.segments[name])
        same(d.merge(e).merge(f).segments[name], d.merge(e.merge(f)).segments[name])
        same(d.merge(e).segments[name], e.merge(d).segments[name])
        same(empty_outcome(reference).merge(d).segments[name], d.segments[name])


def test_segments_that_keep_other_values_are_refused() -> None:
    reference, table = REFERENCES["classification"], CURRENT["classification"]
    mine = profile_inputs(reference, table).segments["region"]
    other = profile_inputs(reference, table).segments["device"]
    with pytest.raises(DefectError, match="segments with other values"):
        mine.merge(other)
    narrower = with_segments(reference, (SegmentSpec("region", ("eu",)),))
    with pytest.raises(DefectError, match="different references"):
        profile_inputs(reference, table).merge(profile_inputs(narrower, table))


@each_task
def test_profiles_and_references_come_back_from_their_bytes(task: str) -> None:
    reference, table = REFERENCES[task], CURRENT[task]
    back = decode_reference(encode_reference(reference))
    assert (back.identity, back.segments) == (reference.identity, reference.segments)
    profile, outcome = profile_inputs(reference, table), profile_outcomes(reference, table)
    inputs = decode_profile(encode_profile(profile), back)
    outcomes = decode_outcome(encode_outcome(outcome), back)
    assert reference.outcome is not None
    assert back.outcome is not None
    for name in ("region", "device"):
        same(profile.segments[name], inputs.segments[name])
        same(outcome.segments[name], outcomes.segments[name])
        same(reference.profile.segments[name], back.profile.segments[name])
        same(reference.outcome.segments[name], back.outcome.segments[name])


@each_task
def test_without_segments_nothing_is_encoded_and_identities_are_what_they_were(task: str) -> None:
    plain = PLAIN[task]
    assert plain.segments == ()
    assert profile_inputs(plain, CURRENT[task]).segments == {}
    bare = with_segments(REFERENCES[task], ())
    without = profile_inputs(bare, CURRENT[task])
    assert encode_profile(replace(without, reference=plain.identity)) == encode_profile(
        profile_inputs(plain, CURRENT[task])
    )


@pytest.mark.parametrize(
    ("name", "schema", "table"),
    [
        ("reference", SCHEMA, rows(0, 400)),
        ("regression_reference", MEASURED, measured(0, 400)),
        ("embedding_reference", MEASURED, embedded(0, 400)),
    ],
)
def test_references_without_segments_are_what_they_were_before_there_were_any(
    name: str, schema: ModelSchema, table: pa.Table
) -> None:
    assert build_reference(schema, table).identity == load_reference(FOLDER / f"{name}.trueup").identity


def test_the_golden_files_with_segments_load_with_what_was_counted() -> None:
    reference = load_reference(FOLDER / "segment_reference.trueup")
    profile = decode_profile((FOLDER / "segment_profile.bin").read_bytes(), reference)
    outcome = decode_outcome((FOLDER / "segment_outcome.bin").read_bytes(), reference)
    assert reference.segments == (SegmentSpec("region", ("eu", "other", "us")),)
    assert build_reference(SCHEMA, told_apart(0, 400)).identity == reference.identity
    assert profile.segments["region"].rows.tolist() == [150, 50, 75, 0, 25]
    assert outcome.segments["region"].rows.tolist() == [150, 50, 75, 0, 25]
    today = told_apart(200, 300)
    same(profile_inputs(reference, today).segments["region"], profile.segments["region"])
    same(profile_outcomes(reference, today).segments["region"], outcome.segments["region"])
    right = np.asarray(today.column("prediction")) == np.asarray(today.column("label"))
    eu = np.asarray(today.column("s_region")) == "eu"
    assert outcome.segments["region"].classification(0, 2).hits == right[eu].sum()


def test_a_reference_can_be_told_to_keep_some_of_its_segments_or_others() -> None:
    reference, table = REFERENCES["classification"], CURRENT["classification"]
    device, region = reference.segments
    assert with_segments(reference, reference.segments) is reference
    own = with_segments(reference, (region,))
    assert list(own.profile.segments) == ["region"]
    configured = with_segments(reference, (SegmentSpec("region", ("eu", "us")), SegmentSpec("site", ("a",))))
    assert configured.profile.segments == {}
    assert len({reference.identity, own.identity, configured.identity}) == 3
    found = profile_inputs(configured, table)
    assert found.segments["site"].rows.tolist() == [0, 0, ROWS]
    assert found.segments["region"].rows.sum() == ROWS
    assert device.name not in found.segments


def test_a_million_values_cost_no_more_than_the_others() -> None:
    schema, table = segmented("classification", 20_000, 8)
    many = table.append_column("s_user", pa.array([f"u{k}" for k in range(20_000)]))
    reference: Reference = build_reference(schema, many)
    found = profile_inputs(reference, many).segments["user"]
    assert found.rows.shape == (MAXIMUM_VALUES + 2,)
    assert found.rows.tolist()[:-2] == [1] * MAXIMUM_VALUES
    assert found.rows[-2] == 20_000 - MAXIMUM_VALUES
