"""What is forgotten is in no number and in no byte; what stays is as if it had been alone all the time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from monitor.commands.adding import add_labels
from monitor.commands.forget import forget
from monitor.config import load_config
from monitor.dirty_panes import dirty_panes
from monitor.errors import OperatorError
from monitor.forgetting import forget_before, forget_identifiers
from monitor.log.spool import SpoolWriter
from monitor.pipeline import Pipeline
from monitor.statistics.result import Absent, Reason
from monitor.verdict import WindowResult
from tests.daemon_process import free_port, run_command, write_config
from tests.records_samples import MODEL, labels, predictions
from tests.test_cycle import HOUR, IDS, START, Bench, expected, make_bench, truth_for, value

CANARY = "canary-0b5c"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path, MODEL)
    yield made
    made.state.close()


def content(folder: Path) -> bytes:
    """Every byte below a folder, and every value of what is compressed there."""
    parts = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            parts += [path.name.encode(), path.read_bytes()]
            if path.suffix == ".parquet":
                parts.append(repr(pq.read_table(path, partitioning=None).to_pylist()).encode())
    return b"\n".join(parts)


def test_a_window_is_computed_again_without_what_was_forgotten(bench: Bench) -> None:
    ids = [*IDS, CANARY]
    batch = predictions(ids, start=START, step=30_000_000)
    truth = truth_for(ids)
    bench.send(batch, labels(ids, [truth[name] for name in ids], time=START + HOUR // 2))
    bench.run(START + 2 * HOUR)
    assert bench.windows()[-1].predictions == 101
    assert CANARY.encode() in content(bench.root / "log")

    gone = {CANARY, IDS[3], IDS[4]}
    done = forget_identifiers(bench.cycle.log, bench.state, gone, 300)
    assert done.rows == {"predictions": 3, "labels": 3, "matched": 3}
    assert sum(len(starts) for starts in done.panes.values()) == 2
    bench.run(START + 3 * HOUR)
    window = bench.windows()[-1]
    kept = batch.filter(pa.array([name not in gone for name in ids]))
    accuracy, cross_entropy = expected(kept, truth)
    assert (window.predictions, window.labels, window.revision) == (98, 98, 2)
    assert value(window, "accuracy") == pytest.approx(accuracy, abs=1e-12)
    assert value(window, "cross_entropy") == pytest.approx(cross_entropy, abs=1e-9)
    assert window.columns == window_alone(bench.root / "alone", kept, truth).columns
    with bench.state.transaction(write=False) as state:
        assert dirty_panes(state, "pets") == {}


@pytest.mark.parametrize("labelled", [True, False])
def test_a_window_whose_predictions_are_all_forgotten_says_that_it_has_none(bench: Bench, labelled: bool) -> None:
    truth = truth_for(IDS)
    bench.send(predictions(IDS, start=START), predictions(["later"], start=START + HOUR))
    if labelled:
        bench.send(labels(IDS, list(truth.values()), time=START + HOUR // 2))
    bench.run(START + 2 * HOUR)
    before = [window for window in bench.windows() if window.window.start == START]
    assert [window.predictions for window in before] == [100]

    forget_identifiers(bench.cycle.log, bench.state, IDS, 300)
    bench.run(START + 3 * HOUR)
    bench.run(START + 4 * HOUR)
    *earlier, window = [window for window in bench.windows() if window.window.start == START]
    # A final window gets its next revision and keeps what it had said; a provisional one is replaced, as always.
    assert earlier == (before if labelled else [])
    assert (window.maturity, window.revision) == (("final", 2) if labelled else ("provisional", 0))
    assert (window.predictions, window.labels, window.label_coverage) == (0, 0, None)
    results = [*window.values.values(), *(item for column in window.columns.values() for item in column.values())]
    assert {type(result) for result in results} == {Absent}
    assert window.columns["age"]["population_stability_index"] == Absent(Reason.NO_ROWS)


def window_alone(root: Path, batch: pa.RecordBatch, truth: dict[str, str]) -> WindowResult:
    root.mkdir()
    bench = make_bench(root, MODEL)
    ids = batch.column("prediction_id").to_pylist()
    bench.send(batch, labels(ids, [truth[name] for name in ids], time=START + HOUR // 2))
    bench.run(START + 3 * HOUR)
    found = bench.windows()[-1]
    bench.state.close()
    return found


def test_no_byte_below_the_log_names_what_was_forgotten(bench: Bench) -> None:
    # First and last of their file: its smallest and largest id are in the table's own log.
    for name in ("aaa-" + CANARY, CANARY, "zzz-" + CANARY):
        bench.send(predictions([name, "m"], start=START), labels([name], ["cat"], time=START))
        bench.run(START + HOUR)
    forgotten = ["aaa-" + CANARY, CANARY, "zzz-" + CANARY]
    assert content(bench.root / "log").count(CANARY.encode()) > 3
    forget_identifiers(bench.cycle.log, bench.state, forgotten, 300)
    assert CANARY.encode() not in content(bench.root / "log")
    bench.run(START + 2 * HOUR)
    assert CANARY.encode() not in content(bench.root / "log")
    # And the log goes on: what was taken in stays taken in, new segments come.
    bench.send(predictions(["later"], start=START))
    bench.run(START + 2 * HOUR)
    rows = bench.cycle.log.read("predictions", ["prediction_id"])
    assert rows is not None
    assert sorted(set(rows.column("prediction_id").to_pylist())) == ["later", "m"]


def test_marks_outlive_a_kill_between_marking_and_rebuilding(bench: Bench) -> None:
    bench.send(predictions(["a", "b"], start=START))
    bench.run(START + 2 * HOUR)
    forget_identifiers(bench.cycle.log, bench.state, ["a"], 300)
    bench.restart()
    bench.run(START + 3 * HOUR)
    assert bench.windows()[-1].predictions == 1


def test_a_label_that_waits_is_forgotten_too(bench: Bench) -> None:
    bench.send(labels([CANARY, "other"], ["cat", "dog"], time=START))
    bench.run(START)
    forget_identifiers(bench.cycle.log, bench.state, [CANARY], 300)
    with bench.state.transaction(write=False) as state:
        assert state.pending_count("pets") == 1
    bench.send(predictions([CANARY, "other"], start=START))
    report = bench.run(START + HOUR)
    assert report.labels_total["matched"] == 1


def test_an_id_may_hold_any_character(bench: Bench) -> None:
    odd = "it's; DROP TABLE \"x\" -- %_'"
    bench.send(predictions([odd, "b"], start=START))
    done = forget_identifiers(bench.cycle.log, bench.state, [odd, "not there"], 300)
    assert done.rows == {"predictions": 1}


def test_days_before_a_date_go_with_the_labels_that_came_later(bench: Bench) -> None:
    day = 24 * HOUR
    midnight = START // day * day + day
    old = [f"old-{place}" for place in range(5)]
    bench.send(predictions([*old, "new"], events=[midnight - HOUR + place for place in range(5)] + [midnight]))
    bench.send(labels([*old, "new"], ["cat"] * 6, time=midnight + HOUR))
    bench.run(midnight + 2 * HOUR)
    done = forget_before(bench.cycle.log, bench.state, datetime.fromtimestamp(midnight // 1_000_000, UTC).date(), 300)
    assert done.rows == {"predictions": 5, "labels": 5, "matched": 5}
    assert done.panes == {"1": {midnight - HOUR}}
    rest = content(bench.root / "log")
    assert b"old-" not in rest
    assert b"new" in rest
    bench.run(midnight + 3 * HOUR)
    with bench.state.transaction(write=False) as state:
        assert [pane.start for pane in state.panes("pets", "1", "inputs", 0, midnight + day)] == [midnight]


def test_the_command_forgets_in_spool_log_and_dead_letters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write_config(tmp_path, free_port())
    data = tmp_path / "trueup-data"
    file = tmp_path / "labels.ndjson"
    records = [{"prediction_id": CANARY, "label": "unicorn"}, {"prediction_id": "b", "label": "unicorn"}]
    file.write_text("\n".join(json.dumps(record) for record in [*records, {"prediction_id": "b", "label": "cat"}]))
    add_labels(file, config)
    file.unlink()
    writer = SpoolWriter(data / "spool", writer="server")
    writer.append(predictions([CANARY, "b"]))
    writer.close()
    assert CANARY.encode() in content(data)
    done = run_command("forget", CANARY, "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["rows"]["predictions"], said["dead_letters"], said["panes_to_rebuild"]) == (1, 1, 1)
    assert CANARY.encode() not in content(data)
    assert b"unicorn" in content(data / "dead-letters")
    forget(["b"], None, config)
    assert "forgotten of pets" in capsys.readouterr().out
    assert b"unicorn" not in content(data)


def test_the_command_says_what_it_needs(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    with pytest.raises(OperatorError, match="either prediction ids or --before DATE"):
        forget([], None, config)
    with pytest.raises(OperatorError, match="either prediction ids or --before DATE"):
        forget(["a"], "2026-01-01", config)
    with pytest.raises(OperatorError, match="a date such as 2026-01-31"):
        forget([], "yesterday", config)


def test_the_command_is_refused_while_a_daemon_writes(tmp_path: Path) -> None:
    config = write_config(tmp_path, free_port())
    daemon = Pipeline(load_config(config), clock=time.time)
    try:
        with pytest.raises(OperatorError, match="Stop it, forget, start it again"):
            forget(["a"], None, config)
    finally:
        daemon.close()
