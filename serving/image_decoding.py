"""Image files that strangers send, as pixels.

What lives here: decoding under limits. What must not: features, tensors, requests.
"""

from __future__ import annotations

import io
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from monitor.errors import RecordError

SERVED_FORMATS = ("PNG", "JPEG")
MAXIMUM_PIXELS = 50_000_000


class ImageTooLargeError(RecordError):
    """The image has more pixels than are decoded."""


def decode_image(
    content: bytes | bytearray,
    where: str,
    *,
    formats: tuple[str, ...] | None = SERVED_FORMATS,
    maximum_pixels: int = MAXIMUM_PIXELS,
) -> npt.NDArray[np.uint8]:
    """Decode an image file to uint8 [3, H, W], RGB; the first frame of several.

    `formats` are Pillow's names of the formats that may be decoded, None for all it knows. Raises RecordError naming
    `where`: for what is no such image, is damaged, or has more than 8 bits per channel (Pillow would clip those to
    white without a word); ImageTooLargeError before anything of more than `maximum_pixels` is decoded.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns on its own limit of pixels; ours decides.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content), formats=formats) as image:
                _check(image, where, maximum_pixels)
                # A palette with transparency goes by way of RGBA, as Pillow asks.
                opaque = image.convert("RGBA") if "transparency" in image.info else image
                return np.ascontiguousarray(np.asarray(opaque.convert("RGB")).transpose(2, 0, 1))
    except RecordError:
        raise
    except UnidentifiedImageError as error:
        expected = " or ".join(formats) if formats else "an image file"
        raise RecordError("not a readable image", where=where, expected=expected, got=_start(content)) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError("the image has too many pixels", where=where, got=str(error)) from error
    except Exception as error:  # codecs raise nearly anything on damaged data, and it is always the sender's
        raise RecordError("not a readable image", where=where, got=f"{type(error).__name__}: {error}") from error


def _check(image: Image.Image, where: str, maximum_pixels: int) -> None:
    width, height = image.size
    if width * height > maximum_pixels:
        raise ImageTooLargeError(
            "the image has too many pixels",
            where=where,
            expected=f"at most {maximum_pixels}",
            got=f"{width} x {height}",
        )
    if image.mode.startswith(("I", "F")):
        raise RecordError("more than 8 bits per channel", where=where, expected="8 bits", got=image.mode)


def _start(content: bytes | bytearray) -> str:
    return f"{len(content)} bytes starting with {bytes(content[:8]).hex(' ')}" if content else "nothing"
