"""The primitives of an exposition: a series, fit label values, series of the values that there are.

What lives here: shapes and labels. What must not: knowledge of models, windows or the wire format.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from monitor.statistics.result import Reason

LONGEST_LABEL = 128

# A dict and not a Mapping, and shared by the series that have equal labels: the writer makes its text once.
Labels = dict[str, str]


class Series(NamedTuple):
    """One sample to be: its metric's name in the catalogue, labels, finite value."""

    name: str
    labels: Labels
    value: float


def label_value(text: str) -> str:
    """A text fit for a label: control characters and lone surrogates as escapes, at most 128 characters.

    A longer text keeps its beginning and gets a digest, so that two long names stay two.
    """
    if not text.isprintable():
        text = "".join(
            letter.encode("unicode_escape").decode() if letter < " " or "\x7f" <= letter <= "\x9f" else letter
            for letter in text.encode("utf-8", "backslashreplace").decode()
        )
    if len(text) <= LONGEST_LABEL:
        return text
    digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return f"{text[: LONGEST_LABEL - 9]}…{digest}"


def extended(labels: Labels, names: Mapping[str, str]) -> Labels:
    return {**labels, **{name: label_value(text) for name, text in names.items()}}


def present(labels: Labels, *values: tuple[str, float | None]) -> Iterator[Series]:
    """A series for every value that there is."""
    for name, value in values:
        if value is not None and math.isfinite(value):
            yield Series(name, labels, float(value))


def by_label(name: str, labels: Labels, label: str, values: Mapping[str, int]) -> Iterator[Series]:
    for key, value in values.items():
        yield Series(name, {**labels, label: label_value(key)}, float(value))


def absent(labels: Labels, column: str, statistic: str, reason: Reason) -> Series:
    return Series(
        "trueup_absent_info", {**labels, "column": column, "statistic": statistic, "reason": str(reason)}, 1.0
    )
