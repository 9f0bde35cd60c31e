"""Anthropic's answer to a Messages request as server-sent events.

Each event is named, and blocks follow each other: one is begun, grows and ends before the next begins. Frames of text
are put together from bytes that are encoded once per block.
"""

from __future__ import annotations

from typing import Any

import orjson

from server.dialects.messages_errors import message_error_json
from server.dialects.messages_response import MessageAnswer, Signature, new_tool_use_id, usage_json
from server.generation.errors import RequestFailed
from server.generation.events import Batch, OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.generation import Usage

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
"""Sent once at the beginning, and where nothing else comes for a while."""


def _frame(kind: str, **fields: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps({"type": kind, **fields}) + b"\n\n"


class MessageStream:
    """Batches to events.

    `message_start` waits for the first batch: only then is it known how much of the prompt was in the cache. `usage` is
    the running answer's own, which grows.
    """

    def __init__(self, answer: MessageAnswer, usage: Usage, request_id: str) -> None:
        self._answer = answer
        self._usage = usage
        self._request_id = request_id
        self._begun = False
        # The block that is open, by its type, and what each of its deltas begins with.
        self._open = ""
        self._index = -1
        self._delta = b""
        self._signature = Signature()
        self._ended: tuple[str | None, str | None] = (None, None)

    def start(self) -> bytes:
        """Nothing yet."""
        return b""

    def batch(self, batch: Batch) -> bytes:
        """The events of a batch; empty when nothing of it shows on the wire."""
        frames = b"".join(map(self._event, batch.events))
        if batch.finish_reason is not None:
            self._ended = batch.finish_reason, batch.stop_string
        return frames if self._begun else self._begin() + frames

    def finish(self, usage: Usage) -> bytes:
        """The events that end a complete answer."""
        started = b"" if self._begun else self._begin()
        delta = _frame("message_delta", delta=self._answer.ending(*self._ended), usage=usage_json(usage))
        return started + self._close() + delta + _frame("message_stop")

    def failed(self, error: RequestFailed) -> bytes:
        """The event that ends an answer which cannot be completed."""
        return b"event: error\ndata: " + orjson.dumps(message_error_json(error, self._request_id)) + b"\n\n"

    def _begin(self) -> bytes:
        self._begun = True
        return _frame("message_start", message=self._answer.message([], self._usage)) + PING

    def _event(self, event: OutputEvent) -> bytes:
        if isinstance(event, TextDelta):
            return self._in_block("text", {"text": ""}, "text_delta", "text") + self._grown(event.text)
        if isinstance(event, ReasoningDelta):
            opened = self._in_block("thinking", {"thinking": "", "signature": ""}, "thinking_delta", "thinking")
            self._signature.add(event.text)
            return opened + self._grown(event.text) if self._answer.shows_thinking else opened
        if isinstance(event, ToolCallStart):
            call = {"id": new_tool_use_id(), "name": event.name, "input": {}}
            return self._in_block("tool_use", call, "input_json_delta", "partial_json")
        return self._grown(event.fragment) if isinstance(event, ToolCallArguments) else self._close()

    def _in_block(self, kind: str, fields: dict[str, Any], delta: str, holds: str) -> bytes:
        """Begins a block unless one of its kind is open; `delta` is the type of its deltas, `holds` their field."""
        if self._open == kind:
            return b""
        closed = self._close()
        self._open = kind
        self._index += 1
        self._delta = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":'
            % (self._index, delta.encode(), holds.encode())
        )
        return closed + _frame("content_block_start", index=self._index, content_block={"type": kind, **fields})

    def _grown(self, text: str) -> bytes:
        return self._delta + orjson.dumps(text) + b"}}\n\n"

    def _close(self) -> bytes:
        if not self._open:
            return b""
        signed = b""
        if self._open == "thinking":
            delta = {"type": "signature_delta", "signature": self._signature.told()}
            signed = _frame("content_block_delta", index=self._index, delta=delta)
            self._signature = Signature()
        self._open = ""
        return signed + _frame("content_block_stop", index=self._index)
