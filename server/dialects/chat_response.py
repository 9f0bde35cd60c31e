"""OpenAI's chat completions answer: one JSON body, or SSE frames.

Frames are put together from bytes that are encoded once per answer; only the new text is encoded per frame. Building
them from models costs some 25 us a token, this under 1.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from typing import Any

import orjson

from server.generation.errors import RequestFailed
from server.generation.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from server.generation.generation import Usage

DONE = b"data: [DONE]\n\n"


class ChatAnswer:
    """The identity of one answer, shared by all its frames."""

    def __init__(self, model: str, fingerprint: str) -> None:
        self.id = f"chatcmpl-{uuid.uuid4().hex}"
        self.model = model
        self.fingerprint = fingerprint
        self.created = int(time.time())

    def head(self, kind: str) -> dict[str, Any]:
        """The fields that every object of this answer starts with."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }


def usage_json(usage: Usage) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def error_json(error: RequestFailed) -> dict[str, Any]:
    """OpenAI's error envelope."""
    return {
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code},
    }


class WholeAnswer:
    """Collects events into one chat.completion."""

    def __init__(self, answer: ChatAnswer) -> None:
        self._answer = answer
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: list[tuple[str, list[str]]] = []

    def add(self, events: Iterable[OutputEvent]) -> None:
        """Takes in the next events."""
        for event in events:
            if isinstance(event, TextDelta):
                self._text.append(event.text)
            elif isinstance(event, ReasoningDelta):
                self._reasoning.append(event.text)
            elif isinstance(event, ToolCallStart):
                self._calls.append((event.name, []))
            elif isinstance(event, ToolCallArguments):
                self._calls[event.index][1].append(event.fragment)

    def encode(self, finish_reason: str, usage: Usage) -> bytes:
        """The body."""
        reasoning = "".join(self._reasoning) or None
        content = "".join(self._text)
        message: dict[str, Any] = {
            "role": "assistant",
            # With calls and no text OpenAI says null, and clients test for it.
            "content": content if content or not self._calls else None,
            "refusal": None,
            "reasoning": reasoning,
            "reasoning_content": reasoning,
        }
        if self._calls:
            message["tool_calls"] = [
                {"id": new_call_id(), "type": "function", "function": {"name": name, "arguments": "".join(pieces)}}
                for name, pieces in self._calls
            ]
        return orjson.dumps(
            {
                **self._answer.head("chat.completion"),
                "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason}],
                "usage": usage_json(usage),
            }
        )


class StreamEncoder:
    """Events to SSE frames of chat.completion.chunk objects."""

    def __init__(self, answer: ChatAnswer, *, include_usage: bool) -> None:
        self._answer = answer
        self._include_usage = include_usage
        head = orjson.dumps(answer.head("chat.completion.chunk"))[:-1]
        self._before = b"data: " + head + b',"choices":[{"index":0,"delta":'
        # With usage asked for, OpenAI sends it as null in every chunk but the last.
        end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._after = b',"logprobs":null,"finish_reason":null}]' + end
        self._text = self._before + b'{"content":'
        self._reasoning = self._before + b'{"reasoning":'
        self._end = end

    def start(self) -> bytes:
        """The first frame: it says who speaks and tells the client that it was let in."""
        return self._before + b'{"role":"assistant","content":""}' + self._after

    def events(self, events: Iterable[OutputEvent]) -> bytes:
        """The frames of some events; empty when none of them shows on the wire."""
        return b"".join(map(self._frame, events))

    def finish(self, finish_reason: str, usage: Usage) -> bytes:
        """The frames that end a complete answer."""
        reason = orjson.dumps(finish_reason)
        frames = self._before + b'{},"logprobs":null,"finish_reason":' + reason + b"}]" + self._end
        if self._include_usage:
            body = {**self._answer.head("chat.completion.chunk"), "choices": [], "usage": usage_json(usage)}
            frames += b"data: " + orjson.dumps(body) + b"\n\n"
        return frames + DONE

    @staticmethod
    def failed(error: RequestFailed) -> bytes:
        """The frame that ends an answer which cannot be completed; no [DONE] follows a failure."""
        return b"data: " + orjson.dumps(error_json(error)) + b"\n\n"

    def _frame(self, event: OutputEvent) -> bytes:
        if isinstance(event, TextDelta):
            return self._text + orjson.dumps(event.text) + b"}" + self._after
        if isinstance(event, ReasoningDelta):
            text = orjson.dumps(event.text)
            return self._reasoning + text + b',"reasoning_content":' + text + b"}" + self._after
        if isinstance(event, ToolCallStart):
            call: dict[str, Any] = {
                "index": event.index,
                "id": new_call_id(),
                "type": "function",
                "function": {"name": event.name, "arguments": ""},
            }
        elif isinstance(event, ToolCallArguments):
            call = {"index": event.index, "function": {"arguments": event.fragment}}
        else:
            return b""
        return self._before + b'{"tool_calls":' + orjson.dumps([call]) + b"}" + self._after


def new_call_id() -> str:
    """An id that no other call has."""
    return f"call_{uuid.uuid4().hex[:24]}"
