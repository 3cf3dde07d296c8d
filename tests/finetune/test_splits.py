"""Splits are disjoint, repeatable, and decided for each image alone."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from finetune.data import Item, open_dataset
from finetune.splits import Shares, absent_classes, default_shares, held_out, split
from monitor.errors import OperatorError, RecordError
from tests.finetune.images import colours, write_folder

PARTS = ("train", "validation", "reference", "holdout")


def identities(items: tuple[Item, ...]) -> set[str]:
    return {item.identity for item in items}


def test_every_item_is_in_exactly_one_part_of_about_the_asked_size():
    dataset = open_dataset("digits")
    shares = Shares(validation=0.1, reference=0.2, holdout=0.25)
    splits = split(dataset, shares, seed=0)
    parts = [identities(getattr(splits, name)) for name in PARTS]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(dataset.items)
    for part, share in zip(parts, (0.45, 0.1, 0.2, 0.25), strict=True):
        # Binomial: five standard deviations.
        assert abs(len(part) - share * 1797) < 5 * (1797 * share * (1 - share)) ** 0.5


def test_the_order_of_the_items_changes_nothing_and_the_seed_does():
    dataset = open_dataset("digits")
    shuffled = replace(dataset, items=tuple(reversed(dataset.items)))
    usual = split(dataset, Shares(), seed=3)
    assert split(shuffled, Shares(), seed=3).train == usual.train
    assert identities(split(dataset, Shares(), seed=4).reference) != identities(usual.reference)


def test_data_that_grows_never_moves_an_item_to_another_part():
    dataset = open_dataset("digits")
    before = split(replace(dataset, items=dataset.items[:900]), Shares(), seed=0)
    after = split(dataset, Shares(), seed=0)
    for name in PARTS:
        assert identities(getattr(before, name)) <= identities(getattr(after, name))


def test_copies_of_an_image_stay_in_one_part(tmp_path):
    folder = write_folder(tmp_path / "colours")
    for image in list((folder / "red").iterdir()):
        shutil.copy(image, image.with_name(f"copy-of-{image.name}"))
    splits = split(open_dataset(str(folder)), Shares(), seed=0)
    parts = [identities(getattr(splits, name)) for name in PARTS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 60


def test_held_out_digits_are_in_no_other_part_and_a_users_data_holds_none_back(tmp_path):
    shares = default_shares("digits")
    splits = split(open_dataset("digits"), shares, seed=0)
    held = identities(held_out("digits"))
    assert len(held) > 300
    assert not held & identities(splits.train + splits.validation + splits.reference)
    assert held_out(str(write_folder(tmp_path / "colours"))) == ()


def test_rotated_digits_hold_out_the_same_originals():
    assert identities(held_out("digits-rotation")) == identities(held_out("digits"))


def test_a_class_without_a_training_image_is_named(tmp_path):
    dataset = colours(tmp_path / "colours")
    lonely = tuple(item for item in dataset.items if item.label != "red")
    with pytest.raises(RecordError, match=r"no training image of some classes \(got red\)"):
        split(replace(dataset, items=lonely), Shares(), seed=0)


def test_too_few_items_are_refused_with_the_counts(tmp_path):
    dataset = colours(tmp_path / "colours", per_class=5)
    with pytest.raises(RecordError, match=r"too few items for the splits \(expected at least 5 in each, got train \d"):
        split(dataset, Shares(), seed=0)


def test_shares_that_leave_nothing_to_train_on_are_refused():
    with pytest.raises(OperatorError, match="leave nothing to train on"):
        Shares(validation=0.5, reference=0.5)


def test_classes_absent_from_a_part_are_found(tmp_path):
    dataset = colours(tmp_path / "colours", per_class=1)
    assert absent_classes(dataset, dataset.items[:1]) == ["green", "red"]
