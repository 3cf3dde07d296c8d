"""What `/metrics` said over time: the few gauges that tell the story of the demo.

What lives here: which gauges, and their values at every scrape. What must not: terminals, pictures, HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from demo.exposition import Exposition
from demo.settings import DemoSettings

# More than three phases of a minute have at a scrape a second.
_KEPT_POINTS = 600


@dataclass(frozen=True)
class Gauge:
    """One gauge: its title, its metric, of which window, and how its value is written."""

    key: str
    short: str
    title: str
    metric: str
    final: bool
    form: str


_DRIFT = Gauge(
    "drift",
    "drift",
    "drift: PSI of the worst column",
    "trueup_drift_maximum_population_stability_index",
    False,
    "{:.2f}",
)
CLASSIFICATION = (
    _DRIFT,
    Gauge(
        "estimated",
        "estimated accuracy",
        "accuracy, estimated without labels",
        "trueup_estimated_accuracy_ratio",
        False,
        "{:.1%}",
    ),
    Gauge("accuracy", "accuracy", "accuracy, realised", "trueup_accuracy_ratio", True, "{:.1%}"),
    Gauge("loss", "cross-entropy", "cross-entropy, realised (nats)", "trueup_cross_entropy_nats", True, "{:.3f}"),
)
REGRESSION = (
    _DRIFT,
    Gauge("loss", "mean squared error", "mean squared error, realised", "trueup_mean_squared_error", True, "{:.1f}"),
)


@dataclass(frozen=True)
class Point:
    """The gauges at one scrape (seconds since the epoch), and the checks whose alarm was firing.

    `worst` is the column that drifted most; `ends` is where the window of the final gauges ended.
    """

    at: float
    values: Mapping[str, float | None]
    worst: str | None
    ends: float | None
    firing: tuple[str, ...]


@dataclass
class History:
    """All points of one model of the demo."""

    model: str
    gauges: Sequence[Gauge]
    settings: DemoSettings
    points: list[Point] = field(default_factory=list)

    def add(self, at: float, said: Exposition) -> None:
        """Keep what one scrape said."""
        window = {"model": self.model, "window": self.settings.short_window}
        values = {
            gauge.key: said.value(gauge.metric, **window, maturity="final" if gauge.final else "provisional")
            for gauge in self.gauges
        }
        columns = [
            (value, labels["column"])
            for labels, value in said.select("trueup_population_stability_index", **window, maturity="provisional")
        ]
        ends = said.value("trueup_window_end_timestamp_seconds", **window, maturity="final")
        alarms = said.select("trueup_alarm_state", model=self.model, state="firing")
        firing = tuple(sorted(labels["check"] for labels, value in alarms if value == 1.0))
        self.points.append(Point(at, values, max(columns)[1] if columns else None, ends, firing))
        del self.points[:-_KEPT_POINTS]

    @property
    def now(self) -> Point | None:
        """The newest point."""
        return self.points[-1] if self.points else None
