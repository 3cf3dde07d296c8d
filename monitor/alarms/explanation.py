"""What an alarm tells the person it wakes: what moved, how, since when, where, and what is known of the damage.

What lives here: the data of an explanation and its wording; pure. What must not: statistics (they come in as numbers),
rendering for a page or dashboard, and any claim that drift is damage: the text says which of the two is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
from scipy.stats import chi2

from monitor.statistics.evidence_counts import CellReference, Counts
from monitor.statistics.multiplicity import false_discovery_rates
from monitor.statistics.sequential import Evidence

_NAMED_COLUMNS = 5
# A value is named where it holds so many times its share of the rows, and so much of the effect.
_CONCENTRATED = 1.5
_WORTH_NAMING = 0.1


class Movement(StrEnum):
    """How a column moved, by the cells that changed most."""

    HIGHER = "higher"
    LOWER = "lower"
    SHAPE = "shape"
    CATEGORIES = "categories"
    MISSING = "missing"


class Damage(StrEnum):
    """What is known of the model's quality while its inputs moved."""

    MEASURED_WORSE = "measured_worse"
    MEASURED_NOT_WORSE = "measured_not_worse"
    ESTIMATED_WORSE = "estimated_worse"
    ESTIMATED_NOT_WORSE = "estimated_not_worse"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class CellChange:
    """One cell's share, reference and current (0–1), and its label as the column's cells are called."""

    cell: str
    reference: float
    current: float


@dataclass(frozen=True)
class ColumnMove:
    """One column of an explanation.

    `log_evidence`: nats. `since`: start of the observation with most evidence, microseconds. `total_variation`: ½ Σ
    |current − reference| over the cells, 0–1. `q`: false discovery rate of this look (orders only). `changes`: the
    cells that changed most, largest first.
    """

    column: str
    movement: Movement
    log_evidence: float
    since: int | None
    total_variation: float
    q: float
    changes: tuple[CellChange, ...]


@dataclass(frozen=True)
class Quality:
    """One performance number before and now, measured on labels or estimated without them; `worse` as judged."""

    metric: str
    reference: float
    current: float
    worse: bool
    estimated: bool


@dataclass(frozen=True)
class SegmentEffect:
    """One value of a segment: how much of the effect lies in it.

    `part`: of the effect (0–1 where nothing became better elsewhere; all values of a segment add up to 1), `share`: of
    the rows or labels (`n` of them) that the effect is measured on. `metric`: what is measured, `before` on the
    reference (None: nothing to tell), `now` in the window.
    """

    segment: str
    value: str
    metric: str
    n: int
    share: float
    part: float
    before: float | None
    now: float


@dataclass(frozen=True)
class Explanation:
    """What accompanies one alarm; `text` is for people, the rest for reports and dashboards."""

    check: str
    since: int | None
    columns: tuple[ColumnMove, ...]
    watched: int
    segments: tuple[SegmentEffect, ...]
    damage: Damage
    quality: tuple[Quality, ...]
    text: str


def column_moves(
    reference: CellReference,
    current: Counts,
    evidence: Evidence,
    cell_names: Mapping[str, Sequence[str]],
    observation_starts: Mapping[int, int],
) -> tuple[ColumnMove, ...]:
    """All columns that have rows, those with most evidence first, ties by false discovery rate of this look.

    `current` int64 [K]: rows per cell of the window or of all since the start. `cell_names`: by column, of its cells.
    `observation_starts`: by number of the observation (from 1), its start in microseconds.
    """
    moves, p_values, offset = [], [], 0
    for name, size, ordered in zip(reference.names, reference.sizes, reference.ordered, strict=True):
        before, now = reference.counts[offset : offset + size], current[offset : offset + size]
        offset += size
        if now.sum() == 0:
            continue
        shares, moved = before / before.sum(), now / now.sum()
        difference = moved - shares
        p_values.append(_homogeneity(before, now))
        largest = np.argsort(-np.abs(difference), kind="stable")[:3]
        labels = cell_names[name]
        moves.append(
            ColumnMove(
                name,
                _movement(difference, ordered),
                evidence.columns[name],
                observation_starts.get(evidence.since[name]),
                float(np.abs(difference).sum() / 2),
                math.nan,
                tuple(CellChange(labels[i], float(shares[i]), float(moved[i])) for i in largest),
            )
        )
    rates = false_discovery_rates(p_values)
    rated = [replace(move, q=float(q)) for move, q in zip(moves, rates, strict=True)]
    return tuple(sorted(rated, key=lambda move: (-move.log_evidence, move.q, move.column)))


