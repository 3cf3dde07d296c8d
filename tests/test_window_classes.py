"""A window says how each class did, and stays as small as it was where there are hundreds of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sklearn.metrics import precision_recall_fscore_support

from monitor.profiles.model_profile import build_reference, profile_outcomes
from monitor.statistics.result import Estimate, Result
from monitor.statistics.summary import class_statistics, worst_class_statistics
from monitor.window_codec import decode_window, encode_window, window_record
from tests.profiles.outcome_samples import classified, schema_of
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, IDS, START, Bench, make_bench, truth_for


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path, MODEL)
    yield made
    made.state.close()


def value(result: Result) -> float:
    assert isinstance(result, Estimate)
    return result.value


def test_a_window_says_what_scikit_learn_says_of_each_class_lowest_f1_first(bench: Bench) -> None:
    batch, truth = predictions(IDS, start=START), truth_for(IDS)
    bench.send(batch)
    bench.run(START + 2 * HOUR)
    bench.run(START + 3 * HOUR)
    [window] = bench.windows()
    assert window.classes == {}
    assert "classes" not in window_record(window)
    bench.send(labels(IDS, [truth[name] for name in IDS]))
    bench.run(START + 4 * HOUR)
    window = bench.windows()[-1]
    y = [truth[name] for name in IDS]
    oracle = precision_recall_fscore_support(y, batch.column("prediction").to_pylist(), labels=list(CLASSES))
    for place, name in enumerate(CLASSES):
        for statistic, expected in zip(("precision", "recall", "f1"), oracle, strict=False):
            assert value(window.classes[name][statistic]) == pytest.approx(expected[place], abs=1e-12)
        assert window.classes[name]["recall"].n == oracle[3][place]
    f1 = [value(results["f1"]) for results in window.classes.values()]
    assert f1 == sorted(f1)
    assert decode_window(encode_window(window)) == window
    assert list(window_record(window)["classes"]) == list(window.classes)


def test_of_many_classes_the_twenty_with_the_lowest_f1_are_kept_and_of_a_thousand_none() -> None:
    reference = build_reference(schema_of(40), classified(4_000, 40, 0))
    outcome = profile_outcomes(reference, classified(4_000, 40, 1))
    kept, every = worst_class_statistics(reference, outcome), class_statistics(reference, outcome)
    lowest = sorted(value(results["f1"]) for results in every.values())[:20]
    assert [value(results["f1"]) for results in kept.values()] == lowest
    many = build_reference(schema_of(120), classified(1_000, 120, 0))
    assert worst_class_statistics(many, profile_outcomes(many, classified(500, 120, 1))) == {}
