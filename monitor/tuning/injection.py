"""Drifts of known kind and size, put into rows of a model's own log. Pure.

What lives here: the kinds of drift, their sizes, and how each changes an Arrow table of rows. What must not: where rows
come from, alarms, statistics of what was changed; a random generator is an argument.

A row is a prediction as the log holds it, with `label` where its truth is known. Rows before the start of a drift stay
as they are, as do all columns that it does not name. What the model would have answered to drifted inputs is not known:
answers in the log stay as they are (`label_shift` draws whole rows, so there answers move with their labels).

==============  ===========================  =======================================================================
kind            size                         what happens from the start on
==============  ===========================  =======================================================================
mean_shift      standard deviations          x + size · sd
scale           factor                       mean + size · (x − mean)
category_swap   total variation, 0–1         that share of all rows leaves the most frequent categories for the rarest
missingness     share, 0–1                   that share of the values is missing
label_shift     total variation, 0–1         rows are drawn anew, so that this much of the class mix leaves the most
                                             frequent class for the rarest
concept_flip    share, 0–1                   that share of the labels is another class (regression: another row's label)
ramp            standard deviations          a mean shift that grows linearly and reaches its size after `length`
daily_cycle     standard deviations          x + size · sd · sin(2π · time / `length`), zero at midnight UTC
==============  ===========================  =======================================================================

Means and standard deviations are the reference's, and so is the order of the categories.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from monitor.errors import OperatorError
from monitor.profiles.categorical import CategoricalProfile
from monitor.profiles.model_profile import Reference
from monitor.profiles.numeric import NumericProfile
from monitor.records import FEATURE_PREFIX, ModelSchema
from monitor.windows import MICROSECONDS

Flags = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
Found = TypeVar("Found")


class Kind(StrEnum):
    """What can be put into a log."""

    MEAN_SHIFT = "mean_shift"
    SCALE = "scale"
    CATEGORY_SWAP = "category_swap"
    MISSINGNESS = "missingness"
    LABEL_SHIFT = "label_shift"
    CONCEPT_FLIP = "concept_flip"
    RAMP = "ramp"
    DAILY_CYCLE = "daily_cycle"


# The sizes that are tried unless others are asked for: hardly to be seen, to be seen, not to be missed.
SIZES: Mapping[Kind, tuple[float, ...]] = {
    Kind.MEAN_SHIFT: (0.1, 0.25, 0.5),
    Kind.SCALE: (1.25, 1.5, 2.0),
    Kind.CATEGORY_SWAP: (0.05, 0.15, 0.3),
    Kind.MISSINGNESS: (0.02, 0.05, 0.2),
    Kind.LABEL_SHIFT: (0.05, 0.15, 0.3),
    Kind.CONCEPT_FLIP: (0.02, 0.05, 0.15),
    Kind.RAMP: (0.25, 0.5, 1.0),
    Kind.DAILY_CYCLE: (0.1, 0.25, 0.5),
}
UNITS: Mapping[Kind, str] = {
    Kind.MEAN_SHIFT: "sd",
    Kind.SCALE: "times",
    Kind.CATEGORY_SWAP: "total variation",
    Kind.MISSINGNESS: "share",
    Kind.LABEL_SHIFT: "total variation",
    Kind.CONCEPT_FLIP: "share",
    Kind.RAMP: "sd",
    Kind.DAILY_CYCLE: "sd",
}
_NUMERIC = frozenset({Kind.MEAN_SHIFT, Kind.SCALE, Kind.RAMP, Kind.DAILY_CYCLE})
_OF_ROWS = frozenset({Kind.LABEL_SHIFT, Kind.CONCEPT_FLIP})
_SHARES = frozenset({Kind.CATEGORY_SWAP, Kind.MISSINGNESS, Kind.LABEL_SHIFT, Kind.CONCEPT_FLIP})


@dataclass(frozen=True)
class Injection:
    """One drift: what, how much, from when (microseconds), in which log columns (none for drifts of whole rows).

    `length_seconds`: how long a ramp takes, or one cycle; a day by default.
    """

    kind: Kind
    size: float
    start: int
    columns: tuple[str, ...] = ()
    length_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        most = 1.0 if self.kind in _SHARES else float("inf")
        if not 0 <= self.size <= most or not np.isfinite(self.size):
            expected = "0 to 1" if self.kind in _SHARES else "0 or more"
            raise OperatorError(f"not a size of a drift of kind {self.kind}", expected=expected, got=f"{self.size:g}")


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of a numeric column of the reference."""

    mean: float
    deviation: float


@dataclass(frozen=True)
class Drawn:
    """What a drift is measured in: the scales of numeric columns, and categories from the most frequent to the rarest.

    Both by log column. `classes`: classes of the model, ordered the same way.
    """

    schema: ModelSchema
    scales: Mapping[str, Scale] = field(default_factory=dict)
    categories: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    classes: tuple[str, ...] = ()


