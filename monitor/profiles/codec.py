"""Profiles and references as bytes: versioned, without pickle, checked when read.

What lives here: the container (JSON structure + raw arrays + CRC-32C) and how each profile maps to it. What must not:
any computation on profiles. Files of released versions stay readable (tests/golden).
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import orjson

from monitor.errors import OperatorError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.losses import LossLimits
from monitor.profiles.model_profile import (
    ColumnProfile,
    ColumnSpec,
    Profile,
    Reference,
    empty_outcome,
)
from monitor.profiles.numeric import NumericProfile, Standardisation
from monitor.profiles.outcome import DELAYS, ClassificationSums, OutcomeProfile, RegressionSums
from monitor.records import ModelSchema

MAGIC = b"TRUEUPP1"
_HEADER = struct.Struct("<II")
_DTYPES = {"<f8", "<i8", "<u4"}


def encode_profile(profile: Profile) -> bytes:
    """Bytes of a drift profile; its cells' meaning stays with the reference."""
    return _pack({"reference": profile.reference, "rows": profile.rows, "columns": _columns(profile)})


def decode_profile(data: bytes, reference: Reference) -> Profile:
    """The drift profile in `data`; raises OperatorError if it is damaged or of another reference."""
    content = _unpack(data)
    _check_reference(content, reference)
    return _profile(content, reference.columns)


def encode_outcome(outcome: OutcomeProfile) -> bytes:
    """Bytes of an outcome profile."""
    return _pack(_outcome_content(outcome))


def decode_outcome(data: bytes, reference: Reference) -> OutcomeProfile:
    """The outcome profile in `data`; raises OperatorError if it is damaged or of another reference."""
    content = _unpack(data)
    _check_reference(content, reference)
    return _outcome(content, reference)


def encode_reference(reference: Reference) -> bytes:
    """Bytes of a reference: schema, columns, profile and outcome."""
    schema = reference.schema
    return _pack(
        {
            "identity": reference.identity,
            "schema": {"model": schema.model, "task": schema.task, "classes": list(schema.classes)},
            "columns": [_spec_content(spec) for spec in reference.columns],
            "profile": {"reference": reference.identity, "rows": reference.profile.rows}
            | {"columns": _columns(reference.profile)},
            "outcome": None if reference.outcome is None else _outcome_content(reference.outcome),
            "losses": None if reference.losses is None else _losses_content(reference.losses),
        }
    )


def decode_reference(data: bytes) -> Reference:
    """The reference in `data`; raises OperatorError if it is damaged."""
    content = _unpack(data)
    given = content["schema"]
    schema = ModelSchema(given["model"], given["task"], tuple(given["classes"]))
    columns = tuple(_spec(item) for item in content["columns"])
    identity = content["identity"]
    draft = Reference(schema, columns, Profile(identity, 0, {}), None, identity)
    outcome = None if content["outcome"] is None else _outcome(content["outcome"], draft)
    # Files written before there were alarms on losses hold none.
    losses = None if content.get("losses") is None else _losses(content["losses"])
    return Reference(schema, columns, _profile(content["profile"], columns), outcome, identity, losses)


