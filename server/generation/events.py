"""What an engine's output means, one typed value per thing that a client can be told.

The output parser turns text deltas into these; dialects turn them into wire JSON. They carry no timing and no
transport: the same list of events makes a streamed answer and a whole one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from server.generation.ports import TokenLogprob


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More of the model's thinking."""

    text: str


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More of the visible answer."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A tool call begins; `index` counts the calls of this answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A piece of the call's arguments: concatenated, a call's pieces are one JSON object."""

    index: int
    fragment: str


@dataclass(frozen=True, slots=True)
class ToolCallEnd:
    """The call is whole; its fragments now parse as JSON."""

    index: int


@dataclass(frozen=True, slots=True)
class Batch:
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
