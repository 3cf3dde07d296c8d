"""Thresholds as an operator writes them, and which checks there are.

What lives here: the grammar of a threshold, the metrics that can be checked with the side that is bad, default checks.
What must not: YAML, files, judging (that is `verdict`).

======================  =====================================================================
text                    meaning
======================  =====================================================================
`+10%`                  over the reference's own value × 1.10
`-5%`                   under the reference's own value × 0.95
`> 0.25`, `< 0.90`      over, under this value
`0.25` (a number)       over this value; for drift only, where more is always worse
`learnt`                past what the first windows of the version showed
======================  =====================================================================
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

from monitor.errors import OperatorError
from monitor.records import Task
from monitor.verdict import Check, Threshold

Better = Literal["higher", "lower", "neither"]

# Statistics of a whole window: which side is good, and the task that has them (None: every task).
VALUE_METRICS: Mapping[str, tuple[Better, Task | None]] = {
    "accuracy": ("higher", "classification"),
    "balanced_accuracy": ("higher", "classification"),
    "precision": ("higher", "classification"),
    "recall": ("higher", "classification"),
    "f1": ("higher", "classification"),
    "auroc": ("higher", "classification"),
    "cross_entropy": ("lower", "classification"),
    "brier_score": ("lower", "classification"),
    "expected_calibration_error": ("lower", "classification"),
    "estimated_accuracy": ("higher", "classification"),
    "estimated_accuracy_error": ("neither", "classification"),
    "estimated_cross_entropy": ("lower", "classification"),
    "estimated_f1": ("higher", "classification"),
    "estimated_auroc": ("higher", "classification"),
    "label_shift_distance": ("lower", "classification"),
    "mean_squared_error": ("lower", "regression"),
    "root_mean_squared_error": ("lower", "regression"),
    "mean_absolute_error": ("lower", "regression"),
    "r_squared": ("higher", "regression"),
    "bias": ("neither", "regression"),
    "estimated_mean_squared_error": ("lower", "regression"),
    "estimated_root_mean_squared_error": ("lower", "regression"),
    "estimated_mean_absolute_error": ("lower", "regression"),
    "label_coverage": ("higher", None),
    "label_delay_seconds": ("lower", None),
    "label_delay_p50_seconds": ("lower", None),
    "label_delay_p95_seconds": ("lower", None),
}
# The reference has no label traffic of its own to compare with.
_WITHOUT_REFERENCE = frozenset(name for name in VALUE_METRICS if name.startswith("label_")) | {
    "bias",
    "estimated_accuracy_error",
}

# Statistics of every column, by the short name in `checks.drift`.
DRIFT_METRICS: Mapping[str, str] = {
    "psi": "population_stability_index",
    "js": "jensen_shannon_distance",
    "ks": "kolmogorov_smirnov_statistic",
    # Of the embedding, which is a column of its own.
    "mmd": "maximum_mean_discrepancy",
    "frechet": "frechet_distance",
    "domain_auroc": "domain_classifier_auroc",
}

_THRESHOLD = re.compile(r"\s*([<>+-])?\s*([0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?|-[0-9]*\.?[0-9]+)\s*(%)?\s*")
_LARGEST = 1e300
_GRAMMAR = "'+10%' or '-5%' of the reference, '> 0.25' or '< 0.90', or 'learnt'"
LEARNT = "learnt"


def parse_threshold(written: object) -> Threshold | float:
    """The threshold of a setting; a plain number stays a number, since only its metric can tell the side.

    Raises OperatorError for anything else.
    """
    if isinstance(written, str) and written.strip() == LEARNT:
        # The side is the metric's to say.
        return Threshold("above", 0.0, learnt=True)
    if isinstance(written, int | float) and not isinstance(written, bool) and abs(written) < _LARGEST:
        return float(written)
    match = _THRESHOLD.fullmatch(written) if isinstance(written, str) and len(written) <= 50 else None
    sign, number, percent = match.groups() if match else (None, "nan", None)
    value = float(number)
    if not math.isfinite(value):
        raise OperatorError("not a threshold", expected=_GRAMMAR, got=repr(written)[:80])
    if percent and sign in ("+", "-"):
        return Threshold("above" if sign == "+" else "below", value / 100, relative=True)
    if not percent and sign in ("<", ">"):
        return Threshold("above" if sign == ">" else "below", value)
    if percent:
        raise OperatorError("a share of the reference needs + or -", expected=_GRAMMAR, got=repr(written))
    if sign:
        raise OperatorError("a difference from the reference is written in %", expected=_GRAMMAR, got=repr(written))
    return value


def value_threshold(metric: str, threshold: Threshold | float) -> Threshold:
    """The threshold of a window's statistic; raises OperatorError where its side is not said or makes no sense."""
    better = VALUE_METRICS[metric][0]
    if not isinstance(threshold, Threshold):
        signs = f"'< {threshold:g}' or '> {threshold:g}'"
        raise OperatorError("a plain number does not say which side is bad", expected=signs, got=f"{threshold:g}")
    if threshold.learnt:
        if better == "neither":
            raise OperatorError(
                f"no side of {metric} is bad by itself, so none can be learnt", expected="'> …' or '< …'"
            )
        return Threshold("below" if better == "higher" else "above", 0.0, learnt=True)
    if not threshold.relative:
        return threshold
    written = f"{'+' if threshold.side == 'above' else '-'}{threshold.value * 100:g}%"
    if metric in _WITHOUT_REFERENCE:
        raise OperatorError(
            f"the reference says nothing about {metric} to compare with",
            expected="'> …' or '< …' with a number",
            got=written,
        )
    if (better, threshold.side) in (("higher", "above"), ("lower", "below")):
        expected = "a threshold such as '-5%'" if better == "higher" else "a threshold such as '+10%'"
        raise OperatorError(f"{metric} is better when {better}, so this is no harm", expected=expected, got=written)
    return threshold


