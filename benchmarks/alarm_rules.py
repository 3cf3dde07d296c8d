"""The rules users have today, pane by pane, beside which the evidence is scored.

What lives here: KS and chi-squared tests per column (plain, Bonferroni, false discovery rate), the default rules of
Evidently 0.7 and NannyML 0.13 written anew, ADWIN and Page–Hinkley on pane means. What must not: our own detectors.

`benchmarks.alarm_peers_check` compares the two libraries' own decisions with these, value by value, where they are
installed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon
from scipy.special import kolmogorov
from scipy.stats import chi2

from benchmarks.alarm_population import CATEGORICAL, COLUMNS, NUMERIC, PANE_ROWS, Pane, Pool
from benchmarks.classical_detectors import Adwin, PageHinkley
from monitor.statistics.multiplicity import false_discovery_rates

LEVEL = 0.05
RULES = (
    *("KS and χ² at 5 %, any column", "the same, Bonferroni", "the same, false discovery rate 5 %"),
    *("Evidently's default, any column", "Evidently's default, half of the columns", "NannyML's default, any column"),
    *("ADWIN on pane means, any column", "Page–Hinkley on pane means, any column"),
)


@dataclass
class Readings:
    """One pane against the reference, by column [25]; NaN where a statistic is not of that kind of column."""

    p_values: npt.NDArray[np.float64]
    wasserstein: npt.NDArray[np.float64]
    jensen_shannon: npt.NDArray[np.float64]
    binned: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]


class Comparison:
    """Everything the rules read of a pane, against one reference sample."""

    def __init__(self, pool: Pool, sample: Pane) -> None:
        known = [column[~np.isnan(column)] for column in sample.numbers.T]
        self.sorted = [np.sort(column) for column in known]
        self.deviation = np.array([column.std() for column in known])
        self.edges = [np.histogram_bin_edges(column, bins="doane") for column in known]
        self.shares = [np.histogram(c, bins=e)[0] / c.size for c, e in zip(known, self.edges, strict=True)]
        self.kinds = [
            np.bincount(sample.kinds[:, i], minlength=len(pool.categories[i])) for i in range(len(CATEGORICAL))
        ]
        self.favourite = [int(np.argmax(counts)) for counts in self.kinds]

    def read(self, pane: Pane) -> Readings:
        rows = [np.full(len(COLUMNS), np.nan) for _ in range(5)]
        readings = Readings(*rows)
        for i in range(len(NUMERIC)):
            self._number(readings, i, pane.numbers[:, i])
        for i in range(len(CATEGORICAL)):
            self._category(readings, i, pane.kinds[:, i])
        return readings

    def _number(self, readings: Readings, i: int, values: npt.NDArray[np.float64]) -> None:
        current, reference = np.sort(values[~np.isnan(values)]), self.sorted[i]
        both = np.concatenate((reference, current))
        both.sort(kind="stable")
        difference = np.abs(
            np.searchsorted(reference, both, side="right") / reference.size
            - np.searchsorted(current, both, side="right") / current.size
        )
        effective = reference.size * current.size / (reference.size + current.size)
        readings.p_values[i] = kolmogorov(np.sqrt(effective) * difference.max())
        distance = float((difference[:-1] * np.diff(both)).sum())
        readings.wasserstein[i] = distance / max(self.deviation[i], 0.001)
        shares = np.histogram(current, bins=self.edges[i])[0] / current.size
        outside = max(1.0 - shares.sum(), 0.0)
        readings.binned[i] = jensenshannon(np.append(self.shares[i], 0.0), np.append(shares, outside), base=2)
        readings.means[i] = (current.mean() - reference.mean()) / max(self.deviation[i], 1e-12)

    def _category(self, readings: Readings, i: int, values: npt.NDArray[np.int64]) -> None:
        column, before = len(NUMERIC) + i, self.kinds[i]
        now = np.bincount(values, minlength=before.size)
        used = (before + now) > 0
        table = np.stack((before[used], now[used])).astype(float)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        statistic = float(((table - expected) ** 2 / expected).sum())
        readings.p_values[column] = chi2.sf(statistic, int(used.sum()) - 1)
        readings.jensen_shannon[column] = jensenshannon(before / before.sum(), now / now.sum())
        readings.binned[column] = jensenshannon(before / before.sum(), now / now.sum(), base=2)
        share = before[self.favourite[i]] / before.sum()
        found = now[self.favourite[i]] / now.sum()
        readings.means[column] = (found - share) / np.sqrt(max(share * (1 - share), 1e-12))


class Rules:
    """All rules over one stream of panes; stateless ones judge each pane, the classical detectors remember."""

    def __init__(self, pool: Pool, sample: Pane) -> None:
        self.comparison = Comparison(pool, sample)
        self.limits = self._nannyml_limits(sample)
        self.adwin = [Adwin() for _ in COLUMNS]
        self.page_hinkley = [PageHinkley() for _ in COLUMNS]

    def _nannyml_limits(self, sample: Pane) -> npt.NDArray[np.float64]:
        """Mean + 3 standard deviations of the distance of the reference's own chunks of a pane's size."""
        chunks = len(sample.kinds) // PANE_ROWS
        values = [
            self.comparison.read(Pane(sample.numbers[rows], sample.kinds[rows])).binned
            for rows in (slice(i * PANE_ROWS, (i + 1) * PANE_ROWS) for i in range(chunks))
        ]
        table = np.array(values)
        return np.asarray(table.mean(axis=0) + 3 * table.std(axis=0))

    def judge(self, pane: Pane) -> npt.NDArray[np.bool_]:
        """Which rules call drift in this pane, in the order of `RULES`."""
        readings = self.comparison.read(pane)
        evidently = np.where(np.isnan(readings.wasserstein), readings.jensen_shannon, readings.wasserstein) >= 0.1
        adwin = [detector.update(mean) for detector, mean in zip(self.adwin, readings.means, strict=True)]
        page = [detector.update(mean) for detector, mean in zip(self.page_hinkley, readings.means, strict=True)]
        return np.array(
            [
                (readings.p_values < LEVEL).any(),
                (readings.p_values < LEVEL / len(COLUMNS)).any(),
                (false_discovery_rates(readings.p_values.tolist()) < LEVEL).any(),
                evidently.any(),
                evidently.mean() >= 0.5,
                (readings.binned > self.limits).any(),
                any(adwin),
                any(page),
            ]
        )