def drawn_from(reference: Reference) -> Drawn:
    """The units of a reference: all features, and the prediction of a regression model."""
    scales: dict[str, Scale] = {}
    categories: dict[str, tuple[str, ...]] = {}
    for spec in reference.columns:
        profile = reference.profile.columns.get(spec.name)
        is_output = spec.name == "prediction" and reference.schema.task == "regression"
        if not (spec.name.startswith(FEATURE_PREFIX) or is_output):
            continue
        if isinstance(profile, NumericProfile) and profile.finite:
            mean = profile.total / profile.finite
            variance = max(profile.squares / profile.finite - mean**2, 0.0)
            if variance > 0:
                scales[spec.name] = Scale(profile.standardisation.centre + mean, float(np.sqrt(variance)))
        elif isinstance(profile, CategoricalProfile) and len(profile.categories) > 1:
            categories[spec.name] = _by_frequency(profile)
    answers = reference.profile.columns.get("prediction")
    classes = _by_frequency(answers) if isinstance(answers, CategoricalProfile) else ()
    return Drawn(reference.schema, scales, categories, classes)


def columns_for(kind: Kind, drawn: Drawn) -> tuple[str, ...] | str:
    """The log columns that a drift may be put into, none for drifts of whole rows; or why it cannot be."""
    if kind is Kind.LABEL_SHIFT and not drawn.classes:
        return "the model has no classes"
    if kind in _OF_ROWS:
        return ()
    if kind in _NUMERIC:
        return tuple(drawn.scales) or "the reference has no numeric feature that varies"
    if kind is Kind.CATEGORY_SWAP:
        return tuple(drawn.categories) or "the reference has no categorical feature"
    return tuple((*drawn.scales, *drawn.categories)) or "the reference has no feature"


def inject(rows: pa.Table, injection: Injection, drawn: Drawn, random: np.random.Generator) -> pa.Table:
    """The rows with the drift in them: those from its start on are changed, the others come as they are.

    `rows` have `event_time`; columns that they lack are passed over. Raises OperatorError for a column whose scale or
    categories the reference does not have.
    """
    times = _times(rows)
    hit = times >= injection.start
    if not hit.any():
        return rows
    if injection.kind is Kind.LABEL_SHIFT:
        return _with_mix(rows, hit, injection.size, drawn, random)
    if injection.kind is Kind.CONCEPT_FLIP:
        return _with_flipped(rows, hit, injection.size, drawn.schema, random)
    for name in injection.columns:
        if name not in rows.column_names:
            continue
        if injection.kind in _NUMERIC:
            changed = _numeric(rows.column(name), times, hit, injection, _known(drawn.scales, name))
        elif injection.kind is Kind.CATEGORY_SWAP:
            order = _known(drawn.categories, name)
            changed = _with_swapped(rows.column(name), hit, injection.size, order, random)
        else:
            gone = hit & (random.random(rows.num_rows) < injection.size)
            changed = pc.if_else(pa.array(gone), pa.scalar(None, rows.column(name).type), rows.column(name))
        rows = _with(rows, name, changed)
    return rows


