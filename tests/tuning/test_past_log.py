"""Reading a past out of a log: whole observations, one row per prediction with its newest label, fair samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.errors import OperatorError
from monitor.log.tables import ModelLog
from monitor.statistics.seasons import ObservationSettings
from monitor.tuning.past_log import read_past, versions_in
from monitor.tuning.stream import Past, drawn_anew, event_times, label_times, labelled
from tests.tuning.traffic import DAY, SCHEMA, START, rows, settings

HOUR = DAY // 24


def split(table: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Predictions, and rows of `matched`, as the log has them."""
    truth = table.select(
        ["prediction_id", "version", "event_time", "prediction", "p_good", "p_bad", "label", "label_time"]
    )
    return table.drop_columns(["label", "label_time"]), truth.append_column("source", pa.array(["t"] * table.num_rows))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ModelLog:
    """From 06:00 of the first day to 18:00 of the sixth; labels of four in five, one of them corrected later."""
    made = ModelLog(str(tmp_path_factory.mktemp("log")), "credit")
    random = np.random.default_rng(3)
    for day in range(6):
        table = rows(random, 400, start=START + day * DAY)
        times = event_times(table)
        keep = (times >= START + 6 * HOUR) & (times < START + 5 * DAY + 18 * HOUR)
        predictions, truth = split(table.filter(pa.array(keep)))
        made.append("predictions", predictions, {})
        made.append("matched", truth.filter(pa.array(np.arange(truth.num_rows) % 5 > 0)), {})
    return made


