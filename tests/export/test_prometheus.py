"""The text on the wire: equal to prometheus_client's, never NaN, expired when nothing was committed."""

from __future__ import annotations

import gzip
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families

from monitor.export.prometheus import CONTENT_TYPE, Exposition, SnapshotCollector, render, write_text
from monitor.export.snapshot import Snapshot
from monitor.statistics.result import Estimate
from tests.export.snapshots import NOW, daemon, drift, full, model, window


def names(text: bytes) -> set[str]:
    return {line.split("{")[0].split(" ")[0] for line in text.decode().splitlines() if not line.startswith("#")}


def read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


@pytest.mark.parametrize("snapshot", [full(), daemon(), daemon(model(success=False))], ids=["full", "empty", "failed"])
def test_the_text_is_prometheus_clients_to_the_byte(snapshot: Snapshot) -> None:
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(snapshot))
    assert render(snapshot) == generate_latest(registry)


@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1),
    text=st.text(st.characters(codec="utf-8")),
    words=st.text(st.characters(codec="utf-8")),
)
def test_any_finite_number_and_any_text_is_written_as_prometheus_client_does(
    values: list[float], text: str, words: str
) -> None:
    gauge, counter = GaugeMetricFamily("g", words), CounterMetricFamily("c", words)
    for index, number in enumerate(values):
        gauge.add_sample("g", {"b": text, "a": str(index)}, number)
    counter.add_sample("c_total", {}, 3.0)

    class Both:
        def collect(self) -> list[object]:
            return [gauge, counter]

    assert write_text([gauge, counter]) == generate_latest(Both())  # type: ignore[arg-type]


@given(st.text(st.characters(), min_size=1))
def test_any_column_name_comes_through_the_wire_as_one_series(column: str) -> None:
    shown = daemon(model(windows=(window(columns={column: {"population_stability_index": Estimate(0.5, 500)}}),)))
    found = [key for key in read(render(shown)) if key[0] == "trueup_population_stability_index"]
    assert len(found) == 1


def test_values_come_through_the_wire_unchanged() -> None:
    number = 0.1 + 0.2
    text = render(daemon(model(windows=(window(values={"cross_entropy": Estimate(number, 500)}),))))
    assert [value for key, value in read(text).items() if key[0] == "trueup_cross_entropy_nats"] == [number]


def test_no_number_on_the_wire_is_nan_or_infinite() -> None:
    broken = {"accuracy": Estimate(float("nan"), 1, float("nan"), float("inf"))}
    text = render(daemon(model(windows=(window(values=broken),)), state_bytes=float("nan"))).decode()
    numbers = [line.rsplit(" ", 1)[1] for line in text.splitlines() if not line.startswith("#")]
    assert not {"NaN", "+Inf", "-Inf"} & set(numbers)


def test_what_is_gone_from_the_snapshot_is_gone_from_the_next_text() -> None:
    exposition = Exposition("0.1.0")
    exposition.set(daemon(model(), model("other")), NOW)
    assert b'model="other"' in exposition.get(NOW)
    exposition.set(daemon(model()), NOW)
    assert b'model="other"' not in exposition.get(NOW)


def test_before_the_first_evaluation_only_the_build_is_shown() -> None:
    exposition = Exposition("0.1.0")
    assert read(exposition.get(NOW)) == {
        ("trueup_build_info", (("version", "0.1.0"),)): 1.0,
        ("trueup_exposition_fresh", ()): 0.0,
    }


def test_after_three_intervals_without_a_commit_only_self_metrics_are_served() -> None:
    exposition = Exposition("0.1.0")
    exposition.set(full(), NOW)
    assert b"trueup_accuracy_ratio" in exposition.get(NOW + 180.0)
    assert exposition.fresh(NOW + 180.0)
    expired = exposition.get(NOW + 180.1)
    assert not exposition.fresh(NOW + 180.1)
    assert read(expired)["trueup_exposition_fresh", ()] == 0.0
    assert "trueup_evaluation_last_success_timestamp_seconds" in names(expired)
    assert not any(
        name.startswith(("trueup_accuracy", "trueup_window", "trueup_predictions")) for name in names(expired)
    )


def test_a_new_commit_ends_the_expiry() -> None:
    exposition = Exposition("0.1.0")
    exposition.set(full(), NOW)
    exposition.get(NOW + 1_000.0)
    exposition.set(full(NOW + 1_000.0), NOW + 1_000.0)
    assert b"trueup_accuracy_ratio" in exposition.get(NOW + 1_001.0)


def test_a_scrape_serves_the_same_bytes_and_renders_nothing() -> None:
    exposition = Exposition("0.1.0")
    exposition.set(full(), NOW)
    assert exposition.get(NOW) is exposition.get(NOW + 1.0)
    assert exposition.get_compressed(NOW) is exposition.get_compressed(NOW + 1.0)


def test_the_compressed_text_is_the_text() -> None:
    exposition = Exposition("0.1.0")
    exposition.set(full(), NOW)
    packed = exposition.get_compressed(NOW)
    assert gzip.decompress(packed) == exposition.get(NOW)
    assert len(packed) < len(exposition.get(NOW)) / 4


def test_scrapes_during_a_commit_get_the_old_or_the_new_text_whole() -> None:
    exposition = Exposition("0.1.0")
    snapshots = [daemon(model(str(i), windows=(window(str(i), columns=drift(20)),))) for i in range(2)]
    whole = {render(snapshot) for snapshot in snapshots}
    exposition.set(snapshots[0], NOW)
    done = threading.Event()
    seen: set[bytes] = set()

    def scrape() -> None:
        while not done.is_set():
            seen.add(exposition.get(NOW))

    thread = threading.Thread(target=scrape)
    thread.start()
    for i in range(40):
        exposition.set(snapshots[i % 2], NOW)
    done.set()
    thread.join()
    assert seen <= whole


def test_the_content_type_is_the_text_format_0_0_4() -> None:
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
