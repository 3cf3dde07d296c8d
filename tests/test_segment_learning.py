"""Values that are learnt from the log: the first thousand predictions with one, the same for everybody, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from monitor.forgetting import forget_identifiers
from monitor.log.tables import ModelLog, TableName
from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference
from monitor.profiles.segments import kept_values
from monitor.references import ReferenceStore
from monitor.segment_values import LEARN_ROWS, first_counts, first_values, learn_values, learnt_values
from monitor.settings import ModelSettings
from monitor.state import State, open_state
from tests.records_samples import CLASSES, MODEL, predictions
from tests.test_cycle import HOUR, START

Row = tuple[int, int, str, str | None]


class CountingLog(ModelLog):
    """A log that knows how many rows were read, and may break off after some of them."""

    read_rows = 0
    breaks_after: float = float("inf")

    def scan(self, table: TableName, columns: Sequence[str] | None = None, **limits: Any) -> Iterator[pa.RecordBatch]:
        for batch in super().scan(table, columns, **limits):
            if self.read_rows > self.breaks_after:
                raise OSError("the disk is gone")
            self.read_rows += batch.num_rows
            yield batch


def append(log: ModelLog, ids: Sequence[str], events: Sequence[int], regions: Sequence[str | None]) -> list[Row]:
    """Commit predictions; returns what the log now holds of them, as rows of its order."""
    batch = predictions(ids, events=events)
    place = batch.schema.get_field_index("s_region")
    batch = batch.set_column(place, batch.schema.field(place), pa.array(regions, pa.string()))
    sequence = log.append("predictions", pa.Table.from_batches([batch]), {})
    assert sequence is not None
    return [(sequence, *row) for row in zip(events, ids, regions, strict=True)]


def commit(log: ModelLog, random: np.random.Generator, rows: int, regions: Sequence[str | None]) -> list[Row]:
    """Predictions of three days in no order, some of them twice, some at the same moment."""
    ids = [f"id-{k}" for k in random.integers(0, 2_000, rows)]
    events = (START + random.integers(0, 36, rows) * 2 * HOUR).tolist()
    return append(log, ids, events, [regions[k] for k in random.integers(0, len(regions), rows)])


def expected(rows: Sequence[Row], most: int = LEARN_ROWS) -> Counter[str]:
    """Of rows with a value, the first by sequence, event time, id and value."""
    valued = [(sequence, time, name, value) for sequence, time, name, value in rows if value is not None]
    return Counter(value for *_, value in sorted(valued)[:most])


def filled(log: ModelLog, seed: int) -> list[Row]:
    """A log in which rows count that lie in several commits and days, and of the last commit only some."""
    random = np.random.default_rng(seed)
    early = [None, None, *(f"early-{k}" for k in range(20))]
    rows = [row for _ in range(8) for row in commit(log, random, 120, early)]
    rows += commit(log, random, 900, [f"late-{k}" for k in range(30)])
    rows += commit(log, random, 3_000, ["after"])
    return rows


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rows = pa.Table.from_batches([predictions([f"r{k}" for k in range(500)], seed=99)]).drop_columns(["s_region"])
    truth = pa.array([CLASSES[k % 3] for k in range(500)])
    save_reference(build_reference(MODEL, rows.append_column("label", truth)), tmp_path / "reference.trueup")
    return tmp_path


def references(root: Path) -> ReferenceStore:
    made = ReferenceStore(ModelSettings("pets", reference=root / "reference.trueup", segments=("region",)))
    made.refresh()
    return made


def opened(root: Path, name: str = "state") -> State:
    state = open_state(f"sqlite:///{root / name}.db", exclusive=True)
    state.acquire(0)
    return state


def kept(state: State) -> list[tuple[object, ...]]:
    """What the state holds of learnt values, byte for byte."""
    with state.transaction(write=False) as transaction:
        rows = transaction.connection.execute(sa.text("SELECT segment, frozen, counts FROM segment_values"))
        return [tuple(row) for row in rows]


@pytest.mark.parametrize("seed", range(3))
def test_the_first_thousand_are_those_of_the_log_s_own_order_before_and_after_its_files_were_merged(
    root: Path, seed: int
) -> None:
    log = ModelLog(str(root / "log"), "pets")
    rows = filled(log, seed)
    until = log.last_sequence("predictions")
    known = expected(rows)
    assert known.total() == LEARN_ROWS
    # The commit that brings the thousandth is cut in the middle.
    assert 0 < sum(count for name, count in known.items() if name.startswith("late")) < 900
    assert first_counts(log, "region", LEARN_ROWS, until=until) == known
    few = expected(rows, 37)
    assert first_counts(log, "region", 37, until=until) == few
    assert first_counts(log, "region", LEARN_ROWS, after=2, until=5) == expected(
        [row for row in rows if 2 < row[0] < 6]
    )
    assert log.compact("predictions", minimum_files=2) > 0
    assert first_counts(log, "region", LEARN_ROWS, until=until) == known
    assert first_counts(log, "region", 37, until=until) == few
    assert first_counts(log, "device", LEARN_ROWS, until=until) == {}


@pytest.mark.parametrize("seed", range(3))
def test_a_daemon_of_the_first_day_one_of_today_and_a_replay_learn_the_same(root: Path, seed: int) -> None:
    log, store, live = ModelLog(str(root / "log"), "pets"), references(root), opened(root, "live")
    rows: list[Row] = []
    random = np.random.default_rng(seed)
    for count in (300, 1, 450, 0, 400, 1_500):
        if count:
            rows += commit(log, random, count, [None, *(f"v{k:02d}" for k in random.integers(0, 40, 30))])
        learn_values(live, log, store, log.last_sequence("predictions"))
        live.close()
        live, store = opened(root, "live"), references(root)
        if count == 450:
            assert [frozen for _, frozen, _ in kept(live)] == [0]
            log.compact("predictions", minimum_files=2)
    known = kept_values(expected(rows))
    assert len(known) == 20
    with live.transaction(write=False) as transaction:
        assert learnt_values(transaction, "pets") == {"region": known}
    log.compact("predictions", minimum_files=2)
    late, told = opened(root, "late"), references(root)
    learn_values(late, log, told, log.last_sequence("predictions"))
    assert kept(late) == kept(live)
    assert told.learnt == {"region": known} == first_values(log, ["region"])
    live.close()
    late.close()


def test_with_too_few_predictions_a_daemon_waits_and_a_replay_takes_what_there_is(root: Path) -> None:
    log, store, state = ModelLog(str(root / "log"), "pets"), references(root), opened(root)
    append(log, [f"a{k}" for k in range(LEARN_ROWS - 1)], [START] * (LEARN_ROWS - 1), ["eu"] * (LEARN_ROWS - 1))
    learn_values(state, log, store, log.last_sequence("predictions"))
    assert (store.learnt, store.lacking()) == ({}, ["region"])
    assert first_values(log, store.lacking()) == {"region": ("eu",)}
    append(log, ["b"], [START - HOUR], ["us"])
    learn_values(state, log, store, log.last_sequence("predictions"))
    assert (store.learnt, store.lacking()) == ({"region": ("eu", "us")}, [])
    state.close()


def test_of_a_long_log_in_which_every_value_is_another_no_more_is_read_than_it_takes(root: Path) -> None:
    log, state = CountingLog(str(root / "log"), "pets"), opened(root)
    for number in range(30):
        ids = [f"{number}-{k}" for k in range(400)]
        append(log, ids, [START] * 400, [f"user-{name}" for name in ids])
    learn_values(state, log, references(root), log.last_sequence("predictions"))
    # Three commits hold the first thousand; twice as many and one may have been looked at.
    assert LEARN_ROWS <= log.read_rows <= 7 * 400
    with state.transaction(write=False) as transaction:
        [values] = learnt_values(transaction, "pets").values()
    assert values == tuple(sorted(f"user-{number}-{k}" for number in range(3) for k in range(400))[:20])
    state.close()


def test_a_read_that_breaks_off_has_learnt_nothing_and_the_next_one_counts_every_row_once(root: Path) -> None:
    log, store, state = CountingLog(str(root / "log"), "pets"), references(root), opened(root)
    rows = filled(log, 7)
    learn_values(state, log, store, 3)
    before = kept(state)
    log.breaks_after = log.read_rows + 100
    with pytest.raises(OSError, match="the disk is gone"):
        learn_values(state, log, store, log.last_sequence("predictions"))
    assert kept(state) == before
    state.close()
    log.breaks_after = float("inf")
    state, store = opened(root), references(root)
    learn_values(state, log, store, log.last_sequence("predictions"))
    assert store.learnt == {"region": kept_values(expected(rows))}
    state.close()


def test_what_was_counted_before_it_was_forgotten_stays_counted_and_nothing_counts_twice(root: Path) -> None:
    log, store, state = ModelLog(str(root / "log"), "pets"), references(root), opened(root)
    append(log, [f"a{k:03d}" for k in range(600)], [START] * 600, ["eu"] * 600)
    learn_values(state, log, store, log.last_sequence("predictions"))
    forget_identifiers(log, state, [f"a{k:03d}" for k in range(600)], 300)
    assert log.read("predictions", ["prediction_id"]) is None
    learn_values(state, log, store, log.last_sequence("predictions"))
    append(log, [f"b{k:03d}" for k in range(900)], [START + k for k in range(900)], ["us"] * 400 + ["ca"] * 500)
    learn_values(state, log, store, log.last_sequence("predictions"))
    assert kept(state) == [("region", 1, '{"eu":600,"us":400}')]
    state.close()
