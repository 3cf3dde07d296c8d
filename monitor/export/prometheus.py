"""The text that Prometheus scrapes: rendered when an evaluation commits, served as bytes until it expires.

What lives here: the collector behind prometheus_client's model, the text format, the holder of the last text. What must
not: which series there are (that is `snapshot_series`), HTTP.
"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from monitor.export.budget import DEFAULT_BUDGET
from monitor.export.catalogue import CATALOGUE
from monitor.export.series import Series
from monitor.export.snapshot import Snapshot
from monitor.export.snapshot_series import expiry_seconds, self_series, snapshot_series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class SnapshotCollector(Collector):
    """A snapshot as prometheus_client's metric families, made anew at each `collect`: what vanished leaves nothing.

    `fresh` False shows the self-metrics only. Families come in the catalogue's order, without those that are empty.
    """

    def __init__(self, snapshot: Snapshot, *, budget: int = DEFAULT_BUDGET, fresh: bool = True) -> None:
        self._snapshot = snapshot
        self._budget = budget
        self._fresh = fresh

    def collect(self) -> Iterator[Metric]:
        """The families of this snapshot."""
        if self._fresh:
            return families(snapshot_series(self._snapshot, self._budget))
        return families(self_series(self._snapshot, fresh=False))


def families(series: Iterable[Series]) -> Iterator[Metric]:
    """Series grouped into metric families; raises KeyError for a name that the catalogue does not have."""
    grouped: dict[str, list[Series]] = {name: [] for name in CATALOGUE}
    for item in series:
        grouped[item.name].append(item)
    for name, items in grouped.items():
        if not items:
            continue
        entry = CATALOGUE[name]
        family = CounterMetricFamily if entry.kind == "counter" else GaugeMetricFamily
        metric: Metric = family(name, entry.help + ".")
        metric.samples = [Sample(name, item.labels, item.value) for item in items]
        yield metric


def write_text(metrics: Iterable[Metric]) -> bytes:
    """The text format 0.0.4 of families of gauges and counters without timestamps.

    The same bytes as `prometheus_client.generate_latest`, several times faster: samples that share a labels dict share
    its text.
    """
    lines: list[str] = []
    texts: dict[int, str] = {}
    held: list[dict[str, str]] = []  # keeps the dicts alive, so that an id is one dict's only
    for metric in metrics:
        name = metric.name + "_total" if metric.type == "counter" else metric.name
        text = metric.documentation.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"# HELP {name} {text}\n# TYPE {name} {metric.type}\n")
        for sample in metric.samples:
            labels = sample.labels
            written = texts.get(id(labels))
            if written is None:
                written = texts[id(labels)] = _labels_text(labels)
                held.append(labels)
            lines.append(f"{sample.name}{written} {_number(sample.value)}\n")
    return "".join(lines).encode()


def _labels_text(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(labels[name])}"' for name in sorted(labels)) + "}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    """A finite number as Go writes it: with an exponent from a million on."""
    text = repr(value)
    point = text.find(".")
    if value > 0 and point > 6:
        mantissa = f"{text[0]}.{text[1:point]}{text[point + 1 :]}".rstrip("0.")
        return f"{mantissa}e+{point - 1:02d}"
    return text


def render(snapshot: Snapshot, *, budget: int = DEFAULT_BUDGET, fresh: bool = True) -> bytes:
    """The whole text of a snapshot; of its self-metrics only where `fresh` is False."""
    return write_text(SnapshotCollector(snapshot, budget=budget, fresh=fresh).collect())


@dataclass(frozen=True)
class _Rendered:
    snapshot: Snapshot
    expires_at: float
    fresh: bool
    body: bytes
    packed: bytes


class Exposition:
    """Holds the last rendered text. `set` costs a rendering, `get` a comparison; both from any thread.

    Until the first `set` it shows the build only. The text expires `EXPIRY_INTERVALS` intervals after its `set`.
    """

    def __init__(self, build_version: str, *, budget: int = DEFAULT_BUDGET) -> None:
        self._budget = budget
        self._lock = threading.Lock()
        empty = Snapshot(build_version, rendered_at=float("nan"), evaluation_interval_seconds=float("nan"))
        self._held = self._rendered(empty, float("inf"), fresh=False)

    def set(self, snapshot: Snapshot, now: float) -> None:
        """Show this snapshot from now on; `now` in seconds, on the clock that `get` is asked with."""
        rendered = self._rendered(snapshot, now + expiry_seconds(snapshot), fresh=True)
        with self._lock:
            self._held = rendered

    def get(self, now: float) -> bytes:
        """The text to serve as `CONTENT_TYPE`."""
        return self._current(now).body

    def get_compressed(self, now: float) -> bytes:
        """The same as a gzip file (`Content-Encoding: gzip`), compressed once per rendering."""
        return self._current(now).packed

    def fresh(self, now: float) -> bool:
        """Whether values are shown, and not only self-metrics."""
        return self._current(now).fresh

    def _current(self, now: float) -> _Rendered:
        with self._lock:
            if self._held.fresh and now > self._held.expires_at:
                self._held = self._rendered(self._held.snapshot, float("inf"), fresh=False)
            return self._held

    def _rendered(self, snapshot: Snapshot, expires_at: float, *, fresh: bool) -> _Rendered:
        body = render(snapshot, budget=self._budget, fresh=fresh)
        # Level 1: the text repeats itself so much that more effort saves little; mtime 0: equal texts, equal bytes.
        return _Rendered(snapshot, expires_at, fresh, body, gzip.compress(body, compresslevel=1, mtime=0))
