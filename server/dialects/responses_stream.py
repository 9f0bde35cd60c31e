"""A response as server-sent events, typed and numbered as OpenAI's are.

Items follow each other: one is added, grows and is done before the next is added. Frames of growing text are put
together from bytes that are encoded once per item.
"""

from __future__ import annotations

from typing import Any

import orjson

from server.dialects.responses_output import Kind, OutputItem, Response, TextLogprobs
from server.generation.errors import RequestFailed
from server.generation.events import Batch, OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.generation import Usage

# What an item's text is called: the event of its delta, and the index of the part that holds it.
_PART = {"message": ("output_text", "content_index"), "function_call": ("function_call_arguments", "")}
_THINKING = ("reasoning_text", "content_index")
_SUMMARY = ("reasoning_summary_text", "summary_index")


class ResponseStream:
    """Batches to events. `queued` says that the response waits before it begins, as one in the background does."""

    def __init__(self, response: Response, *, queued: bool = False) -> None:
        self._response = response
        self._queued = queued
        self._sent = 0
        # How many events were sent before those that `finish` made.
        self._unsent: int | None = None
        self._open: OutputItem | None = None
        self._delta = b""
        self._logprobs = TextLogprobs(response)
        self._finish_reason: str | None = None

    def start(self) -> bytes:
        """The events that say that the response is there."""
        if not self._queued:
            return self._told("created") + self._told("in_progress")
        self._response.status = "queued"
        return self._told("created") + self._told("queued")

    def begun(self) -> bytes:
        """The event that says that a response which was queued is being made."""
        self._response.status = "in_progress"
        return self._told("in_progress")

    def batch(self, batch: Batch) -> bytes:
        """The events of a batch; empty when nothing of it shows on the wire."""
        self._logprobs.take(batch)
        if batch.finish_reason is not None:
            self._finish_reason = batch.finish_reason
        return b"".join(map(self._event, batch.events))

    def finish(self, usage: Usage) -> bytes:
        """The events that end a complete response."""
        self._unsent = self._sent
        # Its last item is incomplete if it is.
        self._response.finish(self._finish_reason, usage)
        closed = self._close(self._response.last_status())
        return closed + self._told(self._response.status)

    def failed(self, error: RequestFailed) -> bytes:
        """The event that ends a response which cannot be completed; in place of those of `finish`, if they were not
        sent.
        """
        if self._unsent is not None:
            self._sent = self._unsent
        self._response.end_early(error)
        return self._told("failed")

    def cancelled(self) -> bytes:
        """The event that ends a response which was cancelled; OpenAI has no type of its own for it."""
        self._response.end_early(None)
        return self._told("incomplete")

    def _told(self, what: str) -> bytes:
        return self._frame(f"response.{what}", response=self._response.json())

    def _event(self, event: OutputEvent) -> bytes:
        if isinstance(event, TextDelta):
            added = self._in_item("message")
            logprobs = self._logprobs.give()
            self._grow(event.text).logprobs += logprobs
            return added + self._grown(event.text, logprobs)
        if isinstance(event, ReasoningDelta):
            if not self._response.shows_thinking:
                return b""
            added = self._in_item("reasoning")
            self._grow(event.text)
            return added + self._grown(event.text)
        if isinstance(event, ToolCallStart):
            return self._close("completed") + self._add("function_call", event.name)
        if isinstance(event, ToolCallArguments):
            self._grow(event.fragment)
            return self._grown(event.fragment)
        return b""

    def _in_item(self, kind: Kind) -> bytes:
        """Adds an item unless one of its kind is open."""
        if self._open is not None and self._open.kind == kind:
            return b""
        return self._close("completed") + self._add(kind)

    def _add(self, kind: Kind, name: str = "") -> bytes:
        response = self._response
        item = self._open = response.begin(kind, name)
        index = len(response.items) - 1
        told = {**response.item_json(item, "in_progress")}
        if kind == "message":
            told["content"] = []
        elif kind == "reasoning":
            told.pop("encrypted_content", None)
            told["summary"] = []
            if not response.summarizes:
                told["content"] = []
        added = self._frame("response.output_item.added", output_index=index, item=told)
        text, part_index = self._names(item)
        kind_of_delta = f"response.{text}.delta"
        begins = {"type": kind_of_delta, **self._place(item), **({part_index: 0} if part_index else {})}
        self._delta = b"event: " + kind_of_delta.encode() + b"\ndata: " + orjson.dumps(begins)[:-1] + b',"delta":'
        if not part_index:
            return added
        return added + self._part(item, "added", response.part_json(item, ""))

    def _part(self, item: OutputItem, what: str, part: dict[str, Any]) -> bytes:
        text, part_index = self._names(item)
        kind = "reasoning_summary_part" if text == "reasoning_summary_text" else "content_part"
        return self._frame(f"response.{kind}.{what}", **self._place(item), **{part_index: 0}, part=part)

    def _grow(self, text: str) -> OutputItem:
        assert self._open is not None
        self._open.pieces.append(text)
        return self._open

    def _grown(self, text: str, logprobs: list[dict[str, Any]] | None = None) -> bytes:
        told = b"" if logprobs is None else b',"logprobs":' + orjson.dumps(logprobs)
        return self._delta + orjson.dumps(text) + told + b',"sequence_number":%d}\n\n' % self._number()

    def _close(self, status: str) -> bytes:
        item, self._open = self._open, None
        if item is None:
            return b""
        response = self._response
        text, part_index = self._names(item)
        place = {**self._place(item), **({part_index: 0} if part_index else {})}
        if item.kind == "function_call":
            done = self._frame(f"response.{text}.done", **place, name=response.function(item)[1], arguments=item.text)
        else:
            told = {"logprobs": item.logprobs} if item.kind == "message" else {}
            done = self._frame(f"response.{text}.done", **place, text=item.text, **told)
            done += self._part(item, "done", response.part_json(item))
        index, ended = len(response.items) - 1, response.item_json(item, status)
        return done + self._frame("response.output_item.done", output_index=index, item=ended)

    def _names(self, item: OutputItem) -> tuple[str, str]:
        if item.kind == "reasoning":
            return _SUMMARY if self._response.summarizes else _THINKING
        return _PART[item.kind]

    def _place(self, item: OutputItem) -> dict[str, Any]:
        return {"item_id": item.id, "output_index": len(self._response.items) - 1}

    def _frame(self, kind: str, **fields: Any) -> bytes:
        told = orjson.dumps({"type": kind, **fields, "sequence_number": self._number()})
        return b"event: " + kind.encode() + b"\ndata: " + told + b"\n\n"

    def _number(self) -> int:
        self._sent += 1
        return self._sent - 1
