"""Reads an answer as it comes: server-sent events with chunks of a chat or a completion."""

from __future__ import annotations

import re
from typing import Any

import orjson

from loadtest.record import Record

_CODE = re.compile(r"[^A-Za-z0-9_.:-]+")
_DATA = b"data:"


def code_of(error: Any) -> str:
    """A short name for an error object: its code, else its type; never its message, which may hold anything."""
    if isinstance(error, dict):
        inner = error.get("error", error)
        inner = inner if isinstance(inner, dict) else error
        for name in ("code", "type", "object"):
            if isinstance(value := inner.get(name), (str, int)) and value != "":
                return _CODE.sub("_", str(value))[:64]
    return "error"


class AnswerStream:
    """Takes bytes of one answer into its record. `text` is all of the answer, where somebody wants it."""

    __slots__ = ("_intended", "_keep", "_reasoning", "_record", "_rest", "text")

    def __init__(self, record: Record, intended: float, *, keep_text: bool = False) -> None:
        self._record, self._intended, self._keep = record, intended, keep_text
        self._rest = b""
        self._reasoning = 0
        self.text: list[str] = []

    def feed(self, data: bytes, now: float) -> int:
        """Takes what was read at `now`; returns how many pieces of the answer were in it."""
        if self._rest:
            data = self._rest + data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._rest = data.split(b"\n\n")
        pieces = 0
        for event in events:
            if not event.startswith(_DATA) or b"\n" in event:
                # A comment, named events, several lines: rare, so read slowly.
                lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(_DATA)]
                if not lines:
                    continue
                pieces += self._chunk(b"\n".join(lines), now)
            else:
                pieces += self._chunk(event[5:].lstrip(), now)
        return pieces

    def end(self) -> None:
        """The answer has no more bytes. Tokens that the server did not count are counted by pieces."""
        record = self._record
        if not record.completion_tokens and record.times:
            record.counted = True
            record.completion_tokens, record.reasoning_tokens = len(record.times), self._reasoning
        elif not record.reasoning_tokens and self._reasoning and record.times:
            # A server that shows its thinking without counting it: by its part of the pieces.
            record.reasoning_tokens = round(record.completion_tokens * self._reasoning / len(record.times))

    def _chunk(self, payload: bytes, now: float) -> int:
        record = self._record
        if payload == b"[DONE]":
            # After an error there is one too.
            record.finished = not record.code
            return 0
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            record.code = "malformed_event"
            return 0
        if not isinstance(chunk, dict):
            record.code = "malformed_event"
            return 0
        if chunk.get("error") is not None:
            record.code = code_of(chunk)
            return 0
        piece = 0
        for choice in chunk.get("choices") or ():
            if choice.get("finish_reason"):
                record.finish_reason = str(choice["finish_reason"])[:32]
            delta = choice.get("delta")
            if delta is None:
                text, thought, calls = choice.get("text"), None, None
            else:
                text = delta.get("content")
                thought = delta.get("reasoning") or delta.get("reasoning_content")
                calls = delta.get("tool_calls")
            if thought or text or calls:
                piece = 1
                self._reasoning += bool(thought)
                if self._keep and text:
                    self.text.append(text)
        if piece:
            at = now - self._intended
            if record.ttft is None:
                record.ttft = at
            record.times.append(at)
        if usage := chunk.get("usage"):
            self._count(usage)
        return piece

    def _count(self, usage: dict[str, Any]) -> None:
        record = self._record
        record.prompt_tokens = usage.get("prompt_tokens") or 0
        record.completion_tokens = usage.get("completion_tokens") or 0
        record.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
        record.reasoning_tokens = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
