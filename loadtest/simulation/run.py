"""Runs requests through a policy and the simulated engine on a virtual clock."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from loadtest.simulation.engine import Running, SimulatedEngine
from loadtest.simulation.events import Events
from loadtest.simulation.policies import House, Ours, Policy, Unbounded, VllmCaps, refusal
from loadtest.simulation.results import Attempt, Results, Sample
from loadtest.simulation.workload import Request
from server.admission.policy.engine_model import StepCosts
from server.admission.policy.parameters import Rules
from server.generation.engine_state import EngineReport, EngineSize

POLICIES = ("ours", "unbounded FCFS", "vLLM's caps")


@dataclass(frozen=True, slots=True)
class World:
    """The engine and the clients' manners. `lag_steps` is how late statistics come, in steps.

    `come_back` is the part of refused clients that come back exactly when they were told to, `most_tries` how often
    they try in all. `warm` gives the policy the engine's true costs to begin with, as a daemon knows them that has run.
    """

    size: EngineSize
    costs: StepCosts
    rules: Rules = field(default_factory=Rules)
    long_prefill: int = 0
    speed: Callable[[float], float] = lambda now: 1.0
    lag_steps: int = 1
    come_back: float = 0.0
    most_tries: int = 4
    warm: bool = True
    seed: int = 0
    # What a baseline is told its objective is.
    ttft_seconds: float = 10.0


class Simulation:
    """One run of one policy; `check` is called after everything that happens, for tests."""

    def __init__(
        self,
        world: World,
        requests: Sequence[Request],
        policy: str | Callable[[House], Policy],
        check: Callable[[Simulation], None] | None = None,
    ) -> None:
        self.world = world
        self.events = Events()
        self.engine = SimulatedEngine(world.size, world.costs, long_prefill=world.long_prefill, speed=world.speed)
        self.policy = self._policy(policy) if isinstance(policy, str) else policy(self)
        self.attempts: list[Attempt] = []
        self.samples: list[Sample] = []
        self.steps = 0
        self.busy_seconds = 0.0
        self._random = random.Random(f"{world.seed}/clients")
        self._check = check
        self._reports: list[EngineReport] = []
        self._tokens: dict[str, float] = {}
        self._requests = requests
        self._next = 0
        self._plan_arrival()

    def run(self, duration: float, drain: float = 60.0) -> Results:
        """Runs for `duration` and then until what is inside is done, at most `drain` seconds more."""
        self.events.at(0.0, lambda now: self._sample(now, duration + drain))
        self.events.run(duration + drain)
        for attempt in self.attempts:
            attempt.outcome = attempt.outcome or "unfinished"
        return Results(
            self.policy.name,
            duration,
            self.attempts,
            self.samples,
            self.engine.preemptions,
            self.steps,
            self.busy_seconds,
        )

    def _policy(self, name: str) -> Policy:
        world = self.world
        if name == Ours.name:
            return Ours(self, world.size, world.rules, world.costs if world.warm else None, world.seed)
        if name == VllmCaps.name:
            return VllmCaps(self, world.size, world.costs, world.ttft_seconds)
        assert name == Unbounded.name
        return Unbounded(self)

    # Clients

    def _plan_arrival(self) -> None:
        if self._next < len(self._requests):
            self.events.at(self._requests[self._next].at, self._arrival)

    def _arrival(self, now: float) -> None:
        request = self._requests[self._next]
        number, self._next = self._next, self._next + 1
        self._plan_arrival()
        self._arrive(now, request, 1, number.to_bytes(8, "big"))

    def _arrive(self, now: float, request: Request, tries: int, fingerprint: bytes) -> None:
        attempt = Attempt(len(self.attempts), request, now, tries, fingerprint)
        self.attempts.append(attempt)
        if request.cancel_after is not None:
            self.events.at(now + request.cancel_after, lambda now: self._cancel(now, attempt))
        self.policy.arrive(now, attempt)
        self._after(now)

    def _cancel(self, now: float, attempt: Attempt) -> None:
        if attempt.outcome:
            return
        self.policy.left(now, attempt, complete=False)
        self.abort(attempt)
        self.end(attempt, "cancelled")
        self.policy.woken(now)
        self._after(now)

    # House

    def submit(self, attempt: Attempt, made: int) -> None:
        """To the engine; it goes on after `made` tokens."""
        now = self.events.now
        attempt.admitted = now if attempt.admitted is None else attempt.admitted
        request = attempt.request
        each = made // request.answers
        attempt.sequences = [
            Running(attempt, request.prompt + each, max(1, request.output - each), request.prefix)
            for _ in range(request.answers)
        ]
        for sequence in attempt.sequences:
            self.engine.submit(sequence)
        self._start(now)

    def abort(self, attempt: Attempt) -> None:
        """Out of the engine, at the end of the step."""
        for sequence in attempt.sequences:
            self.engine.abort(sequence)
        if attempt.sequences and not self.engine.stepping:
            self.events.at(self.events.now, self._release)

    def end(self, attempt: Attempt, outcome: str, retry_after: float | None = None) -> None:
        """Tells the client, who may come back."""
        assert not attempt.outcome, "a request has one end"
        now = self.events.now
        attempt.outcome, attempt.ended, attempt.retry_after = outcome, now, retry_after
        if not refusal(outcome) or retry_after is None or attempt.tries >= self.world.most_tries:
            return
        if self._random.random() < self.world.come_back:
            request, tries, fingerprint = attempt.request, attempt.tries + 1, attempt.fingerprint
            assert fingerprint is not None
            self.events.at(now + retry_after, lambda now: self._arrive(now, request, tries, fingerprint))

    def wake(self, at: float) -> None:
        """Wakes the policy."""
        self.events.at(at, self._wake)

    def render(self, attempt: Attempt, seconds: float) -> None:
        """Renders a prompt."""
        self.events.at(self.events.now + seconds, lambda now: self._rendered(now, attempt))

    def _rendered(self, now: float, attempt: Attempt) -> None:
        self.policy.rendered(now, attempt)
        self._after(now)

    def _wake(self, now: float) -> None:
        self.policy.woken(now)
        self._after(now)

    # The engine

    def _start(self, now: float) -> None:
        if self.engine.stepping:
            return
        seconds = self.engine.begin(now)
        if seconds is not None:
            self.steps += 1
            self.busy_seconds += seconds
            self.events.at(now + seconds, self._step)

    def _release(self, now: float) -> None:
        if not self.engine.stepping:
            self._released(now, self.engine.release_aborted())
            self.policy.woken(now)
            self._after(now)

    def _step(self, now: float) -> None:
        step = self.engine.end()
        tokens = self._tokens
        for sequence in step.tokens:
            attempt = sequence.owner
            assert isinstance(attempt, Attempt)
            attempt.made += 1
            tenant = attempt.request.tenant
            if attempt.first_token is None:
                self.policy.made(now, attempt, 1, sequence.cached)
                attempt.first_token, attempt.cached = now, sequence.cached
                tokens[tenant] = tokens.get(tenant, 0.0) + attempt.request.prompt - sequence.cached
            else:
                self.policy.made(now, attempt, 1, sequence.cached)
            tokens[tenant] = tokens.get(tenant, 0.0) + 2.0
        for sequence in step.finished:
            attempt = sequence.owner
            assert isinstance(attempt, Attempt)
            attempt.preemptions += sequence.preemptions
            attempt.sequences.remove(sequence)
            if not attempt.sequences and not attempt.outcome:
                self.policy.left(now, attempt, complete=True)
                self.end(attempt, "complete")
        self._released(now, step.released)
        # Statistics come late.
        self._reports.append(step.report)
        if len(self._reports) > self.world.lag_steps:
            self.policy.report(now, self._reports.pop(0))
        self.policy.woken(now)
        self._start(now)
        self._after(now)

    def _released(self, now: float, sequences: Sequence[Running]) -> None:
        for sequence in sequences:
            attempt = sequence.owner
            assert isinstance(attempt, Attempt)
            if sequence not in attempt.sequences:
                continue
            attempt.sequences.remove(sequence)
            if not attempt.sequences and not attempt.outcome:
                self.policy.released(now, attempt)

    def _sample(self, now: float, end: float) -> None:
        engine, policy = self.engine, self.policy
        ours = policy.controller if isinstance(policy, Ours) else None
        self.samples.append(
            Sample(
                at=now,
                running=len(engine.running),
                engine_waiting=len(engine.waiting),
                waiting=ours.waiting if ours else 0,
                kv_used=1 - engine.free / engine.size.blocks,
                preemptions=engine.preemptions,
                forecast_bias=ours.forecast.bias if ours else 1.0,
                tokens=dict(self._tokens),
            )
        )
        if now + 1 <= end:
            self.events.at(now + 1, lambda now: self._sample(now, end))

    def _after(self, now: float) -> None:
        if self._check is not None:
            self._check(self)


def simulate(world: World, requests: Sequence[Request], policy: str, duration: float, drain: float = 60.0) -> Results:
    """One run."""
    return Simulation(world, requests, policy).run(duration, drain)
