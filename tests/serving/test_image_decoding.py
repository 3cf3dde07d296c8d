"""Decoding: what is taken, what is refused and with which words; the limits hold before the work is done."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from monitor.errors import RecordError
from serving.image_decoding import ImageTooLargeError, decode_image
from tests.serving.bundles import encoded, pixels


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_png_comes_back_pixel_by_pixel() -> None:
    image = pixels(3, 11, 7)
    found = decode_image(encoded(image), "x")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, image)


def test_a_jpeg_comes_back_as_pillow_sees_it() -> None:
    content = encoded(pixels(4), "JPEG")
    expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(decode_image(bytearray(content), "x"), expected)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK"])
def test_other_modes_become_rgb(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    assert decode_image(saved(Image.new(mode, (5, 4)), kind), "x").shape == (3, 4, 5)


def test_a_palette_with_transparency_is_taken() -> None:
    assert decode_image(saved(Image.new("P", (5, 4)), transparency=b"\x00\x80"), "x").shape == (3, 4, 5)


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"\x89PNG\r\n\x1a\n", encoded(pixels(5))[:60], encoded(pixels(5), "JPEG")[:200], b"\xff\xd8\xff"],
    ids=["empty", "garbage", "only a signature", "half a PNG", "half a JPEG", "JPEG start"],
)
def test_what_cannot_be_read_is_refused_by_name(content: bytes) -> None:
    with pytest.raises(RecordError, match=r"^order-7: not a readable image"):
        decode_image(content, "order-7")


def test_any_damage_is_refused_or_decoded_but_never_anything_else() -> None:
    generator = np.random.default_rng(9)
    for kind in ("PNG", "JPEG"):
        whole = encoded(pixels(6), kind)
        for _ in range(200):
            content = bytearray(whole)
            for position in generator.integers(0, len(content), 4):
                content[position] = generator.integers(0, 256)
            try:
                assert decode_image(content, "x", maximum_pixels=10_000).shape[0] == 3
            except RecordError as error:
                assert str(error).startswith("x: ")


def test_other_formats_are_refused_unless_asked_for() -> None:
    content = saved(Image.new("RGB", (4, 4)), "GIF")
    with pytest.raises(RecordError, match=r"expected PNG or JPEG, got \d+ bytes starting with 47 49 46 38"):
        decode_image(content, "x")
    assert decode_image(content, "x", formats=None).shape == (3, 4, 4)


def test_more_than_eight_bits_are_refused() -> None:
    deep = saved(Image.fromarray(np.full((4, 4), 40_000, np.uint16)))
    with pytest.raises(RecordError, match=r"more than 8 bits per channel \(expected 8 bits, got I;16\)"):
        decode_image(deep, "x")


@pytest.mark.parametrize("side", [8_000, 30_000])
def test_a_bomb_is_refused_before_it_is_decoded(side: int) -> None:
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    with pytest.raises(ImageTooLargeError, match="too many pixels"):
        decode_image(content, "x")
