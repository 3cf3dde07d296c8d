"""Addition of sufficient statistics, field by field.

What lives here: the one rule by which dataclasses of sums merge. What must not: what the sums mean.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")


def added(a: T, b: T) -> T:
    """A dataclass of the sums of both: fields that have a `merge` are merged, numbers and arrays are added."""
    total: dict[str, Any] = {}
    for field in fields(a):  # type: ignore[arg-type]
        mine, its = getattr(a, field.name), getattr(b, field.name)
        total[field.name] = mine.merge(its) if hasattr(mine, "merge") else mine + its
    return type(a)(**total)
