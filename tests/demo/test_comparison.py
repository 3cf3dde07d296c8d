"""The comparison finds what is wrong: a number off by more than it may be, a sample that is missing, a late answer."""

from __future__ import annotations

import numpy as np
import pytest

from demo.comparison import Comparison, Row, compare, rows_of
from demo.exposition import Exposition
from demo.images import Picture
from demo.independent import Rows
from demo.outcome import differing
from demo.traffic import Answer
from monitor.errors import OperatorError

PICTURE = Picture(np.zeros((3, 2, 2), np.uint8), b"", 1.5)
WHERE = {"model": "angle", "window": "9s"}
COLUMNS = ("brightness", "contrast", "sharpness", "prediction")


def answer(name: str, sent_at: float, answered_at: float, value: float = 1.0, *, labelled: bool = True) -> Answer:
    return Answer(name, PICTURE, sent_at, answered_at, {"value": value}, labelled)


def test_rows_are_in_the_order_of_their_ids_and_unlabelled_ones_have_no_truth() -> None:
    answers = [answer("b", 11.0, 11.1, 2.0, labelled=False), answer("a", 12.0, 12.1, 1.0)]
    rows = rows_of(answers, (), 10.0, 20.0)
    assert (rows.predicted, rows.truth) == ([1.0, 2.0], [1.5, None])


@pytest.mark.parametrize(("sent_at", "answered_at"), [(9.9, 10.5), (19.5, 20.0)])
def test_an_answer_that_may_be_in_another_window_is_named(sent_at: float, answered_at: float) -> None:
    with pytest.raises(OperatorError, match=r"late: 1 answers took so long that it is not known which window"):
        rows_of([answer("ok", 11.0, 11.1), answer("late", sent_at, answered_at)], (), 10.0, 20.0)


def exposition(*, drift: float = 0.0, **changes: float) -> Exposition:
    values = {
        "window_predictions": 2.0,
        "window_labels": 2.0,
        "label_coverage_ratio": 1.0,
        "mean_squared_error": 0.125,
        "root_mean_squared_error": 0.125**0.5,
        "mean_absolute_error": 0.25,
        "r_squared": 0.5,
        "bias": -0.25,
        **changes,
    }
    labels = ",".join(f'{name}="{value}"' for name, value in WHERE.items())
    lines = [f"trueup_{name}{{{labels}}} {value!r}\n" for name, value in values.items()]
    for metric in ("population_stability_index", "jensen_shannon_distance", "kolmogorov_smirnov_statistic"):
        value = drift if metric == "population_stability_index" else 0.0
        lines += [f'trueup_{metric}{{{labels},column="{column}"}} {value!r}\n' for column in COLUMNS]
    return Exposition.parse("".join(lines))


def compared(said: Exposition, *, bound: float = 0.0) -> tuple[Row, ...]:
    rows = Rows((), [1.0, 1.5], None, [1.0, 2.0], [PICTURE.pixels] * 2)
    stated = {"population_stability_index": {"value": 0.0, "error_bound": bound}}
    window = {"columns": dict.fromkeys(COLUMNS, stated)}
    return compare("angle", "clean", 20.0, rows, rows, said, window, WHERE).rows


def wrong(rows: tuple[Row, ...]) -> list[tuple[str, str | None]]:
    return [(row.metric.removeprefix("trueup_"), row.column) for row in rows if not row.agrees]


def test_equal_numbers_agree() -> None:
    assert wrong(compared(exposition())) == []


def test_a_number_off_by_two_millionths_differs_and_half_a_millionth_agrees() -> None:
    said = exposition(mean_squared_error=0.125002, mean_absolute_error=0.2500005)
    assert wrong(compared(said)) == [("mean_squared_error", None)]


def test_a_sample_that_is_missing_differs() -> None:
    said = exposition()
    without = Exposition({name: samples for name, samples in said.samples.items() if name != "trueup_bias"})
    assert wrong(compared(without)) == [("bias", None)]


def test_a_binned_statistic_may_be_off_by_the_bound_that_the_monitor_states_and_no_more() -> None:
    assert wrong(compared(exposition(drift=0.04), bound=0.05)) == []
    beyond = wrong(compared(exposition(drift=0.06), bound=0.05))
    assert sorted(beyond) == [("population_stability_index", column) for column in sorted(COLUMNS)]


def test_the_report_names_what_differs() -> None:
    row = Row("trueup_bias", None, 0.5, 0.25, 1e-6)
    (text,) = differing([Comparison("angle", "clean", 20.0, (row,))])
    assert text == ("angle, clean: bias is 0.5 in /metrics and 0.25 computed independently (allowed 1e-06)")
