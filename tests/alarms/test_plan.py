"""Which checks may alarm, on what, with which share; and how an effect is measured against a tolerance."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import precision_score, recall_score

from monitor.alarms.plan import (
    Watch,
    alarm_plan,
    alarm_window_seconds,
    assumption,
    tolerated_radius,
    window_effect,
)
from monitor.profiles.model_profile import Reference, build_reference, profile_outcomes
from monitor.records import ModelSchema
from monitor.settings import ModelSettings
from monitor.statistics.multiplicity import parse_budget
from monitor.statistics.result import Absent, Estimate, Reason, Result
from monitor.statistics.risk_cells import RiskCells, risk_cells
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import Check, CheckSettings, Threshold, WindowResult
from monitor.windows import Window, WindowSettings

CLASSES = ("a", "b", "c")
SCHEMA = ModelSchema("m", "classification", CLASSES)
DAY = 86_400


def table(rows: int = 900, seed: int = 0, error: float = 0.2) -> pa.Table:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), rows)
    said = p.argmax(1)
    truth = np.where(rng.random(rows) < error, (said + 1) % 3, said)
    names = np.array(CLASSES)
    probabilities = {f"p_{name}": p[:, i] for i, name in enumerate(CLASSES)}
    return pa.table({"prediction": names[said], "label": names[truth], "f_x": rng.normal(0, 1, rows), **probabilities})


REFERENCE = build_reference(SCHEMA, table())
ACCURACY = Check("accuracy", Threshold("below", 0.05, relative=True), Threshold("below", 0.1, relative=True))
PSI = Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25))


def settings(*values: Check, columns: tuple[Check, ...] = (PSI,), **changes: object) -> ModelSettings:
    return ModelSettings("m", checks=CheckSettings(values, columns), **changes)  # type: ignore[arg-type]


def watch(check: Check, reference: Reference = REFERENCE) -> Watch:
    columns = (check,) if check.metric == PSI.metric else ()
    [found] = alarm_plan(settings(*(() if columns else (check,)), columns=columns), reference).watches
    return found


def result(
    values: dict[str, Result] | None = None, columns: dict[str, dict[str, Result]] | None = None
) -> WindowResult:
    return WindowResult("m", "1", Window(0, 60, 60e-6), "final", 3, 10, 10, 1.0, values or {}, columns or {})


class TestShares:
    def test_shares_sum_to_one_and_every_threshold_is_that_of_its_run_length(self) -> None:
        loss = Check("cross_entropy", Threshold("above", 0.1, relative=True))
        plan = alarm_plan(settings(ACCURACY, loss, false_alarms=parse_budget("1 per 90d")), REFERENCE)
        assert [watched.name for watched in plan.watches] == [PSI.metric, "accuracy", "cross_entropy"]
        assert sum(watched.share.share for watched in plan.watches) == pytest.approx(1.0)
        for watched in plan.watches:
            assert watched.share.log_threshold == pytest.approx(math.log(90 * 3))

    def test_versions_that_are_watched_at_once_share_the_budget(self) -> None:
        one, two = (alarm_plan(settings(ACCURACY), REFERENCE, versions).watches[0].share for versions in (1, 2))
        assert two.run_length == pytest.approx(2 * one.run_length)

    def test_labels_are_counted_by_seasons_where_inputs_are_by_phase(self) -> None:
        phased = settings(ACCURACY, observations=ObservationSettings(DAY, 3_600, "phase"))
        seconds = {item.name: item.share.observation_seconds for item in alarm_plan(phased, REFERENCE).watches}
        assert seconds == {PSI.metric: 3_600, "accuracy": DAY}

    def test_a_check_that_cannot_alarm_says_why_and_takes_no_share(self) -> None:
        checks = (
            ACCURACY,
            Check("label_coverage", Threshold("below", 0.5)),
            Check("mean_squared_error", Threshold("above", 1.0)),
        )
        plan = alarm_plan(settings(*checks), REFERENCE)
        assert [item.name for item in plan.watches] == [PSI.metric, "accuracy"]
        assert plan.unwatched == {
            "label_coverage": "no evidence is weighed for this metric; its verdict is shown without an alarm",
            "mean_squared_error": "a classification model has no mean_squared_error",
        }

    def test_a_check_of_the_embedding_has_a_verdict_and_no_alarm(self) -> None:
        check = Check("domain_classifier_auroc", Threshold("above", 0.65))
        plan = alarm_plan(settings(columns=(PSI, check)), REFERENCE)
        assert [item.name for item in plan.watches] == [PSI.metric]
        why = "evidence over time is weighed on columns, and an embedding is none"
        assert plan.unwatched == {"domain_classifier_auroc": why}

    def test_a_reference_without_labels_watches_inputs_only(self) -> None:
        bare = build_reference(SCHEMA, table().drop_columns(["label"]))
        plan = alarm_plan(settings(ACCURACY), bare)
        assert [item.name for item in plan.watches] == [PSI.metric]
        assert plan.unwatched == {"accuracy": "the reference has no labels to compare with"}

    def test_a_check_whose_limit_is_still_learnt_says_so_and_another_limit_stands_in(self) -> None:
        learnt = Threshold("above", 0.0, learnt=True)
        waiting = alarm_plan(settings(columns=(Check(PSI.metric, learnt),)), REFERENCE)
        assert waiting.unwatched == {PSI.metric: "its limit is being learnt"}
        [watched] = alarm_plan(settings(columns=(Check(PSI.metric, learnt, PSI.critical),)), REFERENCE).watches
        assert watched.tolerance == 0.25

    def test_without_checks_nothing_is_watched(self) -> None:
        assert alarm_plan(settings(columns=()), REFERENCE).watches == ()


class TestEffects:
    def test_a_limit_from_above_is_the_tolerance_of_the_value(self) -> None:
        loss = watch(Check("cross_entropy", Threshold("above", 0.5, relative=True)))
        effect = window_effect(loss, result({"cross_entropy": Estimate(2.0, 500)}))
        assert loss.own is not None
        assert (effect.value, effect.n, effect.window_end, effect.revision) == (2.0, 500, 60, 3)
        assert effect.tolerance == pytest.approx(1.5 * loss.own)

    def test_a_limit_from_below_is_a_fall_from_the_reference(self) -> None:
        watched = watch(ACCURACY)
        assert watched.own is not None
        effect = window_effect(watched, result({"accuracy": Estimate(watched.own - 0.1, 500)}))
        assert (effect.value, effect.tolerance) == pytest.approx((0.1, 0.05 * watched.own))

    def test_the_worst_column_with_enough_rows_is_the_effect(self) -> None:
        columns: dict[str, dict[str, Result]] = {
            "few": {PSI.metric: Estimate(9.0, 20)},
            "many": {PSI.metric: Estimate(0.3, 500)},
            "none": {PSI.metric: Absent(Reason.NO_ROWS)},
        }
        assert window_effect(watch(PSI), result(columns=columns)).value == 0.3
        assert window_effect(watch(PSI), result(columns={"few": columns["few"]})).n == 20

    def test_an_absent_value_is_no_effect(self) -> None:
        effect = window_effect(watch(ACCURACY), result({"accuracy": Absent(Reason.NO_LABELS)}))
        assert (effect.value, effect.n) == (None, 0)

    def test_what_is_tolerated_is_inside_the_null(self) -> None:
        assert watch(PSI).null_tolerance == 0.05
        assert watch(ACCURACY).null_tolerance == pytest.approx(0.05 * (watch(ACCURACY).own or 0))

    def test_a_radius_holds_the_distance_it_stands_for(self) -> None:
        """On shifted decile shares: KL = radius gives about the PSI and the distance it was made from."""
        r = np.full(10, 0.1)
        p = r * np.exp(0.05 * np.arange(-4.5, 5))
        p /= p.sum()
        divergence = float((r * np.log(r / p)).sum())
        index = float(((p - r) * np.log(p / r)).sum())
        assert tolerated_radius("population_stability_index", index) == pytest.approx(divergence, rel=0.02)
        middle = (p + r) / 2
        jensen = math.sqrt(float((p * np.log2(p / middle) + r * np.log2(r / middle)).sum()) / 2)
        assert tolerated_radius("jensen_shannon_distance", jensen) == pytest.approx(divergence, rel=0.02)
        largest = float(np.abs(np.cumsum(p - r)).max())
        assert tolerated_radius("kolmogorov_smirnov_statistic", largest) <= divergence
        assert tolerated_radius("mean_shift", 1.0) == 0.0

    def test_the_effect_is_of_windows_that_hold_an_observation(self) -> None:
        windows = WindowSettings(300, (604_800, 3_600, DAY))
        assert alarm_window_seconds(settings(windows=windows)) == DAY
        assert alarm_window_seconds(settings(windows=windows, observations=ObservationSettings(None))) == 3_600
        short = WindowSettings(300, (3_600, 7_200))
        assert alarm_window_seconds(settings(windows=short)) == 7_200

    def test_the_assumption_is_said_as_it_is_configured(self) -> None:
        assert "stretches of 1d are alike (what repeats within one" in assumption(settings())
        clustered = settings(observations=ObservationSettings(None, design_effect=5))
        assert "counts are divided by 5" in assumption(clustered)


class TestRisks:
    @pytest.mark.parametrize(("metric", "score"), [("recall", recall_score), ("precision", precision_score)])
    def test_risks_by_class_are_what_scikit_learn_counts(self, metric: str, score: object) -> None:
        cells = risk_cells(metric, REFERENCE)
        assert isinstance(cells, RiskCells)
        rows = table(500, seed=3)
        pairs = cells.count(REFERENCE, rows).reshape(-1, 2)
        found = 1 - pairs[:, 0] / pairs.sum(axis=1)
        wanted = score(rows.column("label"), rows.column("prediction"), labels=list(CLASSES), average=None)  # type: ignore[operator]
        assert found == pytest.approx(wanted)

    def test_errors_are_what_the_confusion_says(self) -> None:
        cells = risk_cells("accuracy", REFERENCE)
        assert isinstance(cells, RiskCells)
        rows = table(500, seed=3)
        wrong = sum(a != b for a, b in zip(rows["label"].to_pylist(), rows["prediction"].to_pylist(), strict=True))
        assert cells.count(REFERENCE, rows).tolist() == [wrong, 500 - wrong]
        assert REFERENCE.outcome is not None
        assert profile_outcomes(REFERENCE, rows).rows == 500

    def test_a_class_that_the_reference_never_saw_is_no_risk(self) -> None:
        rare = build_reference(SCHEMA, table().filter(pa.compute.not_equal(table()["label"], "c")))
        cells = risk_cells("recall", rare)
        assert isinstance(cells, RiskCells)
        assert cells.reference.names == ("errors among a", "errors among b")
        assert cells.count(rare, table(100, seed=4)).size == 4

    def test_a_regression_is_weighed_on_squared_errors_above_the_references_quantiles(self) -> None:
        rng = np.random.default_rng(0)
        y = rng.normal(0, 1, 1_000)
        rows = pa.table({"prediction": y + rng.normal(0, 1, 1_000), "label": y})
        reference = build_reference(ModelSchema("m", "regression"), rows)
        cells = risk_cells("root_mean_squared_error", reference)
        assert isinstance(cells, RiskCells)
        assert cells.reference.names[-1] == "squared error above its 97% quantile"
        assert cells.count(reference, rows).tolist() == cells.reference.counts.tolist()

    def test_with_very_many_classes_their_errors_are_weighed_together(self) -> None:
        rng = np.random.default_rng(5)
        classes = tuple(f"c{i:03d}" for i in range(130))
        truth = rng.integers(0, 130, 2_000)
        said = np.where(rng.random(2_000) < 0.3, (truth + 1) % 130, truth)
        rows = pa.table({"prediction": np.array(classes)[said], "label": np.array(classes)[truth]})
        reference = build_reference(ModelSchema("m", "classification", classes), rows)
        for metric in ("accuracy", "recall"):
            cells = risk_cells(metric, reference)
            assert isinstance(cells, RiskCells)
            assert cells.reference.names == ("errors",)
            assert cells.count(reference, rows).tolist() == [int((said != truth).sum()), int((said == truth).sum())]
