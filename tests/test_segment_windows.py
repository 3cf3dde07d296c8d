"""Windows by segment: equal to a plain computation over the raw rows of each value, whatever came in which order."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from monitor.forgetting import forget_identifiers
from monitor.log.tables import ModelLog
from monitor.profiles.codec import load_reference
from monitor.profiles.model_profile import profile_inputs
from monitor.profiles.segments import MISSING, OTHER
from monitor.records import ModelSchema
from monitor.replay import ReplayRange, replay
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.segments import (
    DRIFT,
    MINIMUM_N,
    WORST_COLUMNS,
    SegmentStatistics,
    column_excess,
    reference_performance,
    worst_first,
    worst_text,
)
from monitor.statistics.summary import column_statistics
from monitor.verdict import WindowResult
from monitor.window_codec import decode_window, encode_window, window_record
from tests.profiles.test_segments import CURRENT, REFERENCES, of_slot
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, MINUTE, START, WINDOWS, Bench, make_bench, truth_for

DAY = 24 * HOUR
REGIONS = ("north", "south", "east", None)
REGRESSION = ModelSchema("pets", "regression")


def opened(root: Path, model: ModelSchema = MODEL, **changes: object) -> Bench:
    made = make_bench(root, model)
    made.settings = replace(made.settings, segments=("region",), **changes)  # type: ignore[arg-type]
    made.restart()
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = opened(tmp_path)
    yield made
    made.state.close()


def in_regions(batch: pa.RecordBatch, regions: Sequence[str | None]) -> pa.RecordBatch:
    place = batch.schema.get_field_index("s_region")
    return batch.set_column(place, batch.schema.field(place), pa.array(regions, pa.string()))


def found(result: Result) -> float:
    assert isinstance(result, Estimate), result
    return result.value


def latest(windows: Sequence[WindowResult]) -> dict[int, WindowResult]:
    return {window.window.start: window for window in sorted(windows, key=lambda window: window.revision)}


def test_every_value_has_the_numbers_of_its_own_rows_with_late_labels_corrections_repeats_and_a_restart(
    bench: Bench,
) -> None:
    chance = random.Random(3)
    ids = [f"id-{place:04d}" for place in range(500)]
    regions = [chance.choices(REGIONS, (5, 3, 2, 1))[0] for _ in ids]
    batch = in_regions(predictions(ids, start=START, step=14 * 1_000_000), regions)
    truth = truth_for(ids)
    events = [batch.slice(place, 5) for place in range(0, 500, 5)]
    labelled = [name for name in ids if chance.random() < 0.8]
    last: dict[str, tuple[int, str]] = {}
    for name in labelled:
        known = START + round(chance.expovariate(1 / (5 * HOUR)))
        events.append(labels([name], [truth[name]], time=known))
        last[name] = known, truth[name]
        if chance.random() < 0.2:
            later = known + chance.randrange(1, 6 * HOUR)
            corrected = CLASSES[(CLASSES.index(truth[name]) + 1) % 3]
            events.append(labels([name], [corrected], time=later))
            last[name] = later, corrected
    # The same id again: later with another answer and region (loses), and word for word.
    for place in chance.sample(range(500), 30):
        again = predictions([ids[place]], start=START + place * 14_000_000 + 20 * MINUTE, seed=place)
        events += [in_regions(again, ["west"]), batch.slice(place, 1)]
    chance.shuffle(events)
    now = START + 10 * HOUR
    for position in range(0, len(events), 250):
        bench.send(*events[position : position + 250], seen=now)
        bench.run(now)
        now += HOUR
        if position == 250:
            bench.restart()
    bench.run(now + 3 * DAY)
    raw = pd.DataFrame(batch.to_pylist())
    raw["label"] = [last[name][1] if name in last else None for name in ids]
    raw["hour"] = (np.arange(500) * 14_000_000) // HOUR
    raw["region"] = raw["s_region"].fillna(MISSING).replace({"east": OTHER})
    windows = latest(bench.windows())
    assert sorted(windows) == [START, START + HOUR]
    for hour, rows in raw.groupby("hour"):
        window = windows[START + hour * HOUR]
        assert set(window.segments["region"]) == set(rows["region"])
        for region, own in rows.groupby("region"):
            assert_as_computed(window.segments["region"][region], own)
    replayed = latest(replay(bench.settings, ModelLog(str(bench.root / "log"), "pets"), ReplayRange()).windows)
    for start, window in windows.items():
        assert_equal_segments(window, replayed[start])


def assert_as_computed(segment: SegmentStatistics, rows: pd.DataFrame) -> None:
    known = rows[rows["label"].notna()]
    assert (segment.predictions, segment.labels) == (len(rows), len(known))
    assert found(segment.values["label_coverage"]) == len(known) / len(rows)
    if len(known) < MINIMUM_N:
        assert segment.values["accuracy"] == Absent(
            Reason.TOO_FEW_LABELS, len(known), f"{len(known)} labels, at least {MINIMUM_N} needed"
        )
        return
    y, answered = known["label"], known["prediction"]
    p = known[[f"p_{name}" for name in CLASSES]].to_numpy()
    onehot = np.array([[label == name for name in CLASSES] for label in y], dtype=float)
    computed = {
        "accuracy": accuracy_score(y, answered),
        "balanced_accuracy": balanced_accuracy_score(y, answered),
        "f1": f1_score(y, answered, average="macro"),
        "cross_entropy": log_loss(y, p, labels=list(CLASSES)),
        "brier_score": ((p - onehot) ** 2).sum(axis=1).mean(),
    }
    for name, value in computed.items():
        assert found(segment.values[name]) == pytest.approx(value, abs=1e-9), name
    assert isinstance(segment.values["auroc"], Absent)


def assert_equal_segments(one: WindowResult, other: WindowResult) -> None:
    assert one.segments.keys() == other.segments.keys()
    for name, values in one.segments.items():
        assert values.keys() == other.segments[name].keys()
        for value, mine in values.items():
            its = other.segments[name][value]
            assert (mine.predictions, mine.labels, mine.reference_predictions) == (
                its.predictions,
                its.labels,
                its.reference_predictions,
            )
            assert mine.columns.keys() == its.columns.keys()
            pairs = [(mine.values, its.values), *((mine.columns[key], its.columns[key]) for key in mine.columns)]
            for left, right in pairs:
                assert left.keys() == right.keys()
                for key, result in left.items():
                    theirs = right[key]
                    if isinstance(result, Absent):
                        assert result == theirs
                    else:
                        assert found(theirs) == pytest.approx(result.value, rel=1e-9, abs=1e-12), key


def test_values_of_a_regression_are_those_of_its_rows(tmp_path: Path) -> None:
    bench = opened(tmp_path, REGRESSION)
    ids = [f"id-{place:03d}" for place in range(300)]
    batch = predictions(ids, model=REGRESSION, start=START, step=1_000_000)
    truth = np.random.default_rng(4).normal(0, 2, 300)
    bench.send(batch, labels(ids, truth.tolist(), model=REGRESSION))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    rows = pd.DataFrame(batch.to_pylist()).assign(label=truth)
    window = bench.windows()[-1]
    assert set(window.segments["region"]) == {"north", "south"}
    for region, own in rows.groupby("s_region"):
        segment = window.segments["region"][region]
        computed = {
            "mean_squared_error": mean_squared_error(own["label"], own["prediction"]),
            "mean_absolute_error": mean_absolute_error(own["label"], own["prediction"]),
            "r_squared": r2_score(own["label"], own["prediction"]),
            "bias": (own["prediction"] - own["label"]).mean(),
        }
        assert segment.labels == len(own)
        for name, value in computed.items():
            assert found(segment.values[name]) == pytest.approx(value, rel=1e-9), name
    bench.state.close()


def test_drift_of_a_value_is_against_the_same_value_of_the_reference_and_names_the_worst_columns(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(600)]
    batch = predictions(ids, start=START, step=5_000_000)
    ages, regions = batch.column("f_age").to_numpy(), np.array(batch.column("s_region").to_pylist())
    moved = np.where(regions == "north", ages + 30, ages)
    place = batch.schema.get_field_index("f_age")
    batch = batch.set_column(place, batch.schema.field(place), pa.array(moved))
    bench.send(batch)
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    window = bench.windows()[-1]
    north, south = (window.segments["region"][name] for name in ("north", "south"))
    drift = north.values[DRIFT]
    assert isinstance(drift, Estimate)
    assert (drift.detail, len(north.columns), next(iter(north.columns))) == ("age", WORST_COLUMNS, "age")
    assert drift.value > 1
    assert drift.p_value is not None
    assert drift.p_value < 1e-6
    assert found(south.values[DRIFT]) < 0.3
    # An own reference of the rows of one value says the same.
    reference = load_reference(bench.root / "reference.trueup")
    spec = reference.segments[0]
    assert north.reference_predictions == int(reference.profile.segments["region"].rows[spec.values.index("north")])
    assert isinstance(north.values["estimated_accuracy"], Estimate)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_excess_of_all_columns_at_once_is_that_of_each(task: str) -> None:
    reference, table = REFERENCES[task], CURRENT[task]
    layout, spec = reference.segment_cells, reference.segments[1]
    then = sum((reference.profile.segments["region"].dense(i, layout.total) for i in range(len(spec.slots))), start=0)
    for place in range(len(spec.slots)):
        rows = of_slot(table, spec, place)
        own = profile_inputs(reference, rows)
        excess = column_excess(np.asarray(then), own.segments["region"].dense(place, layout.total), layout.offsets)
        whole = list(column_statistics(reference, own).values())
        for value, results in zip(excess, whole, strict=True):
            known = results.get("population_stability_index_excess")
            if not isinstance(known, Estimate):
                assert not rows.num_rows
                assert np.isnan(value)
                continue
            assert value == pytest.approx(known.value, rel=1e-12, abs=1e-14)


def test_the_excess_adds_up_to_that_of_the_whole_and_the_worst_value_is_named_first(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(400)]
    batch = predictions(ids, start=START, step=5_000_000)
    answers, regions = batch.column("prediction").to_pylist(), batch.column("s_region").to_pylist()
    truth = [
        CLASSES[(CLASSES.index(answer) + (region == "south" and place % 3 > 0)) % 3]
        for place, (answer, region) in enumerate(zip(answers, regions, strict=True))
    ]
    bench.send(batch, labels(ids, truth))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    window = bench.windows()[-1]
    reference = bench.cycle.references.get("1")
    assert reference is not None
    own = reference_performance(reference)["region"]
    wrong = {name: sum(a != t for a, t, r in zip(answers, truth, regions, strict=True) if r == name) for name in own}
    for name, found_here in window.segments["region"].items():
        expected_errors = regions.count(name) * (1 - own[name]["accuracy"])
        assert found_here.excess == pytest.approx(wrong[name] - expected_errors, abs=1e-9)
    [first, second] = worst_first(window.segments)
    assert (first[1], second[1]) == ("south", "north")
    text = worst_text(window.segments)
    assert text is not None
    assert text.startswith("region=south accuracy 0.3")


def test_too_few_rows_of_a_value_are_absent_with_their_reason(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(200)]
    regions = ["north"] * 180 + ["south"] * 20
    bench.send(in_regions(predictions(ids, start=START, step=1_000_000), regions))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    few = bench.windows()[-1].segments["region"]["south"]
    assert few.predictions == 20
    assert few.values[DRIFT] == Absent(Reason.TOO_FEW_ROWS, 20, "20 rows, 247 in the reference, at least 30 needed")
    assert few.values["accuracy"] == Absent(Reason.NO_LABELS)
    assert few.values["estimated_accuracy"] == Absent(Reason.TOO_FEW_ROWS, 20, "20 rows, at least 30 needed")
    assert few.columns == {}


def test_a_model_that_declares_no_segment_has_none_though_its_reference_has(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, MODEL)
    ids = [f"id-{place:03d}" for place in range(100)]
    bench.send(predictions(ids, start=START, step=1_000_000))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    [window] = bench.windows()
    assert window.segments == {}
    assert "segments" not in window_record(window)
    bench.state.close()


def test_declaring_a_segment_rebuilds_the_panes_and_revises_the_windows(tmp_path: Path) -> None:
    bench = make_bench(tmp_path, MODEL)
    ids = [f"id-{place:03d}" for place in range(100)]
    truth = truth_for(ids)
    bench.send(predictions(ids, start=START, step=1_000_000), labels(ids, list(truth.values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    assert [window.revision for window in bench.windows()] == [1]
    bench.settings = replace(bench.settings, segments=("region",))
    bench.restart()
    bench.run(START + 4 * HOUR)
    before, after = bench.windows()
    assert (after.revision, before.segments) == (2, {})
    assert after.values == before.values
    assert sum(value.predictions for value in after.segments["region"].values()) == 100
    assert sum(value.labels for value in after.segments["region"].values()) == 100
    bench.restart()
    bench.run(START + 5 * HOUR)
    assert len(bench.windows()) == 2
    bench.state.close()


def test_of_repeats_that_differ_in_their_segment_only_the_same_one_counts_on_both_sides(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(60)]
    batch, truth = predictions(ids, start=START, step=1_000_000), truth_for(ids)
    for region in ("north", "south"):
        bench.send(in_regions(batch, [region] * 60))
    bench.send(labels(ids, list(truth.values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    values = bench.windows()[-1].segments["region"]
    assert sum(value.predictions for value in values.values()) == 60
    assert {name: value.predictions for name, value in values.items()} == {
        name: value.labels for name, value in values.items()
    }


def test_rows_and_versions_without_the_column_are_missing(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(80)]
    batch, truth = predictions(ids, start=START, step=1_000_000), truth_for(ids)
    bare = batch.drop_columns(["s_region"]).replace_schema_metadata(batch.schema.metadata)
    bench.send(bare.slice(0, 40))
    bench.run(START + HOUR // 2)
    bench.send(batch.slice(40, 40), labels(ids, list(truth.values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    values = bench.windows()[-1].segments["region"]
    assert (values[MISSING].predictions, values[MISSING].labels) == (40, 40)
    assert sum(value.labels for name, value in values.items() if name != MISSING) == 40


def test_many_labels_that_are_joined_at_once_know_their_segment_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.matching.MANY_LABELS", 50)
    ids = [f"id-{place:03d}" for place in range(200)]
    regions = ["north", "south", None, "east"] * 50
    bench.send(in_regions(predictions(ids, start=START, step=1_000_000), regions))
    bench.send(labels(ids, list(truth_for(ids).values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    values = bench.windows()[-1].segments["region"]
    assert {name: value.labels for name, value in values.items()} == dict.fromkeys(
        ("north", "south", MISSING, OTHER), 50
    )


def test_coarse_panes_and_forgotten_rows_keep_the_sums(tmp_path: Path) -> None:
    bench = opened(tmp_path, windows=replace(WINDOWS, window_seconds=(3600.0, 7200.0)))
    ids = [f"id-{place:03d}" for place in range(120)]
    batch, truth = predictions(ids, start=START, step=MINUTE), truth_for(ids)
    bench.send(batch, labels(ids, list(truth.values())))
    bench.run(START + 3 * HOUR)
    bench.run(START + 4 * HOUR)
    before = latest(bench.windows())
    bench.send(predictions(["new"], start=START + 50 * HOUR))
    bench.run(START + 51 * HOUR)
    bench.run(START + 52 * HOUR)
    assert latest(bench.windows())[START].segments == before[START].segments
    gone = set(ids[:10])
    forget_identifiers(bench.cycle.log, bench.state, gone, 300)
    bench.run(START + 53 * HOUR)
    window = next(w for w in reversed(bench.windows()) if w.window.seconds == 7200 and w.window.start == START)
    assert window.predictions == 110
    regions = [r for name, r in zip(ids, batch.column("s_region").to_pylist(), strict=True) if name not in gone]
    values = window.segments["region"]
    assert {name: (value.predictions, value.labels) for name, value in values.items()} == {
        name: (regions.count(name), regions.count(name)) for name in ("north", "south")
    }
    bench.state.close()


def test_a_window_with_segments_comes_back_from_its_text_and_one_from_before_there_were_any_too(bench: Bench) -> None:
    ids = [f"id-{place:03d}" for place in range(100)]
    bench.send(predictions(ids, start=START, step=1_000_000), labels(ids, list(truth_for(ids).values())))
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    window = bench.windows()[-1]
    assert decode_window(encode_window(window)) == window
    record: Mapping[str, object] = window_record(window)["segments"]["region"]["north"]
    assert set(record) == {"predictions", "labels", "reference_predictions", "excess", "values", "columns"}
    assert decode_window(encode_window(replace(window, segments={}))).segments == {}
