"""What a model may write, cut into the engine's deltas however it comes: what every dialect's stream is tested on."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from server.generation.ports import EngineDelta, TokenLogprob

TOOLS: Mapping[str, Mapping[str, Any]] = {
    "f": {
        "type": "object",
        "properties": {
            "text": {"type": "string"},
            "count": {"type": "integer"},
            "on": {"type": "boolean"},
            "guest": {"type": "object"},
            "rooms": {"type": "array"},
        },
    },
    "now": {"type": "object", "properties": {}},
}
THINK_END = 7
FRAGMENTS = [
    *("<think>", "</think>", "<tool_call>\n", "</tool_call>", "</function>\n", "</parameter>\n", "<function=f>\n"),
    *("<function=now>\n", "<function=unknown>\n", "<parameter=text>\n", "<parameter=count>\n", "<parameter=on>\n"),
    *("<parameter=guest>\n", "<parameter=rooms>\n", '{"age": 5}', "[1, 2]", "17", "true", "None", "\n", "\n\n", " "),
    *("data: ", "[DONE]", "\r\n", "\u2028", "\x00", '"', "\\", "é", "👋🏽", "größer", "a", "<", "{"),
]
WHOLE_CALL = "<tool_call>\n<function=f>\n<parameter=text>\nhello\n</parameter>\n</function>\n</tool_call>"


def deltas(answer: int, text: str, cuts: random.Random, finish: str) -> list[EngineDelta]:
    """The text in tokens of some characters, a few tokens a delta, as the engine gives them."""
    made = []
    at = 0
    while at < len(text) or not made or cuts.random() < 0.1:
        pieces = []
        for _ in range(cuts.randint(1, 3)):
            # A token may show nothing yet: a part of a character, or the end of the answer.
            size = cuts.randint(0, 6)
            pieces.append(text[at : at + size])
            at += size
        ids = [THINK_END if "</think>" in piece else cuts.randint(10, 99) for piece in pieces]
        told = [TokenLogprob(piece, piece.encode(), -0.5, [TokenLogprob("x", b"x", -0.1)]) for piece in pieces]
        made.append(EngineDelta("".join(pieces), ids, None, 3, answer, told))
    made.append(EngineDelta("", [8], finish, 3, answer, [TokenLogprob("", b"", -0.1)]))
    return made


class Scripted:
    """A stream of the engine's."""

    def __init__(self, script: list[EngineDelta]) -> None:
        self._script = list(script)

    async def next(self) -> list[EngineDelta]:
        return [self._script.pop(0)]

    def interrupt(self, error: Exception) -> None:
        raise error

    async def close(self) -> None:
        pass


class Permit:
    def made(self, tokens: int, cached: int) -> None:
        pass

    def on_interrupt(self, interrupt: Any) -> None:
        pass

    def end(self, outcome: str) -> None:
        pass
