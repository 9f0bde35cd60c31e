"""Who is let into the engine: the daemon's controller, and what it is compared with."""

from __future__ import annotations

import random
from typing import Protocol

from loadtest.simulation.engine import PREFIX_TOKENS
from loadtest.simulation.results import Attempt
from server.admission.policy.controller import Controller
from server.admission.policy.engine_model import StepCosts
from server.admission.policy.parameters import Rules
from server.admission.policy.prefix_index import PrefixIndex
from server.admission.policy.ticket import Ask, Cost, Ticket
from server.admission.refusals import Reason, Refused
from server.generation.engine_state import EngineReport, EngineSize

# Rendering a prompt takes a front end so long: a part for every request, and one for each token.
RENDER_SECONDS, RENDER_TOKEN_SECONDS = 0.002, 1e-6


class House(Protocol):
    """What a policy can do to the simulated world."""

    def submit(self, attempt: Attempt, made: int) -> None:
        """To the engine, with `made` tokens made already."""

    def abort(self, attempt: Attempt) -> None:
        """Out of the engine; the policy is told with `released` when it is out."""

    def end(self, attempt: Attempt, outcome: str, retry_after: float | None = None) -> None:
        """The client is told that it is over."""

    def wake(self, at: float) -> None:
        """Calls `woken` at that time."""

    def render(self, attempt: Attempt, seconds: float) -> None:
        """Calls `rendered` after so long."""


class Policy:
    """Events, each with its time. What is not overridden is of no interest to a policy."""

    name = ""

    def __init__(self, house: House) -> None:
        self.house = house

    def arrive(self, now: float, attempt: Attempt) -> None:
        """A request is at the door."""
        raise NotImplementedError

    def rendered(self, now: float, attempt: Attempt) -> None:
        """Its prompt is rendered."""

    def made(self, now: float, attempt: Attempt, tokens: int, cached: int) -> None:
        """The engine made tokens for it."""

    def left(self, now: float, attempt: Attempt, *, complete: bool) -> None:
        """It has ended: the engine finished it, or its client has gone."""

    def released(self, now: float, attempt: Attempt) -> None:
        """The engine has let it go after `House.abort`."""

    def report(self, now: float, report: EngineReport) -> None:
        """The engine's statistics of a step."""

    def woken(self, now: float) -> None:
        """It is the time that was asked for; also after each step of the engine."""


class Unbounded(Policy):
    """Everything goes to the engine at once: first come, first served."""

    name = "unbounded FCFS"

    def arrive(self, now: float, attempt: Attempt) -> None:
        """Lets it in."""
        self.house.submit(attempt, 0)


class VllmCaps(Policy):
    """vLLM's `max_num_queued_reqs` (waiting and running, n counts n) and `max_num_queued_tokens` (the whole prompts of
    those that have no token yet).

    The tokens are what its documentation advises: the objective for the first token times the rate of prefill. The
    requests are twice what runs at once.
    """

    name = "vLLM's caps"

    def __init__(self, house: House, size: EngineSize, costs: StepCosts, ttft_seconds: float = 10.0) -> None:
        super().__init__(house)
        self._most_requests = 2 * size.sequences
        self._most_tokens = ttft_seconds * size.step_tokens / costs.seconds(size.step_tokens, 0)
        self._inside: dict[int, int] = {}
        self._requests = 0
        self._tokens = 0

    def arrive(self, now: float, attempt: Attempt) -> None:
        """Refuses what does not fit under both caps."""
        request = attempt.request
        # As in vLLM, one request that is larger than the whole cap is let in where nothing else is.
        full = self._requests + request.answers > self._most_requests
        if full or (self._tokens and self._tokens + request.prompt > self._most_tokens):
            self.house.end(attempt, "rejected_overloaded")
            return
        self._requests += request.answers
        self._tokens += request.prompt
        self._inside[attempt.number] = request.prompt
        self.house.submit(attempt, 0)

    def made(self, now: float, attempt: Attempt, tokens: int, cached: int) -> None:
        """A prompt counts until its first token."""
        self._tokens -= self._inside[attempt.number]
        self._inside[attempt.number] = 0

    def left(self, now: float, attempt: Attempt, *, complete: bool) -> None:
        """Its place is free."""
        if attempt.number in self._inside:
            self._tokens -= self._inside.pop(attempt.number)
            self._requests -= attempt.request.answers


