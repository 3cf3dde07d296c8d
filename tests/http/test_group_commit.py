"""What waits is handled together, once, and everybody hears the truth about it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from monitor.http.group_commit import GroupCommit


def test_what_queues_up_during_a_round_goes_into_the_next_one_together() -> None:
    gate, begun = threading.Event(), threading.Event()
    rounds: list[list[int]] = []

    def handle(work: Sequence[int]) -> list[int | Exception]:
        begun.set()
        gate.wait()
        rounds.append(list(work))
        return [number * 10 for number in work]

    commit = GroupCommit[int, int](handle)
    commit.start()
    futures = [commit.submit(0)]
    begun.wait()
    futures += [commit.submit(number) for number in range(1, 9)]
    assert not any(future.done() for future in futures)
    gate.set()
    assert [future.result(timeout=10) for future in futures] == [number * 10 for number in range(9)]
    commit.close()
    assert rounds == [[0], list(range(1, 9))]


def test_an_error_of_the_round_reaches_all_in_it_and_none_after_it() -> None:
    faults = [OSError("disk"), None]

    def handle(work: Sequence[int]) -> list[int | Exception]:
        fault = faults.pop(0)
        if fault is not None:
            raise fault
        return list(work)

    commit = GroupCommit[int, int](handle)
    early = [commit.submit(number) for number in range(3)]
    commit.start()
    for future in early:
        with pytest.raises(OSError, match="disk"):
            future.result(timeout=10)
    assert commit.submit(4).result(timeout=10) == 4
    commit.close()


def test_an_error_of_one_is_not_the_error_of_the_others() -> None:
    commit = GroupCommit[int, int](lambda work: [ValueError(number) if number == 1 else number for number in work])
    futures = [commit.submit(number) for number in range(3)]
    commit.start()
    assert futures[0].result(timeout=10) == 0
    with pytest.raises(ValueError, match="1"):
        futures[1].result(timeout=10)
    assert futures[2].result(timeout=10) == 2
    commit.close()


def test_closing_handles_what_was_submitted_before() -> None:
    commit = GroupCommit[int, int](list)
    futures = [commit.submit(number) for number in range(5)]
    commit.start()
    commit.close()
    assert [future.result(timeout=0) for future in futures] == list(range(5))


def test_what_nobody_waits_for_any_more_is_not_done() -> None:
    done: list[int] = []

    def handle(work: Sequence[int]) -> list[int | Exception]:
        done.extend(work)
        return list(work)

    commit = GroupCommit[int, int](handle)
    kept, gone = commit.submit(1), commit.submit(2)
    assert gone.cancel()
    commit.start()
    kept.result(timeout=10)
    commit.close()
    assert done == [1]
