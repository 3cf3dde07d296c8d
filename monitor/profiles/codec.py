"""Profiles and references as bytes: versioned, without pickle, checked when read.

What lives here: the container (JSON structure + raw arrays + CRC-32C) and how each profile maps to it. What must not:
any computation on profiles. Files of released versions stay readable (tests/golden).
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import orjson

from monitor.errors import OperatorError
from monitor.profiles import embedding_codec, outcome_codec, segment_codec
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.columns import ColumnProfile, ColumnSpec
from monitor.profiles.lattice import Standardisation
from monitor.profiles.losses import LossLimits
from monitor.profiles.model_profile import Profile, Reference
from monitor.profiles.numeric import NumericProfile
from monitor.profiles.outcome import (
    DELAYS,
    REGRESSION_TERMS,
    ClassificationSums,
    ErrorCells,
    OutcomeProfile,
    RegressionSums,
)
from monitor.profiles.outcome_builder import Estimators
from monitor.records import ModelSchema

MAGIC = b"TRUEUPP1"
_HEADER = struct.Struct("<II")
_DTYPES = {"<f8", "<i8", "<u4", "<f4"}


def encode_profile(profile: Profile) -> bytes:
    """Bytes of a drift profile; its cells' meaning stays with the reference."""
    return _pack(_profile_content(profile))


def decode_profile(data: bytes, reference: Reference) -> Profile:
    """The drift profile in `data`; raises OperatorError if it is damaged or of another reference."""
    content = _unpack(data)
    _check_reference(content, reference)
    return _profile(content, reference)


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
            "profile": _profile_content(reference.profile),
            "outcome": None if reference.outcome is None else _outcome_content(reference.outcome),
            "losses": None if reference.losses is None else _losses_content(reference.losses),
            "estimators": _estimators_content(reference.estimators),
            "sampled_rows": reference.sampled_rows,
            "embedding": embedding_codec.reference_content(reference.embedding),
            **segment_codec.specs_content(reference.segments),
        }
    )


def decode_reference(data: bytes) -> Reference:
    """The reference in `data`; raises OperatorError if it is damaged."""
    content = _unpack(data)
    given = content["schema"]
    schema = ModelSchema(given["model"], given["task"], tuple(given["classes"]))
    columns = tuple(_spec(item) for item in content["columns"])
    identity = content["identity"]
    estimators = _estimators(content["estimators"])
    draft = Reference(
        schema,
        columns,
        Profile(identity, 0, {}),
        None,
        identity,
        estimators=estimators,
        sampled_rows=content["sampled_rows"],
        embedding=embedding_codec.reference(content.get("embedding")),
        segments=segment_codec.specs(content),
    )
    outcome = None if content["outcome"] is None else _outcome(content["outcome"], draft)
    # Files written before there were alarms on losses hold none (nor those before embeddings one of these).
    losses = None if content.get("losses") is None else _losses(content["losses"])
    return replace(draft, profile=_profile(content["profile"], draft), outcome=outcome, losses=losses)


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


