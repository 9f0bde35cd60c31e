"""From the images and videos that a request names to pixels: fetched or read from a data URL, then decoded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from server.generation.conversation import Detail, ImagePart, VideoPart
from server.generation.ports import DecodedImage, DecodedVideo
from server.media.fetch import ByteBudget, Fetcher
from server.media.pixels import NotAnImage, PixelBudget, decode_pixels
from server.media.sources import fetched, from_data_url, refused, source
from server.media.videos import VideoDecoder
from server.telemetry import media_metrics


class MediaDecoder:
    """Decodes the images of requests in a few threads, and hands their videos to `videos`.

    `max_bytes` bounds one encoded image, `max_pixels` its width times height and `request_pixels` the sum of those over
    a request, all read from headers. `shown_pixels` says for each `detail` to how many pixels an image is made smaller.
    Without a `fetcher` only data URLs are taken; `fetched_bytes` bounds what it brings for one request. `seen` is told
    the host of each that is behind an address, and how many seconds it took, failed or not.
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
        videos: VideoDecoder | None = None,
        seen: Callable[[str, float], None] = lambda host, seconds: None,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._request_pixels = request_pixels
        self._shown_pixels = dict(shown_pixels)
        self._fetcher = fetcher
        self._fetched_bytes = fetched_bytes
        self._videos = videos
        self._seen = seen
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="image-decode")

    async def decode(self, parts: Sequence[ImagePart | VideoPart]) -> list[DecodedImage | DecodedVideo]:
        """The pixels of all images and videos of one request, in their order.

        Raises InvalidRequest that names a part, Unavailable where too many videos wait.
        """
        if not parts:
            return []
        bytes_left, pixels_left = ByteBudget(self._fetched_bytes), PixelBudget(self._request_pixels)
        decoding = [asyncio.ensure_future(self._counted(part, bytes_left, pixels_left)) for part in parts]
        try:
            return await asyncio.gather(*decoding)
        finally:
            # Of a request that is refused or whose client is gone, nothing more is fetched or decoded.
            for each in decoding:
                each.cancel()

    def close(self) -> None:
        """Lets the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._videos is not None:
            self._videos.close()

    async def _counted(
        self, part: ImagePart | VideoPart, bytes_left: ByteBudget, pixels_left: PixelBudget
    ) -> DecodedImage | DecodedVideo:
        labels = "video" if isinstance(part, VideoPart) else "image", source(part)
        began = time.perf_counter()
        try:
            decoded = await self._one(part, bytes_left, pixels_left)
        except Exception:
            media_metrics.ITEMS.labels(*labels, "failed").inc()
            raise
        finally:
            seconds = time.perf_counter() - began
            media_metrics.SECONDS.labels(*labels).observe(seconds)
            if labels[1] == "url" and self._fetcher is not None:
                self._seen(_host(part.url), seconds)
        media_metrics.ITEMS.labels(*labels, "taken").inc()
        return decoded

    async def _one(
        self, part: ImagePart | VideoPart, bytes_left: ByteBudget, pixels_left: PixelBudget
    ) -> DecodedImage | DecodedVideo:
        if isinstance(part, VideoPart):
            if self._videos is None:
                raise refused(part, "is not taken: this server takes no videos")
            return await self._videos.decode(part, bytes_left)
        body = await fetched(part, self._fetcher, bytes_left)
        image = await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, part, body, pixels_left)
        media_metrics.BYTES.labels("image", source(part)).inc(len(image.encoded))
        return image

    def _decode(self, image: ImagePart, body: bytes | None, pixels_left: PixelBudget) -> DecodedImage:
        encoded = from_data_url(image, self._max_bytes) if body is None else body
        shown = self._shown_pixels[image.detail]
        most = min(shown, image.max_pixels or shown)
        try:
            pixels = decode_pixels(
                encoded,
                max_pixels=self._max_pixels,
                shown_pixels=most,
                least_pixels=min(image.min_pixels or 0, most),
                budget=pixels_left,
            )
        except NotAnImage as error:
            raise refused(image, str(error)) from error.__cause__
        return DecodedImage(pixels, encoded)


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
