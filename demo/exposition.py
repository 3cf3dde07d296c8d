"""What `/metrics` says, read as Prometheus reads it.

What lives here: scraping and looking up samples. What must not: any knowledge of what a metric means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = Mapping[str, str]


@dataclass(frozen=True)
class Exposition:
    """The samples of one scrape by name."""

    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    @classmethod
    def parse(cls, text: str) -> Exposition:
        """From the text format."""
        found: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return cls({name: tuple(samples) for name, samples in found.items()})

    def select(self, name: str, **labels: str) -> Iterator[tuple[Labels, float]]:
        """The samples of a name that have these labels, and maybe others."""
        return (sample for sample in self.samples.get(name, ()) if labels.items() <= sample[0].items())

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample with these labels; None where there is none."""
        found = [value for _, value in self.select(name, **labels)]
        assert len(found) < 2, f"{len(found)} samples of {name} with {labels}"
        return found[0] if found else None


def scrape(client: httpx.Client, url: str) -> Exposition:
    """One scrape of `url`/metrics."""
    answer = client.get(f"{url}/metrics")
    answer.raise_for_status()
    return Exposition.parse(answer.text)
