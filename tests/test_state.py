"""The durable state: one holder, fenced writers, migrations with a backup, patience with locks."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from monitor.errors import OperatorError
from monitor.state import HEAD, State, StoredPane, StoredWindow, open_state, sqlite_path
from tests.records_samples import EPOCH

HOUR = 3_600_000_000


def url(folder: Path, options: str = "") -> str:
    return f"sqlite:///{folder / 'state.db'}{options}"


def pane(start: int, content: bytes = b"profile", rows: int = 1, reference: str = "r") -> StoredPane:
    return StoredPane("1", "inputs", start, start + 300, reference, rows, content)


def window(revision: int, maturity: str = "final", start: int = EPOCH) -> StoredWindow:
    return StoredWindow("1", 3600.0, start, start + HOUR, revision, maturity, 0, "f", "{}")


@pytest.fixture
def state(tmp_path: Path) -> State:
    return open_state(url(tmp_path))


def test_a_second_daemon_is_refused_and_told_who_holds_the_state(tmp_path: Path) -> None:
    first = open_state(url(tmp_path), exclusive=True)
    with pytest.raises(OperatorError, match="this state is in use by another daemon") as refusal:
        open_state(url(tmp_path), exclusive=True)
    assert f"process {os.getpid()}" in str(refusal.value)
    first.close()
    open_state(url(tmp_path), exclusive=True).close()


def test_a_reader_needs_no_lock_while_a_daemon_runs(tmp_path: Path) -> None:
    daemon = open_state(url(tmp_path), exclusive=True)
    with daemon.transaction() as transaction:
        transaction.add("m", "labels", "received", 3)
    reader = open_state(url(tmp_path))
    with reader.transaction(write=False) as transaction:
        assert transaction.counters("m", "labels") == {"received": 3}
    reader.close()
    daemon.close()


def test_whoever_lost_the_lease_can_no_longer_commit_and_is_told_who_has_it(tmp_path: Path) -> None:
    old, new = open_state(url(tmp_path)), open_state(url(tmp_path))
    old.acquire(0)
    with old.transaction() as transaction:
        transaction.set_cursor("m", "predictions", 1)
    new.acquire(1)
    with pytest.raises(OperatorError, match="another daemon took over this state") as refusal, old.transaction():
        pytest.fail("nothing may be written without the lease")
    assert f"process {os.getpid()}" in str(refusal.value)
    with old.transaction(write=False) as transaction:
        assert transaction.cursor("m", "predictions") == 1
    with new.transaction() as transaction:
        transaction.set_cursor("m", "predictions", 2)
    old.close()
    new.close()


def test_a_lease_cannot_be_taken_between_its_check_and_the_write(tmp_path: Path) -> None:
    old, new = open_state(url(tmp_path)), open_state(url(tmp_path))
    old.acquire(0)
    taken = threading.Thread(target=new.acquire, args=(1,))
    with old.transaction() as transaction:
        taken.start()
        taken.join(0.1)
        assert taken.is_alive()
        transaction.set_cursor("m", "predictions", 1)
    taken.join()
    assert new.epoch == 2
    old.close()
    new.close()


def test_a_transaction_that_fails_leaves_nothing_behind(state: State) -> None:
    with pytest.raises(RuntimeError), state.transaction() as transaction:
        transaction.put_panes("m", [pane(0)])
        transaction.set_cursor("m", "predictions", 9)
        raise RuntimeError
    with state.transaction(write=False) as transaction:
        assert transaction.cursor("m", "predictions") == 0
        assert transaction.panes("m", "1", "inputs", 0, 1) == []
    state.close()


def test_a_lock_that_ends_in_time_is_waited_for_and_a_longer_one_is_named(tmp_path: Path) -> None:
    state = open_state(url(tmp_path, "?timeout=0.3"))
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperatorError, match="the state is locked by another process"), state.transaction():
            pytest.fail("the database is locked")
        with state.transaction(write=False) as transaction:  # readers see the last commit meanwhile
            assert transaction.cursor("m", "predictions") == 0
        release = threading.Timer(0.1, lambda: other.execute("ROLLBACK"))
        release.start()
        started = time.monotonic()
        with state.transaction() as transaction:
            transaction.set_cursor("m", "predictions", 5)
        assert time.monotonic() - started >= 0.05
        release.join()
    state.close()


def test_the_options_of_a_url_are_no_part_of_the_file(tmp_path: Path) -> None:
    open_state(url(tmp_path, "?timeout=5")).close()
    assert (tmp_path / "state.db").is_file()
    assert sqlite_path(url(tmp_path, "?timeout=5")) == tmp_path / "state.db"


def revision_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def age(folder: Path, revision: str) -> None:
    """Say that the state is of another revision, and leave that in the write-ahead log."""
    engine = sa.create_engine(url(folder))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = ?", (revision,))
    engine.dispose()


def test_a_new_state_has_the_newest_schema_and_needs_no_backup(tmp_path: Path) -> None:
    open_state(url(tmp_path)).close()
    assert revision_of(tmp_path / "state.db") == HEAD
    assert list(tmp_path.glob("*.before-*")) == []


def test_a_state_of_a_newer_trueup_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    open_state(url(tmp_path)).close()
    age(tmp_path, "9999")
    with pytest.raises(OperatorError, match="the state was written by a newer trueup") as refusal:
        open_state(url(tmp_path), exclusive=True)
    assert "schema 9999" in str(refusal.value)
    assert "Upgrade trueup" in str(refusal.value)
    assert revision_of(tmp_path / "state.db") == "9999"
    age(tmp_path, HEAD)
    open_state(url(tmp_path), exclusive=True).close()  # the refusal left no lock


def older(folder: Path) -> State:
    """A state as the first release made it."""
    from alembic import command
    from alembic.config import Config

    import monitor

    config = Config()
    config.set_main_option("script_location", str(Path(monitor.__file__).parent / "migrations"))
    engine = sa.create_engine(url(folder))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    return State(engine, None)


def test_an_older_state_is_backed_up_whole_and_then_migrated(tmp_path: Path) -> None:
    older(tmp_path).close()
    # As left by a daemon that was killed: the newest commits stand in the write-ahead log only.
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as holder:
        holder.execute("PRAGMA journal_mode=WAL")
        holder.execute("INSERT INTO cursors VALUES ('m', 'predictions', 42)")
        assert (tmp_path / "state.db-wal").stat().st_size > 0
        state = open_state(url(tmp_path), exclusive=True)
        with state.transaction(write=False) as transaction:
            assert transaction.cursor("m", "predictions") == 42
        state.close()
    assert revision_of(tmp_path / "state.db") == HEAD
    backups = list(tmp_path.glob("state.db.before-*"))
    if HEAD == "0001":
        assert backups == []
        return
    [backup] = backups
    assert backup.name == f"state.db.before-{HEAD}"
    assert revision_of(backup) == "0001"
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("SELECT value FROM cursors").fetchone() == (42,)


def test_a_command_does_not_migrate_the_state_under_a_running_daemon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = open_state(url(tmp_path), exclusive=True)
    monkeypatch.setattr("alembic.script.ScriptDirectory.get_current_head", lambda _: "0002-of-tomorrow")
    with pytest.raises(OperatorError, match="this state is in use by another daemon"):
        open_state(url(tmp_path))
    assert revision_of(tmp_path / "state.db") == HEAD
    daemon.close()


def test_a_file_that_is_no_state_is_named(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"this is not a database at all, whatever its name says" * 20)
    with pytest.raises(OperatorError, match="the state cannot be opened"):
        open_state(url(tmp_path))


def test_a_pane_is_replaced_as_a_whole_and_vanishes_without_rows(state: State) -> None:
    with state.transaction() as transaction:
        transaction.put_panes("m", [pane(0), pane(300)])
        transaction.put_panes("m", [pane(0, b"other", 2), pane(300, b"", 0)])
        [kept] = transaction.panes("m", "1", "inputs", 0, 1_000)
        assert (kept.profile, kept.rows) == (b"other", 2)
        assert transaction.newest_pane("m", "1") == 0
        assert transaction.pane_starts("m", "1", 0, 1_000) == [0]
    state.close()


def test_panes_of_another_reference_are_dropped_and_counted(state: State) -> None:
    with state.transaction() as transaction:
        transaction.put_panes("m", [pane(0), pane(300, reference="s")])
        assert transaction.drop_panes("m", "1", "s") == 1
        assert transaction.pane_starts("m", "1", 0, 1_000) == [300]
    state.close()


def test_the_digest_of_a_pane_changes_with_its_content_only(state: State) -> None:
    with state.transaction() as transaction:
        transaction.put_panes("m", [pane(0)])
        before = transaction.pane_digests("m", "1", 0, 1)
        transaction.put_panes("m", [pane(0)])
        assert transaction.pane_digests("m", "1", 0, 1) == before
        transaction.put_panes("m", [pane(0, b"other")])
        assert transaction.pane_digests("m", "1", 0, 1) != before
    state.close()


def test_windows_are_unfinished_until_they_have_a_final_revision(state: State) -> None:
    with state.transaction() as transaction:
        transaction.put_window("m", window(0, "provisional"))
        transaction.put_window("m", window(0, "provisional", EPOCH + HOUR))
        assert len(transaction.unfinished_windows("m")) == 2
        transaction.put_window("m", window(1))
        assert [item.start for item in transaction.unfinished_windows("m")] == [EPOCH + HOUR]
        assert [item.revision for item in transaction.windows("m", start=EPOCH, end=EPOCH + 1)] == [0, 1]
        assert [item.start for item in transaction.windows("m", newest=1)] == [EPOCH + HOUR]
    state.close()


def test_windows_are_kept_compressed_and_those_of_older_versions_stay_readable(tmp_path: Path, state: State) -> None:
    text = json.dumps({"values": {f"métrique {number}": number / 7 for number in range(1_000)}}, ensure_ascii=False)
    with state.transaction() as transaction:
        transaction.put_window("m", replace(window(0), result=text))
        transaction.put_window("m", window(1))
    with closing(sqlite3.connect(tmp_path / "state.db", isolation_level=None)) as older:
        older.execute("UPDATE windows SET result = ? WHERE revision = 1", (text,))
        kinds = older.execute("SELECT typeof(result), length(result) FROM windows ORDER BY revision").fetchall()
    assert [kind for kind, _ in kinds] == ["blob", "text"]
    assert kinds[0][1] < len(text.encode()) / 2
    with state.transaction() as transaction:
        assert [item.result for item in transaction.windows("m")] == [text, text]
        transaction.put_window("m", replace(window(1), result=text))
        assert [item.result for item in transaction.windows("m")] == [text, text]
    state.close()


def test_a_waiting_label_keeps_its_age_and_becomes_an_orphan_by_it(state: State) -> None:
    with state.transaction() as transaction:
        transaction.put_pending("m", ["a", "b"], 10)
        transaction.put_pending("m", ["a", "c"], 20)
        assert transaction.pending_count("m") == 3
        assert transaction.expire_pending("m", 20) == 2
        assert transaction.remove_pending("m", ["c", "unknown"]) == 1
        assert transaction.pending_count("m") == 0
    state.close()


def test_more_identifiers_than_a_statement_takes_are_removed_in_parts(state: State) -> None:
    names = [f"id-{place}" for place in range(40_000)]
    with state.transaction() as transaction:
        transaction.put_pending("m", names, 1)
        assert transaction.remove_pending("m", names) == 40_000
    state.close()


def test_a_source_never_goes_back_in_event_time(state: State) -> None:
    with state.transaction() as transaction:
        transaction.note_source("m", "s", 100, 1)
        transaction.note_source("m", "s", 50, 2)
        assert [(s.newest_event_time, s.last_seen) for s in transaction.sources("m")] == [(100, 2)]
    state.close()
