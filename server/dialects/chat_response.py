"""OpenAI's chat completions answer: one JSON body, or SSE frames.

Frames are put together from bytes that are encoded once per answer; only the new text is encoded per frame. Building
them from models costs some 25 us a token, this under 1.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.dialects.answer_parts import DONE, AnswerHead, failed_frame, usage_json
from server.generation.errors import RequestFailed
from server.generation.events import (
    Batch,
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallStart,
)
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob


class ChatAnswer(AnswerHead):
    """The identity of one answer to a chat request."""

    def __init__(self, model: str, fingerprint: str, tier: str | None = None) -> None:
        super().__init__(model, fingerprint, "chatcmpl", tier)


@dataclass(frozen=True, slots=True)
class Shown:
    """What of an answer the client wants to see beside its text."""

    reasoning: bool = True
    logprobs: bool = False
    token_ids: bool = False


_PLAIN = Shown()


class _Choice:
    """One answer, put together."""

    __slots__ = ("calls", "logprobs", "reasoning", "text", "token_ids")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[str, list[str]]] = []
        self.logprobs: list[dict[str, Any]] = []
        self.token_ids: list[int] = []


class WholeAnswer:
    """Collects batches into one chat.completion."""

    def __init__(
        self, answer: ChatAnswer, answers: int = 1, shown: Shown = _PLAIN, prompt_token_ids: Sequence[int] = ()
    ) -> None:
        self._answer = answer
        self._prompt_token_ids = prompt_token_ids
        self._shown = shown
        self._choices = [_Choice() for _ in range(answers)]

    def add(self, batch: Batch) -> None:
        """Takes in the next batch."""
        choice = self._choices[batch.answer]
        if self._shown.logprobs:
            choice.logprobs += map(logprob_json, batch.logprobs)
        if self._shown.token_ids:
            choice.token_ids += batch.token_ids
        for event in batch.events:
            if isinstance(event, TextDelta):
                choice.text.append(event.text)
            elif isinstance(event, ReasoningDelta):
                choice.reasoning.append(event.text)
            elif isinstance(event, ToolCallStart):
                choice.calls.append((event.name, []))
            elif isinstance(event, ToolCallArguments):
                choice.calls[event.index][1].append(event.fragment)

    def encode(self, finish_reasons: Sequence[str | None], usage: Usage) -> bytes:
        """The body."""
        body = {
            **self._answer.head("chat.completion"),
            "choices": [
                self._choice(index, choice, reason)
                for index, (choice, reason) in enumerate(zip(self._choices, finish_reasons, strict=True))
            ],
            "usage": usage_json(usage),
        }
        if self._shown.token_ids:
            body["prompt_token_ids"] = list(self._prompt_token_ids)
        return orjson.dumps(body)

    def _choice(self, index: int, choice: _Choice, finish_reason: str | None) -> dict[str, Any]:
        reasoning = ("".join(choice.reasoning) or None) if self._shown.reasoning else None
        content = "".join(choice.text)
        message: dict[str, Any] = {
            "role": "assistant",
            # With calls and no text OpenAI says null, and clients test for it.
            "content": content if content or not choice.calls else None,
            "refusal": None,
            "reasoning": reasoning,
            "reasoning_content": reasoning,
        }
        if choice.calls:
            message["tool_calls"] = [
                {"id": new_call_id(), "type": "function", "function": {"name": name, "arguments": "".join(pieces)}}
                for name, pieces in choice.calls
            ]
        told: dict[str, Any] = {
            "index": index,
            "message": message,
            "logprobs": {"content": choice.logprobs, "refusal": None} if self._shown.logprobs else None,
            "finish_reason": finish_reason,
        }
        return told | {"token_ids": choice.token_ids} if self._shown.token_ids else told


class StreamEncoder:
    """Batches to SSE frames of chat.completion.chunk objects."""

    def __init__(
        self,
        answer: ChatAnswer,
        *,
        include_usage: bool,
        answers: int = 1,
        shown: Shown = _PLAIN,
        prompt_token_ids: Sequence[int] = (),
    ) -> None:
        self._answer = answer
        self._prompt_token_ids = prompt_token_ids
        self._include_usage = include_usage
        self._shown = shown
        # Logprobs and token ids ride on a frame of their own where a batch has no event to show.
        self._bare = not (shown.logprobs or shown.token_ids)
        head = orjson.dumps(answer.head("chat.completion.chunk"))[:-1]
        # With usage asked for, OpenAI sends it as null in every chunk but the last.
        self._end = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._before = [
            b"data: " + head + b',"choices":[{"index":' + str(index).encode() + b',"delta":' for index in range(answers)
        ]
        self._after = b',"logprobs":null,"finish_reason":null}]' + self._end

    def start(self) -> bytes:
        """The first frames: they say who speaks and tell the client that it was let in."""
        end = self._after
        if self._shown.token_ids:
            ids = orjson.dumps(list(self._prompt_token_ids))
            end = end.removesuffix(self._end) + b',"prompt_token_ids":' + ids + self._end
        return b"".join(before + b'{"role":"assistant","content":""}' + end for before in self._before)

    def batch(self, batch: Batch) -> bytes:
        """The frames of a batch; empty when nothing of it shows on the wire."""
        before = self._before[batch.answer]
        deltas = [delta for event in batch.events if (delta := self._delta(event))]
        if self._bare:
            frames = b"".join([before + delta + self._after for delta in deltas])
        else:
            frames = self._with_details(before, deltas or [b"{}"], batch)
        if batch.finish_reason is not None:
            reason = orjson.dumps(batch.finish_reason)
            frames += before + b'{},"logprobs":null,"finish_reason":' + reason + b"}]" + self._end
        return frames

    def finish(self, usage: Usage) -> bytes:
        """The frames that end complete answers."""
        if not self._include_usage:
            return DONE
        body = {**self._answer.head("chat.completion.chunk"), "choices": [], "usage": usage_json(usage)}
        return b"data: " + orjson.dumps(body) + b"\n\n" + DONE

    @staticmethod
    def failed(error: RequestFailed) -> bytes:
        """The frame that ends an answer which cannot be completed; no [DONE] follows a failure."""
        return failed_frame(error)

    def _with_details(self, before: bytes, deltas: list[bytes], batch: Batch) -> bytes:
        """Frames of which the first carries what is to be told of the batch's tokens."""
        logprobs, ids = b"null", b""
        if self._shown.logprobs:
            logprobs = orjson.dumps({"content": list(map(logprob_json, batch.logprobs)), "refusal": None})
        if self._shown.token_ids:
            ids = b',"token_ids":' + orjson.dumps(list(batch.token_ids))
        first = before + deltas[0] + b',"logprobs":' + logprobs + b',"finish_reason":null' + ids + b"}]" + self._end
        return first + b"".join(before + delta + self._after for delta in deltas[1:])

    def _delta(self, event: OutputEvent) -> bytes:
        if type(event) is TextDelta:
            return b'{"content":' + orjson.dumps(event.text) + b"}"
        if isinstance(event, ReasoningDelta):
            if not self._shown.reasoning:
                return b""
            text = orjson.dumps(event.text)
            return b'{"reasoning":' + text + b',"reasoning_content":' + text + b"}"
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
        return b'{"tool_calls":' + orjson.dumps([call]) + b"}"


def logprob_json(told: TokenLogprob) -> dict[str, Any]:
    """OpenAI's entry for one token."""
    return {**_token(told), "top_logprobs": [_token(each) for each in told.top]}


def _token(told: TokenLogprob) -> dict[str, Any]:
    return {"token": told.token, "logprob": told.logprob, "bytes": list(told.encoded)}


def new_call_id() -> str:
    """An id that no other call has."""
    return f"call_{uuid.uuid4().hex[:24]}"
