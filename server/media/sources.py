"""From what a request calls an image or a video to its bytes: fetched, or read from a data URL."""

from __future__ import annotations

import binascii

import pybase64

from server.generation.conversation import ImagePart, VideoPart
from server.generation.errors import InvalidRequest
from server.media.fetch import ByteBudget, Fetcher, FetchFailed, Kind


def kind_of(part: ImagePart | VideoPart) -> Kind:
    """What the part must be."""
    return "video" if isinstance(part, VideoPart) else "image"


def source(part: ImagePart | VideoPart) -> str:
    """Where the part's bytes are, for metrics: `url` or `data`."""
    return "url" if part.url[:8].lower().startswith(("http://", "https://")) else "data"


def refused(part: ImagePart | VideoPart, why: str, *, code: str | None = None) -> InvalidRequest:
    """The error that names a part; `why` ends a sentence that begins with it."""
    kind = kind_of(part)
    return InvalidRequest(f"The {kind} at {part.param} {why}.", param=part.param, code=code or f"invalid_{kind}")


async def fetched(part: ImagePart | VideoPart, fetcher: Fetcher | None, budget: ByteBudget) -> bytes | None:
    """The part's bytes if it is behind an http(s) address, else None. Raises InvalidRequest."""
    if source(part) == "data":
        return None
    kind = kind_of(part)
    if fetcher is None:
        raise refused(part, f"is at an http(s) address; this server does not fetch {kind}s, send a data: URL")
    try:
        return await fetcher.fetch(part.url, budget, kind)
    except FetchFailed as failed:
        raise refused(part, str(failed), code=f"invalid_{kind}_url") from failed


def from_data_url(part: ImagePart | VideoPart, max_bytes: int) -> bytes:
    """The bytes in a data URL; slow for large ones. Raises InvalidRequest."""
    header, comma, payload = part.url.partition(",")
    header = header.lower()
    if not comma or not header.startswith("data:") or not header.endswith(";base64"):
        raise refused(part, "must be a data: URL with base64 content")
    if len(payload) > max_bytes * 4 // 3 + 4:
        raise refused(part, f"is larger than {max_bytes} bytes")
    try:
        return pybase64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        raise refused(part, "is not valid base64") from None
