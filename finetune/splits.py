"""Which items are trained on, which decide when to stop, which make the reference, and which nobody may see.

What lives here: the split by identity and its checks. What must not: where data comes from, tensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.data import Dataset, Item, open_dataset
from finetune.digits import PACKAGED_SETS
from monitor.errors import OperatorError, RecordError

# Fewer say nothing about an epoch or a distribution; a reference one would page people by has hundreds.
MINIMUM_ITEMS = 5


@dataclass(frozen=True)
class Shares:
    """Expected share of the items in each split, in [0, 1); the rest is trained on. `holdout` is never looked at."""

    validation: float = 0.15
    reference: float = 0.2
    holdout: float = 0.0

    def __post_init__(self) -> None:
        total = self.validation + self.reference + self.holdout
        if min(self.validation, self.reference, self.holdout) < 0 or total >= 1:
            raise OperatorError(
                "the shares of validation, reference and holdout leave nothing to train on",
                expected="none negative, sum under 1",
                got=f"{self.validation}, {self.reference}, {self.holdout}",
            )


# A quarter of the packaged digits stays unseen, so that there are images to send to the finished model.
PACKAGED_SHARES = Shares(validation=0.1, reference=0.2, holdout=0.25)


@dataclass(frozen=True, eq=False)
class Splits:
    """Disjoint parts of a data set, each in the order of its identities."""

    train: tuple[Item, ...]
    validation: tuple[Item, ...]
    reference: tuple[Item, ...]
    holdout: tuple[Item, ...]


def default_shares(source: str) -> Shares:
    """Shares for a data source that names none: packaged sets hold images back, a user's data does not."""
    return PACKAGED_SHARES if source in PACKAGED_SETS else Shares()


def split(dataset: Dataset, shares: Shares, seed: int) -> Splits:
    """Split by a hash of (seed, identity): an item's split never depends on the other items.

    So data that grows keeps its reference out of training, and copies of an image stay together. Raises RecordError
    if a class has no training image or a split fewer than 5 items.
    """
    parts: dict[str, list[Item]] = {"train": [], "validation": [], "reference": [], "holdout": []}
    for item in sorted(dataset.items, key=lambda item: (item.identity, item.location)):
        parts[_part(_position(item.identity, seed), shares)].append(item)
    splits = Splits(**{name: tuple(items) for name, items in parts.items()})
    _check(dataset, splits)
    return splits


def held_out(source: str, *, shares: Shares | None = None, seed: int = 0) -> tuple[Item, ...]:
    """The items of `source` that no training, validation or reference with these shares and this seed has seen."""
    return split(open_dataset(source), shares or default_shares(source), seed).holdout


def absent_classes(dataset: Dataset, items: Sequence[Item]) -> list[str]:
    """Classes of which `items` holds no image, in class order."""
    present = {item.label for item in items}
    return [name for name in dataset.classes if name not in present]


def _position(identity: str, seed: int) -> float:
    digest = hashlib.sha256(f"split:{seed}:{identity}".encode()).hexdigest()
    return int(digest[:13], 16) / 16**13


def _part(position: float, shares: Shares) -> str:
    if position < shares.holdout:
        return "holdout"
    if position < shares.holdout + shares.reference:
        return "reference"
    if position < shares.holdout + shares.reference + shares.validation:
        return "validation"
    return "train"


def _check(dataset: Dataset, splits: Splits) -> None:
    counts = {name: len(getattr(splits, name)) for name in ("train", "validation", "reference")}
    missing = absent_classes(dataset, splits.train)
    if missing:
        raise RecordError(
            "too few items: no training image of some classes",
            where=dataset.name,
            got=", ".join(missing),
            hint="Add images of these classes, or lower the shares of the other splits.",
        )
    if min(counts.values()) < MINIMUM_ITEMS:
        raise RecordError(
            "too few items for the splits",
            where=dataset.name,
            expected=f"at least {MINIMUM_ITEMS} in each",
            got=", ".join(f"{name} {count}" for name, count in counts.items()),
            hint="Add images, or change the shares of validation and reference.",
        )
