"""The handwritten digits that scikit-learn carries, as images that need no download.

What lives here: the named sets `digits` (which digit is it) and `digits-rotation` (by how many degrees is it turned).
What must not: anything about other data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.data import Dataset, Item, Pixels

# 8 x 8 pixels leave nothing for a blur or a rotation to change; 32 x 32 do.
SIDE = 32
LARGEST_ANGLE = 45.0


def digits() -> Dataset:
    """1,797 images uint8 [3, 32, 32] of the digits "0" to "9" (8 × 8 originals, enlarged bicubically)."""
    items = tuple(
        Item(identity, str(digit), f"digits/{index}", _channels(image))
        for index, (identity, digit, image) in enumerate(_originals())
    )
    return Dataset("digits", "classification", tuple(str(digit) for digit in range(10)), items)


def digits_rotation() -> Dataset:
    """The same images, each turned counter-clockwise by a known angle in [−45, 45] degrees: the number to predict.

    The angle is uniform and a function of the image alone. Identities are those of `digits`, so both sets split alike.
    """
    items = []
    for index, (identity, _, image) in enumerate(_originals()):
        angle = rotation(identity)
        turned = image.rotate(angle, resample=Image.Resampling.BICUBIC)
        items.append(Item(identity, angle, f"digits-rotation/{index}", _channels(turned)))
    return Dataset("digits-rotation", "regression", (), tuple(items))


def rotation(identity: str) -> float:
    """Angle in degrees, uniform on [−45, 45], that belongs to an image identity."""
    draw = int(hashlib.sha256(f"rotation:{identity}".encode()).hexdigest()[:13], 16) / 16**13
    return (2.0 * draw - 1.0) * LARGEST_ANGLE


def _originals() -> Iterator[tuple[str, int, Image.Image]]:
    from sklearn.datasets import load_digits

    loaded = load_digits()
    for original, digit in zip(loaded.images, loaded.target, strict=True):
        pixels = grey_levels(original)
        image = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        yield hashlib.sha256(pixels.tobytes()).hexdigest(), int(digit), image


def grey_levels(original: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """The set's 0–16 scale as uint8 0–255."""
    return np.round(original * (255.0 / 16.0)).astype(np.uint8)


def _channels(image: Image.Image) -> Pixels:
    return np.repeat(np.asarray(image)[np.newaxis], 3, axis=0)


PACKAGED_SETS: Mapping[str, Callable[[], Dataset]] = {"digits": digits, "digits-rotation": digits_rotation}
