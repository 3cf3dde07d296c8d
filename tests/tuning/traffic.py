"""Seeded traffic of many days as the log would hold it: quiet, drifted, or breathing with the day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa

from monitor.profiles.model_profile import Reference, build_reference
from monitor.records import TIMESTAMP, ModelSchema
from monitor.settings import ModelSettings
from monitor.statistics.multiplicity import FalseAlarmBudget
from monitor.statistics.seasons import ObservationSettings
from monitor.tuning.stream import Observation, Past, in_order, whole_windows
from monitor.verdict import Check, CheckSettings, Threshold
from monitor.windows import MICROSECONDS, WindowSettings

DAY = 86_400 * MICROSECONDS
# A Monday at midnight, UTC.
START = 20_717 * DAY
SCHEMA = ModelSchema("credit", "classification", ("good", "bad"))
REGRESSION = ModelSchema("price", "regression")
PSI = Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25))
ACCURACY = Check("accuracy", Threshold("below", 0.05, relative=True), Threshold("below", 0.10, relative=True))


def rows(
    random: np.random.Generator,
    n: int,
    *,
    start: int = START,
    length: int = DAY,
    error: float = 0.1,
    shift: float = 0.0,
    cycle: float = 0.0,
    delay: int = 3_600 * MICROSECONDS,
    schema: ModelSchema = SCHEMA,
) -> pa.Table:
    """Predictions with their labels: `shift` and `cycle` (an amplitude) of the income, in standard deviations."""
    events = np.sort(start + random.integers(0, length, n))
    turn = np.sin(2 * np.pi * (events % DAY) / DAY)
    columns: dict[str, object] = {
        "prediction_id": [f"{start}-{place}" for place in range(n)],
        "version": ["1"] * n,
        "event_time": pa.array(events).cast(TIMESTAMP),
        "f_income": random.normal(0, 1, n) * 10 + 50 + 10 * (shift + cycle * turn),
        "f_age": random.normal(40, 12, n),
        "f_city": random.choice(["Rome", "Oslo", "Bern"], n, p=[0.5, 0.3, 0.2]).tolist(),
        "label_time": pa.array(events + delay).cast(TIMESTAMP),
    }
    if schema.task == "classification":
        bad = random.beta(2, 5, n)
        answer = bad > 0.5
        wrong = random.random(n) < error
        columns |= {
            "prediction": np.where(answer, "bad", "good").tolist(),
            "p_good": 1 - bad,
            "p_bad": bad,
            "label": np.where(answer ^ wrong, "bad", "good").tolist(),
        }
    else:
        columns["prediction"] = random.normal(100, 20, n)
        columns["label"] = np.asarray(columns["prediction"]) + random.normal(0, 5, n) * (1 + error)
    made = pa.table(columns)
    for name in ("prediction_id", "version", "event_time"):
        place = made.schema.get_field_index(name)
        made = made.cast(made.schema.set(place, made.schema.field(place).with_nullable(False)))
    return made


def reference(rows_of_it: int = 4_000, seed: int = 99, schema: ModelSchema = SCHEMA, **changes: float) -> Reference:
    """Drawn as the quiet traffic is."""
    table = rows(np.random.default_rng(seed), rows_of_it, schema=schema, **changes)  # type: ignore[arg-type]
    return build_reference(schema, table.drop_columns(["prediction_id", "version"]))


def settings(*checks: Check, **changes: object) -> ModelSettings:
    """Windows and seasons of a day; without checks of the caller's PSI and accuracy are watched."""
    checks = checks or (PSI, ACCURACY)
    columns = tuple(
        check
        for check in checks
        if check.metric in ("population_stability_index", "jensen_shannon_distance", "kolmogorov_smirnov_statistic")
    )
    values = tuple(check for check in checks if check not in columns)
    made = ModelSettings(
        "credit",
        windows=WindowSettings(300, (3_600, 86_400), 0, 60),
        checks=CheckSettings(values, columns, minimum_labels=100, minimum_rows=100),
        false_alarms=FalseAlarmBudget(1, 90 * 86_400),
        observations=ObservationSettings(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def past(
    days: int,
    *,
    n: int = 500,
    seed: int = 0,
    drift: Mapping[int, Mapping[str, float]] | None = None,
    observed: ObservationSettings | None = None,
    schema: ModelSchema = SCHEMA,
    **always: float,
) -> Past:
    """Days of traffic; `drift` by day, from that day until the next one named, `always` on every day."""
    random, now = np.random.default_rng(seed), dict[str, float]()
    tables = []
    for day in range(days):
        now = dict((drift or {}).get(day, now))
        tables.append(rows(random, n, start=START + day * DAY, schema=schema, **{**always, **now}))  # type: ignore[arg-type]
    whole = in_order(pa.concat_tables(tables))
    observed = observed or ObservationSettings()
    times = whole.column("event_time").cast(pa.int64()).to_numpy()
    observations = []
    for window in whole_windows(START, START + days * DAY, observed):
        low, high = np.searchsorted(times, [window.start, window.end])
        observations.append(Observation(window, whole.slice(low, high - low), int(high - low)))
    return Past("1", tuple(observations), observed, START, START + days * DAY)
