"""Preprocessing is plain arithmetic; freezing and unfreezing touch what they say and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.backbones import load_backbone
from finetune.model import Network, Preprocess, blocks, build_network, unfreeze
from monitor.errors import OperatorError

MEAN, DEVIATION = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng([height, width]).integers(0, 256, (3, height, width), dtype=np.uint8)


def test_an_image_of_the_right_size_is_only_normalised():
    image = random_image(16, 16)
    found = Preprocess(16, MEAN, DEVIATION)(torch.from_numpy(image)).numpy()
    expected = (image / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(DEVIATION, (3, 1, 1))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (50, 23), (5, 90), (1, 1)])
def test_other_sizes_are_resized_as_pillow_resizes(size):
    image = random_image(*size)
    found = Preprocess(16, (0, 0, 0), (1, 1, 1))(torch.from_numpy(image)).numpy()
    for channel in range(3):
        plane = Image.fromarray(image[channel].astype(np.float32))
        expected = np.asarray(plane.resize((16, 16), Image.Resampling.BILINEAR)) / 255
        np.testing.assert_allclose(found[channel], expected, atol=1e-5)


def test_everything_but_the_head_is_frozen_and_nothing_is_in_training_mode():
    network, _ = build_network(load_backbone("resnet18", "none", 32), 3, seed=0)
    assert {name for name, value in network.named_parameters() if value.requires_grad} == {"head.weight", "head.bias"}
    assert not any(module.training for module in network.modules())


def test_the_head_depends_on_the_seed_alone():
    backbone = load_backbone("resnet18", "none", 32)
    torch.manual_seed(1)
    first, _ = build_network(backbone, 3, seed=7)
    torch.manual_seed(2)
    second, _ = build_network(backbone, 3, seed=7)
    other, _ = build_network(backbone, 3, seed=8)
    assert torch.equal(first.head.weight, second.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


def test_a_regression_answers_in_the_unit_of_its_labels():
    network = Network(torch.nn.Identity(), 4, 1, scale=20.0, shift=300.0)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.fill_(0.5)
        values, embedding = network(torch.ones(2, 4))
    assert values.tolist() == [[310.0], [310.0]]
    assert embedding.shape == (2, 4)


@pytest.mark.parametrize(
    ("architecture", "last", "count"),
    [
        ("resnet18", ["layer3.1", "layer4.0", "layer4.1"], 9),
        ("mobilenet_v3_small", ["features.11", "features.12", "classifier.0"], 14),
        ("efficientnet_b0", ["features.6.3", "features.7.0", "features.8"], 18),
        ("vit_b_16", [f"encoder.layers.encoder_layer_{layer}" for layer in (9, 10, 11)], 13),
        ("efficientnet_lite0", ["_blocks.14", "_blocks.15", "_conv_head"], 18),
    ],
)
def test_blocks_are_those_a_person_would_name(architecture, last, count):
    found = blocks(load_backbone(architecture, "none", 32).module)
    assert [block.name for block in found][-3:] == last
    assert len(found) == count


def test_unfreezing_makes_exactly_the_last_blocks_trainable():
    network, _ = build_network(load_backbone("resnet18", "none", 32), 3, seed=0)
    chosen = unfreeze(network, 2)
    assert [block.name for block in chosen] == ["layer4.0", "layer4.1"]
    trainable = {name for name, value in network.named_parameters() if value.requires_grad}
    assert {name.rpartition(".")[0].split(".")[1] for name in trainable if name.startswith("backbone")} == {"layer4"}
    assert trainable >= {"backbone.layer4.0.conv1.weight", "backbone.layer4.1.bn2.weight", "head.bias"}


def test_more_blocks_than_there_are_is_refused():
    network, _ = build_network(load_backbone("resnet18", "none", 32), 3, seed=0)
    with pytest.raises(OperatorError, match=r"fewer blocks to unfreeze \(expected at most 9, got 10\)"):
        unfreeze(network, 10)
