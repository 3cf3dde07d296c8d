"""What is known of the damage: measured where there are labels, estimated where not, worse only with a reason."""

from __future__ import annotations

import pytest

from monitor.alarms.explanation import Quality
from monitor.alarms.known_damage import estimated_quality, measured_quality
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.verdict import Threshold, Verdict, WindowResult
from monitor.windows import Window

OWN = {"accuracy": 0.9, "cross_entropy": 0.3, "mean_squared_error": 4.0}


def window(verdicts: dict[str, Verdict] | None = None, **values: Result) -> WindowResult:
    return WindowResult("m", "1", Window(0, 1, 1e-6), "final", 1, 9, 9, 1.0, values, {}, verdicts or {})


def measured(result: WindowResult) -> list[tuple[str, bool]]:
    return [(item.metric, item.worse) for item in measured_quality(result, OWN, minimum=100)]


def test_without_a_check_worse_is_a_whole_interval_on_the_bad_side() -> None:
    assert measured(window(accuracy=Estimate(0.8, 500, 0.76, 0.84))) == [("accuracy", True)]
    assert measured(window(accuracy=Estimate(0.88, 500, 0.84, 0.92))) == [("accuracy", False)]
    assert measured(window(accuracy=Estimate(0.95, 500, 0.93, 0.97))) == [("accuracy", False)]
    assert measured(window(cross_entropy=Estimate(0.5, 500, 0.4, 0.6))) == [("cross_entropy", True)]
    assert measured(window(mean_squared_error=Estimate(3.0, 500, 2.0, 3.5))) == [("mean_squared_error", False)]


def test_with_a_check_worse_is_as_it_was_judged() -> None:
    small = Estimate(0.88, 500, 0.87, 0.89)
    assert measured(window({"accuracy": Verdict("ok")}, accuracy=small)) == [("accuracy", False)]
    assert measured(window({"accuracy": Verdict("warning")}, accuracy=small)) == [("accuracy", True)]
    assert measured(window({"accuracy": Verdict("insufficient")}, accuracy=small)) == [("accuracy", True)]


def test_few_labels_or_an_unknown_reference_say_nothing() -> None:
    assert measured(window(accuracy=Estimate(0.5, 99, 0.4, 0.6))) == []
    assert measured(window(accuracy=Absent(Reason.NO_LABELS))) == []
    assert measured_quality(window(accuracy=Estimate(0.5, 500, 0.4, 0.6)), {}, 100) == ()


@pytest.mark.parametrize(
    ("estimate", "limits", "worse"),
    [
        (Estimate(0.8, 500), {}, True),
        (Estimate(0.88, 500), {}, False),
        (Estimate(0.88, 500), {"accuracy": Threshold("below", 0.89)}, True),
        (Estimate(0.8, 500, 0.7, 0.95), {}, False),
        (Estimate(0.8, 500, 0.7, 0.85), {}, True),
    ],
)
def test_an_estimate_is_worse_past_its_limit_unless_its_interval_reaches_back(
    estimate: Estimate, limits: dict[str, Threshold], worse: bool
) -> None:
    found = estimated_quality(window(estimated_accuracy=estimate), OWN, limits)
    assert found == (Quality("estimated_accuracy", 0.9, estimate.value, worse, estimated=True),)


def test_an_estimated_loss_is_worse_when_it_is_larger() -> None:
    [found] = estimated_quality(window(estimated_cross_entropy=Estimate(0.5, 500, 0.4, 0.6)), OWN, {})
    assert found.worse
