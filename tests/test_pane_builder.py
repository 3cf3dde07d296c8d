"""Panes come out of the log whole, and merged stretches are decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.engines.repeats import Tally
from monitor.log.tables import ModelLog
from monitor.pane_builder import KEPT_STRETCHES, PaneMerger, input_merger, rebuild_inputs, rebuild_outcomes
from monitor.profiles import codec
from monitor.profiles.codec import encode_profile
from monitor.profiles.model_profile import Profile, Reference, build_reference, profile_inputs
from monitor.state import State, StoredPane, open_state
from monitor.windows import MICROSECONDS, WindowSettings
from tests.records_samples import EPOCH, MODEL, predictions

SETTINGS = WindowSettings()
PANE = 300 * MICROSECONDS
START = EPOCH // (12 * PANE) * 12 * PANE


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(MODEL, pa.Table.from_batches([predictions([f"r{place}" for place in range(300)])]))


@pytest.fixture
def log(tmp_path: Path) -> ModelLog:
    return ModelLog(str(tmp_path / "log"), "pets")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    opened = open_state(f"sqlite:///{tmp_path / 'state.db'}")
    yield opened
    opened.close()


def add(log: ModelLog, *batches: pa.RecordBatch) -> pa.Table:
    rows = pa.Table.from_batches(list(batches))
    log.append("predictions", rows, {})
    return rows


def rebuilt(log: ModelLog, reference: Reference | None, starts: set[int]) -> dict[int, tuple[int, bytes]]:
    panes = rebuild_inputs(log, reference, "1", starts, SETTINGS, {}, Tally(0, 0))
    return {pane.start: (pane.rows, pane.profile) for pane in panes}


def test_a_rebuilt_pane_is_the_profile_of_its_rows_and_of_no_others(log: ModelLog, reference: Reference) -> None:
    rows = add(log, predictions([f"a{place}" for place in range(20)], start=START, step=PANE // 10))
    found = rebuilt(log, reference, {START, START + PANE, START + 2 * PANE})
    assert {start: count for start, (count, _) in found.items()} == {START: 10, START + PANE: 10, START + 2 * PANE: 0}
    assert found[START][1] == encode_profile(profile_inputs(reference, rows.slice(0, 10)))


def test_what_came_in_ten_pieces_is_the_same_pane_as_what_came_in_one(
    tmp_path: Path, log: ModelLog, reference: Reference
) -> None:
    batch = predictions([f"a{place}" for place in range(50)], start=START, step=MICROSECONDS)
    for place in reversed(range(0, 50, 5)):
        add(log, batch.slice(place, 5), batch.slice(place, 2))
    whole = ModelLog(str(tmp_path / "whole"), "pets")
    add(whole, batch)
    pieces, once = rebuilt(log, reference, {START})[START], rebuilt(whole, reference, {START})[START]
    assert pieces[0] == once[0] == 50
    counts = [codec.decode_profile(found, reference).columns["f_city"].counts.tolist() for _, found in (pieces, once)]
    assert counts[0] == counts[1]
    assert sum(counts[0]) == 50


def test_without_a_reference_rows_are_counted_and_nothing_is_profiled(log: ModelLog) -> None:
    batch = predictions(["a", "b"], start=START)
    add(log, batch, batch)
    tally = Tally(0, 0)
    assert list(rebuild_inputs(log, None, "1", {START}, SETTINGS, {}, tally)) == []
    assert tally.identical == 2
    assert list(rebuild_outcomes(log, None, "1", {START}, SETTINGS, {}, tally)) == []


def test_a_stretch_that_did_not_change_is_not_decoded_again(
    log: ModelLog, state: State, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(log, predictions([f"a{place}" for place in range(48)], start=START, step=PANE // 2))
    starts = {START + place * PANE for place in range(24)}
    decoded: list[int] = []

    def counting(content: bytes, against: Reference) -> Profile:
        decoded.append(1)
        return codec.decode_profile(content, against)

    merger: PaneMerger[Profile] = input_merger("pets", "1", reference)
    monkeypatch.setattr(merger, "decode", counting)
    with state.transaction() as transaction:
        transaction.put_panes("pets", rebuild_inputs(log, reference, "1", starts, SETTINGS, {}, Tally(0, 0)))
        panes = transaction.pane_digests("pets", "1", START, START + 24 * PANE)["inputs"]
        assert (merger.merge(transaction, panes, 300).rows, len(panes), len(decoded)) == (48, 24, 24)
        assert sum(pane.rows for pane in panes) == 48
        assert merger.merge(transaction, panes, 300).rows == 48
        assert len(decoded) == 24
        add(log, predictions(["late"], start=START + 1))
        transaction.put_panes("pets", rebuild_inputs(log, reference, "1", {START}, SETTINGS, {}, Tally(0, 0)))
        assert (
            merger.merge(
                transaction, transaction.pane_digests("pets", "1", START, START + 24 * PANE)["inputs"], 300
            ).rows
            == 49
        )
        assert len(decoded) == 24 + 12


def test_a_window_of_30_days_that_moves_on_by_a_pane_decodes_an_hour_and_not_the_month(
    state: State, reference: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It once kept 256 stretches of an hour, of 720: each new pane had all panes of the month decoded again."""
    content = [encode_profile(profile_inputs(reference, profile_rows(place))) for place in range(7)]
    hour, day, decoded = 12 * PANE, 288 * PANE, list[int]()
    first = START // day * day
    end = first + 30 * day

    def stored(place: int, start: int, length: int) -> StoredPane:
        return StoredPane("1", "inputs", start, start + length, reference.identity, place % 7 + 1, content[place % 7])

    def counting(profile: bytes, against: Reference) -> Profile:
        decoded.append(1)
        return codec.decode_profile(profile, against)

    merger = input_merger("pets", "1", reference)
    monkeypatch.setattr(merger, "decode", counting)
    with state.transaction() as transaction:
        coarse = [stored(place, start, hour) for place, start in enumerate(range(first, end - 2 * day, hour))]
        fine = [stored(place, start, PANE) for place, start in enumerate(range(end - 2 * day, end, PANE))]
        transaction.put_panes("pets", [*coarse, *fine])
        whole = merger.merge(transaction, transaction.pane_digests("pets", "1", first, end)["inputs"], 300)
        assert (len(decoded), whole.rows) == (len(coarse) + len(fine), sum(pane.rows for pane in (*coarse, *fine)))
        for turn in range(30):
            decoded.clear()
            transaction.put_panes("pets", [stored(turn, end + turn * PANE, PANE)])
            panes = transaction.pane_digests("pets", "1", first + (turn + 1) * PANE, end + (turn + 1) * PANE)["inputs"]
            moved = merger.merge(transaction, panes, 300)
            # The first time, the hours of the day that the window now begins in; always, those of its two ends.
            assert len(decoded) <= (12 + 24 if turn == 0 else 13)
            assert moved.rows == sum(pane.rows for pane in panes)
        fresh = input_merger("pets", "1", reference).merge(transaction, panes, 300)
        assert encode_profile(moved) == encode_profile(fresh)


def test_what_is_kept_of_stretches_is_bounded(state: State, reference: Reference) -> None:
    content = encode_profile(profile_inputs(reference, profile_rows(0)))
    merger = input_merger("pets", "1", reference)
    with state.transaction() as transaction:
        starts = range(START, START + (KEPT_STRETCHES + 20) * 12 * PANE, 12 * PANE)
        panes = (StoredPane("1", "inputs", start, start + PANE, reference.identity, 1, content) for start in starts)
        transaction.put_panes("pets", panes)
        merger.merge(transaction, transaction.pane_digests("pets", "1", START, starts[-1] + PANE)["inputs"], 300)
    assert max(len(kept) for kept in merger._kept.values()) == KEPT_STRETCHES


def profile_rows(place: int) -> pa.Table:
    return pa.Table.from_batches([predictions([f"p{place}-{row}" for row in range(place + 1)], start=START)])


def test_a_window_without_panes_is_the_empty_profile(state: State, reference: Reference) -> None:
    with state.transaction(write=False) as transaction:
        merger = input_merger("pets", "1", reference)
        assert transaction.pane_digests("pets", "1", START, START + PANE)["inputs"] == []
        assert merger.merge(transaction, [], 300).rows == 0
