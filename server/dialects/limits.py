"""Bounds that parsing enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Most messages, tools and raw prompts in one request, and the largest schema or grammar for its answer, in bytes
    of JSON; and what the tokenizer is lent for: bytes of text, and tokens. `video_frames` is the most frames
    of a video.
    """

    messages: int
    tools: int
    schema_bytes: int
    prompts: int = 128
    tokenize_bytes: int = 2**20
    detokenize_tokens: int = 2**17
    video_frames: int = 768
