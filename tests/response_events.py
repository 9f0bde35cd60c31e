"""A stream of the Responses API read strictly: which event may follow which, and the response that they add up to."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

STARTED = ("response.created", "response.queued", "response.in_progress")
ENDED = ("response.completed", "response.incomplete", "response.failed")
# By the type of the item: the event that its deltas are, and what holds its text.
GROWS = {
    "message": ("response.output_text", "content"),
    "reasoning": ("response.reasoning_text", "content"),
    "summary": ("response.reasoning_summary_text", "summary"),
    "function_call": ("response.function_call_arguments", "arguments"),
}


def events(raw: bytes) -> list[dict[str, Any]]:
    """The stream's events; each is a line with its name, one with its JSON and a blank one."""
    assert raw.endswith(b"\n\n") or not raw
    found = []
    for frame in raw.split(b"\n\n")[:-1]:
        if frame.startswith(b":"):
            continue
        name, data = frame.split(b"\n")
        assert name.startswith(b"event: ")
        event = json.loads(data.removeprefix(b"data: "))
        assert event["type"] == name.removeprefix(b"event: ").decode()
        found.append(event)
    return found


class Reader:
    """The states of a stream: started, in an item, in its part, between items, ended. Fails where an event may not
    come.
    """

    def __init__(self, first: int = 0) -> None:
        self.response: dict[str, Any] = {}
        self.output: list[dict[str, Any]] = []
        self.ended = self._made = False
        self._next = first
        self._item: dict[str, Any] | None = None
        # Of the open item: the part that is open, its text so far, and whether its text is done.
        self._part: dict[str, Any] | None = None
        self._pieces: list[str] = []
        self._logprobs: list[Any] = []
        self._done = self._part_done = False

    def read(self, event: dict[str, Any]) -> None:
        """Takes in the next event."""
        kind = event["type"]
        assert not self.ended, f"{kind} after the end"
        assert event["sequence_number"] == self._next
        self._next += 1
        if kind in STARTED:
            self._started(kind, event["response"])
        elif kind in ENDED:
            self._end(kind, event["response"])
        else:
            assert self._made, f"{kind} before the response is made"
            if kind == "response.output_item.added":
                self._added(event)
            else:
                self._of_item(kind, event)

    def _started(self, kind: str, response: dict[str, Any]) -> None:
        assert (kind == "response.created") == (not self.response)
        assert not self._made, f"{kind} twice, or too late"
        assert response["output"] == []
        assert response["usage"] is None
        if self.response:
            assert {**response, "status": 0} == {**self.response, "status": 0}, "the response has changed"
            assert response["status"] == kind.removeprefix("response.")
        self.response = response
        self._made = kind == "response.in_progress"

    def _end(self, kind: str, response: dict[str, Any]) -> None:
        status = response["status"]
        assert kind.removeprefix("response.") == {"cancelled": "incomplete"}.get(status, status)
        assert response["id"] == self.response["id"]
        assert (response["error"] is not None) == (status == "failed")
        assert (response["completed_at"] is not None) == (status == "completed")
        assert (response["incomplete_details"] is not None) == (status == "incomplete")
        if status in ("completed", "incomplete"):
            assert self._item is None, "the end in an item"
            assert response["output"] == self.output
            assert response["usage"]["total_tokens"] > 0
        self.response = response
        self.ended = True

    def _added(self, event: dict[str, Any]) -> None:
        item = event["item"]
        assert self._item is None, "an item in an item"
        assert event["output_index"] == len(self.output)
        assert item["status"] == "in_progress"
        holds = {"message": ["content"], "function_call": []}.get(item["type"], ["summary"])
        assert all(item[name] == [] for name in holds)
        if item["type"] == "function_call":
            assert item["arguments"] == ""
        assert item["id"] not in [each["id"] for each in self.output]
        self._item, self._part, self._pieces, self._logprobs = item, None, [], []
        self._done = self._part_done = False

    def _of_item(self, kind: str, event: dict[str, Any]) -> None:
        item = self._item
        assert item is not None, f"{kind} outside an item"
        assert event["output_index"] == len(self.output)
        if kind == "response.output_item.done":
            self._item_done(item, event["item"])
            return
        assert event["item_id"] == item["id"]
        summary = "summary" in kind
        text = GROWS["summary" if summary else item["type"]][0]
        place = "summary_index" if summary else "content_index"
        assert ("part" in kind or "text" in kind) == (event.get(place) == 0)
        if kind in ("response.content_part.added", "response.reasoning_summary_part.added"):
            assert self._part is None, "a part in a part"
            self._part = event["part"]
            assert self._part["text"] == ""
        elif kind in ("response.content_part.done", "response.reasoning_summary_part.done"):
            assert self._done
            assert not self._part_done
            self._part_done = True
            assert event["part"]["text"] == "".join(self._pieces)
            assert event["part"]["type"] == self._part["type"]
            self._part = event["part"]
        elif kind == f"{text}.delta":
            assert not self._done
            assert self._part is not None or item["type"] == "function_call", "a delta outside a part"
            assert event["delta"], "an empty delta"
            self._pieces.append(event["delta"])
            self._logprobs += event.get("logprobs", [])
        else:
            assert kind == f"{text}.done", f"{kind} in a {item['type']}"
            assert not self._done
            self._done = True
            assert event["arguments" if item["type"] == "function_call" else "text"] == "".join(self._pieces)
            assert event.get("logprobs", []) == self._logprobs

    def _item_done(self, item: dict[str, Any], done: dict[str, Any]) -> None:
        assert self._done, "an item is done and its text is not"
        assert self._part_done or item["type"] == "function_call", "an item is done and its part is not"
        assert (done["id"], done["type"]) == (item["id"], item["type"])
        assert done["status"] in ("completed", "incomplete")
        if item["type"] == "function_call":
            assert (done["name"], done["call_id"]) == (item["name"], item["call_id"])
            assert done["arguments"] == "".join(self._pieces)
        else:
            summary = self._part is not None and self._part["type"] == "summary_text"
            assert done["summary" if summary else "content"] == [self._part]
        self.output.append(done)
        self._item = None


def added_up(stream: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The response of a whole stream."""
    reader = Reader()
    for event in stream:
        reader.read(event)
    assert reader.ended, "the stream is cut"
    return reader.response


def comparable(response: dict[str, Any]) -> dict[str, Any]:
    """The response without what two answers never share."""
    output = [
        {name: value for name, value in item.items() if name not in ("id", "call_id")} for item in response["output"]
    ]
    return {**response, "id": "", "created_at": 0, "completed_at": bool(response["completed_at"]), "output": output}
