"""What an alarm says through real cycles: in which region its effect lies, and of which window it speaks."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from monitor.alarms.transitions import Reason, State
from tests.alarm_bench import ACCURACY, PSI, START, STEP, Make, traffic, truth


def only_in(region: str, batch: pa.RecordBatch, changed: pa.RecordBatch) -> pa.RecordBatch:
    """Rows of `changed` where they are of this region, else those of the batch."""
    mask = pa.array([own == region for own in batch.column("s_region").to_pylist()])
    columns = [pc.if_else(mask, new, old) for new, old in zip(changed.columns, batch.columns, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def errors_in(region: str, batch: pa.RecordBatch, error: float) -> pa.RecordBatch:
    """Labels that are wrong at this rate in one region, and in a tenth of the rows elsewhere."""
    usual, changed = truth(batch, 0.1), truth(batch, error)
    mask = pa.array([own == region for own in batch.column("s_region").to_pylist()])
    place = usual.schema.get_field_index("label")
    values = pc.if_else(mask, changed.column("label"), usual.column("label"))
    return usual.set_column(place, usual.schema.field(place), values)


def test_errors_of_one_region_are_explained_by_it(make: Make) -> None:
    bench = make(ACCURACY, segments=("region",))
    good = [traffic(number) for number in range(4)]
    bench.send(*good, *(truth(batch, 0.1) for batch in good))
    assert bench.alarm(4, "accuracy").alarm.state is State.INACTIVE
    wrong = right = 0
    for number in range(4, 7):
        batch = traffic(number)
        regions, labelled = batch.column("s_region").to_pylist(), errors_in("south", batch, 0.5)
        labels = labelled.column("label")
        bench.send(batch, labelled)
        # Only the last window is explained.
        answers = batch.column("prediction").to_pylist()
        south = [a == t for a, t, r in zip(answers, labels.to_pylist(), regions, strict=True) if r == "south"]
        right, wrong = sum(south), len(south) - sum(south)
    fired = bench.alarm(7, "accuracy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    first, second = fired.explanation["segments"]
    assert (first["segment"], first["value"], first["n"]) == ("region", "south", right + wrong)
    assert first["now"] == pytest.approx(right / (right + wrong), abs=1e-12)
    assert first["part"] > 0.8
    assert first["part"] + second["part"] == pytest.approx(1.0)
    assert "It lies in region=south (" in fired.explanation["text"]
    # What is known stays known in cycles that judge no window, and a state that is opened again.
    bench.restart()
    again = bench.cycle.run(START + 7 * STEP + 240_000_000).alarms[0]
    assert again.explanation is not None
    assert list(again.explanation["segments"]) == list(fired.explanation["segments"])


def test_a_drift_of_one_region_is_explained_by_it_and_takes_no_further_alarm(make: Make) -> None:
    bench, plain = make(PSI, segments=("region",)), make(PSI)
    batches = [traffic(number) for number in range(4)]
    moved = [only_in("north", traffic(number), traffic(number, shift=2.0)) for number in range(4, 7)]
    for one in (bench, plain):
        one.send(*batches)
        one.run(4)
        one.send(*moved)
    fired, alone = bench.alarm(7), plain.alarm(7)
    assert fired.explanation is not None
    first = fired.explanation["segments"][0]
    assert (first["segment"], first["value"], first["metric"]) == ("region", "north", "age PSI beyond chance")
    assert first["part"] > 0.9
    assert "It lies in region=north (" in fired.explanation["text"]
    assert (fired.alarm.log_evidence, fired.share) == (alone.alarm.log_evidence, alone.share)
    assert alone.explanation is not None
    assert alone.explanation["segments"] == ()


@pytest.mark.parametrize("error", [0.0, 0.9])
def test_late_labels_of_an_older_window_do_not_explain_a_firing_alarm(make: Make, error: float) -> None:
    bench = make(ACCURACY, segments=("region",))
    good = [traffic(number) for number in range(4)]
    late = errors_in("north", good[1].slice(300), error)
    known = [truth(good[1], 0.1).slice(0, 300), *(truth(good[number], 0.1) for number in (0, 2, 3))]
    bench.send(*good, *known)
    bench.run(4)
    bad = [traffic(number) for number in range(4, 7)]
    bench.send(*bad, *(errors_in("south", batch, 0.5) for batch in bad))
    fired = bench.alarm(7, "accuracy")
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert "It lies in region=south (" in fired.explanation["text"]
    bench.send(late)
    cycle = bench.cycle.run(START + 7 * STEP + 240_000_000)
    assert [result.window.end for result in cycle.published] == [START + 2 * STEP]
    [after] = cycle.alarms
    assert (after.alarm.state, after.alarm.reason) == (State.FIRING, Reason.STILL_OUTSIDE)
    assert after.explanation is not None
    # The labels do count as evidence: the text is made anew, and is still of the window that the alarm rests on.
    assert after.explanation["text"] != fired.explanation["text"]
    assert list(after.explanation["segments"]) == list(fired.explanation["segments"])
    assert list(after.explanation["quality"]) == list(fired.explanation["quality"])
    assert after.measured == fired.measured
    assert "It lies in region=south (" in after.explanation["text"]
    assert "Labels show damage" in after.explanation["text"]
    assert "Drift is not damage" not in after.explanation["text"]


def test_late_predictions_of_an_older_window_do_not_explain_a_firing_drift(make: Make) -> None:
    bench = make(PSI, segments=("region",))
    bench.send(*(traffic(number) for number in range(4)))
    bench.run(4)
    bench.send(*(only_in("north", traffic(number), traffic(number, shift=2.0)) for number in range(4, 7)))
    fired = bench.alarm(7)
    assert fired.alarm.state is State.FIRING
    assert fired.explanation is not None
    assert any(number["estimated"] for number in fired.explanation["quality"])
    late = traffic(1, name="late", seed=1)
    bench.send(only_in("south", late, traffic(1, name="late", seed=1, shift=3.0)))
    cycle = bench.cycle.run(START + 7 * STEP + 240_000_000)
    assert [result.window.end for result in cycle.published] == [START + 2 * STEP]
    [after] = cycle.alarms
    assert (after.alarm.state, after.alarm.reason) == (State.FIRING, Reason.STILL_OUTSIDE)
    assert after.explanation is not None
    assert after.explanation["text"] == fired.explanation["text"]
    assert list(after.explanation["quality"]) == list(fired.explanation["quality"])


def test_labels_of_an_older_window_after_the_drift_began_still_tell_of_its_damage(make: Make) -> None:
    bench = make(PSI)
    bench.send(*(traffic(number) for number in range(4)))
    bench.run(4)
    moved = [traffic(number, shift=0.8) for number in range(4, 7)]
    bench.send(*moved)
    assert bench.alarm(7).alarm.state is State.FIRING
    bench.send(truth(moved[1], 0.5))
    [after] = bench.cycle.run(START + 7 * STEP + 240_000_000).alarms
    assert after.alarm.window_end == START + 7 * STEP
    assert after.measured["window_end"] == START + 6 * STEP
    assert after.explanation is not None
    assert "Labels show damage" in after.explanation["text"]
