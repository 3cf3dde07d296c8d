"""Thresholds mean what an operator would take them to mean, or are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import thresholds
from monitor.config.check_sections import ChecksSection, DriftSection
from monitor.config.thresholds import DRIFT_METRICS, VALUE_METRICS, drift_threshold, parse_threshold, threshold_text
from monitor.errors import OperatorError
from monitor.verdict import Threshold


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("+10%", Threshold("above", 0.1, relative=True)),
        (" - 5 % ", Threshold("below", 0.05, relative=True)),
        ("< 0.90", Threshold("below", 0.9)),
        (">.25", Threshold("above", 0.25)),
        ("> -1.5", Threshold("above", -1.5)),
        ("> 1e-3", Threshold("above", 0.001)),
        (0.25, 0.25),
        ("0.25", 0.25),
        (3, 3.0),
    ],
)
def test_thresholds_are_read(written: object, expected: object) -> None:
    assert parse_threshold(written) == expected


@pytest.mark.parametrize(
    ("written", "what"),
    [
        ("10%", "a share of the reference needs + or -"),
        ("+0.1", "a difference from the reference is written in %"),
        ("<= 0.9", "not a threshold"),
        ("> 1e999", "not a threshold"),
        ("high", "not a threshold"),
        (True, "not a threshold"),
        (float("inf"), "not a threshold"),
        (None, "not a threshold"),
        ("> " + "9" * 100, "not a threshold"),
    ],
)
def test_what_is_ambiguous_is_refused_with_the_grammar(written: object, what: str) -> None:
    with pytest.raises(OperatorError) as caught:
        parse_threshold(written)
    assert caught.value.what == what
    assert caught.value.expected == "'+10%' or '-5%' of the reference, '> 0.25' or '< 0.90', or 'learnt'"


@given(st.sampled_from(["above", "below"]), st.floats(1e-9, 1e6), st.booleans())
def test_a_threshold_survives_being_written(side: str, value: float, relative: bool) -> None:
    threshold = Threshold(side, value, relative)  # type: ignore[arg-type]
    read = parse_threshold(threshold_text(threshold))
    assert isinstance(read, Threshold)
    assert (read.side, read.relative) == (side, relative)
    assert read.value == pytest.approx(value, rel=1e-11)


def test_drift_is_worse_above() -> None:
    assert drift_threshold(0.25) == Threshold("above", 0.25)
    for wrong in (Threshold("below", 0.1), Threshold("above", 0.1, relative=True)):
        with pytest.raises(OperatorError, match="drift is measured from the reference, and more of it is worse"):
            drift_threshold(wrong)


def test_the_reference_has_no_label_traffic_to_compare_with() -> None:
    with pytest.raises(OperatorError, match="the reference says nothing about label_coverage"):
        thresholds.value_threshold("label_coverage", Threshold("below", 0.1, relative=True))


@pytest.mark.parametrize(
    ("warning", "critical", "what"),
    [
        (Threshold("above", 0.2), Threshold("above", 0.1), "critical would be reached before warning"),
        (Threshold("below", 0.8), Threshold("below", 0.9), "critical would be reached before warning"),
        (
            Threshold("below", 0.2, relative=True),
            Threshold("below", 0.1, relative=True),
            "critical would be reached before warning",
        ),
        (Threshold("below", 0.8), Threshold("above", 0.9), "warning and critical look at different sides"),
    ],
)
def test_a_critical_threshold_lies_behind_the_warning(warning: Threshold, critical: Threshold, what: str) -> None:
    with pytest.raises(OperatorError) as caught:
        thresholds.ordered(warning, critical)
    assert caught.value.what == what


def test_every_metric_has_a_key_in_the_file() -> None:
    assert set(ChecksSection.model_fields) == {*VALUE_METRICS, "drift"}
    assert set(DriftSection.model_fields) == {*DRIFT_METRICS, "minimum_rows"}


def test_a_learnt_limit_takes_its_side_from_the_metric() -> None:
    assert thresholds.value_threshold("accuracy", parse_threshold("learnt")) == Threshold("below", 0.0, learnt=True)
    assert thresholds.value_threshold("cross_entropy", parse_threshold("learnt")) == Threshold(
        "above", 0.0, learnt=True
    )
    assert drift_threshold(parse_threshold(" learnt ")) == Threshold("above", 0.0, learnt=True)
    assert threshold_text(Threshold("below", 0.0, learnt=True)) == "learnt"
    with pytest.raises(OperatorError, match="no side of bias is bad by itself"):
        thresholds.value_threshold("bias", parse_threshold("learnt"))
