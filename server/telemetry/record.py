"""The record of a finished request: made once, and all that is told of the request is made from it.

Its metrics, its log line, its spans and its place among the last refusals are views of the same values, so that they
cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Result = Literal["finished", "refused", "cancelled", "deadline", "drain", "failed"]
"""How a request ended, in one of six words; its `outcome` says it more exactly."""

_FINISHED = ("stop", "length", "tool_calls")
_RESULTS: dict[str, Result] = {
    "client_gone": "cancelled",
    "cancelled": "cancelled",
    "interrupted": "drain",
    "evicted_deadline_exceeded": "deadline",
    "invalid_request": "refused",
    "unauthorized": "refused",
    "rate_limited": "refused",
}


def result_of(outcome: str) -> Result:
    """The word for an outcome."""
    if outcome in _FINISHED:
        return "finished"
    if outcome in _RESULTS:
        return _RESULTS[outcome]
    return "refused" if outcome.startswith(("refused_", "rejected_", "evicted_")) else "failed"


@dataclass(slots=True)
class TokenCounts:
    """Tokens of one request. `cached` is part of `prompt`; `reasoning` and `tool` are parts of `completion`."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0
    tool: int = 0

    @property
    def answer(self) -> int:
        """Tokens of the answer that are neither thinking nor tool calls."""
        return self.completion - self.reasoning - self.tool


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a request in one stage, in seconds from its arrival."""

    stage: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One finished request. Times are in seconds; `started` is the wall clock's, `ttft` and `tpot` None where there was
    no token, or only one.
    """

    request_id: str
    dialect: str
    model: str
    tenant: str
    key_id: str
    priority: str
    effort: str
    thinking: bool
    streamed: bool
    status: int
    outcome: str
    result: Result
    code: str | None
    started: float
    seconds: float
    spans: tuple[Span, ...]
    ttft: float | None
    tpot: float | None
    tokens: TokenCounts
    answers: int = 1
    budget_hit: bool = False
    cost: Any = None
    span: Any = None
    prompt_text: str | None = field(default=None, repr=False)
    answer_text: str | None = field(default=None, repr=False)

    def stage_seconds(self) -> dict[str, float]:
        """Seconds in each stage that the request reached."""
        seconds: dict[str, float] = {}
        for span in self.spans:
            seconds[span.stage] = seconds.get(span.stage, 0.0) + span.end - span.start
        return seconds
