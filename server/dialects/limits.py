"""Bounds that parsing enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Most messages and tools in one request, the largest schema or grammar for its answer, in bytes of JSON, and the
    most frames of a video.
    """

    messages: int
    tools: int
    schema_bytes: int
    video_frames: int = 768
