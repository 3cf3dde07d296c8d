"""Every program of a bundle computes what the trained network does, for images and batches of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from finetune.backbones import load_backbone
from finetune.bundle import WEIGHTS
from finetune.export import answer, check_parity, load_export, load_script, write_programs
from finetune.model import build_network, unfreeze
from finetune.splits import Shares, split
from monitor.errors import DefectError
from tests.finetune.images import colours

SIZES = [(24, 28), (8, 8), (1, 1), (100, 3), (64, 64), (67, 69), (131, 257)]


def images() -> list[np.ndarray]:
    return [np.random.default_rng(size).integers(0, 256, (3, *size), dtype=np.uint8) for size in SIZES]


@pytest.fixture(scope="module")
def residual(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet18")
    torch.manual_seed(2)
    network, preprocess = build_network(load_backbone("resnet18", "none", 32), 3, seed=0)
    unfreeze(network, 1)
    write_programs(network, preprocess, folder)
    return network, preprocess, folder


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lite")
    network, preprocess = build_network(load_backbone("efficientnet_lite0", image_size=64), 10, seed=0)
    write_programs(network, preprocess, folder)
    return network, preprocess, folder


@pytest.mark.parametrize("model", ["residual", "lite"])
@pytest.mark.parametrize("load", [load_script, load_export])
def test_both_forms_are_the_eager_network_for_every_size_of_image_and_batch(model, load, request):
    network, preprocess, folder = request.getfixturevalue(model)
    programs = load(folder)
    ready = []
    for image in images():
        found = programs.preprocess(torch.from_numpy(image))
        torch.testing.assert_close(found, preprocess(torch.from_numpy(image)), atol=1e-4, rtol=0)
        ready.append(found)
    for count in (1, 2, len(ready)):
        batch = torch.stack(ready[:count])
        with torch.no_grad():
            for found, expected in zip(programs.model(batch), network(batch), strict=True):
                assert found.shape[0] == count
                torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model", ["residual", "lite"])
def test_the_check_at_export_accepts_the_programs(model, request):
    network, preprocess, folder = request.getfixturevalue(model)
    assert check_parity(network, preprocess, folder, images()) <= 1e-4


def test_the_check_refuses_programs_of_another_network(residual):
    network, preprocess, folder = residual
    kept = network.head.bias.detach().clone()
    with torch.no_grad():
        network.head.bias[1] += 2e-4
    with pytest.raises(DefectError, match="the TorchScript programs do not compute what the trained network does"):
        check_parity(network, preprocess, folder, images())
    with torch.no_grad():
        network.head.bias[1] = float("nan")
    with pytest.raises(DefectError):
        check_parity(network, preprocess, folder, images())
    with torch.no_grad():
        network.head.bias.copy_(kept)


def test_exporting_leaves_what_is_trainable_trainable(residual):
    network, _, _ = residual
    trainable = {name for name, value in network.named_parameters() if value.requires_grad}
    assert "backbone.layer4.1.conv1.weight" in trainable
    assert "backbone.conv1.weight" not in trainable


def test_the_weights_are_the_networks_to_the_bit(lite):
    network, _, folder = lite
    saved = load_file(folder / WEIGHTS)
    assert saved.keys() == network.state_dict().keys()
    assert all(torch.equal(saved[name], value) for name, value in network.state_dict().items())


def test_a_regressions_programs_answer_in_the_unit_of_its_labels(tmp_path):
    torch.manual_seed(2)
    backbone = load_backbone("resnet18", "none", 32)
    network, preprocess = build_network(backbone, 1, seed=0, scale=250.0, shift=7000.0)
    write_programs(network, preprocess, tmp_path)
    check_parity(network, preprocess, tmp_path, images())
    values, embedding = load_script(tmp_path).model(torch.zeros(4, 3, 32, 32))
    assert (values.shape, embedding.shape) == ((4, 1), (4, 512))
    standardised = torch.nn.functional.linear(embedding, network.head.weight, network.head.bias)
    torch.testing.assert_close(values, standardised * 250 + 7000, atol=2e-2, rtol=0)


def test_a_transformer_is_exported_too(tmp_path):
    torch.manual_seed(2)
    network, preprocess = build_network(load_backbone("vit_b_32", "none", 32), 2, seed=0)
    network.backbone.encoder.layers = network.backbone.encoder.layers[:2]
    write_programs(network, preprocess, tmp_path)
    assert check_parity(network, preprocess, tmp_path, images()) <= 1e-4


def test_answers_are_those_of_the_network_in_the_order_of_the_items(residual, tmp_path):
    network, preprocess, folder = residual
    items = split(colours(tmp_path / "colours"), Shares(), seed=0).train
    found = answer(load_script(folder), items, batch_size=7)
    with torch.no_grad():
        batch = torch.stack([preprocess(torch.from_numpy(item.image())) for item in items])
        logits, embeddings = network(batch)
    np.testing.assert_allclose(found.outputs, logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(found.embeddings, embeddings.numpy(), atol=1e-4)