def is_reference(path: Path) -> bool:
    """Whether a file begins as a reference does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


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
    except (KeyError, TypeError, ValueError) as error:
        # Whole and undamaged, but something else: a pane's profile, or what an unreleased version wrote.
        got = f"content that is none ({error!r})"
        hint = "Build it: trueup reference build"
        raise OperatorError("not a reference file", where=str(path), got=got, hint=hint) from error


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
    if not packed:
        raise OperatorError("a profile is damaged", expected="content", got=f"{len(data)} bytes")
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
        marks = np.concatenate((column.below, column.equal))
        return {"cells": column.cells, "counts": column.counts, "marks": marks, "sums": sums, **numbers}
    numbers = {name: getattr(column, name) for name in ("other", "null", "new_error")}
    return {"counts": column.counts, "new": dict(column.new), **numbers}


def _profile_content(profile: Profile) -> dict[str, Any]:
    return {
        "reference": profile.reference,
        "rows": profile.rows,
        "columns": {name: _column_content(column) for name, column in profile.columns.items()},
        "estimated": outcome_codec.estimated_content(profile.estimated),
        "embedding": embedding_codec.profile_content(profile.embedding),
        **segment_codec.inputs_content(profile.segments),
    }


def _numeric(content: dict[str, Any], standardisation: Standardisation) -> NumericProfile:
    numbers: dict[str, Any] = {name: content[name] for name in _NUMERIC_COUNTS}
    numbers |= zip(_NUMERIC_SUMS, (float(value) for value in content["sums"]), strict=True)
    below, equal = np.split(content["marks"], 2)
    return NumericProfile(standardisation, content["cells"], content["counts"], below, equal, **numbers)


def _profile(content: dict[str, Any], reference: Reference) -> Profile:
    columns: dict[str, ColumnProfile] = {}
    for spec in reference.columns:
        stored = content["columns"].get(spec.name)
        if stored is None:
            continue
        if spec.standardisation is not None:
            columns[spec.name] = _numeric(stored, spec.standardisation)
        else:
            columns[spec.name] = CategoricalProfile(
                spec.categories or (),
                stored["counts"],
                stored["other"],
                stored["null"],
                stored["new"],
                stored["new_error"],
            )
    estimated = outcome_codec.estimated_sums(content["estimated"])
    embedding = embedding_codec.profile(content.get("embedding"), reference.embedding)
    segments = segment_codec.inputs(content, reference.segments)
    return Profile(content["reference"], content["rows"], columns, estimated, embedding, segments)


def _outcome_content(outcome: OutcomeProfile) -> dict[str, Any]:
    sums = outcome.sums
    if isinstance(sums, ClassificationSums):
        content = outcome_codec.classification_content(sums)
    else:
        floats = np.array([getattr(sums, name) for name in REGRESSION_TERMS])
        content = {"floats": floats, "residuals": _column_content(sums.residuals)}
    return {
        "reference": outcome.reference,
        "rows": outcome.rows,
        "unusable": outcome.unusable,
        "sums": content,
        "delays": _column_content(outcome.delays),
        "reconciled": outcome_codec.reconciled_content(outcome.reconciled),
        **segment_codec.outcomes_content(outcome.segments),
    }


def _outcome(content: dict[str, Any], reference: Reference) -> OutcomeProfile:
    stored = content["sums"]
    sums: ClassificationSums | RegressionSums
    if reference.schema.task == "classification":
        sums = outcome_codec.classification_sums(stored)
    else:
        residuals = _numeric(stored["residuals"], reference.estimators.errors.residuals)
        numbers = dict(zip(REGRESSION_TERMS, stored["floats"].tolist(), strict=True))
        sums = RegressionSums(residuals=residuals, **numbers)
    delays = _numeric(content["delays"], DELAYS)
    reconciled = outcome_codec.reconciled_sums(content["reconciled"])
    segments = segment_codec.outcomes(content, reference.segments)
    return OutcomeProfile(
        content["reference"], content["rows"], content["unusable"], sums, delays, reconciled, segments
    )


def _estimators_content(estimators: Estimators) -> dict[str, Any]:
    errors = estimators.errors
    return {
        "residuals": _standardisation_content(errors.residuals),
        "label_centre": np.array([errors.label_centre]),
        "calibrators": outcome_codec.calibrators_content(estimators.calibrators),
        "losses": outcome_codec.loss_model_content(estimators.losses),
    }


def _estimators(content: dict[str, Any]) -> Estimators:
    errors = ErrorCells(_standardisation(content["residuals"]), float(content["label_centre"][0]))
    calibrators, losses = content["calibrators"], content["losses"]
    return Estimators(errors, outcome_codec.calibrators(calibrators), outcome_codec.loss_model(losses))


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
    made: dict[str, Any] = {"name": spec.name, "source": spec.source, "kind": spec.kind}
    if spec.standardisation is not None:
        made["standardisation"] = _standardisation_content(spec.standardisation)
    else:
        made["categories"] = list(spec.categories or ())
    return made


def _spec(content: dict[str, Any]) -> ColumnSpec:
    if "standardisation" in content:
        cells = _standardisation(content["standardisation"])
        return ColumnSpec(content["name"], content["source"], cells, kind=content["kind"])
    categories = tuple(content["categories"])
    return ColumnSpec(content["name"], content["source"], categories=categories, kind=content["kind"])


def _standardisation_content(standardisation: Standardisation) -> dict[str, Any]:
    # As raw bytes: every number must come back bit for bit, for cells depend on it.
    return {
        "numbers": np.array([standardisation.centre, standardisation.scale]),
        "axis": standardisation.axis,
        "refined": np.array(standardisation.refined, dtype=np.int64).reshape(-1, 2),
        "marks": np.array(standardisation.marks, dtype=np.float64),
        "deciles": np.array(standardisation.deciles, dtype=np.float64),
    }


def _standardisation(content: dict[str, Any]) -> Standardisation:
    centre, scale = content["numbers"].tolist()
    refined = tuple((cell, bits) for cell, bits in content["refined"].tolist())
    marks, deciles = (tuple(content[name].tolist()) for name in ("marks", "deciles"))
    return Standardisation(centre, scale, content["axis"], refined, marks, deciles)
