"""Detectors of change in a stream of numbers that users would pick instead: ADWIN and Page–Hinkley, from the papers.

What lives here: faithful implementations at the defaults of the field (river), for comparison only. What must not:
anything the product uses. `tests/statistics/test_classical_detectors.py` holds ADWIN to its published detection point.
"""

from __future__ import annotations

import math
from collections import deque


class Adwin:
    """ADWIN2 (Bifet, Gavaldà 2007): an adaptive window in exponential buckets, cut where two parts' means differ.

    Cut when |mean0 − mean1| > sqrt(2/m · σ² · ln(2 ln n / δ)) + 2/(3m) · ln(2 ln n / δ), 1/m = 1/n0 + 1/n1, tried every
    32 values. Defaults: δ = 0.002, 5 buckets a row, parts of at least 5, from 10 values on.
    """

    def __init__(self, delta: float = 0.002, clock: int = 32, buckets: int = 5, part: int = 5, grace: int = 10) -> None:
        self.delta, self.clock, self.buckets, self.part, self.grace = delta, clock, buckets, part, grace
        self._restart()

    def _restart(self) -> None:
        # rows[i]: totals of buckets of 2^i values, newest last
        self.rows: list[deque[float]] = [deque()]
        self.n, self.total, self.spread, self.ticks = 0, 0.0, 0.0, 0

    def update(self, value: float) -> bool:
        """Take a value; whether a change was found (everything is forgotten then, as river does)."""
        if self.n:
            mean = self.total / self.n
            self.spread += (value - mean) ** 2 * self.n / (self.n + 1)
        self.n, self.total, self.ticks = self.n + 1, self.total + value, self.ticks + 1
        self.rows[0].append(value)
        self._compress()
        if self.ticks % self.clock or self.n <= self.grace:
            return False
        if not self._changed():
            return False
        self._restart()
        return True

    def _compress(self) -> None:
        for i, row in enumerate(self.rows):
            if len(row) <= self.buckets:
                return
            joined = row.popleft() + row.popleft()
            if i + 1 == len(self.rows):
                self.rows.append(deque())
            self.rows[i + 1].append(joined)

    def _changed(self) -> bool:
        """Whether any split between buckets, from the oldest on, has parts whose means differ."""
        n0, total0, n1 = 0.0, 0.0, float(self.n)
        for i in range(len(self.rows) - 1, -1, -1):
            for total in self.rows[i]:
                n0, n1, total0 = n0 + 2.0**i, n1 - 2.0**i, total0 + total
                if n1 < self.part + 1:
                    return False
                if n0 >= self.part + 1 and self._differ(n0, n1, total0 / n0 - (self.total - total0) / n1):
                    return True
        return False

    def _differ(self, n0: float, n1: float, difference: float) -> bool:
        confidence = math.log(2 * math.log(self.n) / self.delta)
        m = 1 / (n0 - self.part + 1) + 1 / (n1 - self.part + 1)
        bound = math.sqrt(2 * m * (self.spread / self.n) * confidence) + 2 / 3 * confidence * m
        return abs(difference) > bound


class PageHinkley:
    """Page–Hinkley test, both sides (Page 1954): the sum of deviations from the running mean against its extreme.

    Defaults of the field: δ = 0.005, threshold 50, forgetting 0.9999, from 30 values on; restarted at a detection.
    """

    def __init__(
        self, minimum: int = 30, delta: float = 0.005, threshold: float = 50.0, alpha: float = 0.9999, both: bool = True
    ) -> None:
        self.minimum, self.delta, self.threshold, self.alpha, self.both = minimum, delta, threshold, alpha, both
        self._restart()

    def _restart(self) -> None:
        self.n, self.mean, self.up, self.down = 0, 0.0, 0.0, 0.0
        self.lowest, self.highest = math.inf, -math.inf

    def update(self, value: float) -> bool:
        """Take a value; whether a change was found (everything is forgotten then)."""
        self.n += 1
        self.mean += (value - self.mean) / self.n
        deviation = value - self.mean
        self.up = self.alpha * self.up + deviation - self.delta
        self.down = self.alpha * self.down + deviation + self.delta
        self.lowest, self.highest = min(self.lowest, self.up), max(self.highest, self.down)
        if self.n < self.minimum:
            return False
        risen = self.up - self.lowest > self.threshold
        fallen = self.both and self.highest - self.down > self.threshold
        if risen or fallen:
            self._restart()
            return True
        return False
