"""Items to batches of tensors: decoded and preprocessed on threads, one batch ahead of the network.

What lives here: reading ahead, the optional augmentation. What must not: labels, networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from finetune.data import Item
from finetune.model import Preprocess

# Draws that change an image: uint8 [3, H, W] and a generator of its own → uint8 [3, H', W'].
Augmentation = Callable[[Tensor, torch.Generator], Tensor]

SMALLEST_CROP = 0.8
LARGEST_CHANGE = 0.2


def image_batches(
    items: Sequence[Item],
    chunks: Sequence[Tensor],
    preprocess: Preprocess,
    *,
    augment: Augmentation | None = None,
    seed: int = 0,
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each chunk of indices into `items`: float32 [B, 3, S, S] and the chunk.

    With `augment` the draw of an image depends on (seed, index) alone, so that threads do not change the result.
    """

    def prepare(index: int) -> Tensor:
        image = torch.from_numpy(items[index].image())
        if augment is not None:
            image = augment(image, torch.Generator().manual_seed(seed * 1_000_003 + index))
        return preprocess(image)

    with ThreadPoolExecutor() as pool:

        def submit(chunk: Tensor) -> list[Future[Tensor]]:
            return [pool.submit(prepare, index) for index in chunk.tolist()]

        waiting = submit(chunks[0]) if chunks else []
        for position, chunk in enumerate(chunks):
            current = waiting
            waiting = submit(chunks[position + 1]) if position + 1 < len(chunks) else []
            yield torch.stack([future.result() for future in current]), chunk


def in_order(count: int, batch_size: int) -> tuple[Tensor, ...]:
    """Chunks of 0 … count − 1, each of at most `batch_size`."""
    return torch.arange(count).split(batch_size)


def shuffled(count: int, batch_size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Chunks of a permutation. A last chunk of one item joins its neighbour: BatchNorm cannot train on one."""
    chunks = torch.randperm(count, generator=generator).split(batch_size)
    if len(chunks) > 1 and len(chunks[-1]) == 1:
        return (*chunks[:-2], torch.cat(chunks[-2:]))
    return chunks


def crop_and_light(image: Tensor, generator: torch.Generator) -> Tensor:
    """A random crop of 80 to 100 % of each side, brightness and contrast changed by up to 20 %. Nothing is mirrored:
    left and right may be what the label says."""
    draws = torch.rand(6, generator=generator).tolist()
    _, height, width = image.shape
    rows = max(1, round(height * (SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[0])))
    columns = max(1, round(width * (SMALLEST_CROP + (1 - SMALLEST_CROP) * draws[1])))
    top, left = int(draws[2] * (height - rows + 1)), int(draws[5] * (width - columns + 1))
    crop = image[:, top : top + rows, left : left + columns].to(torch.float32)
    contrast = 1 + LARGEST_CHANGE * (2 * draws[3] - 1)
    brightness = 1 + LARGEST_CHANGE * (2 * draws[4] - 1)
    mean = crop.mean()
    return ((crop - mean) * contrast + mean * brightness).round().clamp(0, 255).to(torch.uint8)