def save_reference(reference: Reference, path: Path) -> None:
    """Write a reference file; readers see the old one or the whole new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(encode_reference(reference))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load_reference(path: Path) -> Reference:
    """Read a reference file; raises OperatorError that names it if it is missing or damaged."""
    try:
        return decode_reference(path.read_bytes())
    except FileNotFoundError as error:
        raise OperatorError("there is no such reference file", where=str(path)) from error
    except OperatorError as error:
        raise OperatorError(
            "not a reference file", where=str(path), got=error.what, hint="Build it: trueup reference build"
        ) from error


def _pack(content: dict[str, Any]) -> bytes:
    arrays: list[bytes] = []

    def default(value: object) -> Any:
        if isinstance(value, np.ndarray):
            little = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<")))
            arrays.append(little.tobytes())
            return {"$array": len(arrays) - 1, "dtype": little.dtype.str, "shape": list(little.shape)}
        raise TypeError(type(value).__name__)

    structure = orjson.dumps(content, default=default)
    body = b"".join([_HEADER.pack(len(structure), len(arrays)), structure, *(_sized(array) for array in arrays)])
    packed = zlib.compress(body, level=1)
    return MAGIC + struct.pack("<I", google_crc32c.value(packed)) + packed


def _unpack(data: bytes) -> dict[str, Any]:
    if data[: len(MAGIC)] != MAGIC:
        raise OperatorError("not a profile of this format", expected=MAGIC.decode(), got=repr(data[: len(MAGIC)]))
    packed = data[len(MAGIC) + 4 :]
    if struct.unpack_from("<I", data, len(MAGIC))[0] != google_crc32c.value(packed):
        raise OperatorError("a profile is damaged", expected="the checksum written with it", got="another")
    body = zlib.decompress(packed)
    length, count = _HEADER.unpack_from(body)
    position = _HEADER.size + length
    arrays: list[bytes] = []
    for _ in range(count):
        (size,) = struct.unpack_from("<Q", body, position)
        arrays.append(body[position + 8 : position + 8 + size])
        position += 8 + size
    structure: dict[str, Any] = _restore(orjson.loads(body[_HEADER.size : _HEADER.size + length]), arrays)
    return structure


def _sized(array: bytes) -> bytes:
    return struct.pack("<Q", len(array)) + array


def _restore(value: Any, arrays: list[bytes]) -> Any:
    if isinstance(value, list):
        return [_restore(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        if value["dtype"] not in _DTYPES:
            raise OperatorError("a profile holds an array of a type that it cannot", got=str(value["dtype"]))
        return np.frombuffer(arrays[value["$array"]], dtype=value["dtype"]).reshape(value["shape"])
    return {key: _restore(item, arrays) for key, item in value.items()}


def _check_reference(content: dict[str, Any], reference: Reference) -> None:
    if content["reference"] != reference.identity:
        raise OperatorError(
            "a profile belongs to another reference", expected=reference.identity, got=content["reference"]
        )


_NUMERIC_COUNTS = ("null", "nan", "positive_infinity", "negative_infinity")
_NUMERIC_SUMS = ("total", "absolute", "squares", "minimum", "maximum")


def _column_content(column: ColumnProfile) -> dict[str, Any]:
    if isinstance(column, NumericProfile):
        numbers = {name: getattr(column, name) for name in _NUMERIC_COUNTS}
        # As raw bytes: JSON has no infinities, and a sum must come back bit for bit.
        sums = np.array([getattr(column, name) for name in _NUMERIC_SUMS])
        return {"cells": column.cells, "counts": column.counts, "sums": sums, **numbers}
    return {"counts": column.counts, "other": column.other, "null": column.null, "new": dict(column.new)}


def _columns(profile: Profile) -> dict[str, Any]:
    return {name: _column_content(column) for name, column in profile.columns.items()}


def _numeric(content: dict[str, Any], standardisation: Standardisation) -> NumericProfile:
    numbers: dict[str, Any] = {name: content[name] for name in _NUMERIC_COUNTS}
    numbers |= zip(_NUMERIC_SUMS, (float(value) for value in content["sums"]), strict=True)
    return NumericProfile(standardisation, content["cells"], content["counts"], **numbers)


def _profile(content: dict[str, Any], specs: tuple[ColumnSpec, ...]) -> Profile:
    columns: dict[str, ColumnProfile] = {}
    for spec in specs:
        stored = content["columns"].get(spec.name)
        if stored is None:
            continue
        if spec.standardisation is not None:
            columns[spec.name] = _numeric(stored, spec.standardisation)
        else:
            columns[spec.name] = CategoricalProfile(
                spec.categories or (), stored["counts"], stored["other"], stored["null"], stored["new"]
            )
    return Profile(content["reference"], content["rows"], columns)


def _outcome_content(outcome: OutcomeProfile) -> dict[str, Any]:
    sums = outcome.sums
    if isinstance(sums, ClassificationSums):
        floats = np.array([sums.log_loss, sums.log_loss_squares, sums.brier, sums.brier_squares])
        content: dict[str, Any] = {
            "confusion": sums.confusion,
            "calibration": sums.calibration,
            "floats": floats,
            "scored": sums.scored,
        }
    else:
        content = {"floats": np.array(list(vars(sums).values()))}
    return {
        "reference": outcome.reference,
        "rows": outcome.rows,
        "unusable": outcome.unusable,
        "sums": content,
        "delays": _column_content(outcome.delays),
    }


def _outcome(content: dict[str, Any], reference: Reference) -> OutcomeProfile:
    stored = content["sums"]
    floats = [float(value) for value in stored["floats"]]
    sums: ClassificationSums | RegressionSums
    if isinstance(empty_outcome(reference).sums, ClassificationSums):
        loss, loss_squares, brier, brier_squares = floats
        sums = ClassificationSums(
            stored["confusion"], loss, loss_squares, brier, brier_squares, stored["calibration"], stored["scored"]
        )
    else:
        sums = RegressionSums(*floats)
    delays = _numeric(content["delays"], DELAYS)
    return OutcomeProfile(content["reference"], content["rows"], content["unusable"], sums, delays)


def _losses_content(losses: LossLimits) -> dict[str, Any]:
    return {
        "numbers": np.array([losses.quantiles, losses.limits], dtype=np.float64),
        "above": np.array(losses.above, dtype=np.int64),
        "rows": losses.rows,
    }


def _losses(content: dict[str, Any]) -> LossLimits:
    quantiles, limits = content["numbers"].tolist()
    return LossLimits(tuple(quantiles), tuple(limits), tuple(content["above"].tolist()), content["rows"])


def _spec_content(spec: ColumnSpec) -> dict[str, Any]:
    made: dict[str, Any] = {"name": spec.name, "source": spec.source}
    if spec.standardisation is not None:
        numbers = np.array([spec.standardisation.centre, spec.standardisation.scale])
        made["standardisation"] = {"numbers": numbers, "bits": spec.standardisation.bits}
    else:
        made["categories"] = list(spec.categories or ())
    return made


def _spec(content: dict[str, Any]) -> ColumnSpec:
    if "standardisation" in content:
        centre, scale = (float(value) for value in content["standardisation"]["numbers"])
        bits = content["standardisation"]["bits"]
        return ColumnSpec(content["name"], content["source"], Standardisation(centre, scale, bits))
    return ColumnSpec(content["name"], content["source"], categories=tuple(content["categories"]))