def explain(
    check: str,
    moves: Sequence[ColumnMove],
    log_threshold: float,
    segments: Sequence[SegmentEffect] = (),
    quality: Sequence[Quality] = (),
) -> Explanation:
    """The explanation of an alarm: the columns whose own evidence reaches the limit, or the first one where none does.

    `segments`: values of segments, those with the largest part of the effect first. `quality`: measured numbers go
    before estimated ones in judging the damage.
    """
    named = [move for move in moves if move.log_evidence >= log_threshold] or list(moves[:1])
    begun = [move.since for move in named if move.since is not None]
    since, damage = (min(begun) if begun else None), _damage(quality)
    text = " ".join(
        part
        for part in (
            _moved_text(named, len(moves), since),
            _segments_text(segments),
            _damage_text(damage, quality),
        )
        if part
    )
    return Explanation(check, since, tuple(named), len(moves), tuple(segments), damage, tuple(quality), text)


def explain_risk(
    check: str,
    reference: CellReference,
    current: Counts,
    evidence: Evidence,
    observation_starts: Mapping[int, int],
    segments: Sequence[SegmentEffect] = (),
    quality: Sequence[Quality] = (),
) -> Explanation:
    """The explanation of an alarm on labelled predictions: which risks rose, where, from what to what, since when.

    `reference` cells are (happened, did not) of every risk; `current` int64 [2 J]: the same since the start with most
    evidence. Named are the risks that rose, those with most evidence first.
    """
    found = []
    for index, name in enumerate(reference.names):
        pair = slice(2 * index, 2 * index + 2)
        (happened, _), rows = reference.counts[pair], int(reference.counts[pair].sum())
        (now, _), seen = current[pair], int(current[pair].sum())
        if seen and now / seen > happened / rows:
            text = f"{name} rose from {happened / rows:.1%} of {rows:,} to {now / seen:.1%} of {seen:,}"
            found.append((evidence.columns[name], evidence.since[name], text))
    found.sort(key=lambda item: -item[0])
    begun = [observation_starts[item[1]] for item in found if item[1] in observation_starts]
    since, damage = (min(begun) if begun else None), _damage(quality)
    when = f", in predictions from about {_time(since)}" if since is not None else ""
    rose = "; ".join(text for _, _, text in found[:_NAMED_COLUMNS])
    text = f"{rose[:1].upper()}{rose[1:]} labelled predictions{when}." if found else "No labels show it."
    more = (_segments_text(segments), _damage_text(damage, quality) if quality else "")
    text = " ".join(part for part in (text, *more) if part)
    return Explanation(check, since, (), len(reference.names), tuple(segments), damage, tuple(quality), text)


def _homogeneity(before: Counts, now: Counts) -> float:
    """p-value of the two-sample χ² test on cells that hold rows; 1 where only one does."""
    table = np.stack((before, now)).astype(np.float64)
    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(chi2.sf(((table - expected) ** 2 / expected).sum(), table.shape[1] - 1))


def _movement(difference: Counts, ordered: int) -> Movement:
    """Named by where the mass went: the null cell, the categories, up or down the ordered cells, or its shape."""
    if ordered == 0:
        return Movement.CATEGORIES
    total = float(np.abs(difference).sum())
    if total == 0:
        return Movement.SHAPE
    if float(np.abs(difference[ordered:]).sum()) > 0.4 * total:
        return Movement.MISSING
    # Mean of the cumulative difference: all of one sign for a shift, cancelling for a change of spread.
    crossing = np.cumsum(difference[:ordered])[:-1]
    tilt = float(crossing.sum() / max(np.abs(crossing).sum(), 1e-300))
    if abs(tilt) < 0.6:
        return Movement.SHAPE
    return Movement.LOWER if tilt > 0 else Movement.HIGHER


