"""OpenAI's completions answer: one JSON body, or SSE frames; both are made of the same objects.

As in chat_response, frames are put together from bytes that are encoded once per answer.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from server.dialects.answer_parts import DONE, AnswerHead, failed_frame, usage_json
from server.generation.errors import RequestFailed
from server.generation.events import Batch, TextDelta
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob

_KIND = "text_completion"


class CompletionAnswer(AnswerHead):
    """The identity of one answer to a completions request."""

    def __init__(self, model: str, fingerprint: str) -> None:
        super().__init__(model, fingerprint, "cmpl")


@dataclass(frozen=True, slots=True)
class Prompted:
    """What an answer has of its prompt: the text that it begins with, and the token ids if they were asked for."""

    echo: str = ""
    token_ids: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class ShownTokens:
    """What the client wants to see of an answer's tokens beside its text."""

    logprobs: bool = False
    token_ids: bool = False


class LogprobWriter:
    """OpenAI's four lists about the tokens of one answer, written piece by piece.

    `text_offset` counts the characters before a token in what all tokens together spell.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, told: Sequence[TokenLogprob]) -> dict[str, list[Any]]:
        """The lists for the next tokens."""
        offsets = []
        for each in told:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(each.encoded))
        return {
            "tokens": [_shown(each) for each in told],
            "token_logprobs": [each.logprob for each in told],
            # The chosen token is told beside the likeliest ones, so that there can be one more than was asked for.
            "top_logprobs": [
                {_shown(top): top.logprob for top in each.top} | {_shown(each): each.logprob} for each in told
            ],
            "text_offset": offsets,
        }


def _shown(token: TokenLogprob) -> str:
    """The token's text or, for a part of a character, its bytes as OpenAI spells them: parts must not look alike."""
    try:
        return token.encoded.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token.encoded)


class _Choice:
    """One answer, put together."""

    __slots__ = ("logprobs", "prompted", "text", "token_ids")

    def __init__(self, prompted: Prompted) -> None:
        self.prompted = prompted
        self.text = [prompted.echo]
        self.logprobs: list[TokenLogprob] = []
        self.token_ids: list[int] = []


class WholeCompletion:
    """Collects batches into one text_completion; `prompted` has an entry for each answer."""

    def __init__(self, answer: CompletionAnswer, prompted: Sequence[Prompted], shown: ShownTokens) -> None:
        self._answer = answer
        self._shown = shown
        self._choices = [_Choice(each) for each in prompted]

    def add(self, batch: Batch) -> None:
        """Takes in the next batch."""
        choice = self._choices[batch.answer]
        choice.text.append(_text(batch))
        if self._shown.logprobs:
            choice.logprobs += batch.logprobs
        if self._shown.token_ids:
            choice.token_ids += batch.token_ids

    def encode(self, finish_reasons: Sequence[str | None], usage: Usage) -> bytes:
        """The body."""
        choices = [
            self._choice(index, choice, reason)
            for index, (choice, reason) in enumerate(zip(self._choices, finish_reasons, strict=True))
        ]
        return orjson.dumps({**self._answer.head(_KIND), "choices": choices, "usage": usage_json(usage)})

    def _choice(self, index: int, choice: _Choice, finish_reason: str | None) -> dict[str, Any]:
        told: dict[str, Any] = {
            "index": index,
            "text": "".join(choice.text),
            "logprobs": LogprobWriter().write(choice.logprobs) if self._shown.logprobs else None,
            "finish_reason": finish_reason,
        }
        if choice.prompted.token_ids is not None:
            told["prompt_token_ids"] = list(choice.prompted.token_ids)
        return told | {"token_ids": choice.token_ids} if self._shown.token_ids else told


class CompletionStream:
    """Batches to SSE frames of text_completion objects; `prompted` has an entry for each answer."""

    def __init__(
        self, answer: CompletionAnswer, prompted: Sequence[Prompted], shown: ShownTokens, *, include_usage: bool
    ) -> None:
        self._answer = answer
        self._prompted = prompted
        self._shown = shown
        self._include_usage = include_usage
        self._logprobs = [LogprobWriter() for _ in prompted] if shown.logprobs else []
        head = orjson.dumps(answer.head(_KIND))[:-1]
        self._before = [
            b"data: " + head + b',"choices":[{"index":' + str(index).encode() + b',"text":'
            for index in range(len(prompted))
        ]
        # With usage asked for, OpenAI sends it as null in every chunk but the last.
        self._end = b'}],"usage":null}\n\n' if include_usage else b"}]}\n\n"
        self._plain = b',"logprobs":null,"finish_reason":null' + self._end

    def start(self) -> bytes:
        """The frames that tell of the prompts; empty where nothing was asked of them."""
        frames = b""
        for before, prompted in zip(self._before, self._prompted, strict=True):
            if prompted.echo or prompted.token_ids is not None:
                frames += before + orjson.dumps(prompted.echo) + b',"logprobs":null,"finish_reason":null'
                if prompted.token_ids is not None:
                    frames += b',"prompt_token_ids":' + orjson.dumps(list(prompted.token_ids))
                frames += self._end
        return frames

    def batch(self, batch: Batch) -> bytes:
        """The frame of a batch; empty when nothing of it shows on the wire."""
        text, reason = _text(batch), batch.finish_reason
        before = self._before[batch.answer] + orjson.dumps(text)
        if not (self._shown.logprobs or self._shown.token_ids):
            if reason is None:
                return before + self._plain if text else b""
            return before + b',"logprobs":null,"finish_reason":' + orjson.dumps(reason) + self._end
        logprobs = self._logprobs[batch.answer].write(batch.logprobs) if self._shown.logprobs else None
        frame = before + b',"logprobs":' + orjson.dumps(logprobs) + b',"finish_reason":' + orjson.dumps(reason)
        if self._shown.token_ids:
            frame += b',"token_ids":' + orjson.dumps(list(batch.token_ids))
        return frame + self._end

    def finish(self, usage: Usage) -> bytes:
        """The frames that end complete answers."""
        if not self._include_usage:
            return DONE
        body = {**self._answer.head(_KIND), "choices": [], "usage": usage_json(usage)}
        return b"data: " + orjson.dumps(body) + b"\n\n" + DONE

    @staticmethod
    def failed(error: RequestFailed) -> bytes:
        """The frame that ends an answer which cannot be completed."""
        return failed_frame(error)


def _text(batch: Batch) -> str:
    return "".join(event.text for event in batch.events if isinstance(event, TextDelta))
