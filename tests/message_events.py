"""Anthropic's stream read strictly: which event may follow which, and the message that they add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

# What a block begins as, beside its type, and the deltas that it grows by: their type and their field.
EMPTY = {
    "text": {"text": ""},
    "thinking": {"thinking": "", "signature": ""},
    "tool_use": {"input": {}},
}
GROWS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}


def events(raw: bytes) -> list[dict[str, Any]]:
    """The stream's events; each is a line with its name, one with its JSON and a blank one."""
    assert raw.endswith(b"\n\n") or not raw
    found = []
    for frame in raw.split(b"\n\n")[:-1]:
        name, data = frame.split(b"\n")
        assert name.startswith(b"event: ")
        assert data.startswith(b"data: {")
        event = json.loads(data.removeprefix(b"data: "))
        assert event["type"] == name.removeprefix(b"event: ").decode()
        found.append(event)
    return found


class Reader:
    """The states of a stream: begun, in a block, between blocks, ended, stopped. Fails where an event may not come."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None
        self._block: dict[str, Any] | None = None
        self._pieces: list[str] = []
        self._ended = self.stopped = False

    def read(self, event: dict[str, Any]) -> None:
        """Takes in the next event."""
        kind = event["type"]
        assert not self.stopped, f"{kind} after the last event"
        assert self.error is None, f"{kind} after an error"
        if kind == "ping":
            assert event == {"type": "ping"}
        elif kind == "error":
            self.error = event["error"]
        elif kind == "message_start":
            assert not self.message, "the message begins twice"
            self.message = event["message"]
            assert (self.message["content"], self.message["stop_reason"]) == ([], None)
        else:
            assert self.message, f"{kind} before the message"
            getattr(self, f"_{kind}")(event)

    def _content_block_start(self, event: dict[str, Any]) -> None:
        assert self._block is None, "a block in a block"
        assert not self._ended, "a block after the end"
        block = event["content_block"]
        assert event["index"] == len(self.message["content"])
        assert block.items() >= EMPTY[block["type"]].items()
        self.message["content"].append(block)
        self._block, self._pieces = block, []

    def _content_block_delta(self, event: dict[str, Any]) -> None:
        block, delta = self._block, event["delta"]
        assert block is not None, "a delta without a block"
        assert event["index"] == len(self.message["content"]) - 1
        assert not block.get("signature"), "a delta after the signature"
        if delta["type"] == "signature_delta":
            assert block["type"] == "thinking"
            assert delta["signature"]
            block["signature"] = delta["signature"]
            return
        kind, field = GROWS[block["type"]]
        assert delta["type"] == kind
        assert delta[field], "an empty delta"
        self._pieces.append(delta[field])

    def _content_block_stop(self, event: dict[str, Any]) -> None:
        block = self._block
        assert block is not None, "the end of no block"
        assert event["index"] == len(self.message["content"]) - 1
        content = "".join(self._pieces)
        if block["type"] == "tool_use":
            block["input"] = json.loads(content)
            assert isinstance(block["input"], dict)
        else:
            block[block["type"]] = content
        assert block.get("signature") != "", "thinking without a signature"
        self._block = None

    def _message_delta(self, event: dict[str, Any]) -> None:
        assert self._block is None, "the end in a block"
        assert not self._ended, "two ends"
        assert event["delta"]["stop_reason"]
        self.message |= event["delta"]
        self.message["usage"] |= event["usage"]
        self._ended = True

    def _message_stop(self, event: dict[str, Any]) -> None:
        assert self._ended, "the last event before the end"
        self.stopped = True


def added_up(stream: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The message of a whole stream."""
    reader = Reader()
    for event in stream:
        reader.read(event)
    assert reader.error is None, reader.error
    assert reader.stopped, "the stream is cut"
    return reader.message


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """The message without what two answers never share."""
    content = [{name: value for name, value in block.items() if name != "id"} for block in message["content"]]
    return {**message, "id": "", "content": content}