class Ours(Policy):
    """The daemon's controller, driven as the daemon drives it."""

    name = "ours"

    def __init__(self, house: House, size: EngineSize, rules: Rules, prior: StepCosts | None, seed: int) -> None:
        super().__init__(house)
        self.controller = Controller(size, rules, prior=prior, seed=seed)
        self.index = PrefixIndex(PREFIX_TOKENS, size.kv_tokens // PREFIX_TOKENS)
        self._random = random.Random(f"{seed}/guesses")
        self._tickets: dict[int, Ticket] = {}
        self._attempts: dict[int, Attempt] = {}
        self._wake: float | None = None

    def arrive(self, now: float, attempt: Attempt) -> None:
        """At the door, where the prompt's length is only guessed from its size."""
        request = attempt.request
        ask = Ask(
            tenant=request.tenant,
            weight=request.weight,
            priority=request.priority,
            prompt_tokens=max(1, round(request.prompt * self._random.uniform(0.7, 1.4))),
            max_tokens=request.max_tokens,
            answers=request.answers,
            ttft_seconds=request.ttft_seconds,
            fingerprint=attempt.fingerprint,
        )
        try:
            ticket = self.controller.arrive(now, ask)
        except Refused as refused:
            self.house.end(attempt, refused.outcome, refused.retry_after)
        else:
            self._tickets[attempt.number] = ticket
            self._attempts[ticket.id] = attempt
            self.house.render(attempt, RENDER_SECONDS + RENDER_TOKEN_SECONDS * request.prompt)
        self.woken(now)

    def rendered(self, now: float, attempt: Attempt) -> None:
        """Its cost is known."""
        request, ticket = attempt.request, self._tickets.get(attempt.number)
        if ticket is None:
            return
        cached = self.index.cached(request.prefix, request.prompt)
        cost = Cost(request.prompt, cached, request.max_tokens, resumable=request.answers == 1)
        try:
            self.controller.price(now, ticket, cost)
        except Refused as refused:
            self._forget(attempt)
            self.house.end(attempt, refused.outcome, refused.retry_after)
        attempt.predicted_ttft = ticket.predicted_ttft
        self.woken(now)

    def made(self, now: float, attempt: Attempt, tokens: int, cached: int) -> None:
        """Counts it."""
        ticket = self._tickets[attempt.number]
        if attempt.first_token is None:
            self.index.learn(attempt.request.prefix, cached)
            self.index.add(attempt.request.prefix)
        self.controller.made(now, ticket, tokens, cached)

    def left(self, now: float, attempt: Attempt, *, complete: bool) -> None:
        """The engine finished it, or its client has gone."""
        ticket = self._forget(attempt)
        if ticket is not None:
            self.controller.leave(now, ticket, complete=complete)

    def released(self, now: float, attempt: Attempt) -> None:
        """Stopped for somebody more urgent: it waits again."""
        ticket = self._tickets.get(attempt.number)
        if ticket is not None:
            self.controller.stopped(now, ticket, self.index.cached(attempt.request.prefix, attempt.request.prompt))

    def report(self, now: float, report: EngineReport) -> None:
        """The controller learns from it."""
        self.controller.observe(now, report)

    def woken(self, now: float) -> None:
        """Decides."""
        self._wake = None if self._wake is not None and self._wake <= now else self._wake
        decisions = self.controller.decide(now)
        for eviction in decisions.evict:
            attempt = self._attempts[eviction.ticket.id]
            self._forget(attempt)
            if eviction.ticket.admitted is not None:
                self.house.abort(attempt)
            refused = Refused(eviction.reason, retry_after=eviction.retry_after, evicted=True)
            self.house.end(attempt, refused.outcome, refused.retry_after)
        for ticket in decisions.admit:
            self.house.submit(self._attempts[ticket.id], ticket.made)
        for ticket in decisions.stop:
            self.house.abort(self._attempts[ticket.id])
        at = self.controller.wake_at(now)
        if at is not None and (self._wake is None or at < self._wake):
            self._wake = at
            self.house.wake(at)

    def _forget(self, attempt: Attempt) -> Ticket | None:
        ticket = self._tickets.pop(attempt.number, None)
        if ticket is not None:
            del self._attempts[ticket.id]
        return ticket


def refusal(outcome: str) -> bool:
    """Whether an outcome is the server's refusal, at the door or after a wait."""
    return outcome.startswith(("rejected_", "evicted_"))


__all__ = ["Ours", "Policy", "Reason", "Unbounded", "VllmCaps", "refusal"]
