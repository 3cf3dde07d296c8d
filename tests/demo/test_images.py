"""The images that are sent: held out, lossless, and corrupted in three ways that leave the truth as it is."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from demo.images import CORRUPTIONS, pictures
from finetune.digits import digits
from finetune.splits import PACKAGED_SHARES, split


def test_no_image_was_seen_in_training_or_is_in_the_reference() -> None:
    parts = split(digits(), PACKAGED_SHARES, 0)
    seen = {item.image().tobytes() for part in (parts.train, parts.validation, parts.reference) for item in part}
    sent = pictures("digits", corrupted=False)
    assert len(sent) == len(parts.holdout) > 400
    assert not any(picture.pixels.tobytes() in seen for picture in sent)


def test_the_file_holds_exactly_the_pixels() -> None:
    for picture in pictures("digits", corrupted=True, count=9):
        decoded = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB")).transpose(2, 0, 1)
        assert (decoded == picture.pixels).all()


def test_corrupted_images_are_other_pixels_with_the_same_truth_and_the_same_every_time() -> None:
    clean, corrupted = (pictures("digits", corrupted=flag, count=9) for flag in (False, True))
    assert [picture.truth for picture in clean] == [picture.truth for picture in corrupted]
    assert all((a.pixels != b.pixels).any() for a, b in zip(clean, corrupted, strict=True))
    again = pictures("digits", corrupted=True, count=9)
    assert all((a.pixels == b.pixels).all() for a, b in zip(corrupted, again, strict=True))


def test_each_corruption_does_what_it_is_called_after() -> None:
    image = pictures("digits", corrupted=False, count=1)[0].pixels.transpose(1, 2, 0) / 255.0
    noisy, blurred, pale = (corruption(image, np.random.default_rng(0)) for corruption in CORRUPTIONS)
    edges = [np.abs(np.diff(found, axis=0)).mean() for found in (image, noisy, blurred, pale)]
    assert edges[1] > edges[0] > edges[2]
    assert np.ptp(pale) < 0.5 * np.ptp(image)
    assert pale.min() > 0.35
