"""Alarms in a state that is a PostgreSQL: the same evidence, the same alarms, and they survive a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.alarms.storage import read_evidence
from monitor.alarms.transitions import State
from monitor.verdict import Check, Threshold
from tests.alarm_bench import ACCURACY, PSI, AlarmBench, settings, traffic, truth
from tests.postgres_server import postgres_server

LEARNT = Check("cross_entropy", Threshold("above", 0.0, learnt=True))


def test_a_postgresql_keeps_alarms_and_evidence_as_sqlite_does(tmp_path: Path) -> None:
    kept = []
    with postgres_server() as url:
        for name, place in (("sqlite", ""), ("postgresql", url)):
            root = tmp_path / name
            root.mkdir()
            bench = AlarmBench(root, settings(root, PSI, ACCURACY, LEARNT), url=place)
            for number, shift in enumerate([0.0, 0.0, 0.8]):
                batch = traffic(number, shift=shift)
                bench.send(batch, truth(batch, 0.1))
                reports = bench.run(number + 1).alarms
                bench.restart()
            with bench.state.transaction(write=False) as state:
                evidence = [read_evidence(state, "pets", "1", check.metric) for check in (PSI, ACCURACY)]
                windows = state.windows("pets")
            bench.state.close()
            kept.append((reports, evidence, windows))
    (ours, our_evidence, our_windows), (theirs, their_evidence, their_windows) = kept
    assert our_evidence == their_evidence
    assert our_windows
    assert our_windows == their_windows
    assert [report.alarm.state for report in theirs] == [State.FIRING, State.INACTIVE]
    for one, other in zip(ours, theirs, strict=True):
        assert one.alarm == other.alarm
        assert one.share.run_length == pytest.approx(other.share.run_length)
