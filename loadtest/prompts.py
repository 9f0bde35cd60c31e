"""Prompts of a wanted length, with nothing in common but what they are meant to share.

A word is one of some fifty, so that the first twenty of two prompts are as good as never the same, and no server finds
one's blocks in its cache for another.
"""

from __future__ import annotations

import base64
import random
import struct
import zlib
from dataclasses import dataclass
from typing import Any

# Common words, which most tokenizers have whole; how many tokens they are for a server is asked of it (`calibration`).
_TEXT = """
the cat sat on a mat while it rained and nobody came to see what had become of them all so we went back home with some
old books about time and water that she gave him last year before they made this small house near the river where people
like to walk at night when there is no wind
"""
WORDS = _TEXT.split()

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CITIES = ("Lisbon", "Oslo", "Cairo", "Lima", "Kyoto", "Quito", "Dakar", "Perth")


@dataclass(frozen=True, slots=True)
class Pace:
    """How a server counts our words: tokens for each word, and for what its template puts around a message."""

    tokens_per_word: float = 1.0
    overhead: float = 0.0

    def words(self, tokens: float) -> int:
        """How many words make a message that the server counts as `tokens`."""
        return max(1, round((tokens - self.overhead) / self.tokens_per_word))

    def inner_words(self, tokens: float) -> int:
        """The same for text that is only a part of a message."""
        return max(0, round(tokens / self.tokens_per_word))


def text(rng: random.Random, words: int) -> str:
    """So many words."""
    return " ".join(rng.choices(WORDS, k=words))


def block(nonce: str, number: int, words: int) -> str:
    """The words of a recorded block: the same for the same number, in one run."""
    return text(random.Random(f"{nonce}/block/{number}"), words)


def image(rng: random.Random, pixels: int) -> str:
    """A data URL of a PNG of one random colour with a square of another one in it."""
    behind, before = rng.randbytes(3), rng.randbytes(3)
    quarter = pixels // 4
    outer = b"\0" + behind * pixels
    inner = b"\0" + behind * quarter + before * (pixels - 2 * quarter) + behind * quarter
    rows = outer * quarter + inner * (pixels - 2 * quarter) + outer * quarter
    head = struct.pack(">IIBBBBB", pixels, pixels, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + _part(b"IHDR", head) + _part(b"IDAT", zlib.compress(rows)) + _part(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
