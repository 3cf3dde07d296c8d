"""Transactions of the state take turns: none fails because another one was quicker."""

from __future__ import annotations

import threading
from pathlib import Path

from monitor.state import open_state


def test_writers_that_read_first_wait_for_each_other_instead_of_failing(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path / 'state.db'}")
    faults: list[BaseException] = []

    def count(times: int) -> None:
        try:
            for _ in range(times):
                with state.transaction() as transaction:
                    transaction.set_cursor("m", "turns", transaction.cursor("m", "turns") + 1)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=count, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    with state.transaction(write=False) as transaction:
        assert transaction.cursor("m", "turns") == 100
    state.close()


def test_a_reader_sees_one_state_throughout_and_holds_up_no_writer(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path / 'state.db'}")
    with state.transaction(write=False) as reader:
        assert reader.cursor("m", "x") == 0
        with state.transaction() as writer:
            writer.set_cursor("m", "x", 7)
        assert reader.cursor("m", "x") == 0
    with state.transaction(write=False) as reader:
        assert reader.cursor("m", "x") == 7
    state.close()


def test_a_writing_transaction_that_fails_leaves_nothing(tmp_path: Path) -> None:
    state = open_state(f"sqlite:///{tmp_path / 'state.db'}")
    try:
        with state.transaction() as writer:
            writer.set_cursor("m", "x", 7)
            raise RuntimeError("in the middle")
    except RuntimeError:
        pass
    with state.transaction(write=False) as reader:
        assert reader.cursor("m", "x") == 0
    state.close()