def drift_threshold(threshold: Threshold | float) -> Threshold:
    """The threshold of a drift statistic: more is worse, and the reference has none of its own."""
    if not isinstance(threshold, Threshold):
        return Threshold("above", threshold)
    if threshold.relative or threshold.side == "below":
        raise OperatorError(
            "drift is measured from the reference, and more of it is worse", expected="a number such as 0.25"
        )
    return threshold


def ordered(warning: Threshold | None, critical: Threshold | None) -> None:
    """Raises OperatorError where critical would be reached before warning, or on the other side."""
    if warning is None or critical is None:
        return
    if warning.side != critical.side:
        raise OperatorError("warning and critical look at different sides", expected="both above or both below")
    if warning.relative != critical.relative or warning.learnt or critical.learnt:
        return
    # Both fractions of a relative threshold grow away from the reference, whichever side it is.
    away = 1 if warning.relative or warning.side == "above" else -1
    if away * critical.value < away * warning.value:
        raise OperatorError(
            "critical would be reached before warning",
            expected="critical further from the good side than warning",
            got=f"warning {warning.value:g}, critical {critical.value:g}",
        )


def default_value_checks(task: Task | None) -> tuple[Check, ...]:
    """Performance against the reference's own: accuracy −5 % / −10 %, losses +10 % / +25 %.

    Without a task both kinds are looked at; those that the model does not have stay `insufficient`.
    """
    loss = Threshold("above", 0.10, relative=True), Threshold("above", 0.25, relative=True)
    checks = (
        Check("accuracy", Threshold("below", 0.05, relative=True), Threshold("below", 0.10, relative=True)),
        Check("cross_entropy", *loss),
        Check("mean_squared_error", *loss),
    )
    return tuple(check for check in checks if task in (None, VALUE_METRICS[check.metric][1]))


def default_drift_checks() -> tuple[Check, ...]:
    """PSI over 0.1 is a warning, over 0.25 critical: the customary limits of credit scoring."""
    return (Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25)),)


def threshold_text(threshold: Threshold) -> str:
    """A threshold as an operator would write it; `parse_threshold` reads it back."""
    if threshold.learnt:
        return LEARNT
    if threshold.relative:
        return f"{'+' if threshold.side == 'above' else '-'}{threshold.value * 100:.12g}%"
    return f"{'>' if threshold.side == 'above' else '<'} {threshold.value!r}"
