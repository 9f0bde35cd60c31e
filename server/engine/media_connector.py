"""How decoded videos get into vLLM's renderer: in place of its own media connector, which fetches and decodes.

vLLM takes decoded images in a part of their own, but videos by an address only. The addresses that it is given here are
names of videos that lie ready for the time of one rendering; nothing else is at any address.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from server.generation.ports import DecodedVideo

NAME = "qwend"
"""What the connector is registered as, for VLLM_MEDIA_CONNECTOR."""

_READY: dict[str, Any] = {}


@contextlib.contextmanager
def ready(videos: Sequence[DecodedVideo]) -> Iterator[list[str]]:
    """Addresses that stand for `videos` inside the block; a client cannot guess them."""
    addresses = [f"ready:{secrets.token_hex(16)}" for _ in videos]
    _READY.update(zip(addresses, map(_for_vllm, videos), strict=True))
    try:
        yield addresses
    finally:
        for address in addresses:
            _READY.pop(address, None)


def register() -> None:
    """Makes our connector known to vLLM in this process; idempotent."""
    from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class ReadyMedia(MediaConnector):  # type: ignore[misc]
        """Fetches nothing: a video is there already, and anything else is refused."""

        def load_from_url(self, url: str, *arguments: Any, **rest: Any) -> Any:
            raise ValueError("The engine fetches no media.")

        async def load_from_url_async(self, url: str, *arguments: Any, **rest: Any) -> Any:
            raise ValueError("The engine fetches no media.")

        async def fetch_video_async(self, video_url: str, **rest: Any) -> Any:
            return _READY[video_url]

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(ReadyMedia)


def _for_vllm(video: DecodedVideo) -> Any:
    """Frames and what vLLM must know of them.

    It hashes both for its cache, so that the key is what the model sees and nothing that a client names.
    """
    import numpy

    frames = numpy.frombuffer(video.pixels, numpy.uint8).reshape(video.frames, video.height, video.width, 3)
    return frames, {
        "total_num_frames": video.total,
        "fps": video.fps,
        "duration": video.total / video.fps,
        "frames_indices": list(video.indices),
        "width": video.width,
        "height": video.height,
        "video_backend": "opencv",
        # They are sampled; the model's own processor must not do it again.
        "do_sample_frames": False,
    }
