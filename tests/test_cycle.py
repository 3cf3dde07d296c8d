"""One cycle: late, repeated, corrected and conflicting records end in the same numbers as a plain computation."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import accuracy_score, log_loss, mean_squared_error

from monitor.cycle import CycleReport, ModelCycle
from monitor.label_join import LabelSettings
from monitor.log.ingest import ingest
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog
from monitor.matching import match_labels
from monitor.profiles.codec import save_reference
from monitor.profiles.model_profile import build_reference, profile_outcomes
from monitor.records import ModelSchema
from monitor.references import ReferenceStore
from monitor.settings import ModelSettings
from monitor.state import State, open_state
from monitor.statistics.result import Absent, Estimate
from monitor.verdict import WindowResult
from monitor.window_stage import WindowStage
from monitor.windows import MICROSECONDS, WindowSettings
from tests.records_samples import CLASSES, EPOCH, MODEL, labels, predictions

MINUTE = 60 * MICROSECONDS
HOUR = 60 * MINUTE
START = EPOCH // HOUR * HOUR
WINDOWS = WindowSettings(pane_seconds=300, window_seconds=(3600,), allowed_lateness_seconds=600, idle_after_seconds=60)
LABELS = LabelSettings(horizon_seconds=86_400, minimum=1)


@dataclass
class Bench:
    """A log, a state and a cycle in a temporary folder."""

    root: Path
    settings: ModelSettings
    state: State
    cycle: ModelCycle
    writers: int = 0

    def send(self, *batches: pa.RecordBatch, seen: int | None = None) -> None:
        """Spool and ingest; the sources spoke at `seen`, by default when their newest prediction was made."""
        self.writers += 1
        writer = SpoolWriter(self.root / "spool", writer=f"w{self.writers:05d}")
        for batch in batches:
            writer.append(batch)
        writer.close()
        progress = ingest(
            [self.root / "spool"],
            str(self.root / "log"),
            future_limit=lambda _: START + 10**15,
            set_aside=lambda *_: None,
        )
        assert progress.errors == []
        with self.state.transaction() as state:
            for (model, source), newest in progress.newest.items():
                state.note_source(model, source, newest, newest if seen is None else seen)

    def run(self, now: int) -> CycleReport:
        return self.cycle.run(now)

    def windows(self) -> list[WindowResult]:
        from monitor.window_codec import decode_window

        with self.state.transaction(write=False) as state:
            return [decode_window(item.result) for item in state.windows("pets")]

    def restart(self) -> None:
        self.state.close()
        self.state, self.cycle = opened(self.root, self.settings)


def opened(root: Path, settings: ModelSettings) -> tuple[State, ModelCycle]:
    state = open_state(f"sqlite:///{root / 'state.db'}", exclusive=True)
    state.acquire(0)
    log = ModelLog(str(root / "log"), settings.name)
    return state, ModelCycle(settings, log, state, ReferenceStore(settings))


def make_bench(root: Path, model: ModelSchema) -> Bench:
    rows = pa.Table.from_batches([predictions([f"r{i}" for i in range(500)], model=model, seed=99)])
    chosen = np.random.default_rng(1).integers(0, 3, 500)
    values = [CLASSES[i] for i in chosen] if model.task == "classification" else chosen.astype(float).tolist()
    truth = pa.array(values, model.output_type)
    save_reference(build_reference(model, rows.append_column("label", truth)), root / "reference.trueup")
    settings = ModelSettings("pets", reference=root / "reference.trueup", windows=WINDOWS, labels=LABELS)
    state, cycle = opened(root, settings)
    return Bench(root, settings, state, cycle)


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def build(model: ModelSchema = MODEL) -> Bench:
        made.append(make_bench(tmp_path, model))
        return made[-1]

    yield build
    for bench in made:
        bench.state.close()


@pytest.fixture
def bench(make: Make) -> Bench:
    return make()


def value(result: WindowResult, name: str) -> float:
    found = result.values[name]
    assert isinstance(found, Estimate), found
    return found.value


def truth_for(ids: Sequence[str]) -> dict[str, str]:
    return {
        name: CLASSES[index] for name, index in zip(ids, np.random.default_rng(7).integers(0, 3, len(ids)), strict=True)
    }


def expected(batch: pa.RecordBatch, truth: dict[str, str]) -> tuple[float, float]:
    rows = [row for row in batch.to_pylist() if row["prediction_id"] in truth]
    y = [truth[row["prediction_id"]] for row in rows]
    p = np.array([[row[f"p_{name}"] for name in CLASSES] for row in rows])
    return accuracy_score(y, [row["prediction"] for row in rows]), log_loss(y, p, labels=list(CLASSES))


IDS = [f"id-{i:03d}" for i in range(100)]


def test_a_window_without_labels_has_drift_and_absent_performance(bench: Bench) -> None:
    bench.send(predictions(IDS, start=START, step=10 * MICROSECONDS))
    report = bench.run(START + 2 * HOUR)
    [rolling] = report.rolling
    assert rolling.predictions == 100
    assert isinstance(rolling.values["accuracy"], Absent)
    assert isinstance(rolling.columns["age"]["population_stability_index"], Estimate)
    assert rolling.label_coverage == 0


def test_labels_that_come_later_complete_the_window_and_make_it_final(bench: Bench) -> None:
    batch = predictions(IDS, start=START, step=10 * MICROSECONDS)
    truth = truth_for(IDS)
    bench.send(batch)
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    assert [(w.revision, w.maturity) for w in bench.windows()] == [(0, "provisional")]
    half = IDS[:50]
    bench.send(labels(half, [truth[i] for i in half]))
    bench.run(START + 4 * HOUR)
    [window] = bench.windows()
    assert (window.maturity, window.labels, window.label_coverage) == ("provisional", 50, 0.5)
    accuracy, loss = expected(batch, {i: truth[i] for i in half})
    assert value(window, "accuracy") == pytest.approx(accuracy, abs=1e-12)
    assert value(window, "cross_entropy") == pytest.approx(loss, abs=1e-9)
    bench.send(labels(IDS[50:], [truth[i] for i in IDS[50:]]))
    report = bench.run(START + 5 * HOUR)
    final = report.final[-1]
    assert (final.maturity, final.revision, final.labels) == ("final", 1, 100)
    assert value(final, "accuracy") == pytest.approx(expected(batch, truth)[0], abs=1e-12)


def test_a_corrected_label_gives_the_final_window_a_new_revision(bench: Bench) -> None:
    batch = predictions(IDS, start=START, step=10 * MICROSECONDS)
    truth = truth_for(IDS)
    bench.send(batch, labels(IDS, list(truth.values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    changed = dict(truth)
    for name in IDS[:30]:
        changed[name] = CLASSES[(CLASSES.index(truth[name]) + 1) % 3]
    bench.send(labels(IDS[:30], [changed[i] for i in IDS[:30]], time=START + 4 * HOUR))
    bench.run(START + 5 * HOUR)
    windows = bench.windows()
    assert [w.revision for w in windows] == [1, 2]
    assert value(windows[1], "accuracy") == pytest.approx(expected(batch, changed)[0], abs=1e-12)
    assert windows[1].labels == 100


def test_labels_that_trickle_in_for_ever_do_not_fill_the_state_with_revisions(bench: Bench) -> None:
    truth = truth_for(IDS)
    bench.send(predictions(IDS, start=START), labels(IDS, list(truth.values())))
    for turn in range(40):
        wrong = CLASSES[turn % 3]
        bench.send(labels(IDS[:1], [wrong], time=START + 4 * HOUR + turn * MINUTE))
        bench.run(START + 5 * HOUR + turn * MINUTE)
    kept = [window.revision for window in bench.windows()]
    assert kept == [1, 2, 4, 8, 16, *range(25, 41)]
    assert value(bench.windows()[-1], "accuracy") == pytest.approx(
        expected(predictions(IDS, start=START), truth | {IDS[0]: wrong})[0], abs=1e-12
    )


def test_an_older_correction_that_comes_late_changes_nothing(bench: Bench) -> None:
    truth = truth_for(IDS)
    bench.send(predictions(IDS, start=START), labels(IDS, list(truth.values()), time=START + 4 * HOUR))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    before = bench.windows()[-1]
    wrong = [CLASSES[(CLASSES.index(truth[name]) + 1) % 3] for name in IDS]
    bench.send(labels(IDS, wrong, time=START + HOUR))
    bench.run(START + 5 * HOUR)
    assert value(bench.windows()[-1], "accuracy") == value(before, "accuracy")


def test_a_label_that_comes_before_its_prediction_waits_for_it(bench: Bench) -> None:
    truth = truth_for(IDS)
    bench.send(labels(IDS, list(truth.values())))
    assert bench.run(START).pending_labels == 100
    batch = predictions(IDS, start=START)
    bench.send(batch)
    report = bench.run(START + 2 * HOUR)
    assert report.pending_labels == 0
    assert value(report.rolling[0], "accuracy") == pytest.approx(expected(batch, truth)[0], abs=1e-12)


def test_a_kill_after_matching_does_not_hide_a_label_from_a_prediction_that_comes_before_the_next_cycle(
    bench: Bench,
) -> None:
    bench.send(predictions(["a"], start=START), labels(["a", "b"], ["cat", "dog"]))
    # What a cycle does before it is killed: matched rows are in the log, the cursors have not moved.
    log = bench.cycle.log
    until = log.last_sequence("labels"), log.last_sequence("predictions")
    match_labels(log, LABELS, after=0, until=until[0], predictions_until=until[1], pending=pa.array([], pa.string()))
    bench.send(predictions(["b"], start=START))
    report = bench.run(START + 2 * HOUR)
    assert report.labels_total["matched"] == 2
    assert [(window.predictions, window.labels) for window in report.rolling] == [(2, 2)]


def test_a_label_without_a_prediction_is_an_orphan_after_the_horizon(bench: Bench) -> None:
    bench.send(predictions(IDS, start=START), labels(["nobody"], ["cat"]))
    assert bench.run(START + HOUR).pending_labels == 1
    report = bench.run(START + HOUR + 25 * HOUR)
    assert report.pending_labels == 0
    assert report.labels_total["orphan"] == 1


def test_where_one_id_stands_for_many_predictions_and_labels_the_rest_is_told_as_surplus(bench: Bench) -> None:
    truth = truth_for(IDS)
    bench.send(predictions(IDS, start=START), labels(IDS, [truth[name] for name in IDS]))
    bench.send(predictions(["customer"] * 50, start=START))
    for minute in range(50):
        bench.send(labels(["customer"], ["cat"], time=START + HOUR + minute * MINUTE))
    report = bench.run(START + 2 * HOUR)
    assert report.labels_total["surplus"] == 50 - 16
    assert (report.labels_total["received"], report.labels_total["matched"]) == (len(IDS) + 50, len(IDS) + 1)
    assert report.repeats_total["conflicting"] == 49


def test_a_label_reaches_every_version_that_answered(bench: Bench) -> None:
    truth = truth_for(IDS)
    first, second = predictions(IDS, start=START), predictions(IDS, start=START, version="2", seed=5)
    bench.send(first, labels(IDS, list(truth.values())))
    bench.run(START + HOUR)
    bench.send(second)
    report = bench.run(START + 2 * HOUR)
    by_version = {result.version: result for result in report.rolling}
    for version, batch in (("1", first), ("2", second)):
        assert value(by_version[version], "accuracy") == pytest.approx(expected(batch, truth)[0], abs=1e-12)


def test_repeated_predictions_count_once_and_the_earliest_wins_across_panes(bench: Bench) -> None:
    early = predictions(IDS, start=START, seed=1)
    late = predictions(IDS, start=START + 20 * MINUTE, seed=2)
    truth = truth_for(IDS)
    bench.send(late, labels(IDS, list(truth.values())))
    bench.run(START + HOUR)
    bench.send(early, early)
    report = bench.run(START + 2 * HOUR)
    [rolling] = report.rolling
    assert (rolling.predictions, rolling.labels) == (100, 100)
    assert value(rolling, "accuracy") == pytest.approx(expected(early, truth)[0], abs=1e-12)


def test_repeats_across_panes_of_a_model_without_any_label_count_once(bench: Bench) -> None:
    bench.send(predictions(IDS, start=START))
    bench.run(START + HOUR)
    bench.send(predictions(IDS, start=START + 20 * MINUTE))
    [rolling] = bench.run(START + 2 * HOUR).rolling
    assert rolling.predictions == 100


def test_a_version_without_a_reference_is_logged_and_says_so_until_it_gets_one(make: Make, tmp_path: Path) -> None:
    bench = make()
    (tmp_path / "reference.trueup").rename(tmp_path / "later")
    bench.send(predictions(IDS, start=START))
    report = bench.run(START + 2 * HOUR)
    assert report.rolling == ()
    assert report.versions == {"1": None}
    assert report.predictions_total == {"1": 100}
    (tmp_path / "later").rename(tmp_path / "reference.trueup")
    assert bench.run(START + 3 * HOUR).rolling[0].predictions == 100


def test_a_changed_reference_rebuilds_every_pane(make: Make, tmp_path: Path) -> None:
    bench = make()
    bench.send(predictions(IDS, start=START))
    before = bench.run(START + 2 * HOUR).rolling[0]
    rows = pa.Table.from_batches([predictions([f"r{i}" for i in range(800)], seed=123)])
    save_reference(build_reference(MODEL, rows), tmp_path / "reference.trueup")
    after = bench.run(START + 3 * HOUR).rolling[0]
    assert after.predictions == before.predictions == 100
    assert after.columns["age"]["mean_shift"] != before.columns["age"]["mean_shift"]


def test_a_regression_model_gets_the_squared_error_that_scikit_learn_computes(make: Make, tmp_path: Path) -> None:
    model = ModelSchema("pets", "regression")
    bench = make(model)
    batch = predictions(IDS, model=model, start=START)
    truth = np.random.default_rng(3).normal(0, 1, 100)
    bench.send(batch, labels(IDS, truth.tolist(), model=model))
    [rolling] = bench.run(START + 2 * HOUR).rolling
    predicted = batch.column("prediction").to_numpy()
    assert value(rolling, "mean_squared_error") == pytest.approx(mean_squared_error(truth, predicted), rel=1e-12)
    assert value(rolling, "mean_absolute_error") == pytest.approx(np.abs(truth - predicted).mean(), rel=1e-12)


def test_the_estimates_of_a_window_are_held_against_its_labelled_rows(make: Make) -> None:
    bench = make()
    batch = predictions(IDS, start=START)
    bench.send(batch, labels(IDS[:60], list(truth_for(IDS[:60]).values())))
    [rolling] = bench.run(START + 2 * HOUR).rolling
    reference = bench.cycle.references.any()
    assert reference is not None
    outcome = profile_outcomes(
        reference,
        pa.Table.from_batches([batch.slice(0, 60)]).append_column("label", pa.array(truth_for(IDS[:60]).values())),
    )
    assert outcome.reconciled is not None
    assert outcome.reconciled.estimated.rows == 60
    expected_error = float(outcome.reconciled.estimated.hits.sum()) / 60 - value(rolling, "accuracy")  # type: ignore[union-attr]
    assert value(rolling, "estimated_accuracy_error") == pytest.approx(expected_error, abs=1e-12)
    assert rolling.values["estimated_accuracy"].n == 100


def test_the_losses_of_a_regression_are_estimated_from_the_features_that_came_with_it(make: Make) -> None:
    bench = make(ModelSchema("pets", "regression"))
    schema = ModelSchema("pets", "regression")
    rows = pa.Table.from_batches([predictions([f"r{i}" for i in range(2_000)], model=schema, seed=98)])
    noise = np.random.default_rng(5)

    def labelled(table: pa.Table | pa.RecordBatch) -> np.ndarray:
        in_rome = np.array(table.column("f_city").to_pylist()) == "Rome"
        error = noise.normal(0, 1, table.num_rows) * np.where(in_rome, 5.0, 1.0)
        return table.column("prediction").to_numpy() + error

    table = rows.append_column("label", pa.array(labelled(rows)))
    save_reference(build_reference(schema, table), bench.root / "reference.trueup")
    batch = predictions(IDS, model=schema, start=START)
    truth = labelled(batch)
    bench.send(batch, labels(IDS, truth.tolist(), model=schema))
    [rolling] = bench.run(START + 2 * HOUR).rolling
    estimated, error = (
        value(rolling, "estimated_mean_absolute_error"),
        rolling.values["estimated_mean_absolute_error_error"],
    )
    assert isinstance(error, Estimate)
    assert error.n == 100
    assert error.value == pytest.approx(estimated - value(rolling, "mean_absolute_error"), abs=1e-9)
    in_rome = np.array(batch.column("f_city").to_pylist()) == "Rome"
    assert estimated == pytest.approx((2 / np.pi) ** 0.5 * np.where(in_rome, 5.0, 1.0).mean(), rel=0.15)


def test_a_failed_cycle_consumes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = truth_for(IDS)
    batch = predictions(IDS, start=START)
    bench.send(batch, labels(IDS, list(truth.values())))

    def broken(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(WindowStage, "publish", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        bench.run(START + 2 * HOUR)
    monkeypatch.undo()
    report = bench.run(START + 2 * HOUR)
    assert report.predictions_total == {"1": 100}
    assert report.labels_total["matched"] == 100
    assert value(report.rolling[0], "accuracy") == pytest.approx(expected(batch, truth)[0], abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_final_windows_do_not_depend_on_order_batches_repeats_or_restarts(make: Make, seed: int) -> None:
    chance = random.Random(seed)
    ids = [f"id-{i:03d}" for i in range(240)]
    batch = predictions(ids, start=START, step=45 * MICROSECONDS)
    truth = truth_for(ids)
    events: list[pa.RecordBatch] = [batch.slice(i, 1) for i in range(240)]
    events += [labels([name], [truth[name]]) for name in ids if chance.random() < 0.97]
    wrong = chance.sample(ids, 20)
    events += [labels([name], ["owl"], time=START) for name in wrong]
    events += chance.sample(events, 60)
    chance.shuffle(events)
    bench = make()
    now = START + 4 * HOUR
    for position in range(0, len(events), 130):
        bench.send(*events[position : position + 130])
        bench.run(now)
        if chance.random() < 0.5:
            bench.restart()
    bench.run(now + 48 * HOUR)
    latest = {window.window.start: window for window in bench.windows()}
    labelled = {
        row["prediction_id"]: row["label"]
        for event in events
        if "label" in event.schema.names
        for row in event.to_pylist()
        if row["label_time"].timestamp() * MICROSECONDS == EPOCH + HOUR
    }
    only_wrong = {name: "owl" for name in wrong if name not in labelled}
    for start in range(START, START + 3 * HOUR, HOUR):
        rows = batch.filter(pa.array([start <= t < start + HOUR for t in (START + np.arange(240) * 45 * MICROSECONDS)]))
        known = {**only_wrong, **labelled}
        inside = {name: known[name] for name in rows.column("prediction_id").to_pylist() if name in known}
        window = latest[start]
        assert window.maturity == "final"
        assert (window.predictions, window.labels) == (rows.num_rows, len(inside))
        accuracy, loss = expected(rows, inside)
        assert value(window, "accuracy") == pytest.approx(accuracy, abs=1e-12)
        assert value(window, "cross_entropy") == pytest.approx(loss, abs=1e-9)


def test_rebuilt_and_incremental_panes_are_equal(make: Make, tmp_path: Path) -> None:
    """A state thrown away and rebuilt from the log gives the same windows."""
    bench = make()
    truth = truth_for(IDS)
    for part in range(0, 100, 20):
        bench.send(predictions(IDS, start=START, step=60 * MICROSECONDS).slice(part, 20))
        bench.run(START + 3 * HOUR)
    bench.send(labels(IDS, list(truth.values())))
    bench.run(START + 3 * HOUR)
    bench.run(START + 40 * HOUR)
    before = {w.window.start: replace(w, revision=0) for w in bench.windows()}
    bench.state.close()
    for file in tmp_path.glob("state.db*"):
        file.unlink()
    bench.state, bench.cycle = opened(tmp_path, bench.settings)
    bench.run(START + 40 * HOUR)
    bench.run(START + 41 * HOUR)
    after = {w.window.start: replace(w, revision=0) for w in bench.windows()}
    assert after == before


def test_every_state_of_a_label_is_counted(bench: Bench) -> None:
    truth = truth_for(IDS)
    batch = predictions(IDS, start=START, step=10 * MICROSECONDS)
    bench.send(batch, labels(IDS[:60], [truth[i] for i in IDS[:60]]), labels(["nobody"], ["cat"]))
    bench.run(START + 2 * HOUR)
    other = [CLASSES[(CLASSES.index(truth[i]) + 1) % 3] for i in IDS[:5]]
    bench.send(labels(IDS[:5], other, time=START + 3 * HOUR))
    bench.send(labels(IDS[5:7], ["cat", "cat"], time=START + 3 * HOUR))
    bench.send(labels(IDS[5:7], ["dog", "dog"], time=START + 3 * HOUR))
    bench.send(batch.slice(0, 10), predictions(IDS[:3], start=START, step=10 * MICROSECONDS, seed=9))
    bench.run(START + 4 * HOUR)
    report = bench.run(START + 30 * HOUR)
    counts = report.labels_total
    # Of two labels a moment at least one is another value than the first; one may repeat it.
    changed = sum(len({truth[i], "cat", "dog"}) - 1 for i in IDS[5:7])
    expected_counts = {"received": 70, "matched": 60, "orphan": 1, "expired": 40, "contradicted": 2}
    assert {key: counts[key] for key in expected_counts} == expected_counts
    assert counts["corrected"] == 5 + changed
    assert report.repeats_total == {"identical": 10, "conflicting": 3}


def test_labels_of_a_version_without_a_reference_are_counted(make: Make, tmp_path: Path) -> None:
    bench = make()
    (tmp_path / "reference.trueup").unlink()
    bench.send(predictions(IDS, start=START), labels(IDS, list(truth_for(IDS).values())))
    assert bench.run(START + HOUR).labels_total["matched"] == 100


def test_a_prediction_repeated_in_another_pane_is_counted_as_a_conflict_and_its_label_once(bench: Bench) -> None:
    truth = truth_for(IDS)
    bench.send(predictions(IDS, start=START), labels(IDS, list(truth.values())))
    bench.run(START + HOUR)
    bench.send(predictions(IDS, start=START + 20 * MINUTE))
    bench.run(START + HOUR)
    bench.send(predictions(IDS, start=START + 40 * MINUTE))
    report = bench.run(START + 2 * HOUR)
    assert report.repeats_total == {"identical": 0, "conflicting": 200}
    assert report.labels_total["matched"] == 100
    assert report.rolling[0].labels == 100


def test_what_was_known_a_horizon_before_a_prediction_is_not_its_label(bench: Bench) -> None:
    truth = truth_for(IDS)
    old, recent = IDS[:50], IDS[50:]
    bench.send(labels(old, [truth[i] for i in old], time=START - 25 * HOUR))
    bench.send(labels(recent, [truth[i] for i in recent], time=START - 23 * HOUR))
    bench.run(START)
    bench.send(predictions(IDS, start=START))
    assert bench.run(START + HOUR).rolling[0].labels == 50
    bench.send(labels(old, [truth[i] for i in old], time=START - 26 * HOUR))
    assert bench.run(START + 2 * HOUR).rolling[0].labels == 50


def test_a_clock_that_jumps_a_day_both_ways_publishes_every_window_as_if_it_had_not(bench: Bench) -> None:
    day = 24 * HOUR
    ids = [f"id-{place:03d}" for place in range(480)]
    batch = predictions(ids, start=START, step=MINUTE)
    truth = truth_for(ids)
    jumps = {2: day, 3: 0, 5: -day, 6: 0}
    jump = 0
    for hour in range(8):
        jump = jumps.get(hour, jump)
        now = START + (hour + 1) * HOUR + jump
        bench.send(batch.slice(hour * 60, 60), seen=now)
        bench.run(now)
        # Nobody speaks for a while, and the clock goes on.
        bench.run(now + 30 * MINUTE)
    bench.run(START + 9 * HOUR)
    windows = {(w.window.start - START) // HOUR: w for w in bench.windows()}
    assert sorted(windows) == list(range(8))
    assert {w.predictions for w in windows.values()} == {60}
    bench.send(labels(ids, list(truth.values())))
    bench.run(START + 10 * HOUR)
    latest = {w.window.start: w for w in bench.windows()}
    assert {(w.maturity, w.labels) for w in latest.values()} == {("final", 60)}


def test_a_source_that_fell_silent_while_the_clock_was_ahead_does_not_hold_the_windows_back(bench: Bench) -> None:
    bench.send(predictions(IDS, start=START), seen=START + 24 * HOUR)
    bench.run(START + 10 * MINUTE)
    bench.run(START + 3 * HOUR)
    assert [w.predictions for w in bench.windows()] == [100]
