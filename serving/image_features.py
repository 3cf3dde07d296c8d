"""Plain numbers that describe an image, the same at training and at serving time.

What lives here: the features trueup logs beside each answer on an image. What must not: decoding, files, torch, or
anything a model learned; the reference is made by this very code, so that training and serving cannot differ.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FEATURE_NAMES = ("brightness", "contrast", "sharpness")

# Rec. 601: luma of gamma-encoded R, G, B, which is what decoded PNG and JPEG files hold.
_LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32) / np.float32(255.0)


def image_features(image: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Brightness, contrast and sharpness of one image.

    With Y the luma scaled to 0–1: `brightness` = mean of Y (0–1), `contrast` = population standard deviation of Y
    (0–0.5), `sharpness` = population variance of the 4-neighbour Laplacian of Y (0–16; edges repeat the border pixel,
    so that every size from 1 × 1 on is defined). `image` is uint8 of shape [3, H, W] in the order R, G, B. Raises
    ValueError for any other type or shape, and for an image without pixels.

    >>> image_features(np.full((3, 4, 4), 255, dtype=np.uint8))["brightness"]
    1.0

    Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy: a comparative study", ICPR 2000 (variance of
    the Laplacian as a measure of focus).
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[0] != 3 or image.size == 0:
        raise ValueError(f"an image is uint8 of shape [3, H, W], got {image.dtype} of shape {list(image.shape)}")
    luma = np.tensordot(_LUMA_WEIGHTS, image, axes=(0, 0))
    laplacian = _laplacian(luma)
    # float32 pixels keep this fast; sums are float64 so that a photograph's millions of pixels lose nothing.
    return {
        "brightness": float(luma.mean(dtype=np.float64)),
        "contrast": float(luma.std(dtype=np.float64)),
        "sharpness": float(laplacian.var(dtype=np.float64)),
    }


def _laplacian(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    padded = np.pad(luma, 1, mode="edge")
    neighbours = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return neighbours - np.float32(4.0) * luma