def _damage(quality: Sequence[Quality]) -> Damage:
    measured = [number for number in quality if not number.estimated]
    if measured:
        return Damage.MEASURED_WORSE if any(number.worse for number in measured) else Damage.MEASURED_NOT_WORSE
    if quality:
        return Damage.ESTIMATED_WORSE if any(number.worse for number in quality) else Damage.ESTIMATED_NOT_WORSE
    return Damage.UNKNOWN


def _moved_text(named: Sequence[ColumnMove], watched: int, since: int | None) -> str:
    if not named:
        return "No column holds rows to explain it by."
    when = f" since about {_time(since)}" if since is not None else ""
    columns = "; ".join(_column_text(move) for move in named[:_NAMED_COLUMNS])
    more = f"; and {len(named) - _NAMED_COLUMNS} more" if len(named) > _NAMED_COLUMNS else ""
    return f"{len(named)} of {watched} columns moved{when}: {columns}{more}."


def _column_text(move: ColumnMove) -> str:
    change = ", ".join(f"{cell.cell} {cell.reference:.1%} → {cell.current:.1%}" for cell in move.changes[:2])
    kind = {
        Movement.HIGHER: "is higher",
        Movement.LOWER: "is lower",
        Movement.SHAPE: "changed its shape",
        Movement.CATEGORIES: "changed its mix",
        Movement.MISSING: "changed how often it is missing",
    }[move.movement]
    return f"{move.column} {kind} ({change})"


def _segments_text(segments: Sequence[SegmentEffect]) -> str:
    """The values that hold the most of the effect, of the segment that tells most; or that it is everywhere."""
    if not segments:
        return ""
    # The first is that of the largest part; a segment of one value tells nothing.
    telling = max(segments, key=lambda effect: (effect.part - effect.share, effect.part))
    own = [effect for effect in segments if effect.segment == telling.segment]
    if telling.part < _CONCENTRATED * telling.share or len(own) < 2:
        return f"It is about as large in all values of {_joined(sorted({effect.segment for effect in segments}))}."
    named = [effect for effect in own if effect.part >= _CONCENTRATED * effect.share and effect.part >= _WORTH_NAMING]
    shown = "; ".join(_effect_text(effect) for effect in named[:3])
    held, rows = sum(effect.part for effect in named[:3]), sum(effect.share for effect in named[:3])
    rest = f"all others hold {max(1 - held, 0.0):.0%} of it with {max(1 - rows, 0.0):.0%} of the rows"
    return f"It lies in {shown}; {rest}."


def _effect_text(effect: SegmentEffect) -> str:
    change = f"{effect.now:.4g}" if effect.before is None else f"{effect.before:.4g} → {effect.now:.4g}"
    return (
        f"{effect.segment}={effect.value} ({effect.part:.0%} of it with {effect.share:.0%} of the rows, "
        f"n = {effect.n:,}: {effect.metric} {change})"
    )


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _damage_text(damage: Damage, quality: Sequence[Quality]) -> str:
    shown = [number for number in quality if number.estimated == damage.value.startswith("estimated")]
    numbers = ", ".join(f"{number.metric} {number.reference:.4g} → {number.current:.4g}" for number in shown)
    return {
        Damage.MEASURED_WORSE: f"Labels show damage: {numbers}.",
        Damage.MEASURED_NOT_WORSE: f"Drift is not damage: labels so far show none ({numbers}).",
        Damage.ESTIMATED_WORSE: f"Damage is estimated, not measured: {numbers}. Labels will tell.",
        Damage.ESTIMATED_NOT_WORSE: f"Drift is not damage: estimated performance has not fallen ({numbers}); "
        "the estimate cannot see a changed relation of inputs to truth, labels will tell.",
        Damage.UNKNOWN: "Drift is not damage: whether the model became worse is not known, for want of labels.",
    }[damage]


def _time(microseconds: int) -> str:
    return datetime.fromtimestamp(microseconds / 1e6, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
