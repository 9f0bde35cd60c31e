"""Anthropic's answer to a Messages request: its identity, its usage, how it ended, and the whole of it in one body."""

from __future__ import annotations

import hashlib
import uuid
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.generation.events import (
    Batch,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from server.generation.generation import Usage


class Signature:
    """The signature of a thinking block: opaque to clients, the same for the same thinking.

    Anthropic's tells that the thinking is its model's own and unchanged, and is checked when it comes back. Here it is
    there for clients that insist on one and is not checked: thinking is no more trusted than any other text that a
    client sends, which could write the whole prompt as it likes. So histories can be edited, and move between servers.
    """

    __slots__ = ("_digest",)

    def __init__(self) -> None:
        self._digest = hashlib.blake2b(digest_size=32, person=b"qwend thinking")

    def add(self, text: str) -> None:
        """Takes in more of the thinking."""
        self._digest.update(text.encode("utf-8", "surrogatepass"))

    def told(self) -> str:
        """The signature of what was taken in."""
        return b64encode(self._digest.digest()).decode()


@dataclass(frozen=True, slots=True)
class MessageAnswer:
    """What is known of one answer before it is made: its id, the model's name as the client said it, the tier it is
    served in, whether its thinking is shown, and whether it ends where the context does.
    """

    id: str
    model: str
    tier: str
    shows_thinking: bool = True
    fills_context: bool = False

    def message(self, content: Sequence[Any], usage: Usage) -> dict[str, Any]:
        """Anthropic's message object of an answer that has not ended."""
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": list(content),
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {**usage_json(usage), "service_tier": self.tier},
        }

    def ending(self, finish_reason: str | None, stop_string: str | None) -> dict[str, Any]:
        """Why it ended: `finish_reason` is the core's, `stop_string` the one of the request's that came."""
        if stop_string is not None:
            reason = "stop_sequence"
        elif finish_reason == "length":
            reason = "model_context_window_exceeded" if self.fills_context else "max_tokens"
        else:
            reason = "tool_use" if finish_reason == "tool_calls" else "end_turn"
        return {"stop_reason": reason, "stop_sequence": stop_string}


def new_message_id() -> str:
    """An id that no other answer has."""
    return f"msg_{uuid.uuid4().hex}"


def new_tool_use_id() -> str:
    """An id that no other call has."""
    return f"toolu_{uuid.uuid4().hex[:24]}"


def usage_json(usage: Usage) -> dict[str, Any]:
    """Anthropic's usage object: `input_tokens` are those that were in no cache. Writing to the cache is not counted
    apart, since it costs nothing here. `cost`, in US dollars, is there for whom it is told to.
    """
    told: dict[str, Any] = {
        "input_tokens": usage.prompt - usage.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
    return told if usage.cost is None else {**told, "cost": usage.cost}


class _Block:
    """A block of the answer while it is put together."""

    __slots__ = ("kind", "name", "pieces")

    def __init__(self, kind: str, name: str = "") -> None:
        self.kind = kind
        self.name = name
        self.pieces: list[str] = []


class WholeMessage:
    """Collects batches into one message. Blocks stand in the order in which they came, as in a stream."""

    def __init__(self, answer: MessageAnswer) -> None:
        self._answer = answer
        self._blocks: list[_Block] = []
        self._stop_string: str | None = None

    def add(self, batch: Batch) -> None:
        """Takes in the next batch."""
        self._stop_string = batch.stop_string
        for event in batch.events:
            if isinstance(event, TextDelta):
                self._block("text").pieces.append(event.text)
            elif isinstance(event, ReasoningDelta):
                self._block("thinking").pieces.append(event.text)
            elif isinstance(event, ToolCallStart):
                self._blocks.append(_Block("tool_use", event.name))
            elif isinstance(event, ToolCallArguments):
                self._blocks[-1].pieces.append(event.fragment)

    def encode(self, finish_reasons: Sequence[str | None], usage: Usage) -> bytes:
        """The body."""
        (finish_reason,) = finish_reasons
        body = self._answer.message([self._encoded(block) for block in self._blocks], usage)
        return orjson.dumps(body | self._answer.ending(finish_reason, self._stop_string))

    def _block(self, kind: str) -> _Block:
        if not self._blocks or self._blocks[-1].kind != kind:
            self._blocks.append(_Block(kind))
        return self._blocks[-1]

    def _encoded(self, block: _Block) -> dict[str, Any]:
        content = "".join(block.pieces)
        if block.kind == "text":
            return {"type": "text", "text": content}
        if block.kind == "thinking":
            signature = Signature()
            signature.add(content)
            shown = content if self._answer.shows_thinking else ""
            return {"type": "thinking", "thinking": shown, "signature": signature.told()}
        # Verbatim: read and written again, long numbers would lose digits.
        arguments = orjson.Fragment(content or "{}")
        return {"type": "tool_use", "id": new_tool_use_id(), "name": block.name, "input": arguments}
