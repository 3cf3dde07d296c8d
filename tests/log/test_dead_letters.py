"""Dead letters keep the original bytes, privately and within a bound, and can be fed again."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from monitor.log.dead_letters import DeadLetters, originals, read_dead_letters
from monitor.log.rejection import Rejected, RejectReason
from monitor.log.sources import SourceRules, convert_body, read_body
from tests.records_samples import MODEL

NOW = 1_790_000_000_000_000


def rejected(original: bytes) -> Rejected:
    return Rejected(RejectReason.WRONG_TYPE, "line 1, x: wrong", 1, original)


def add(letters: DeadLetters, *records: bytes) -> int:
    return letters.add([rejected(record) for record in records], source="test", model="pets", kind="label", now=NOW)


def test_what_was_rejected_is_read_again_byte_for_byte(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead")
    records = [b'{"a": 1}', "é\u202e\n".encode(), b"\xff\x00", b""]
    assert add(letters, *records) == 4
    found = list(read_dead_letters(tmp_path / "dead"))
    assert [letter.original for letter in found] == records
    assert (found[0].time, found[0].reason, found[0].model) == ("2026-09-21T14:13:20Z", "wrong_type", "pets")


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "dead")
    add(letters, b"x")
    [path] = (tmp_path / "dead").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "dead").stat().st_mode & 0o777 == 0o700


def test_nothing_rejected_writes_nothing(tmp_path: Path) -> None:
    assert add(DeadLetters(tmp_path / "dead")) == 0
    assert list(read_dead_letters(tmp_path / "dead")) == []


def test_beyond_the_bound_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, maximum_bytes=8_000)
    for index in range(200):
        add(letters, str(index).encode())
    kept = [int(letter.original) for letter in read_dead_letters(tmp_path)]
    assert kept == list(range(kept[0], 200))
    assert 0 < kept[0] < 180
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8_000
    assert letters.discarded_bytes > 0


def test_a_line_torn_by_a_crash_is_skipped(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    add(letters, b"a")
    [path] = tmp_path.iterdir()
    path.write_bytes(path.read_bytes() + b'{"time": "2026')
    assert [letter.original for letter in read_dead_letters(tmp_path)] == [b"a"]


def test_after_the_cause_is_mended_they_are_fed_again(tmp_path: Path) -> None:
    content = b'{"prediction_id": "a", "label": "cat"}\n{"prediction_id": "b", "label": "ocelot"}\n'
    results = convert_body(read_body(content, "ndjson"), "label", lambda _: SourceRules(MODEL), now=NOW)
    letters = DeadLetters(tmp_path)
    letters.add(results[0].rejected, source="http", model="pets", kind="label", now=NOW)
    again = originals(read_dead_letters(tmp_path)).replace(b"ocelot", b"cat")
    [result] = convert_body(read_body(again, "ndjson"), "label", lambda _: SourceRules(MODEL), now=NOW)
    assert result.batch is not None
    assert result.batch.column("prediction_id").equals(pa.array(["b"]))


def test_several_writes_end_in_one_file(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    for index in range(3):
        add(letters, str(index).encode())
    assert len(list(tmp_path.iterdir())) == 1
