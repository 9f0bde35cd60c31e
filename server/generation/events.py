"""What an engine's output means, one typed value per thing that a client can be told.

The output parser turns text deltas into these; dialects turn them into wire JSON. They carry no timing and no
transport: the same list of events makes a streamed answer and a whole one.

They are msgspec's structs since some of them are made for every token: one takes 0.1 us, a frozen dataclass 0.8 us.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.generation.ports import TokenLogprob


class ReasoningDelta(msgspec.Struct, frozen=True):
    """More of the model's thinking."""

    text: str


class TextDelta(msgspec.Struct, frozen=True):
    """More of the visible answer."""

    text: str


class ToolCallStart(msgspec.Struct, frozen=True):
    """A tool call begins; `index` counts the calls of this answer from 0."""

    index: int
    name: str


class ToolCallArguments(msgspec.Struct, frozen=True):
    """A piece of the call's arguments: concatenated, a call's pieces are one JSON object."""

    index: int
    fragment: str


class ToolCallEnd(msgspec.Struct, frozen=True):
    """The call is whole; its fragments now parse as JSON."""

    index: int


class Batch(msgspec.Struct, frozen=True):
    """What one engine delta brought to one answer. `finish_reason` is set on the answer's last batch, and
    `stop_string` if one of the request's stop strings ended it.
    """

    answer: int
    events: Sequence[OutputEvent]
    token_ids: Sequence[int]
    logprobs: Sequence[TokenLogprob] = ()
    finish_reason: str | None = None
    stop_string: str | None = None

    def of_answer(self, answer: int) -> Batch:
        """The same under another answer's index."""
        if answer == self.answer:
            return self
        return Batch(answer, self.events, self.token_ids, self.logprobs, self.finish_reason, self.stop_string)


OutputEvent = ReasoningDelta | TextDelta | ToolCallStart | ToolCallArguments | ToolCallEnd
