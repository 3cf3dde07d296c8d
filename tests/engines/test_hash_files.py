"""Hashes beside the log propose every row that may have an id; whatever becomes of them, every id is found."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.engines import local
from monitor.engines.hash_files import keep_hashes, proposed_rows
from monitor.engines.identifiers import hashes
from monitor.engines.local import find
from monitor.log import hash_places, tables
from monitor.log.delta import WriterProperties
from monitor.log.maintenance import erase_history, maintain
from monitor.log.tables import ModelLog
from tests.records_samples import EPOCH, predictions

HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200)
IDS = [f"id-{place:02d}" for place in np.random.default_rng(1).permutation(40).tolist()]


@given(HASHES, HASHES, st.integers(0, 200), st.sampled_from([2, 300, 2**64 - 1]))
def test_rows_whose_hash_may_be_one_of_those_are_proposed(
    given_hashes: list[int], others: list[int], common: int, kinds: int
) -> None:
    kept = [value % kinds for value in given_hashes]
    wanted = np.unique(np.array([value % kinds for value in others] + kept[:common], dtype=np.uint64))
    # What is left of a hash beside the number of its row.
    lost = max(len(kept) - 1, 1).bit_length()
    uppers = {value >> lost for value in wanted.tolist()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "of" / "a file.npy"
        keep_hashes(path, np.array(kept, dtype=np.uint64))
        found = proposed_rows(path, len(kept), wanted)
    assert found is not None
    assert found.tolist() == [row for row, value in enumerate(kept) if value >> lost in uppers]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def overwrite(path: Path) -> None:
    path.write_bytes(b"not hashes")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def shorten(path: Path) -> None:
    np.save(path, np.load(path)[1:])


def other_type(path: Path) -> None:
    np.save(path, np.load(path).astype(np.float64))


def objects(path: Path) -> None:
    np.save(path, np.array([{}, []], dtype=object))


DAMAGES = [cut, overwrite, empty, shorten, other_type, objects, Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_cannot_be_read_counts_as_missing(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    path, hashed = tmp_path / "file.npy", hashes(pa.array(IDS))
    keep_hashes(path, hashed)
    assert proposed_rows(path, len(IDS), np.sort(hashed)) is not None
    damage(path)
    assert proposed_rows(path, len(IDS), np.sort(hashed)) is None


def test_where_hashes_cannot_be_written_there_are_none(tmp_path: Path) -> None:
    blocked = tmp_path / "a file"
    blocked.touch()
    keep_hashes(blocked / "hashes.npy", hashes(pa.array(IDS)))
    occupied = tmp_path / "a folder"
    (occupied / "x").mkdir(parents=True)
    keep_hashes(occupied, hashes(pa.array(IDS)))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a file", "a folder", "x"]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelLog:
    """Two days of 40 ids each, a file a day, ten rows in a row group; hashes are kept of every file."""
    monkeypatch.setattr(local, "LEAST_ROWS", 1)
    monkeypatch.setattr(tables, "_writer", lambda _: WriterProperties(max_row_group_size=10))
    log = ModelLog(str(tmp_path / "log"), "pets")
    for day in range(2):
        ids = [f"{name}-{day}" for name in IDS]
        rows = pa.Table.from_batches([predictions(ids, start=EPOCH + day * 86_400_000_000)])
        log.append("predictions", rows, {})
    return log


def kept_files(log: ModelLog) -> list[Path]:
    return sorted(Path(log.uri("predictions")).parent.glob("_hashes/predictions/**/*.npy"))


def found(log: ModelLog, ids: Sequence[str], table: str = "predictions") -> list[str]:
    rows = find(log, table, pa.array(ids), ["event_time", "version"])  # type: ignore[arg-type]
    return [] if rows is None else sorted(rows.column("prediction_id").to_pylist())


def reads(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Columns of every row group that is read from now on."""
    read: list[list[str]] = []
    honest = local.read_group

    def noting(parquet: Any, group: int, names: Sequence[str], known: pa.Schema) -> pa.Table:
        read.append(list(names))
        return honest(parquet, group, names, known)

    monkeypatch.setattr(local, "read_group", noting)
    return read


def test_once_all_ids_were_read_only_row_groups_with_one_of_the_ids_are(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [f"{IDS[3]}-1", f"{IDS[5]}-1", f"{IDS[27]}-1", "id-20-nobody"]
    names = ["prediction_id", "event_time", "version"]
    read = reads(monkeypatch)
    assert found(log, wanted) == sorted(wanted[:3])
    assert (read.count(["prediction_id"]), read.count(names[1:])) == (8, 2)
    assert len(kept_files(log)) == 2
    read.clear()
    assert found(log, wanted) == sorted(wanted[:3])
    assert read == [names, names]


@pytest.mark.parametrize("damage", DAMAGES)
def test_ids_are_found_where_hashes_are_damaged_and_those_are_made_anew(
    log: ModelLog, damage: Callable[[Path], None]
) -> None:
    wanted = [f"{name}-{day}" for name in IDS[::7] for day in range(2)]
    assert found(log, wanted) == sorted(wanted)
    before = [path.read_bytes() for path in kept_files(log)]
    damage(kept_files(log)[0])
    assert found(log, wanted) == sorted(wanted)
    assert [path.read_bytes() for path in kept_files(log)] == before


def test_a_row_that_only_its_hash_makes_alike_is_not_taken_for_another(
    log: ModelLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "hashes", lambda ids: np.zeros(len(ids), np.uint64))
    for _ in range(2):
        assert found(log, [f"{IDS[3]}-1", "id-20-nobody"]) == [f"{IDS[3]}-1"]
    assert len(kept_files(log)) == 2


def test_hashes_go_with_their_file_and_nothing_else_does(log: ModelLog) -> None:
    everything = [f"{name}-{day}" for name in IDS for day in range(2)]
    assert found(log, everything) == sorted(everything)
    first, second = kept_files(log)
    log.delete("predictions", f"prediction_id = '{IDS[0]}-0'")
    interrupted, written = first.with_name(".cut-1-1"), first.with_name(".new-1-1")
    interrupted.touch()
    written.touch()
    os.utime(interrupted, (time.time() - 7_200, time.time() - 7_200))
    maintain(log, EPOCH)
    # The file that was replaced is still there for those who read it.
    assert (kept_files(log), interrupted.exists(), written.exists()) == ([first, second], False, True)
    erase_history(log)
    assert kept_files(log) == [second]
    assert found(log, everything) == sorted(set(everything) - {f"{IDS[0]}-0"})
    assert len(kept_files(log)) == 2
    written.unlink()
    log.delete("predictions", "true")
    erase_history(log)
    base = Path(log.uri("predictions")).parent / "_hashes" / "predictions"
    assert list(base.rglob("*")) == []


def test_hashes_of_files_that_are_there_stay_what_they_are() -> None:
    # If this fails, the number in the name of files of hashes (`monitor.log.hash_places`) must go up.
    assert hash_places.SUFFIX == ".hashes-1.npy"
    short, long = hashes(pa.array(["a"])), hashes(pa.array(["0f0e0d0c-0b0a-7009-8807-060504030201"]))
    assert (int(short[0]), int(long[0])) == (15212773313480290984, 10473275874938227347)
