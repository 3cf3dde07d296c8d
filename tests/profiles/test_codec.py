"""Profiles and references come back from their bytes, those of released formats too; damage is named."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from monitor.errors import OperatorError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.codec import (
    decode_outcome,
    decode_profile,
    decode_reference,
    encode_profile,
    encode_reference,
    load_reference,
    save_reference,
)
from monitor.profiles.model_profile import Profile, build_reference, profile_inputs
from monitor.profiles.numeric import NumericProfile
from monitor.records import ModelSchema
from monitor.statistics import summary
from monitor.statistics.result import Estimate
from tests.golden.make import FOLDER, SCHEMA, rows
from tests.profiles.numeric_samples import KINDS, sample


def leaves(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every value in it by its path; arrays as bytes."""
    if isinstance(value, np.ndarray):
        yield path, (value.dtype.str, value.shape, value.tobytes())
    elif isinstance(value, dict):
        for key, item in sorted(value.items()):
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    elif is_dataclass(value):
        for item in fields(value):
            yield from leaves(getattr(value, item.name), f"{path}.{item.name}")
    else:
        yield path, repr(value)


@pytest.mark.parametrize("kind", KINDS)
def test_profiles_and_references_of_any_column_come_back_bit_for_bit(kind: str) -> None:
    values = np.append(sample(kind, 500, 1), [math.nan, math.inf])
    reference = build_reference(ModelSchema("m", "regression"), pa.table({"f_x": values, "f_y": ["a", None] * 251}))
    again = decode_reference(encode_reference(reference))
    assert dict(leaves(again)) == dict(leaves(reference))
    profile = profile_inputs(reference, pa.table({"f_x": sample(kind, 100, 2), "f_y": ["b"] * 100}))
    assert dict(leaves(decode_profile(encode_profile(profile), again))) == dict(leaves(profile))


def test_a_profile_without_rows_or_columns_comes_back() -> None:
    reference = build_reference(SCHEMA, rows(0, 50))
    for profile in (Profile.empty(reference), profile_inputs(reference, rows(0, 0))):
        assert dict(leaves(decode_profile(encode_profile(profile), reference))) == dict(leaves(profile))


def test_files_of_format_1_say_today_what_they_said() -> None:
    reference = load_reference(FOLDER / "reference.trueup")
    profile = decode_profile((FOLDER / "profile.bin").read_bytes(), reference)
    outcome = decode_outcome((FOLDER / "outcome.bin").read_bytes(), reference)
    assert (reference.schema, reference.profile.rows, profile.rows, outcome.rows) == (SCHEMA, 400, 300, 300)
    assert [(spec.name, spec.kind) for spec in reference.columns] == [
        ("prediction", "categorical"),
        ("p_no", "numeric"),
        ("p_yes", "numeric"),
        ("f_amount", "numeric"),
        ("f_city", "categorical"),
        ("f_member", "boolean"),
        ("f_seen", "timestamp"),
        ("entropy", "numeric"),
        ("confidence", "numeric"),
    ]
    amount, city = profile.columns["f_amount"], profile.columns["f_city"]
    assert isinstance(amount, NumericProfile)
    assert isinstance(city, CategoricalProfile)
    assert (amount.null, amount.minimum, amount.maximum, amount.finite) == (6, 0.25, 126.0, 294)
    assert dict(zip(city.categories, city.counts.tolist(), strict=True)) == {"Bonn": 100, "Oslo": 100, "Rome": 100}
    # The same rows counted today are the same profile: cells have not moved.
    today = profile_inputs(reference, rows(200, 300)).columns
    assert today.keys() == profile.columns.keys()
    for name, stored in profile.columns.items():
        for part in ("cells", "counts", "below", "equal"):
            assert np.array_equal(getattr(today[name], part, None), getattr(stored, part, None)), (name, part)
    values = summary.outcome_statistics(reference, outcome)
    accuracy = values["accuracy"]
    assert isinstance(accuracy, Estimate)
    table = rows(200, 300)
    right = np.asarray(table.column("prediction")) == np.asarray(table.column("label"))
    assert accuracy.value == right.mean()


def test_damaged_files_and_profiles_of_another_reference_are_refused(tmp_path: Path) -> None:
    reference, other = build_reference(SCHEMA, rows(0, 50)), build_reference(SCHEMA, rows(0, 51))
    data = bytearray(encode_profile(profile_inputs(reference, rows(0, 10))))
    with pytest.raises(OperatorError, match="belongs to another reference"):
        decode_profile(bytes(data), other)
    data[-1] ^= 1
    with pytest.raises(OperatorError, match="a profile is damaged"):
        decode_profile(bytes(data), reference)
    path = tmp_path / "reference.trueup"
    save_reference(reference, path)
    whole = path.read_bytes()
    for content in (whole[:100], whole[:10], b"", encode_profile(profile_inputs(reference, rows(0, 10)))):
        path.write_bytes(content)
        with pytest.raises(OperatorError, match=r"reference\.trueup: not a reference file"):
            load_reference(path)


def test_equal_rows_make_the_same_reference_in_any_order_and_other_rows_another() -> None:
    table = rows(0, 200)
    shuffled = table.take(np.random.default_rng(0).permutation(200))
    identity = build_reference(SCHEMA, table).identity
    assert build_reference(SCHEMA, shuffled).identity == identity
    assert build_reference(SCHEMA, rows(1, 200)).identity != identity
