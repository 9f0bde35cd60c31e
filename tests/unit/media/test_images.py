from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from server.generation.conversation import ImagePart
from server.generation.errors import InvalidRequest
from server.generation.ports import DecodedImage
from server.media.fetch import Fetcher, FetchPolicy
from server.media.images import MediaDecoder
from tests.unit.media.loopback_server import LoopbackServer, loopback, ok

PARAM = "messages[0].content[0].image_url.url"
FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"]


def decoder(**changes: Any) -> MediaDecoder:
    settings: dict[str, Any] = {
        "max_bytes": 100_000,
        "max_pixels": 1_000_000,
        "request_pixels": 4_000_000,
        "shown_pixels": {"low": 1024, "auto": 10_000, "high": 1_000_000},
        "threads": 2,
    }
    return MediaDecoder(**{**settings, **changes})


async def decode(url: str, *, detail: Any = "high", **changes: Any) -> DecodedImage:
    (image,) = await decoder(**changes).decode([ImagePart(url, PARAM, detail)])
    return image


def encode(image: Image.Image, form: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def raw_url(payload: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(payload).decode()}"


def data_url(image: Image.Image, form: str, **options: Any) -> str:
    return raw_url(encode(image, form, **options))


def png(width: int, height: int, *, body: bytes = b"") -> bytes:
    """A PNG that says it is that large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def bombs() -> dict[str, bytes]:
    """Small files whose headers say 30,000 x 30,000 pixels, or as many as the format can say."""
    tiny = Image.new("RGB", (16, 16))
    jpeg, gif, bmp = (bytearray(encode(tiny, form)) for form in ("JPEG", "GIF", "BMP"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 30_000, 30_000)
    gif[6:10] = struct.pack("<HH", 30_000, 30_000)
    bmp[18:26] = struct.pack("<ii", 30_000, 30_000)
    tiff = encode(tiny, "TIFF")
    for tag in (256, 257):
        for kind in (3, 4):
            entry = struct.pack("<HHI", tag, kind, 1)
            if entry in tiff:
                at = tiff.index(entry)
                tiff = tiff[:at] + struct.pack("<HHII", tag, 4, 1, 30_000) + tiff[at + 12 :]
    webp = encode(tiny, "WEBP", lossless=True)
    canvas = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + 2 * struct.pack("<I", 29_999)[:3]
    webp = b"RIFF" + struct.pack("<I", len(webp) - 8 + len(canvas)) + b"WEBP" + canvas + webp[12:]
    # Bytes enough for a hundredth of its rows, so that only the header's bound can refuse it in time.
    return {
        "PNG": png(30_000, 30_000, body=bytes(300 * 90_001)),
        "JPEG": bytes(jpeg),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "TIFF": tiff,
        "WEBP": webp,
    }


@pytest.mark.parametrize("form", FORMATS)
async def test_the_common_formats_decode_to_rgb(form: str) -> None:
    image = await decode(data_url(Image.new("RGB", (40, 20), (200, 30, 30)), form))
    assert (image.pixels.mode, image.pixels.size) == ("RGB", (40, 20))
    red, green, blue = image.pixels.getpixel((20, 10))
    assert red > 180
    assert max(green, blue) < 60


@pytest.mark.parametrize("form", ["GIF", "WEBP", "TIFF", "PNG"])
async def test_of_several_frames_the_first_is_shown(form: str) -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    red, green, blue = (
        await decode(data_url(frames[0], form, save_all=True, append_images=frames[1:]))
    ).pixels.getpixel((4, 4))
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "TIFF"])
async def test_transparent_parts_become_white(form: str) -> None:
    image = await decode(data_url(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), form))
    assert image.pixels.getpixel((4, 4)) == (255, 255, 255)


async def test_a_transparent_colour_becomes_white() -> None:
    image = await decode(data_url(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3)))
    assert image.pixels.getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
async def test_sixteen_bits_of_grey_keep_their_brightness(form: str) -> None:
    image = await decode(data_url(Image.new("I;16", (8, 8), 0x6432), form))
    assert image.pixels.getpixel((4, 4)) == (100, 100, 100)


async def test_samples_without_a_brightness_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="32 bits a sample"):
        await decode(data_url(Image.new("F", (8, 8), 0.5), "TIFF"))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
async def test_exif_orientation_is_applied_and_then_forgotten(form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by a quarter
    image = await decode(data_url(Image.new("RGB", (40, 20)), form, exif=exif))
    assert image.pixels.size == (20, 40)
    assert image.pixels.info == {}
    assert dict(image.pixels.getexif()) == {}


@pytest.mark.parametrize(
    ("detail", "size", "shown"),
    [
        ("low", (400, 100), (64, 16)),
        ("low", (32, 32), (32, 32)),
        ("low", (40, 8000), (2, 400)),
        ("low", (8000, 40), (400, 2)),
        ("auto", (400, 400), (100, 100)),
        ("high", (400, 400), (400, 400)),
    ],
)
async def test_detail_bounds_the_pixels_and_keeps_the_proportions(
    detail: str, size: tuple[int, int], shown: tuple[int, int]
) -> None:
    image = await decode(data_url(Image.new("RGB", size), "PNG"), detail=detail)
    assert image.pixels.size == shown


@pytest.mark.parametrize("size", [(201, 1), (1, 201), (8, 100_000), (100_000, 8)])
@pytest.mark.parametrize("detail", ["low", "high"])
async def test_strips_that_the_model_cannot_see_are_refused(size: tuple[int, int], detail: str) -> None:
    with pytest.raises(InvalidRequest, match="200 times as long"):
        await decode(data_url(Image.new("RGB", size), "PNG"), detail=detail)


async def test_an_image_without_detail_is_auto() -> None:
    part = ImagePart(data_url(Image.new("RGB", (400, 400)), "PNG"), PARAM)
    (image,) = await decoder().decode([part])
    assert image.pixels.size == (100, 100)


@pytest.mark.parametrize("form", FORMATS)
async def test_a_bomb_of_any_format_is_refused_by_its_header(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = bombs()[form]
    assert len(bomb) < 40_000
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(InvalidRequest, match="more than 1000000 pixels"):
        await decode(raw_url(bomb))


async def test_the_images_of_a_request_share_a_budget_of_pixels() -> None:
    url = data_url(Image.new("RGB", (1000, 1000)), "PNG")
    parts = [ImagePart(url, f"image {number}") for number in range(5)]
    assert len(await decoder().decode(parts[:4])) == 4
    with pytest.raises(InvalidRequest, match="over 4000000 pixels in total"):
        await decoder().decode(parts)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1/cat.png", "does not fetch"),
        ("HTTPS://example.com/cat.png", "does not fetch"),
        ("file:///etc/passwd", "data: URL"),
        ("", "data: URL"),
        ("data:image/png,plain", "base64"),
        ("data:image/png;base64", "base64"),
        ("data:image/png;base64,!!!", "not valid base64"),
        ("data:image/png;base64,AAAA\nAAAA", "not valid base64"),
        ("data:image/png;base64,AAAAA", "not valid base64"),
        ("data:image/png;base64,\u00e9AAA", "not valid base64"),
        ("data:image/png;base64,-_-_", "not valid base64"),
        (raw_url(b"this is no image"), "not an image"),
        (raw_url(b"%PDF-1.7"), "not an image"),
        (raw_url(png(64, 64)), "broken"),
        (raw_url(png(1001, 1000)), "more than 1000000 pixels"),
        (raw_url(png(30_000, 30_000)), "more than 1000000 pixels"),
        (raw_url(b"x" * 200_000), "larger than 100000 bytes"),
    ],
)
async def test_what_is_no_image_is_refused_by_name(url: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says) as refused:
        await decode(url)
    assert PARAM in refused.value.message
    assert (refused.value.param, refused.value.status, refused.value.code) == (PARAM, 400, "invalid_image")


@pytest.fixture
async def server() -> AsyncIterator[LoopbackServer]:
    async with loopback() as running:
        running.answers["/red.jpg"] = ok(encode(Image.new("RGB", (40, 20), "red"), "JPEG"), "image/jpeg")
        running.answers["/text.png"] = ok(b"not an image")
        running.answers["/bomb.png"] = ok(bombs()["PNG"])
        yield running


def fetching(server: LoopbackServer) -> MediaDecoder:
    policy = FetchPolicy(
        hosts=None,
        private_addresses=False,
        ports=[server.port],
        max_bytes=100_000,
        seconds=5,
        redirects=0,
        at_once=4,
    )
    return decoder(fetcher=Fetcher(policy, extra_addresses=["127.0.0.1"]), fetched_bytes=100_000)


async def test_a_fetched_image_is_decoded_like_any_other(server: LoopbackServer) -> None:
    (image,) = await fetching(server).decode([ImagePart(f"http://127.0.0.1:{server.port}/red.jpg", PARAM)])
    assert image.pixels.size == (40, 20)
    assert image.encoded == encode(Image.new("RGB", (40, 20), "red"), "JPEG")


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/missing.png", "invalid_image_url", "status 404"),
        ("/text.png", "invalid_image", "not an image"),
        ("/bomb.png", "invalid_image", "more than 1000000 pixels"),
    ],
)
async def test_a_fetch_that_fails_names_its_part(server: LoopbackServer, path: str, code: str, says: str) -> None:
    good, bad = (f"http://127.0.0.1:{server.port}{each}" for each in ("/red.jpg", path))
    with pytest.raises(InvalidRequest, match=says) as refused:
        await fetching(server).decode([ImagePart(good, "the first"), ImagePart(bad, "the second")])
    assert (refused.value.param, refused.value.status, refused.value.code) == ("the second", 400, code)
