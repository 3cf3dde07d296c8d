"""An explanation names the columns that moved, how and since when, and does not call drift damage."""

import numpy as np
import pytest
from scipy.stats import norm

from monitor.alarms.explanation import Damage, Movement, Quality, SegmentEffect, column_moves, explain
from monitor.statistics.drift_model import drift_model
from monitor.statistics.evidence_counts import CellReference, flat_counts, no_evidence, observe
from monitor.statistics.sequential import composite_evidence

EDGES = norm.ppf(np.arange(1, 10) / 10)
KIND = np.array([0.6, 0.3, 0.1, 0.0])
CELLS = {
    **{name: (*(f"d{i}" for i in range(10)), "missing") for name in ("age", "income", "score")},
    "kind": ("cat", "dog", "other", "missing"),
}


def numeric(shift: float = 0.0, scale: float = 1.0, missing: float = 0.01) -> np.ndarray:
    deciles = np.diff(np.concatenate(([0.0], norm.cdf((EDGES - shift) / scale), [1.0])))
    return np.append(deciles * (1 - missing), missing)


def moves_after(drifted: list[np.ndarray | None], observations: int = 5) -> tuple:
    rng = np.random.default_rng(71)
    quiet = [numeric()] * 3 + [KIND]
    ref = CellReference(
        ("age", "income", "score", "kind"),
        (11, 11, 11, 4),
        (10, 10, 10, 0),
        flat_counts([rng.multinomial(8000, p) for p in quiet]),
    )
    state = no_evidence(ref)
    for _ in range(20):
        state = observe(state, flat_counts([rng.multinomial(500, p) for p in quiet]))
    current = np.zeros(37, dtype=np.int64)
    for _ in range(observations):
        counts = flat_counts([np.zeros(11, int) if p is None else rng.multinomial(500, p) for p in drifted])
        state, current = observe(state, counts), current + counts
    evidence = composite_evidence(state, drift_model(ref))
    starts = {number: number * 3_600_000_000 for number in range(1, 30)}
    return column_moves(ref, current, evidence, CELLS, starts)


@pytest.mark.parametrize(
    ("moved", "movement"),
    [
        (numeric(0.6), Movement.HIGHER),
        (numeric(-0.6), Movement.LOWER),
        (numeric(scale=2.0), Movement.SHAPE),
        (numeric(missing=0.2), Movement.MISSING),
    ],
)
def test_a_numeric_column_is_said_to_move_as_it_did(moved: np.ndarray, movement: Movement) -> None:
    moves = moves_after([numeric(), moved, numeric(), KIND])
    assert (moves[0].column, moves[0].movement) == ("income", movement)
    assert moves[0].q == min(move.q for move in moves)


def test_columns_are_ordered_by_evidence_and_their_largest_changes_are_named() -> None:
    moves = moves_after([numeric(0.3), numeric(), numeric(1.0), np.array([0.4, 0.5, 0.1, 0.0])])
    assert [move.column for move in moves[:3]] == ["score", "kind", "age"]
    assert moves[1].movement is Movement.CATEGORIES
    assert {change.cell for change in moves[1].changes[:2]} == {"cat", "dog"}
    assert moves[1].total_variation == pytest.approx(0.2, abs=0.03)
    assert moves[3].column == "income"


def test_since_is_the_start_of_the_observation_with_most_evidence() -> None:
    moves = moves_after([numeric(1.0), numeric(), numeric(), KIND])
    explained = explain("drift", moves, np.log(500))
    assert [move.column for move in explained.columns] == ["age"]
    assert explained.since == pytest.approx(21 * 3_600_000_000, abs=2 * 3_600_000_000)
    assert "1 of 4 columns moved since about 1970-01-0" in explained.text
    assert "age is higher" in explained.text


def test_a_column_without_rows_is_not_explained() -> None:
    moves = moves_after([numeric(1.0), None, numeric(), KIND])
    assert "income" not in {move.column for move in moves}


@pytest.mark.parametrize(
    ("quality", "damage", "words"),
    [
        ([], Damage.UNKNOWN, "Drift is not damage: whether the model became worse is not known"),
        (
            [Quality("accuracy", 0.95, 0.94, worse=False, estimated=True)],
            Damage.ESTIMATED_NOT_WORSE,
            "Drift is not damage: estimated performance has not fallen",
        ),
        (
            [Quality("accuracy", 0.95, 0.8, worse=True, estimated=True)],
            Damage.ESTIMATED_WORSE,
            "Damage is estimated, not measured: accuracy 0.95 → 0.8",
        ),
        (
            [
                Quality("accuracy", 0.95, 0.8, worse=True, estimated=True),
                Quality("accuracy", 0.95, 0.96, worse=False, estimated=False),
            ],
            Damage.MEASURED_NOT_WORSE,
            "Drift is not damage: labels so far show none (accuracy 0.95 → 0.96)",
        ),
        (
            [Quality("accuracy", 0.95, 0.7, worse=True, estimated=False)],
            Damage.MEASURED_WORSE,
            "Labels show damage: accuracy 0.95 → 0.7",
        ),
    ],
)
def test_the_text_says_which_of_drift_and_damage_is_known(quality: list, damage: Damage, words: str) -> None:
    explained = explain("drift", moves_after([numeric(1.0), numeric(), numeric(), KIND]), 6.0, quality=quality)
    assert explained.damage is damage
    assert words in explained.text


def test_more_columns_than_fit_are_counted() -> None:
    moves = moves_after([numeric(1.0)] * 3 + [np.array([0.1, 0.1, 0.8, 0.0])]) * 2
    assert "and 3 more" in explain("drift", moves, 6.0).text


def test_the_values_that_hold_the_effect_are_named_with_their_rows_and_the_others_together() -> None:
    moves = moves_after([numeric(1.0), numeric(), numeric(), KIND])
    segments = [
        SegmentEffect("region", "eu", "accuracy", 310, 0.31, 0.96, 0.912, 0.781),
        SegmentEffect("region", "us", "accuracy", 690, 0.69, 0.04, 0.91, 0.908),
    ]
    explained = explain("drift", moves, 6.0, segments)
    assert (
        "It lies in region=eu (96% of it with 31% of the rows, n = 310: accuracy 0.912 → 0.781); all others hold 4% of "
        "it with 69% of the rows." in explained.text
    )
    assert explained.segments == tuple(segments)


def test_an_effect_that_is_everywhere_is_said_to_be() -> None:
    moves = moves_after([numeric(1.0), numeric(), numeric(), KIND])
    segments = [
        SegmentEffect("region", "eu", "accuracy", 500, 0.5, 0.55, 0.9, 0.8),
        SegmentEffect("region", "us", "accuracy", 500, 0.5, 0.45, 0.9, 0.82),
        SegmentEffect("device", "(missing)", "accuracy", 1000, 1.0, 1.0, 0.9, 0.81),
    ]
    assert "It is about as large in all values of device and region." in explain("drift", moves, 6.0, segments).text


def test_an_alarm_without_any_column_over_the_limit_names_the_first() -> None:
    moves = moves_after([numeric(), numeric(), numeric(), KIND])
    assert len(explain("drift", moves, 6.0).columns) == 1
    assert explain("drift", (), 6.0).text.startswith("No column holds rows")
