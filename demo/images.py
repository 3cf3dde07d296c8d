"""The images that the demo sends: held-out ones, as they are and corrupted, as PNG files.

What lives here: which images, what is done to them, encoding. What must not: HTTP, models.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from skimage import exposure, filters, util

from finetune.data import Item, Pixels
from finetune.splits import held_out

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Picture:
    """One image to send: pixels uint8 [3, H, W], the same as a PNG file, and the truth about it."""

    pixels: Pixels
    png: bytes
    truth: str | float


def noisy(image: Floats, random: np.random.Generator) -> Floats:
    """Gaussian noise of standard deviation 0.1 (of a range of 1), as a sensor in the dark has it."""
    return np.asarray(util.random_noise(image, mode="gaussian", rng=random, var=0.1**2))


def blurred(image: Floats, _random: np.random.Generator) -> Floats:
    """Out of focus: a Gaussian of 2 pixels."""
    return np.asarray(filters.gaussian(image, sigma=2.0, channel_axis=-1))


def pale(image: Floats, _random: np.random.Generator) -> Floats:
    """Two fifths of the contrast around a light grey: fog, or a faded print."""
    return np.asarray(exposure.rescale_intensity(image, in_range=(0.0, 1.0), out_range=(0.4, 0.8)))


CORRUPTIONS: Sequence[Callable[[Floats, np.random.Generator], Floats]] = (noisy, blurred, pale)


def pictures(source: str, *, corrupted: bool, count: int | None = None, seed: int = 0) -> list[Picture]:
    """The first `count` held-out images of a packaged set; corrupted, each in one of three ways in turn."""
    items = held_out(source)[:count]
    random = np.random.default_rng(seed)
    return [_picture(item, CORRUPTIONS[place % 3] if corrupted else None, random) for place, item in enumerate(items)]


def _picture(
    item: Item, corruption: Callable[[Floats, np.random.Generator], Floats] | None, random: np.random.Generator
) -> Picture:
    image = item.image().transpose(1, 2, 0)
    if corruption is not None:
        image = util.img_as_ubyte(np.clip(corruption(util.img_as_float(image), random), 0.0, 1.0))
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(file, "PNG")
    return Picture(np.ascontiguousarray(image.transpose(2, 0, 1)), file.getvalue(), item.label)
