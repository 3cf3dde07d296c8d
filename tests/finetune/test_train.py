"""Training changes what it may, keeps the best epoch, and gives the same with and without reused features."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from finetune.backbones import load_backbone
from finetune.loading import crop_and_light, image_batches, in_order, shuffled
from finetune.model import build_network
from finetune.splits import Shares, split
from finetune.train import NothingLearned, TrainingSettings, Watcher, fit, standardisation
from monitor.errors import OperatorError
from tests.finetune.images import colours

SETTINGS = TrainingSettings(epochs=3, batch_size=8, patience=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return colours(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="module")
def splits(dataset):
    return split(dataset, Shares(), seed=0)


def new_network():
    with torch.random.fork_rng():
        torch.manual_seed(11)
        return build_network(load_backbone("resnet18", "none", 32), 3, seed=0)


def train(splits, settings=SETTINGS, watcher=None):
    network, preprocess = new_network()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    training = fit(network, preprocess, splits, "classification", ("blue", "green", "red"), settings, watcher)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    return network, training, changed


def test_a_frozen_backbone_stays_the_same_to_the_bit_and_the_head_learns(splits):
    for settings in (SETTINGS, TrainingSettings(epochs=1, batch_size=8, augment=True)):
        _, _, changed = train(splits, settings)
        assert changed == {"head.weight", "head.bias"}


def test_unfreezing_changes_the_last_blocks_their_batchnorm_and_nothing_else(splits):
    network, _, changed = train(splits, TrainingSettings(epochs=1, batch_size=8, unfreeze=1))
    last = {f"backbone.layer4.1.{name}" for name in network.backbone.layer4[1].state_dict()}
    assert changed == {*last, "head.weight", "head.bias"}
    assert not any(module.training for module in network.modules())


def test_colours_are_learned(splits):
    _, training, _ = train(splits, TrainingSettings(epochs=8, batch_size=8))
    assert training.epochs[-1].training_loss < training.epochs[0].training_loss / 2
    assert max(epoch.metric for epoch in training.epochs) > 0.9


def test_reused_features_give_the_same_training_as_running_the_backbone_every_epoch(splits):
    reused, first, _ = train(splits)
    plain, second, _ = train(splits, TrainingSettings(epochs=3, batch_size=8, patience=3, reuse_features=False))
    torch.testing.assert_close(reused.head.weight, plain.head.weight, atol=1e-4, rtol=0)
    for one, other in zip(first.epochs, second.epochs, strict=True):
        assert one.validation_loss == pytest.approx(other.validation_loss, abs=1e-4)


@pytest.mark.parametrize(
    ("changes", "passes"), [({}, 1), ({"reuse_features": False}, 3), ({"unfreeze": 1}, 3), ({"augment": True}, 3)]
)
def test_the_backbone_sees_the_training_images_once_only_where_they_cannot_change(splits, changes, passes):
    network, preprocess = new_network()
    seen = []
    network.backbone.register_forward_hook(lambda _module, inputs, _output: seen.append(len(inputs[0])))
    settings = TrainingSettings(epochs=3, batch_size=8, patience=3, **changes)
    fit(network, preprocess, splits, "classification", ("blue", "green", "red"), settings)
    # Validation images do not change under augmentation, so their features are kept even then.
    validation = passes if "augment" not in changes else 1
    assert sum(seen) == passes * len(splits.train) + validation * len(splits.validation)


def test_the_same_seed_gives_the_same_weights_to_the_bit(splits):
    for settings in (SETTINGS, TrainingSettings(epochs=1, batch_size=8, augment=True, seed=5)):
        assert torch.equal(train(splits, settings)[0].head.weight, train(splits, settings)[0].head.weight)
    other = train(splits, TrainingSettings(epochs=1, batch_size=8, augment=True, seed=6))[0]
    assert not torch.equal(other.head.weight, train(splits, settings)[0].head.weight)


def test_the_best_epoch_is_kept_and_patience_ends_the_run(splits):
    # A step this large only gets worse after its first epochs.
    settings = TrainingSettings(epochs=40, batch_size=8, learning_rate=2.0, patience=2)
    heads = {}
    network, preprocess = new_network()

    def remember(result):
        heads[result.epoch] = network.head.weight.clone()

    training = fit(
        network, preprocess, splits, "classification", ("blue", "green", "red"), settings, Watcher(on_epoch=remember)
    )
    losses = {epoch.epoch: epoch.validation_loss for epoch in training.epochs}
    assert training.best_epoch == min(losses, key=losses.get)
    assert len(losses) == training.best_epoch + 2 < 40
    assert torch.equal(network.head.weight, heads[training.best_epoch])
    assert not torch.equal(network.head.weight, heads[len(losses)])


def test_a_stop_keeps_the_best_epoch_so_far(splits):
    results = []
    watcher = Watcher(on_epoch=results.append, should_stop=lambda: len(results) >= 2)
    _, training, _ = train(splits, TrainingSettings(epochs=50, batch_size=8), watcher)
    assert training.interrupted
    assert [epoch.epoch for epoch in training.epochs] == [1, 2]


def test_a_stop_in_the_first_epoch_keeps_what_it_had_learned(splits):
    asked = []

    def stop_in_first_epoch():
        asked.append(1)
        # The batches of features come first, then two of the epoch's own.
        return len(asked) > len(in_order(len(splits.train), 8)) + len(in_order(len(splits.validation), 8)) + 1

    _, training, changed = train(splits, SETTINGS, Watcher(should_stop=stop_in_first_epoch))
    assert (training.interrupted, training.best_epoch) == (True, 1)
    assert changed == {"head.weight", "head.bias"}


def test_a_stop_before_anything_was_learned_is_told(splits):
    with pytest.raises(NothingLearned):
        train(splits, SETTINGS, Watcher(should_stop=lambda: True))


def test_a_loss_that_is_not_finite_is_an_error_with_the_way_out(splits):
    with pytest.raises(OperatorError, match=r"validation loss is not finite .*--learning-rate"):
        train(splits, TrainingSettings(epochs=2, batch_size=8, learning_rate=math.inf))


def test_a_regression_learns_standardised_targets_and_reports_its_own_unit(dataset):
    # Labels in thousands: red 5000, green 7000, blue 9000.
    value = {"red": 5000.0, "green": 7000.0, "blue": 9000.0}
    items = tuple(replace(item, label=value[str(item.label)]) for item in dataset.items)
    numbers = replace(dataset, task="regression", classes=(), items=items)
    splits = split(numbers, Shares(), seed=0)
    shift, scale = standardisation(splits.train)
    assert 6000 < shift < 8000
    assert 1500 < scale < 1800
    with torch.random.fork_rng():
        torch.manual_seed(11)
        backbone = load_backbone("resnet18", "none", 32)
    network, preprocess = build_network(backbone, 1, seed=0, scale=scale, shift=shift)
    settings = TrainingSettings(epochs=25, batch_size=8, patience=25)
    training = fit(network, preprocess, splits, "regression", (), settings)
    best = training.epochs[training.best_epoch - 1]
    assert best.metric == pytest.approx(best.validation_loss * scale**2, rel=1e-3)
    assert best.metric < 0.1 * scale**2


def test_constant_labels_have_a_scale_of_one(dataset):
    assert standardisation([replace(item, label=4.0) for item in dataset.items]) == (4.0, 1.0)


def test_shuffled_batches_hold_every_index_once_and_never_one_alone():
    for count in (1, 2, 16, 17, 33):
        chunks = shuffled(count, 16, torch.Generator().manual_seed(0))
        assert sorted(torch.cat(chunks).tolist()) == list(range(count))
        assert count == 1 or min(map(len, chunks)) > 1


def test_batches_come_in_order_whatever_the_threads_do(splits):
    _, preprocess = new_network()
    chunks = in_order(len(splits.train), 8)
    found = torch.cat([images for images, _ in image_batches(splits.train, chunks, preprocess)])
    expected = [preprocess(torch.from_numpy(item.image())) for item in splits.train]
    assert torch.equal(found, torch.stack(expected))


def test_augmentation_crops_and_lights_but_never_mirrors():
    ramp = torch.arange(100, 200, dtype=torch.uint8).repeat(3, 60, 1)
    shapes = set()
    for seed in range(20):
        changed = crop_and_light(ramp, torch.Generator().manual_seed(seed))
        shapes.add(changed.shape)
        assert changed.dtype == torch.uint8
        assert 48 <= changed.shape[1] <= 60
        assert 80 <= changed.shape[2] <= 100
        assert bool((changed.int().diff(dim=2) >= 0).all())
    assert len(shapes) > 10
