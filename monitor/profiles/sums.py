"""Addition of sufficient statistics, field by field.

What lives here: the one rule by which dataclasses of sums merge. What must not: what the sums mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, Self, TypeVar


class Mergeable(Protocol):
    """What merges with its like."""

    def merge(self, other: Self, /) -> Self:
        """Both together."""


T = TypeVar("T")
M = TypeVar("M", bound=Mergeable)


def added(a: T, b: T) -> T:
    """A dataclass of the sums of both: fields that have a `merge` are merged, numbers and arrays are added."""
    total: dict[str, Any] = {}
    for field in fields(a):  # type: ignore[arg-type]
        mine, its = getattr(a, field.name), getattr(b, field.name)
        total[field.name] = mine.merge(its) if hasattr(mine, "merge") else mine + its
    return type(a)(**total)


def merged_by_name(a: Mapping[str, M], b: Mapping[str, M]) -> dict[str, M]:
    """Of each name what both have merged, or what one of them has."""
    return {**a, **{name: a[name].merge(its) if name in a else its for name, its in b.items()}}