def _numeric(column: pa.ChunkedArray, times: Times, hit: Flags, injection: Injection, scale: Scale) -> pa.Array:
    known = pc.is_valid(column).to_numpy()
    values = np.asarray(pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(), dtype=np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        moved = _MOVES[injection.kind](values, times, injection, scale)
    return pa.array(np.where(hit, moved, values), mask=~known)


def _shifted(values: Floats, times: Times, injection: Injection, scale: Scale) -> Floats:
    del times
    return values + injection.size * scale.deviation


def _scaled(values: Floats, times: Times, injection: Injection, scale: Scale) -> Floats:
    del times
    return scale.mean + injection.size * (values - scale.mean)


def _ramped(values: Floats, times: Times, injection: Injection, scale: Scale) -> Floats:
    reached = np.clip((times - injection.start) / (injection.length_seconds * MICROSECONDS), 0.0, 1.0)
    return np.asarray(values + reached * injection.size * scale.deviation)


def _breathing(values: Floats, times: Times, injection: Injection, scale: Scale) -> Floats:
    turn = 2 * np.pi * times / (injection.length_seconds * MICROSECONDS)
    return np.asarray(values + injection.size * scale.deviation * np.sin(turn))


_MOVES: Mapping[Kind, Callable[..., Floats]] = {
    Kind.MEAN_SHIFT: _shifted,
    Kind.SCALE: _scaled,
    Kind.RAMP: _ramped,
    Kind.DAILY_CYCLE: _breathing,
}


def _with_swapped(
    column: pa.ChunkedArray, hit: Flags, size: float, order: tuple[str, ...], random: np.random.Generator
) -> pa.Array:
    """Rows of the most frequent categories, as many as the size says, hold the rarest one.

    Of n rows exactly round(size · n) move, fewer only where fewer hold another known category.
    """
    texts = column.cast(pa.string())
    wanted = round(size * int(hit.sum()))
    chosen: list[npt.NDArray[np.intp]] = []
    for name in order[:-1]:
        rows = np.flatnonzero(hit & pc.fill_null(pc.equal(texts, name), False).to_numpy())
        taken = random.permutation(rows)[:wanted]
        chosen.append(taken)
        wanted -= taken.size
        if not wanted:
            break
    moved = np.zeros(len(column), dtype=bool)
    moved[np.concatenate(chosen)] = True
    return pc.if_else(pa.array(moved), pa.scalar(order[-1]), texts).cast(column.type)


def _with_mix(rows: pa.Table, hit: Flags, size: float, drawn: Drawn, random: np.random.Generator) -> pa.Table:
    """As many rows, drawn with replacement so that `size` of the class mix is elsewhere.

    A row's class is its label, or its prediction where the label is not known. The rarest class is the rarest of the
    reference that rows hold; there is nothing to draw where rows hold one class only.
    """
    classes = rows.column("prediction").cast(pa.string())
    if "label" in rows.column_names:
        classes = pc.coalesce(rows.column("label").cast(pa.string()), classes)
    own = classes.filter(pa.array(hit))
    counted = pc.value_counts(own)
    counts = dict(zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True))
    present = [name for name in drawn.classes if counts.get(name)]
    if len(present) < 2:
        return rows
    shares = np.array([counts[name] for name in present], dtype=np.float64) / int(hit.sum())
    target, left = shares.copy(), size
    for place in range(len(present) - 1):
        moved = min(left, target[place])
        target[place] -= moved
        target[-1] += moved
        left -= moved
    position = pc.fill_null(pc.index_in(own, value_set=pa.array(present)), -1).to_numpy()
    # Rows of a class that the model does not know keep their weight.
    weight = np.where(position < 0, 1.0, (target / shares)[position])
    places = np.flatnonzero(hit)
    order = np.arange(rows.num_rows)
    order[places] = np.sort(random.choice(places, size=places.size, p=weight / weight.sum()))
    drawn_rows = rows.take(pa.array(order))
    # A row is seen at the time of the row that it takes the place of; its label comes after its own delay.
    changed = _with(drawn_rows, "event_time", rows.column("event_time"))
    if "label_time" not in rows.column_names:
        return changed
    came, made = (drawn_rows.column(name).cast(pa.int64()) for name in ("label_time", "event_time"))
    moved = pc.add(rows.column("event_time").cast(pa.int64()), pc.subtract(came, made))
    return _with(changed, "label_time", moved.cast(rows.column("label_time").type))


def _with(rows: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, rows.schema.field(place), column)


def _with_flipped(
    rows: pa.Table, hit: Flags, size: float, schema: ModelSchema, random: np.random.Generator
) -> pa.Table:
    """A share of the labels is replaced: by another class, each as likely, or by the label of another row."""
    if "label" not in rows.column_names:
        return rows
    column = rows.column("label")
    places = np.flatnonzero(hit & pc.is_valid(column).to_numpy())
    flipped = places[random.random(places.size) < size]
    labels = np.array(column.to_pylist(), dtype=object)
    if schema.task == "classification":
        known = {name: place for place, name in enumerate(schema.classes)}
        steps = random.integers(1, len(schema.classes), size=flipped.size)
        for place, step in zip(flipped.tolist(), steps.tolist(), strict=True):
            labels[place] = schema.classes[(known.get(labels[place], 0) + step) % len(schema.classes)]
    elif flipped.size:
        labels[flipped] = labels[random.choice(places, size=flipped.size)]
    return _with(rows, "label", pa.array(labels, column.type))


def _by_frequency(profile: CategoricalProfile) -> tuple[str, ...]:
    order = sorted(range(len(profile.categories)), key=lambda place: (-int(profile.counts[place]), place))
    return tuple(profile.categories[place] for place in order)


def _known(found: Mapping[str, Found], name: str) -> Found:
    if name not in found:
        raise OperatorError(
            "no drift of that kind can be put into this column",
            where=f"column {name.removeprefix(FEATURE_PREFIX)}",
            expected=", ".join(sorted(item.removeprefix(FEATURE_PREFIX) for item in found)) or "a column of that type",
        )
    return found[name]


def _times(rows: pa.Table) -> Times:
    return np.asarray(rows.column("event_time").cast(pa.int64()).to_numpy(), dtype=np.int64)
