"""Image features against hand-worked images and SciPy's Laplacian."""

import numpy as np
import pytest
from scipy import ndimage

from serving.image_features import FEATURE_NAMES, image_features


def _grey(levels: list[list[int]]) -> np.ndarray:
    return np.repeat(np.array(levels, dtype=np.uint8)[None], 3, axis=0)


def test_names_are_the_keys_in_order() -> None:
    assert tuple(image_features(_grey([[7]]))) == FEATURE_NAMES


def test_a_flat_image_has_brightness_only() -> None:
    assert image_features(_grey([[51] * 5] * 4)) == pytest.approx(
        {"brightness": 0.2, "contrast": 0.0, "sharpness": 0.0}, abs=1e-6
    )


def test_half_black_half_white_has_the_greatest_contrast() -> None:
    features = image_features(_grey([[0, 255], [0, 255]]))
    assert features["brightness"] == pytest.approx(0.5, abs=1e-6)
    assert features["contrast"] == pytest.approx(0.5, abs=1e-6)
    # each pixel differs from one neighbour by one: the Laplacian is +1 on the left, -1 on the right
    assert features["sharpness"] == pytest.approx(1.0, abs=1e-6)


def test_channels_are_red_green_blue() -> None:
    colours = {"red": 0.299, "green": 0.587, "blue": 0.114}
    for channel, expected in enumerate(colours.values()):
        image = np.zeros((3, 2, 2), dtype=np.uint8)
        image[channel] = 255
        assert image_features(image)["brightness"] == pytest.approx(expected, abs=1e-6)


def test_features_equal_a_float64_computation_with_scipy() -> None:
    image = np.random.default_rng(7).integers(0, 256, (3, 61, 47), dtype=np.uint8)
    luma = np.tensordot([0.299, 0.587, 0.114], image / 255.0, axes=(0, 0))
    expected = {
        "brightness": luma.mean(),
        "contrast": luma.std(),
        "sharpness": ndimage.laplace(luma, mode="nearest").var(),
    }
    assert image_features(image) == pytest.approx(expected, rel=1e-5)


def test_blur_lowers_sharpness() -> None:
    image = np.random.default_rng(8).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    blurred = ndimage.gaussian_filter(image, (0, 2, 2))
    assert image_features(blurred)["sharpness"] < image_features(image)["sharpness"] / 100


@pytest.mark.parametrize(
    "image", [np.zeros((3, 2, 2), dtype=np.float32), np.zeros((2, 2, 3), np.uint8), np.zeros((3, 0, 2), np.uint8)]
)
def test_anything_else_is_refused_with_what_was_got(image: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 of shape \[3, H, W\], got"):
        image_features(image)