def read(log: ModelLog, seed: int = 0, **options: object) -> Past:
    made = settings(observations=options.pop("observed", ObservationSettings()))
    return read_past(log, made, SCHEMA, "1", np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_only_whole_observations_are_read_in_order_with_their_labels(log: ModelLog) -> None:
    past = read(log)
    assert [item.window.start for item in past.observations] == [START + day * DAY for day in range(1, 5)]
    assert past.whole
    assert not past.sampled
    for item in past.observations:
        times = event_times(item.rows)
        assert item.rows.num_rows == item.seen == 400
        assert np.all(np.diff(times) >= 0)
        assert times.min() >= item.window.start
        assert times.max() < item.window.end
        known = labelled(item.rows)
        assert known.num_rows == 320
        assert np.array_equal(label_times(known), event_times(known) + HOUR)


def test_a_repeated_prediction_is_one_row_and_a_corrected_label_is_its_newest(tmp_path: Path) -> None:
    log = ModelLog(str(tmp_path), "credit")
    table = rows(np.random.default_rng(1), 50)
    predictions, truth = split(table)
    log.append("predictions", predictions, {})
    log.append("predictions", predictions.slice(0, 10), {})
    log.append("matched", truth, {})
    place = truth.schema.get_field_index("label_time")
    later = pc.add(truth.column(place).cast(pa.int64()), DAY).cast(truth.schema.field(place).type)
    flipped = pa.array(["bad" if name == "good" else "good" for name in truth.column("label").to_pylist()])
    corrected = truth.set_column(place, "label_time", later)
    corrected = corrected.set_column(truth.schema.get_field_index("label"), "label", flipped)
    log.append("matched", corrected.slice(0, 5), {})
    (item,) = read(log).observations
    by_id = dict(zip(item.rows.column("prediction_id").to_pylist(), item.rows.column("label").to_pylist(), strict=True))
    assert len(by_id) == item.rows.num_rows == item.seen == 50
    expected = flipped.to_pylist()[:5] + truth.column("label").to_pylist()[5:]
    assert [by_id[name] for name in truth.column("prediction_id").to_pylist()] == expected


def test_a_sample_is_of_predictions_with_their_labels_and_the_seed_decides_it(log: ModelLog) -> None:
    past = read(log, rows=250)
    assert past.sampled
    assert [(item.rows.num_rows, item.seen) for item in past.observations] == [(250, 400)] * 4
    share = np.mean([labelled(item.rows).num_rows / 250 for item in past.observations])
    assert share == pytest.approx(0.8, abs=0.05)
    again, other = read(log, rows=250), read(log, seed=1, rows=250)
    assert all(a.rows.equals(b.rows) for a, b in zip(past.observations, again.observations, strict=True))
    assert not past.observations[0].rows.equals(other.observations[0].rows)


def test_shorter_observations_are_read_a_day_at_a_time_and_hold_the_same_rows(log: ModelLog) -> None:
    steps: list[int] = []
    short = read(log, observed=ObservationSettings(None, 6 * 3_600.0), advance=lambda: steps.append(1))
    # The first that is whole begins at 12:00, since no prediction was made on the stroke of 06:00.
    assert short.observations[0].window.start == START + DAY // 2
    assert len(short.observations) == 2 + 4 * 4 + 3
    assert len(steps) == 6
    whole = pa.concat_tables([item.rows for item in read(log).observations])
    parts = pa.concat_tables([item.rows for item in short.observations])
    times = event_times(parts)
    inside = parts.filter(pa.array((times >= START + DAY) & (times < START + 5 * DAY)))
    assert inside.column("prediction_id").to_pylist() == whole.column("prediction_id").to_pylist()


def test_a_span_limits_the_past(log: ModelLog) -> None:
    past = read(log, span=(START + 2 * DAY, START + 4 * DAY))
    assert [item.window.start for item in past.observations] == [
        START + 3 * DAY
    ]  # day 2 has no prediction on its first stroke


def test_less_than_an_observation_is_read_as_what_there_is_and_said(log: ModelLog) -> None:
    past = read(log, span=(START + DAY + 2 * HOUR, START + DAY + 9 * HOUR))
    assert not past.whole
    assert len(past.observations) == 1
    assert 60 < past.observations[0].rows.num_rows < 180
    stream = drawn_anew(past, np.random.default_rng(0), 10)
    assert [item.window.start for item in stream.observations] == [START + (1 + day) * DAY for day in range(10)]
    assert all(item.rows.num_rows == past.observations[0].rows.num_rows for item in stream.observations)


def test_rows_drawn_anew_keep_their_time_of_day_and_the_delay_of_their_label(log: ModelLog) -> None:
    past = read(log, observed=ObservationSettings(86_400.0, 12 * 3_600.0, "phase"))
    stream = drawn_anew(past, np.random.default_rng(0), 6)
    known = {
        name: int(time) % DAY
        for item in past.observations
        for name, time in zip(item.rows.column("prediction_id").to_pylist(), event_times(item.rows), strict=True)
    }
    for item in stream.observations:
        times = event_times(item.rows)
        assert np.all((times >= item.window.start) & (times < item.window.end))
        assert [known[name] for name in item.rows.column("prediction_id").to_pylist()] == (times % DAY).tolist()
        truth = labelled(item.rows)
        assert np.array_equal(label_times(truth), event_times(truth) + HOUR)


def test_versions_are_listed_with_the_newest_last_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    log = ModelLog(str(tmp_path), "credit")
    for version, day in (("2", 0), ("1", 3)):
        table = rows(np.random.default_rng(0), 20, start=START + day * DAY)
        named = table.set_column(table.schema.get_field_index("version"), "version", pa.array([version] * 20))
        log.append("predictions", split(named)[0], {})
    assert versions_in(log) == ["2", "1"]
    assert versions_in(ModelLog(str(tmp_path), "other")) == []
    with pytest.raises(OperatorError, match="model credit, version 3: the log has no prediction"):
        read_past(log, settings(), SCHEMA, "3", np.random.default_rng(0))


def test_a_log_without_labels_has_none(tmp_path: Path) -> None:
    log = ModelLog(str(tmp_path), "credit")
    log.append("predictions", split(rows(np.random.default_rng(0), 20))[0], {})
    (item,) = read(log).observations
    assert (item.rows.num_rows, labelled(item.rows).num_rows) == (20, 0)
