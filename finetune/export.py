"""The programs of a bundle: TorchScript and torch.export of preprocessing and model, held to the eager network.

What lives here: tracing, exporting, loading programs, the parity check. What must not: training, manifests.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.export import Dim

from finetune.bundle import MODEL_EXPORT, MODEL_SCRIPT, PREPROCESS_EXPORT, PREPROCESS_SCRIPT, WEIGHTS
from finetune.data import Item, Pixels
from finetune.loading import in_order
from finetune.model import Network, Preprocess
from monitor.errors import DefectError

# Largest difference of any number a program gives from the eager network's, in units of the output's own scale.
TOLERANCE = 1e-4
LARGEST_BATCH = 65_536
LARGEST_SIDE = 65_536

Program = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Programs:
    """A bundle's two programs, loaded in one of their two forms."""

    preprocess: Program
    model: Program


@dataclass(frozen=True, eq=False)
class Answers:
    """What the programs say of N items: `outputs` float32 [N, K] or [N, 1], `embeddings` float32 [N, D]."""

    outputs: npt.NDArray[np.float32]
    embeddings: npt.NDArray[np.float32]


def write_programs(network: Network, preprocess: Preprocess, folder: Path) -> None:
    """Write both programs in both forms, and the weights, into `folder`; the network must be on the CPU, in eval."""
    images = torch.zeros(2, 3, preprocess.size, preprocess.size)
    # Sides that differ from each other and from the output: equal ones could be taken for the same dimension.
    image = torch.zeros(3, preprocess.size + 3, preprocess.size + 5, dtype=torch.uint8)
    frozen = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    with torch.no_grad(), _without_script_deprecation(), _without_tracer_remarks():
        torch.jit.save(torch.jit.script(preprocess), folder / PREPROCESS_SCRIPT)
        torch.jit.save(torch.jit.trace(network, (images,), check_trace=False), folder / MODEL_SCRIPT)
    sides = {1: Dim("height", min=1, max=LARGEST_SIDE), 2: Dim("width", min=1, max=LARGEST_SIDE)}
    torch.export.save(torch.export.export(preprocess, (image,), dynamic_shapes=(sides,)), folder / PREPROCESS_EXPORT)
    batch = {0: Dim("batch", min=1, max=LARGEST_BATCH)}
    torch.export.save(torch.export.export(network, (images,), dynamic_shapes=(batch,)), folder / MODEL_EXPORT)
    for parameter, trainable in zip(network.parameters(), frozen, strict=True):
        parameter.requires_grad_(trainable)
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, folder / WEIGHTS)


def load_script(folder: Path) -> Programs:
    """The TorchScript programs of a bundle folder."""
    with _without_script_deprecation():
        return Programs(torch.jit.load(folder / PREPROCESS_SCRIPT), torch.jit.load(folder / MODEL_SCRIPT))


def load_export(folder: Path) -> Programs:
    """The torch.export programs of a bundle folder."""
    loaded = [torch.export.load(folder / name).module() for name in (PREPROCESS_EXPORT, MODEL_EXPORT)]
    return Programs(*loaded)


def answer(
    programs: Programs, items: Sequence[Item], batch_size: int = 32, on_images: Callable[[int], None] = lambda _: None
) -> Answers:
    """Run the programs over items as a server would: preprocess image by image, model by batch."""
    outputs, embeddings = [], []
    with torch.no_grad():
        for chunk in in_order(len(items), batch_size):
            images = [programs.preprocess(torch.from_numpy(items[index].image())) for index in chunk.tolist()]
            output, embedding = programs.model(torch.stack(images))
            outputs.append(output)
            embeddings.append(embedding)
            on_images(len(chunk))
    return Answers(torch.cat(outputs).numpy(), torch.cat(embeddings).numpy())


def check_parity(network: Network, preprocess: Preprocess, folder: Path, images: Sequence[Pixels]) -> float:
    """Largest absolute difference of the programs in `folder` from the eager network, over `images` [3, H, W].

    Every form is run on each image, on the batch of all and on a batch of one. Raises DefectError over 1e-4 (times
    the label's standard deviation for a regression in large units).
    """
    largest = 0.0
    limit = TOLERANCE * max(1.0, float(network.scale))
    inputs = [torch.from_numpy(image) for image in images]
    with torch.no_grad():
        expected = [preprocess(image) for image in inputs]
        batches = (torch.stack(expected), expected[0].unsqueeze(0))
        for form, programs in (("TorchScript", load_script(folder)), ("torch.export", load_export(folder))):
            found = [_difference(programs.preprocess(i), e) for i, e in zip(inputs, expected, strict=True)]
            for batch in batches:
                pairs = zip(programs.model(batch), network(batch), strict=True)
                found += [_difference(actual, eager) for actual, eager in pairs]
            # `not <=`, one by one, so that NaN fails too.
            if not all(difference <= limit for difference in found):
                raise DefectError(
                    f"the {form} programs do not compute what the trained network does",
                    where=str(folder),
                    expected=f"differences of at most {limit:g}",
                    got=", ".join(f"{difference:g}" for difference in found),
                )
            largest = max(largest, *found)
    return largest


def _difference(actual: Tensor, expected: Tensor) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    return float((actual - expected).abs().max())


@contextmanager
def _without_script_deprecation() -> Iterator[None]:
    # TorchServe loads TorchScript; torch announces the end of torch.jit, which is why there are export programs too.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=FutureWarning)
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated", category=DeprecationWarning)
        yield


@contextmanager
def _without_tracer_remarks() -> Iterator[None]:
    # Models that check their input's shape make the tracer remark on it; the parity check is the proof it asks for.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        yield
