"""What a model may write, cut into the engine's deltas however it comes: what every dialect's stream is tested on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Protocol

from server.generation.events import Batch
from server.generation.generation import Generation, Usage
from server.generation.output_parser import OutputParser
from server.generation.ports import EngineDelta, Prompt, TokenLogprob

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


PROMPT_IDS = [1, 2, 3, 4, 5]


def generation_of(script: list[EngineDelta], *, thinking: bool, tools: Any, answers: int = 1) -> Generation:
    """What an engine makes that says these deltas to a prompt of five tokens."""
    return Generation(
        Scripted(script),
        lambda: OutputParser(thinking=thinking, tools=tools),
        Permit(),
        Prompt(None, 5, thinking, PROMPT_IDS),
        THINK_END,
        answers=answers,
    )


class Stream(Protocol):
    """A dialect's stream of one answer."""

    def start(self) -> bytes: ...
    def batch(self, batch: Batch, /) -> bytes: ...
    def finish(self, usage: Usage, /) -> bytes: ...


class Whole(Protocol):
    """A dialect's whole answer."""

    def add(self, batch: Batch, /) -> None: ...
    def encode(self, finish_reasons: Any, usage: Usage, /) -> bytes: ...


def streamed_and_whole(generation: Generation, stream: Stream, whole: Whole) -> tuple[bytes, bytes]:
    """The stream and the whole answer that a generation makes."""
    streamed = stream.start()

    async def run() -> None:
        nonlocal streamed
        async for batch in generation.events():
            streamed += stream.batch(batch)
            whole.add(batch)

    asyncio.run(run())
    streamed += stream.finish(generation.usage)
    return streamed, whole.encode(generation.finish_reasons, generation.usage)
