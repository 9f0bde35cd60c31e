"""What `answer` tells a request's trail: who asks for what, the tokens, the cost and the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from server.admission.classes import PriorityClass
from server.admission.desk import AdmissionPermit
from server.admission.tenants import Caller
from server.api.service import Service
from server.generation.events import Batch, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.expectation import Expectation
from server.generation.generation import Usage
from server.generation.merged_generation import RunningGeneration
from server.telemetry.cost import RequestCost
from server.telemetry.record import TokenCounts, result_of
from server.telemetry.trail import current


class Asked(Protocol):
    """The part of an exchange that is told."""

    @property
    def streamed(self) -> bool:
        """Whether the answer is a stream."""

    @property
    def priority(self) -> PriorityClass:
        """How urgent it is."""


class Watched:
    """One request on its way through `answer`; does nothing where no trail is kept."""

    def __init__(self, at: Service, sender: Caller) -> None:
        self._at = at
        self._shows_cost = sender.tenant.shows_cost
        self._trail = current()
        self.texts = False
        """Whether the answer's text is wanted, by `add`."""
        if self._trail is not None and at.cost is not None:
            at.cost.settle()
            self._trail.cost_mark = at.cost.mark()

    def received(self, exchange: Asked, body: bytearray) -> None:
        """The body is there and parsed."""
        trail = self._trail
        if trail is None:
            return
        trail.end("receive")
        trail.priority = exchange.priority.value
        trail.streamed = exchange.streamed
        if self._at.logs_texts:
            self.texts = True
            trail.prompt_text = body.decode("utf-8", "replace")
            trail.answer_text = []

    def expects(self, expected: Sequence[Expectation]) -> None:
        """What it asks for is known."""
        if self._trail is not None:
            self._trail.effort = expected[0].effort or ""
            self._trail.thinking = expected[0].thinking
            self._trail.answers = sum(each.answers for each in expected)

    def add(self, batches: Sequence[Batch]) -> None:
        """More of the answer, where `texts` says that it is wanted."""
        assert self._trail is not None
        assert self._trail.answer_text is not None
        for batch in batches:
            for event in batch.events:
                if isinstance(event, ReasoningDelta | TextDelta):
                    self._trail.answer_text.append(event.text)
                elif isinstance(event, ToolCallStart):
                    self._trail.answer_text.append(event.name)
                elif isinstance(event, ToolCallArguments):
                    self._trail.answer_text.append(event.fragment)

    def usage(self, running: RunningGeneration) -> Usage:
        """The usage of answers that are whole, with their cost for whom it is told to."""
        usage = running.usage
        cost = self._count(usage)
        if cost is not None and self._shows_cost:
            usage.cost = cost.total
        return usage

    def ended(self, permits: Sequence[AdmissionPermit], running: RunningGeneration | None) -> None:
        """The permits have ended."""
        trail = self._trail
        if trail is None:
            return
        if running is not None:
            self._count(running.usage)
        outcomes = [permit.outcome for permit in permits if permit.outcome]
        if outcomes:
            # One prompt that failed is the request's failure; else its first answer stands for all.
            trail.outcome = next((each for each in outcomes if result_of(each) != "finished"), outcomes[0])

    def detach(self) -> None:
        """The request's answer goes out before it has ended: its trail ends with `finish`, not with the answer."""
        if self._trail is not None:
            self._trail.detached = True

    def finish(self) -> None:
        """A request that was detached has ended."""
        if self._trail is not None and self._at.requests is not None:
            self._at.requests.ended(self._trail)

    def _count(self, usage: Usage) -> RequestCost | None:
        """Takes the tokens in; the cost is found once, so that what is told is what is counted."""
        trail = self._trail
        if trail is None:
            return None
        trail.tokens = TokenCounts(usage.prompt, usage.cached, usage.completion, usage.reasoning, usage.tool)
        if trail.cost is None and self._at.cost is not None and usage.completion:
            trail.cost = self._at.cost.cost(
                trail.cost_mark, computed=usage.prompt - usage.cached, cached=usage.cached, output=usage.completion
            )
        cost: RequestCost | None = trail.cost
        return cost
