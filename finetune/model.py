"""The network that is trained and exported: preprocessing, a frozen backbone, the task's head.

What lives here: modules, freezing and unfreezing. What must not: where weights come from, optimisers, files.
"""

# No `from __future__ import annotations` here: TorchScript reads the annotations of modules as types.

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from finetune.backbones import Backbone, Triple
from monitor.errors import OperatorError

_CONTAINERS = (nn.Sequential, nn.ModuleList)
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class Preprocess(nn.Module):
    """One image, uint8 [3, H, W] of any size → float32 [3, S, S]: resized as a whole, then normalised per channel.

    Bilinear with antialiasing; the aspect ratio is not kept, so that nothing of the image is cut off.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, size: int, mean: Triple, deviation: Triple) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(deviation).view(3, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """float32 [3, S, S] of uint8 [3, H, W]."""
        scaled = image.unsqueeze(0).to(torch.float32) / 255.0
        sized = functional.interpolate(
            scaled, size=[self.size, self.size], mode="bilinear", align_corners=False, antialias=True
        )
        return (sized.squeeze(0) - self.mean) / self.deviation


class Network(nn.Module):
    """float32 [B, 3, S, S] → (logits [B, K] or values [B, 1], embedding [B, D]).

    The head of a regression learns standardised targets; `scale` and `shift` bring its answers back to the target's
    own unit inside the program. For classification they are 1 and 0.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, backbone: nn.Module, dimension: int, outputs: int, scale: float = 1.0, shift: float = 0.0):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(dimension, outputs)
        self.register_buffer("scale", torch.tensor(scale))
        self.register_buffer("shift", torch.tensor(shift))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Answers and embeddings of preprocessed images."""
        embedding = self.backbone(images)
        return self.answer(embedding), embedding

    def answer(self, embedding: Tensor) -> Tensor:
        """Answers from embeddings [B, D] alone: the part that is trained while the backbone is frozen."""
        return self.head(embedding) * self.scale + self.shift


@dataclass(frozen=True)
class Block:
    """A piece of a backbone that is unfrozen as a whole: its layers, and the name of the first."""

    name: str
    layers: tuple[nn.Module, ...]


def build_network(
    backbone: Backbone, outputs: int, *, seed: int, scale: float = 1.0, shift: float = 0.0
) -> tuple[Network, Preprocess]:
    """Network with a new head (from `seed`), everything but the head frozen, in eval mode; and its preprocessing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(backbone.module, backbone.dimension, outputs, scale, shift)
    network.eval()
    network.backbone.requires_grad_(False)
    preprocess = Preprocess(backbone.image_size, backbone.mean, backbone.deviation)
    return network, preprocess.eval()


def unfreeze(network: Network, count: int) -> tuple[Block, ...]:
    """Make the last `count` blocks of the backbone trainable and return them, first to last.

    Their BatchNorm learns with them once they are put into train mode. Raises OperatorError if there are fewer.
    """
    found = blocks(network.backbone)
    if count > len(found):
        raise OperatorError(
            "the backbone has fewer blocks to unfreeze", expected=f"at most {len(found)}", got=str(count)
        )
    chosen = tuple(found[len(found) - count :])
    for block in chosen:
        for layer in block.layers:
            layer.requires_grad_(True)
    return chosen


def blocks(backbone: nn.Module) -> list[Block]:
    """The backbone's blocks in order: members of its (nested) lists of layers, and single layers outside of them.

    A normalisation belongs to the block before it. Parameters outside of any layer (a class token) are in none.
    """
    found: list[Block] = []
    for name, layer in _flat(backbone, "", depth=0):
        if not any(True for _ in layer.parameters()):
            continue
        if found and isinstance(layer, _NORMS):
            found[-1] = Block(found[-1].name, (*found[-1].layers, layer))
        else:
            found.append(Block(name, (layer,)))
    return found


def _flat(module: nn.Module, prefix: str, depth: int) -> list[tuple[str, nn.Module]]:
    layers: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        path = f"{prefix}{name}"
        if type(child) in _CONTAINERS or (depth == 0 and _holds_a_stack(child)):
            layers += _flat(child, f"{path}.", depth + 1)
        else:
            layers.append((path, child))
    return layers


def _holds_a_stack(module: nn.Module) -> bool:
    """Whether a layer is only the frame of a long list of equal ones (the encoder of a vision transformer)."""
    stacks = [child for child in module.children() if type(child) in _CONTAINERS and len(child) >= 3]
    return any(len({type(layer) for layer in stack}) == 1 for stack in stacks)
