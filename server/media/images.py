"""Data URLs to pixels. Everything is bounded before it is decoded, and decoding happens in a few threads."""

from __future__ import annotations

import asyncio
import base64
import binascii
import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from server.generation.conversation import ImagePart
from server.generation.errors import InvalidRequest
from server.generation.ports import DecodedImage

# Only these decoders of Pillow run; every further one is more code for a stranger's bytes to meet.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


class ImageDecoder:
    """Decodes the images of requests.

    `max_bytes` bounds one encoded image, `max_pixels` its width times height, read from its header.
    """

    def __init__(self, *, max_bytes: int, max_pixels: int, threads: int) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image-decode")

    async def decode(self, image: ImagePart) -> DecodedImage:
        """The image's pixels. Raises InvalidRequest that names the part."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, image)

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _decode(self, image: ImagePart) -> DecodedImage:
        encoded = self._bytes(image)
        try:
            with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
                width, height = opened.size
                if width * height > self._max_pixels:
                    raise Image.DecompressionBombError
                upright: Any = ImageOps.exif_transpose(opened)
                return DecodedImage(_on_white(upright), encoded)
        except Image.DecompressionBombError:  # ours above, or Pillow's own for an even larger one
            raise _refused(image, f"has more than {self._max_pixels} pixels") from None
        except UnidentifiedImageError:
            raise _refused(image, f"is not an image in one of the formats {', '.join(FORMATS)}") from None
        # Pillow's decoders raise many types for broken files, such as OSError, SyntaxError or struct.error.
        except Exception as error:
            raise _refused(image, "could not be decoded: the file is broken") from error

    def _bytes(self, image: ImagePart) -> bytes:
        url = image.url
        if url[:5].lower() != "data:":
            if url[:8].lower().startswith(("http://", "https://")):
                raise _refused(image, "is an http(s) address; this server does not fetch images yet, send a data: URL")
            raise _refused(image, "must be a data: URL with base64 content")
        header, comma, payload = url.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise _refused(image, "must be a data: URL with base64 content")
        if len(payload) > self._max_bytes * 4 // 3 + 4:
            raise _refused(image, f"is larger than {self._max_bytes} bytes")
        try:
            return base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise _refused(image, "is not valid base64") from None


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, as a viewer shows them on a page."""
    if image.mode == "RGB":
        image.load()
        return image.copy()
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _refused(image: ImagePart, why: str) -> InvalidRequest:
    return InvalidRequest(f"The image {why}.", param=image.param, code="invalid_image")
