"""Panes come out of the log whole, and merged stretches are decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from monitor.engines.repeats import Tally
from monitor.log.tables import ModelLog
from monitor.pane_builder import PaneMerger, input_merger, rebuild_inputs, rebuild_outcomes
from monitor.profiles import codec
from monitor.profiles.codec import encode_profile
from monitor.profiles.model_profile import Profile, Reference, build_reference, profile_inputs
from monitor.state import State, open_state
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
        panes = merger.panes(transaction, START, START + 24 * PANE)
        assert (merger.merge(transaction, panes, 300).rows, len(panes), len(decoded)) == (48, 24, 24)
        assert sum(pane.rows for pane in panes) == 48
        assert merger.merge(transaction, panes, 300).rows == 48
        assert len(decoded) == 24
        add(log, predictions(["late"], start=START + 1))
        transaction.put_panes("pets", rebuild_inputs(log, reference, "1", {START}, SETTINGS, {}, Tally(0, 0)))
        assert merger.merge(transaction, merger.panes(transaction, START, START + 24 * PANE), 300).rows == 49
        assert len(decoded) == 24 + 12


def test_a_window_without_panes_is_the_empty_profile(state: State, reference: Reference) -> None:
    with state.transaction(write=False) as transaction:
        merger = input_merger("pets", "1", reference)
        assert merger.panes(transaction, START, START + PANE) == []
        assert merger.merge(transaction, [], 300).rows == 0
