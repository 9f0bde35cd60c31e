"""What a decision of the admission policy costs, by how many wait: 100, 1,000 and 10,000 of 1,000 tenants.

Run it as `python tests/bench/admission_cost.py`. In microseconds, the median of many; the engine is full, with free KV
blocks and at the limit of KV. `come` is the longest of a request's arrival, its pricing and the decision after it;
`go` an answer's end with the decision after it, which lets others in, and `decision` that for each one let in or looked
at; `token` is one token of an answer.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from server.admission.classes import PriorityClass
from server.admission.policy.controller import Controller
from server.admission.policy.decisions import EngineReport
from server.admission.policy.engine_model import StepCosts
from server.admission.policy.parameters import ClassRules, EngineSize, Rules
from server.admission.policy.ticket import Ask, Cost, Ticket

TENANTS = 1000
LIMIT = 50.0
ROUNDS = 2000


class Bench:
    """A controller with a full engine and `waiting` requests."""

    def __init__(self, waiting: int, *, near_kv_limit: bool) -> None:
        blocks = 2300 if near_kv_limit else 20_000
        size = EngineSize(
            sequences=256, step_tokens=8192, blocks=blocks, block_tokens=528, constant_blocks=6, max_model_len=262_144
        )
        classes = dict.fromkeys(PriorityClass, ClassRules(ttft_seconds=1e6, share=0.95, ageing_seconds=None))
        rules = Rules(classes=classes, max_waiting=1_000_000, static_waiting=1_000_000, prefill_seconds=1e6)
        self.controller = Controller(size, rules, prior=StepCosts(0.012, 25e-6, 5e-9))
        self.random = random.Random(1)
        self.now = 0.0
        self.running: list[Ticket] = []
        self.waiting: set[Ticket] = set()
        while len(self.waiting) < waiting:
            self.come()

    def come(self) -> float:
        """A request comes; seconds of the longest of its arrival, its pricing and the decision after it."""
        rng = self.random
        self.now += 1e-3
        priority = rng.choice((PriorityClass.INTERACTIVE, PriorityClass.INTERACTIVE, PriorityClass.STANDARD))
        prompt = rng.randint(100, 3000)
        ask = Ask(f"t{rng.randrange(TENANTS)}", 1.0, priority, prompt, 2000, fingerprint=rng.randbytes(8))
        cost = Cost(prompt, 0, 2000)
        started = time.perf_counter()
        ticket = self.controller.arrive(self.now, ask)
        arrived = time.perf_counter()
        self.controller.price(self.now, ticket, cost)
        priced = time.perf_counter()
        decisions = self.controller.decide(self.now)
        took = max(arrived - started, priced - arrived, time.perf_counter() - priced)
        self.waiting.add(ticket)
        self._admitted(decisions.admit)
        return took

    def token(self) -> float:
        """A token of an answer, seconds."""
        ticket = self.random.choice(self.running)
        started = time.perf_counter()
        self.controller.made(self.now, ticket, 1, 0)
        return time.perf_counter() - started

    def go(self) -> tuple[float, int]:
        """An answer ends: seconds, and how many it let in."""
        self.now += 1e-3
        ticket = self.running.pop(self.random.randrange(len(self.running)))
        report = EngineReport(0.02, 500, 256, 256, 0, 0.5)
        self.controller.observe(self.now, report)
        started = time.perf_counter()
        self.controller.leave(self.now, ticket, complete=True)
        decisions = self.controller.decide(self.now)
        took = time.perf_counter() - started
        self._admitted(decisions.admit)
        return took, len(decisions.admit)

    def _admitted(self, tickets: list[Ticket]) -> None:
        for ticket in tickets:
            self.waiting.discard(ticket)
            self.running.append(ticket)
            self.controller.made(self.now, ticket, 1, 0)


def measure(waiting: int, *, near_kv_limit: bool) -> tuple[float, float, float, float]:
    """Median microseconds of `come`, of `go` in all and for each decision in it, and of `token`."""
    bench = Bench(waiting, near_kv_limit=near_kv_limit)
    come, go, each, token = [], [], [], []
    for _ in range(ROUNDS):
        for _ in range(4):
            token.append(bench.token())
        took, admitted = bench.go()
        go.append(took)
        # Letting one in is a decision, and so is that the next one must wait.
        each.append(took / (admitted + 1))
        while len(bench.waiting) < waiting:
            come.append(bench.come())
    return tuple(statistics.median(times) * 1e6 for times in (come or [0.0], go, each, token))  # type: ignore[return-value]


def main() -> None:
    """Prints the table; ends with 1 where a decision takes longer than it may."""
    slow = False
    print(f"{'waiting':>8} {'KV':>6} {'come':>8} {'go':>8} {'decision':>9} {'token':>7} {'come/100':>9} {'go/100':>7}")
    for near in (False, True):
        first: tuple[float, ...] | None = None
        for waiting in (100, 1000, 10_000):
            come, go, each, token = measure(waiting, near_kv_limit=near)
            first = first or (come, go)
            slow = slow or max(come, each) > LIMIT
            ratios = f"{come / first[0]:>9.2f} {go / first[1]:>7.2f}"
            print(
                f"{waiting:>8} {'full' if near else 'free':>6} {come:>8.1f} {go:>8.1f} {each:>9.1f} {token:>7.2f}"
                f" {ratios}"
            )
    sys.exit(int(slow))


if __name__ == "__main__":
    main()
