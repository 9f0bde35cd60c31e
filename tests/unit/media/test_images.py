from __future__ import annotations

import base64
import io
import struct
import zlib

import pytest
from PIL import Image

from server.generation.conversation import ImagePart
from server.generation.errors import InvalidRequest
from server.media.images import ImageDecoder

PARAM = "messages[0].content[0].image_url.url"


@pytest.fixture
def decoder() -> ImageDecoder:
    return ImageDecoder(max_bytes=100_000, max_pixels=1_000_000, threads=1)


def data_url(image: Image.Image, form: str, **options: object) -> str:
    out = io.BytesIO()
    image.save(out, form, **options)
    return f"data:image/{form.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"


def raw_url(payload: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(payload).decode()}"


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is that large and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
async def test_the_common_formats_decode_to_rgb(decoder: ImageDecoder, form: str) -> None:
    image = await decoder.decode(ImagePart(data_url(Image.new("RGB", (40, 20), (200, 30, 30)), form), PARAM))
    assert (image.pixels.mode, image.pixels.size) == ("RGB", (40, 20))
    red, green, blue = image.pixels.getpixel((20, 10))
    assert red > 180
    assert max(green, blue) < 60


async def test_transparent_parts_become_white(decoder: ImageDecoder) -> None:
    image = await decoder.decode(ImagePart(data_url(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG"), PARAM))
    assert image.pixels.getpixel((4, 4)) == (255, 255, 255)


async def test_exif_orientation_is_applied(decoder: ImageDecoder) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    image = await decoder.decode(ImagePart(data_url(Image.new("RGB", (40, 20)), "JPEG", exif=exif), PARAM))
    assert image.pixels.size == (20, 40)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/cat.png", "does not fetch"),
        ("https://example.com/cat.png", "does not fetch"),
        ("file:///etc/passwd", "data: URL"),
        ("", "data: URL"),
        ("data:image/png,plain", "base64"),
        ("data:image/png;base64", "base64"),
        ("data:image/png;base64,!!!", "not valid base64"),
        (raw_url(b"this is no image"), "not an image"),
        (raw_url(b"%PDF-1.7"), "not an image"),
        (raw_url(png_header(64, 64)), "broken"),
        (raw_url(png_header(1001, 1000)), "more than 1000000 pixels"),
        (raw_url(png_header(30_000, 30_000)), "more than 1000000 pixels"),
        (raw_url(b"x" * 200_000), "larger than 100000 bytes"),
    ],
)
async def test_what_is_no_image_is_refused_by_name(decoder: ImageDecoder, url: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        await decoder.decode(ImagePart(url, PARAM))
    assert (refused.value.param, refused.value.status, refused.value.code) == (PARAM, 400, "invalid_image")
