"""From the images that a request names to pixels: fetched or read from a data URL, then decoded in a few threads."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from server.generation.conversation import Detail, ImagePart
from server.generation.errors import InvalidRequest
from server.generation.ports import DecodedImage
from server.media.fetch import ByteBudget, Fetcher, FetchFailed
from server.media.pixels import NotAnImage, PixelBudget, decode_pixels


class ImageDecoder:
    """Decodes the images of requests.

    `max_bytes` bounds one encoded image, `max_pixels` its width times height and `request_pixels` the sum of those over
    a request, all read from headers. `shown_pixels` says for each `detail` to how many pixels an image is made smaller.
    Without a `fetcher` only data URLs are taken; `fetched_bytes` bounds what it brings for one request.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_pixels: int,
        request_pixels: int,
        shown_pixels: Mapping[Detail, int],
        threads: int,
        fetcher: Fetcher | None = None,
        fetched_bytes: int = 0,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._request_pixels = request_pixels
        self._shown_pixels = dict(shown_pixels)
        self._fetcher = fetcher
        self._fetched_bytes = fetched_bytes
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image-decode")

    async def decode(self, images: Sequence[ImagePart]) -> list[DecodedImage]:
        """The pixels of all images of one request, in their order. Raises InvalidRequest that names a part."""
        if not images:
            return []
        bytes_left, pixels_left = ByteBudget(self._fetched_bytes), PixelBudget(self._request_pixels)
        decoding = [asyncio.ensure_future(self._one(image, bytes_left, pixels_left)) for image in images]
        try:
            return await asyncio.gather(*decoding)
        finally:
            # Of a request that is refused or whose client is gone, nothing more is fetched or decoded.
            for each in decoding:
                each.cancel()

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _one(self, image: ImagePart, bytes_left: ByteBudget, pixels_left: PixelBudget) -> DecodedImage:
        fetched = await self._fetched(image, bytes_left)
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, self._decode, image, fetched, pixels_left
        )

    async def _fetched(self, image: ImagePart, bytes_left: ByteBudget) -> bytes | None:
        """The image's bytes if it is behind an http(s) address."""
        if not image.url[:8].lower().startswith(("http://", "https://")):
            return None
        if self._fetcher is None:
            raise _refused(image, "is at an http(s) address; this server does not fetch images, send a data: URL")
        try:
            return await self._fetcher.fetch(image.url, bytes_left)
        except FetchFailed as failed:
            raise _refused(image, str(failed), code="invalid_image_url") from failed

    def _decode(self, image: ImagePart, fetched: bytes | None, pixels_left: PixelBudget) -> DecodedImage:
        encoded = self._data(image) if fetched is None else fetched
        shown = self._shown_pixels[image.detail]
        try:
            pixels = decode_pixels(encoded, max_pixels=self._max_pixels, shown_pixels=shown, budget=pixels_left)
        except NotAnImage as error:
            raise _refused(image, str(error)) from error.__cause__
        return DecodedImage(pixels, encoded)

    def _data(self, image: ImagePart) -> bytes:
        header, comma, payload = image.url.partition(",")
        header = header.lower()
        if not comma or not header.startswith("data:") or not header.endswith(";base64"):
            raise _refused(image, "must be a data: URL with base64 content")
        if len(payload) > self._max_bytes * 4 // 3 + 4:
            raise _refused(image, f"is larger than {self._max_bytes} bytes")
        try:
            return base64.b64decode(payload, validate=True)
        except (binascii.Error, ValueError):
            raise _refused(image, "is not valid base64") from None


def _refused(image: ImagePart, why: str, *, code: str = "invalid_image") -> InvalidRequest:
    return InvalidRequest(f"The image at {image.param} {why}.", param=image.param, code=code)
