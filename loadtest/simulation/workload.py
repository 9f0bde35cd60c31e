"""Requests of synthetic tenants: when they come and how long they are, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadtest.arrivals import Times, poisson
from loadtest.distributions import log_normal
from loadtest.simulation.engine import PREFIX_TOKENS
from server.admission.classes import PriorityClass


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `output` is how long the answer will be; `cancel_after` when its client gives up, in seconds."""

    at: float
    tenant: str
    prompt: int
    output: int
    weight: float = 1.0
    priority: PriorityClass = PriorityClass.INTERACTIVE
    max_tokens: int = 4096
    answers: int = 1
    prefix: Sequence[int] = ()
    ttft_seconds: float | None = None
    cancel_after: float | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """A log-normal distribution of lengths, in tokens."""

    median: float
    sigma: float = 0.8
    least: int = 1
    most: int = 100_000

    def draw(self, rng: random.Random) -> int:
        """One length."""
        return max(self.least, min(self.most, round(log_normal(rng, self.median, self.sigma))))


@dataclass(frozen=True, slots=True)
class Source:
    """One tenant's requests of one kind."""

    tenant: str
    times: Times
    prompt: Lengths
    output: Lengths
    priority: PriorityClass = PriorityClass.INTERACTIVE
    weight: float = 1.0
    max_tokens: int = 4096
    cancels: float = 0.0  # the part of clients that give up, some seconds after they came

    def requests(self, seed: int, end: float) -> Iterator[Request]:
        """Its requests until `end`."""
        rng = random.Random(f"{seed}/{self.tenant}/{self.priority}")
        for at in self.times(rng, end):
            yield Request(
                at=at,
                tenant=self.tenant,
                prompt=self.prompt.draw(rng),
                output=min(self.output.draw(rng), self.max_tokens),
                weight=self.weight,
                priority=self.priority,
                max_tokens=self.max_tokens,
                cancel_after=rng.uniform(1.0, 20.0) if rng.random() < self.cancels else None,
            )


def agents(
    tenants: int, sessions_rate: float, turns: int, *, seed: int, end: float, first: int = 6000, grows: int = 1500
) -> list[Request]:
    """Sessions whose every prompt is the one before and some more, so that most of it is in the engine's cache."""
    rng = random.Random(f"{seed}/agents")
    found, ids = [], 0
    for start in poisson(sessions_rate)(rng, end):
        tenant = f"agents-{rng.randrange(tenants)}"
        prompt, at, prefix = round(first * rng.uniform(0.5, 2.0)), start, []
        for _ in range(turns):
            if at >= end:
                break
            while len(prefix) < prompt // PREFIX_TOKENS:
                ids += 1
                prefix.append(ids)
            output = round(150 * rng.uniform(0.3, 2.5))
            found.append(Request(at, tenant, prompt, output, prefix=tuple(prefix), max_tokens=2048))
            prompt += output + round(grows * rng.uniform(0.3, 1.7))
            at += rng.expovariate(1 / 8.0) + 4.0
    return merged(found)


def merged(*parts: Iterator[Request] | Sequence[Request]) -> list[Request]:
    """All requests in the order in which they come."""
    return sorted((request for part in parts for request in part), key=lambda each: each.at)
