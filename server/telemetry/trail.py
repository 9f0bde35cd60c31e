"""What is gathered about one request while it goes through the rooms; it ends as a `RequestRecord`.

The trail of the request that is being served is in a context variable, so that no room has to be handed it: tasks and
threads that work for a request inherit it. Every hook costs once per request, never once per token.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Literal

from server.telemetry.record import RequestRecord, Span, TokenCounts, result_of

Stage = Literal["receive", "media", "render", "queue", "prefill", "decode", "send"]
STAGES: tuple[Stage, ...] = ("receive", "media", "render", "queue", "prefill", "decode", "send")
"""The road of a request, in its order."""

# vLLM ends thinking within so many tokens of its budget (tests/engine/test_thinking_budget.py): a thought that ended by
# itself that close to it is taken for one that was ended.
_BUDGET_SLACK = 2


class Trail:
    """One request while it is served. Times are `time.monotonic()`'s, in seconds."""

    __slots__ = (
        "_begun",
        "_open",
        "_spans",
        "answer_text",
        "answers",
        "arrived",
        "budget",
        "code",
        "cost",
        "cost_mark",
        "detached",
        "dialect",
        "effort",
        "first_token",
        "key_id",
        "last_token",
        "model",
        "outcome",
        "priority",
        "prompt_text",
        "request_id",
        "span",
        "started",
        "status",
        "streamed",
        "tenant",
        "thinking",
        "tokens",
    )

    def __init__(self, dialect: str, request_id: str) -> None:
        self.arrived = time.monotonic()
        self.started = time.time()
        self.dialect = dialect
        self.request_id = request_id
        self.tenant = ""
        self.key_id = ""
        self.model = ""
        self.priority = ""
        self.effort = ""
        self.thinking = False
        self.streamed = False
        # It goes on after its HTTP answer has been sent.
        self.detached = False
        self.answers = 1
        # Most thinking tokens of each answer, where they are bounded.
        self.budget: int | None = None
        self.status = 0
        self.outcome = ""
        self.code: str | None = None
        self.tokens = TokenCounts()
        self.first_token: float | None = None
        self.last_token: float | None = None
        # Opaque here: the cost meter's state at the start, what the request cost, and its OpenTelemetry span.
        self.cost_mark: Any = None
        self.cost: Any = None
        self.span: Any = None
        # Only where the settings ask for texts.
        self.prompt_text: str | None = None
        self.answer_text: list[str] | None = None
        self._spans: list[Span] = []
        self._open: dict[str, int] = {}
        self._begun: dict[str, float] = {}

    def begin(self, stage: Stage) -> None:
        """The request enters a stage; parts of it may be in one at the same time, which counts once."""
        inside = self._open.get(stage, 0)
        if not inside:
            self._begun[stage] = time.monotonic()
        self._open[stage] = inside + 1

    def end(self, stage: Stage) -> None:
        """It leaves the stage."""
        inside = self._open[stage] = self._open.get(stage, 1) - 1
        if not inside and (began := self._begun.pop(stage, None)) is not None:
            self._spans.append(Span(stage, began - self.arrived, time.monotonic() - self.arrived))

    def token_came(self) -> None:
        """The engine made the first token of an answer."""
        if self.first_token is None:
            self.first_token = time.monotonic()
            if "prefill" in self._begun:
                self._spans.append(
                    Span("prefill", self._begun.pop("prefill") - self.arrived, self.first_token - self.arrived)
                )

    def generation_ended(self) -> None:
        """An answer, or what there is of it, has been taken from the engine."""
        self.last_token = time.monotonic()

    def finished(self) -> RequestRecord:
        """The request has ended, and with it its trail."""
        ended = time.monotonic()
        for stage in list(self._begun):
            self._open[stage] = 1
            self.end(stage)  # type: ignore[arg-type]
        spans = self._spans
        if self.first_token is not None:
            last = self.last_token if self.last_token is not None else ended
            spans.append(Span("decode", self.first_token - self.arrived, last - self.arrived))
            spans.append(Span("send", last - self.arrived, ended - self.arrived))
        tokens = self.tokens
        per_answer = tokens.completion / self.answers
        decoding = (self.last_token or ended) - self.first_token if self.first_token is not None else 0.0
        return RequestRecord(
            request_id=self.request_id,
            dialect=self.dialect,
            model=self.model or "unknown",
            tenant=self.tenant or "unknown",
            key_id=self.key_id,
            priority=self.priority or "none",
            effort=self.effort or "default",
            thinking=self.thinking,
            streamed=self.streamed,
            status=self.status,
            outcome=self.outcome or "error",
            result=result_of(self.outcome or "error"),
            code=self.code,
            started=self.started,
            seconds=ended - self.arrived,
            spans=tuple(spans),
            ttft=None if self.first_token is None else self.first_token - self.arrived,
            tpot=decoding / (per_answer - 1) if self.first_token is not None and per_answer > 1 else None,
            tokens=tokens,
            answers=self.answers,
            budget_hit=self.budget is not None
            and tokens.reasoning >= max(1, self.budget - _BUDGET_SLACK) * self.answers,
            cost=self.cost,
            span=self.span,
            prompt_text=self.prompt_text,
            answer_text=None if self.answer_text is None else "".join(self.answer_text),
        )


_CURRENT: ContextVar[Trail | None] = ContextVar("qwend_trail", default=None)


def current() -> Trail | None:
    """The trail of the request that is being served here; None where none is kept."""
    return _CURRENT.get()


def follow(trail: Trail | None) -> None:
    """Makes `trail` the one of what this task does from now on."""
    _CURRENT.set(trail)


class stage:  # noqa: N801 - used as a statement
    """`with stage("render"): ...` counts the time inside to the current request's stage."""

    __slots__ = ("_name", "_trail")

    def __init__(self, name: Stage) -> None:
        self._name: Stage = name
        self._trail = _CURRENT.get()

    def __enter__(self) -> None:
        if self._trail is not None:
            self._trail.begin(self._name)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._trail is not None:
            self._trail.end(self._name)
