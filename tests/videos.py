"""Videos for tests, made by the library that decodes them."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy
from PIL import Image

RED, GREEN, BLUE = (220, 30, 30), (30, 160, 60), (30, 60, 220)

_CODECS = {"mp4": "mp4v", "webm": "VP80", "mkv": "VP90", "avi": "MJPG"}


def encode(
    colors: Sequence[tuple[int, int, int]], form: str = "mp4", *, size: tuple[int, int] = (64, 64), fps: float = 2
) -> bytes:
    """A video with a frame for each RGB colour."""
    if form == "gif":
        first, *rest = (Image.new("RGB", size, color) for color in colors)
        for number, image in enumerate(rest):
            image.putpixel((number % size[0], 0), (number, 0, 0))  # Pillow joins frames that are the same
        out = io.BytesIO()
        first.save(out, "GIF", save_all=True, append_images=rest, duration=int(1000 / fps))
        return out.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"video.{form}"
        code = cv2.VideoWriter.fourcc(*_CODECS[form])
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size)
        for red, green, blue in colors:
            writer.write(numpy.full((size[1], size[0], 3), (blue, green, red), numpy.uint8))
        writer.release()
        return path.read_bytes()


def video_url(encoded: bytes, kind: str = "video/mp4") -> str:
    return f"data:{kind};base64,{base64.b64encode(encoded).decode()}"


def video_part(encoded: bytes, **fields: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": video_url(encoded)}, **fields}
