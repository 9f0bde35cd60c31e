"""One request as it is planned, and what became of it."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Turn:
    """The next request of a conversation: what is said, and how long after the answer before it (seconds)."""

    text: str
    pause: float
    max_tokens: int


@dataclass(slots=True)
class Shot:
    """One request: when it is to be sent (seconds from the start), its body and headers, and whose it is.

    `cancel_after` and `deadline` count in seconds from the intended moment; after the first the client means to go, at
    the second it gives up. `turns` follow, each with the conversation up to there.
    """

    at: float
    body: dict[str, Any]
    tenant: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    number: int = 0
    retries: int = 0
    cancel_after: float | None = None
    deadline: float | None = None
    turns: tuple[Turn, ...] = ()
    turn: int = 0
    payload: bytes = b""


@dataclass(slots=True)
class Try:
    """One sending of a request: when (seconds from its intended moment), the status, and when it may come back."""

    sent: float
    status: int = 0
    ended: float = 0.0
    retry_after: float | None = None


@dataclass(slots=True)
class Record:
    """What became of a request. Times are seconds from its intended moment; `ttft` is None where no token came.

    `lag` is how late it was sent. `times` has one time for each piece of the answer. `code` is empty where nothing went
    wrong; `status` is that of the last try, 0 where there was none. Counts are the server's own (`usage`) where it gave
    any, else of pieces (`counted`).
    """

    number: int
    tenant: str
    at: float
    turn: int = 0
    lag: float = 0.0
    status: int = 0
    code: str = ""
    ttft: float | None = None
    e2e: float = 0.0
    finished: bool = False
    cancelled: bool = False
    finish_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    counted: bool = False
    tries: list[Try] = field(default_factory=list)
    times: array[float] = field(default_factory=lambda: array("d"))

    @property
    def refused(self) -> bool:
        """Whether the first try got a 429, 503 or 529: the server said no, whatever came of a retry."""
        return bool(self.tries) and self.tries[0].status in REFUSALS

    @property
    def error(self) -> bool:
        """Whether it failed otherwise: no connection, another status, a stream that broke or ended with an error."""
        return not (self.finished or self.cancelled or self.refused)

    @property
    def tpot(self) -> float | None:
        """Mean seconds for each token after the first; None of an answer of one token or none."""
        if not self.finished or len(self.times) < 2 or self.completion_tokens < 2:
            return None
        return (self.times[-1] - self.times[0]) / (self.completion_tokens - 1)

    @property
    def gap(self) -> float:
        """The longest time between two pieces of the answer."""
        return max((later - sooner for sooner, later in zip(self.times, self.times[1:], strict=False)), default=0.0)


# 529 is what some front ends say for overload (NVIDIA Dynamo, Anthropic).
REFUSALS = frozenset({429, 503, 529})
