"""The worked example of docs/segments.md: every number in it is computed here once more from the raw rows."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sklearn.metrics import accuracy_score, log_loss

from monitor.statistics.result import Estimate
from monitor.statistics.segments import SegmentStatistics
from monitor.window_codec import decode_window
from tests.alarm_bench import ACCURACY, START, STEP, AlarmBench, settings, traffic, truth
from tests.records_samples import CLASSES, labels, predictions

PAGE = Path(__file__).resolve().parent.parent / "docs" / "segments.md"
BROKEN = 4


def story() -> tuple[list[pa.RecordBatch], list[pa.RecordBatch], list[pa.RecordBatch]]:
    """Traffic of seven stretches; its labels, wrong in half of the south from the fifth on; corrections of some."""
    batches = [traffic(number) for number in range(7)]
    known = []
    for number, batch in enumerate(batches):
        usual, bad = truth(batch, 0.1), truth(batch, 0.5)
        south = pc.equal(batch.column("s_region"), "south")
        label = (
            pc.if_else(south, bad.column("label"), usual.column("label")) if number >= BROKEN else usual.column("label")
        )
        place = usual.schema.get_field_index("label")
        known.append(usual.set_column(place, usual.schema.field(place), label))
    ids = batches[-1].column("prediction_id").to_pylist()[:20]
    corrected = [CLASSES[(CLASSES.index(name) + 1) % 3] for name in known[-1].column("label").to_pylist()[:20]]
    return batches, known, [labels(ids, corrected, time=START + 20 * STEP)]


def raw_rows() -> pd.DataFrame:
    """Predictions with the label that counts, without any code of the monitor."""
    batches, known, corrections = story()
    rows = pd.concat([pd.DataFrame(batch.to_pylist()) for batch in batches])
    said = pd.concat([pd.DataFrame(batch.to_pylist()) for batch in [*known, *corrections]])
    last = said.sort_values("label_time", kind="stable").groupby("prediction_id")["label"].last()
    return rows.assign(label=rows["prediction_id"].map(last))


def test_the_example_of_the_page_is_what_the_windows_say_and_what_the_raw_rows_say(tmp_path: Path) -> None:
    bench = AlarmBench(tmp_path, settings(tmp_path, ACCURACY, segments=("region",)))
    batches, known, corrections = story()
    bench.send(*batches[:5], *batches[3:6])
    bench.run(6)
    bench.send(known[5], *known[:3])
    bench.run(6)
    bench.restart()
    bench.send(batches[6], batches[6].slice(7, 100), *known[3:5])
    bench.run(7)
    bench.send(known[6], known[2])
    fired = bench.alarm(7, "accuracy")
    bench.restart()
    bench.send(*corrections)
    bench.run(7)
    with bench.state.transaction(write=False) as state:
        stored = [decode_window(item.result) for item in state.windows("pets")]
    bench.state.close()
    windows = {window.window.start: window for window in stored}
    rows = raw_rows()
    rows["stretch"] = (pd.to_datetime(rows["event_time"]).astype("datetime64[us, UTC]").astype("int64") - START) // STEP
    for (stretch, region), own in rows.groupby(["stretch", "s_region"]):
        found = windows[START + stretch * STEP].segments["region"][region]
        assert (found.predictions, found.labels) == (len(own), len(own))
        p = own[[f"p_{name}" for name in CLASSES]].to_numpy()
        assert value(found, "accuracy") == pytest.approx(accuracy_score(own["label"], own["prediction"]), abs=1e-9)
        assert value(found, "cross_entropy") == pytest.approx(log_loss(own["label"], p, labels=list(CLASSES)), abs=1e-9)
    assert page_rows() == table_of(rows[rows["stretch"] == 6])
    assert fired.explanation is not None
    text = re.sub(r"\s+", " ", PAGE.read_text("utf-8").replace("> ", ""))
    assert fired.explanation["text"] in text, fired.explanation["text"]


def value(found: SegmentStatistics, name: str) -> float:
    result = found.values[name]
    assert isinstance(result, Estimate)
    return result.value


def table_of(rows: pd.DataFrame) -> list[list[str]]:
    """The table of the page from raw rows: value, rows, labels, accuracy, the reference's, errors beyond its rate."""
    reference = pd.DataFrame(predictions([f"r{place}" for place in range(3_000)], seed=99).to_pylist())
    batch = predictions([f"r{place}" for place in range(3_000)], seed=99)
    reference["label"] = truth(batch, 0.1).column("label").to_pylist()
    lines = []
    for region, own in rows.groupby("s_region"):
        then = reference[reference["s_region"] == region]
        before, now = ((part["label"] == part["prediction"]).mean() for part in (then, own))
        excess = len(own) * (before - now)
        lines.append(
            (excess, [f"`{region}`", str(len(own)), str(len(own)), f"{now:.4f}", f"{before:.4f}", f"{excess:+.1f}"])
        )
    return [line for _, line in sorted(lines, key=lambda item: -np.asarray(item[0]))]


def page_rows() -> list[list[str]]:
    found = re.findall(r"^\| (`(?:north|south)`.*) \|$", PAGE.read_text("utf-8"), re.M)
    return [line.split(" | ") for line in found]
