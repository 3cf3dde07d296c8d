"""The rows on performance: headline numbers, a classifier's statistics, a regression's.

What lives here: which metrics stand there, and what a reader is told. What must not: looks (`panels`).
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import timeseries

from grafana.panels import (
    BLUE,
    GREEN,
    RED,
    YELLOW,
    Query,
    headline,
    time_series,
)
from grafana.selectors import MODEL, VERDICTS, VERSION, WINDOW


def headlines() -> list[Any]:
    """Eight numbers that answer "is it still good?" at a glance."""
    verdict = f"trueup_verdict_state{{{WINDOW}, state="
    worst = " or ".join(
        f'{verdict}"{state}"}} * {rank} {"> 0" if rank else ""}'.strip()
        for state, rank in (("critical", 3), ("warning", 2), ("ok", 1), ("insufficient", 0))
    )
    return [
        headline(
            "Worst verdict",
            "The worst state of all checks of the selected window. Insufficient: no check had enough data.",
            "none",
            f"max({worst})",
            mappings=VERDICTS,
            no_value="no checks",
        ),
        headline(
            "Alarms firing",
            "Checks whose effect is outside the tolerance with evidence that the false-alarm budget allows.",
            "none",
            f'sum(trueup_alarm_state{{{VERSION}, state="firing"}}) or vector(0)',
            steps=((None, GREEN), (1, RED)),
        ),
        headline(
            "Accuracy",
            "Share of labelled predictions of the window that were right, of the worst selected version.",
            "percentunit",
            f"min(trueup_accuracy_ratio{{{WINDOW}}})",
            steps=((None, BLUE),),
            no_value="no labels",
            decimals=1,
        ),
        headline(
            "Root mean squared error",
            "Of a regression, in units of its target, of the worst selected version.",
            "none",
            f"max(trueup_root_mean_squared_error{{{WINDOW}}})",
            steps=((None, BLUE),),
            no_value="no regression",
        ),
        headline(
            "Label coverage",
            "Share of the window's predictions whose label has come. Performance rests on these only.",
            "percentunit",
            f"min(trueup_label_coverage_ratio{{{WINDOW}}})",
            steps=((None, BLUE),),
            decimals=1,
        ),
        headline(
            "Largest drift",
            "Largest population stability index over all columns. 0.1 is the customary first mark, 0.25 the second.",
            "none",
            f"max(trueup_drift_maximum_population_stability_index{{{WINDOW}}})",
            steps=((None, GREEN), (0.1, YELLOW), (0.25, RED)),
            decimals=3,
        ),
        headline(
            "Median label delay",
            "Time from prediction to label, median over the labels of the window.",
            "s",
            f"max(trueup_label_delay_p50_seconds{{{WINDOW}}})",
            steps=((None, BLUE),),
            no_value="no labels",
        ),
        headline(
            "Since evaluation",
            "Time since the last successful evaluation. Past three intervals the values vanish.",
            "s",
            f"time() - max(trueup_evaluation_last_success_timestamp_seconds{{{MODEL}}})",
            steps=((None, GREEN), (300, YELLOW), (900, RED)),
        ),
    ]


def _measured(
    title: str, description: str, unit: str, key: str, names: tuple[str, str, str], *extra: Query, **axis: float
) -> timeseries.Panel:
    """A statistic with its 95 % interval and the limits of the check on it; `names` are value, lower and upper."""
    value, lower, upper = names
    return time_series(
        title,
        description,
        unit,
        Query(f"{value}{{{WINDOW}}}", "{{version}}"),
        Query(f"{lower}{{{WINDOW}}}", "{{version}} lower bound", "bound"),
        Query(f"{upper}{{{WINDOW}}}", "{{version}} upper bound", "bound"),
        Query(f'trueup_check_limit{{{VERSION}, check="{key}"}}', "{{version}} {{severity}} limit", "limit"),
        *extra,
        **axis,  # type: ignore[arg-type]
    )


def classification() -> list[Any]:
    """Realised performance of a classifier, with intervals, limits and the estimate without labels."""
    return [
        _measured(
            "Accuracy",
            "Realised accuracy with its 95 % interval (Wilson), the limits of the check, and the accuracy estimated "
            "without labels. The estimate sees drift of the inputs only, not a change of what is true for them.",
            "percentunit",
            "accuracy",
            ("trueup_accuracy_ratio", "trueup_accuracy_lower_ratio", "trueup_accuracy_upper_ratio"),
            Query(f"trueup_estimated_accuracy_ratio{{{WINDOW}}}", "{{version}} estimated"),
            maximum=1,
        ),
        _measured(
            "Cross-entropy",
            "Mean of -ln of the probability given to the label, with its 95 % interval and the limits of the check. It "
            "notices lost confidence before the accuracy falls.",
            "suffix: nats",
            "cross_entropy",
            ("trueup_cross_entropy_nats", "trueup_cross_entropy_lower_nats", "trueup_cross_entropy_upper_nats"),
            minimum=0,
        ),
        _measured(
            "Brier score",
            "Mean squared distance of the probabilities from the label, summed over the classes (0 to 2).",
            "none",
            "brier_score",
            ("trueup_brier_score", "trueup_brier_score_lower", "trueup_brier_score_upper"),
            minimum=0,
        ),
        _ratio(
            "Calibration error",
            "Mean gap between the confidence and the accuracy at it. Chance alone gives a little.",
            "expected_calibration_error",
        ),
        _ratio("Macro F1", "Mean of the F1 scores of the classes.", "f1"),
        _ratio("AUROC", "Area under the ROC curve, each class against the rest, mean over the classes.", "auroc"),
        _ratio("Balanced accuracy", "Mean of the recalls of the labelled classes.", "balanced_accuracy", width=8),
        _ratio(
            "Macro precision",
            "Share of a class's predictions that were right, mean over the classes.",
            "precision",
            width=8,
        ),
        _ratio(
            "Macro recall", "Share of a class's labels that were predicted, mean over the classes.", "recall", width=8
        ),
    ]


def _ratio(title: str, description: str, key: str, width: int = 12) -> timeseries.Panel:
    """A statistic between 0 and 1 with its 95 % interval and the limits of the check on it."""
    names = (f"trueup_{key}_ratio", f"trueup_{key}_lower_ratio", f"trueup_{key}_upper_ratio")
    return _measured(title, f"{description} With its 95 % interval and limits.", "percentunit", key, names, width=width)


def regression() -> list[Any]:
    """Realised performance of a regression, with intervals and limits."""

    def names(stem: str) -> tuple[str, str, str]:
        return f"trueup_{stem}", f"trueup_{stem}_lower", f"trueup_{stem}_upper"

    return [
        _measured(
            "Mean squared error",
            "With its 95 % interval and the limits of the check, in squared units of the target.",
            "none",
            "mean_squared_error",
            names("mean_squared_error"),
            minimum=0,
        ),
        _measured(
            "Root mean squared error",
            "With its 95 % interval and the limits of the check, in units of the target.",
            "none",
            "root_mean_squared_error",
            names("root_mean_squared_error"),
            minimum=0,
        ),
        _measured(
            "Mean absolute error",
            "With its 95 % interval and the limits of the check, in units of the target.",
            "none",
            "mean_absolute_error",
            names("mean_absolute_error"),
            minimum=0,
        ),
        _measured(
            "Bias",
            "Mean of prediction - label with its 95 % interval, in units of the target. 0 is unbiased.",
            "none",
            "bias",
            names("bias"),
        ),
        _measured(
            "Explained variance (R²)",
            "Share of the labels' variance that is explained, with its 95 % interval; 1 is perfect, below 0 is worse "
            "than their mean.",
            "none",
            "r_squared",
            names("r_squared"),
            maximum=1,
            width=24,
        ),
    ]
