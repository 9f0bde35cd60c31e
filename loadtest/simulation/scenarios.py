"""The scenarios: what comes, on which engine, and for how long."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from loadtest.arrivals import on_off, poisson, steps
from loadtest.simulation import traces
from loadtest.simulation.run import World, simulate
from loadtest.simulation.workload import Lengths, Request, Source, agents, merged
from server.admission.classes import PriorityClass
from server.admission.policy.engine_model import StepCosts
from server.generation.engine_state import EngineSize

FITTED = Path(__file__).parent / "fitted.json"
# One node of eight H200: 256 sequences, and the KV blocks of a hybrid model that are left beside 397e9 weights of FP8.
NODE = World(
    EngineSize(
        sequences=256, step_tokens=8192, blocks=8000, block_tokens=528, constant_blocks=6, max_model_len=262_144
    ),
    StepCosts(0.012, 25e-6, 5e-9),
)
CHAT = Lengths(1200, 0.8, most=30_000)
ANSWER = Lengths(250, 0.7, most=2000)
SECONDS = 60.0
TRACES = Path(__file__).parents[2].parent / "shared" / "data" / "traces"


def reference_engine() -> World:
    """The engine of the embedded checkpoint on a CPU, as `make fit-simulator` found it."""
    found = json.loads(FITTED.read_text(encoding="utf-8"))
    size = EngineSize(
        sequences=found["sequences"],
        step_tokens=found["step_tokens"],
        blocks=found["blocks"],
        block_tokens=found["block_tokens"],
        constant_blocks=6,
        max_model_len=32_768,
    )
    return World(size, StepCosts(found["fixed_seconds"], found["token_seconds"], found["kv_token_seconds"]))


@dataclass(frozen=True, slots=True)
class Scenario:
    """`requests` by seed, on `world`, for `duration` seconds."""

    name: str
    world: World
    requests: Callable[[int], list[Request]]
    duration: float = SECONDS


def capacity(world: World, prompt: Lengths = CHAT, output: Lengths = ANSWER) -> float:
    """Requests a second that the engine finishes when it always has enough of them."""
    return _capacity(world.size, world.costs, prompt, output)


@cache
def _capacity(size: EngineSize, costs: StepCosts, prompt: Lengths, output: Lengths) -> float:
    source = Source("capacity", poisson(1e4, 0.0, 5 * size.sequences / 1e4), prompt, output)
    return _finished(World(size, costs), list(source.requests(0, math.inf)))


def _finished(world: World, requests: list[Request]) -> float:
    results = simulate(world, requests, "unbounded FCFS", 0.0, 2000.0)
    ends = sorted(each.ended for each in results.attempts if each.ended is not None)
    # Without the beginning and the end, where it is not full.
    low, high = len(ends) // 5, 4 * len(ends) // 5
    return (high - low) / (ends[high] - ends[low])


def _tenants(rate: float, tenants: int = 10, prompt: Lengths = CHAT, output: Lengths = ANSWER) -> list[Source]:
    return [Source(f"tenant-{n}", poisson(rate / tenants), prompt, output) for n in range(tenants)]


def overload(factor: float, world: World = NODE, prompt: Lengths = CHAT, output: Lengths = ANSWER) -> Scenario:
    """Ten equal tenants, together `factor` times what the engine can do. One client in twenty gives up early."""

    def requests(seed: int) -> list[Request]:
        sources = _tenants(factor * capacity(world, prompt, output), 10, prompt, output)
        return merged(*(replace(each, cancels=0.05).requests(seed, SECONDS) for each in sources))

    return Scenario(f"overload {factor:g}x", world, requests)


def flood() -> Scenario:
    """Nine tenants that together ask for half of the engine; from 15 s on a tenth sends five times what it can do."""
    full = capacity(NODE)

    def requests(seed: int) -> list[Request]:
        polite = [Source(f"tenant-{n}", poisson(full / 18), CHAT, ANSWER) for n in range(9)]
        flooder = Source("flooder", poisson(5 * full, 15.0, 45.0), CHAT, ANSWER)
        return merged(*(each.requests(seed, SECONDS) for each in (*polite, flooder)))

    return Scenario("one-tenant flood", NODE, requests)


def long_among_short() -> Scenario:
    """Chats at 60 % of what the engine can do, and a tenant whose prompts of some 120,000 tokens are as much again."""
    full = capacity(NODE)
    prompts = Lengths(120_000, 0.3, least=40_000, most=220_000)

    def requests(seed: int) -> list[Request]:
        chats = _tenants(0.6 * full, 9)
        documents = Source("documents", on_off(0.35, 10.0, 5.0), prompts, Lengths(400, 0.5))
        return merged(*(each.requests(seed, SECONDS) for each in (*chats, documents)))

    return Scenario("long among short", NODE, requests)


def backfill() -> Scenario:
    """Interactive load of 30 %, 110 % and 30 % in turn, with 3 times more batch work than could ever be done."""
    full = capacity(NODE)

    def requests(seed: int) -> list[Request]:
        levels = [(0.0, 0.3 * full / 5), (20.0, 1.1 * full / 5), (40.0, 0.3 * full / 5)]
        chats = [Source(f"tenant-{n}", steps(levels), CHAT, ANSWER) for n in range(5)]
        batch = Source("batch", poisson(3 * full, 0.0, 20.0), CHAT, ANSWER, priority=PriorityClass.BATCH)
        return merged(*(each.requests(seed, SECONDS) for each in (*chats, batch)))

    return Scenario("batch backfill", NODE, requests)


def cached_agents() -> Scenario:
    """Agents whose prompts are mostly in the engine's cache, at twice what it can do."""

    def requests(seed: int) -> list[Request]:
        return agents(10, 8.0, 8, seed=seed, end=90.0)

    return Scenario("cache-heavy agents", NODE, requests, 90.0)


def drift(slower: float = 2.5) -> Scenario:
    """A load of 80 %, while steps slowly come to take `slower` times as long, and then recover."""
    full, duration = capacity(NODE), 120.0

    def speed(now: float) -> float:
        return 1 + (slower - 1) * max(0.0, math.sin(math.pi * min(now, duration) / duration))

    def requests(seed: int) -> list[Request]:
        return merged(*(each.requests(seed, duration) for each in _tenants(0.8 * full)))

    return Scenario("slow drift", replace(NODE, speed=speed), requests, duration)


def come_back(kind: str) -> Scenario:
    """Refused clients come back exactly at Retry-After: after a `burst`, in `sustained` overload, or `half`."""
    full = capacity(NODE)
    levels = {
        "burst": [(0.0, 0.05 * full), (10.0, full), (20.0, 0.0)],
        "burst on steady load": [(0.0, 0.05 * full), (10.0, full), (20.0, 0.05 * full)],
        "sustained": [(0.0, 0.15 * full)],
        "half": [(0.0, 0.05 * full), (10.0, full), (20.0, 0.05 * full)],
    }[kind]
    duration = 120.0

    def requests(seed: int) -> list[Request]:
        sources = [Source(f"tenant-{n}", steps(levels), CHAT, ANSWER) for n in range(10)]
        return merged(*(each.requests(seed, duration) for each in sources))

    return Scenario(f"come back: {kind}", replace(NODE, come_back=0.5 if kind == "half" else 1.0), requests, duration)


def capped(name: str, arguments: tuple[object, ...], seconds: float) -> Scenario:
    """Another scenario, with vLLM's cap of tokens computed from so many seconds of prefill."""
    plain = {"overload": overload, "flood": flood, "long_among_short": long_among_short, "cached_agents": cached_agents}
    scenario = plain[name](*arguments)  # type: ignore[operator]
    return replace(scenario, world=replace(scenario.world, ttft_seconds=seconds))


TRACE_FILES = {
    "Azure chat": ("azure_llm_2023_conv.csv", traces.azure),
    "Azure code": ("azure_llm_2023_code.csv", traces.azure),
    "Mooncake": ("mooncake_conversation.jsonl", traces.mooncake),
}


def replay(name: str, factor: float, folder: Path = TRACES, duration: float = SECONDS) -> Scenario | None:
    """A recorded trace at `factor` times what the engine can do, with a tenant that attacks for 10 s of each 20; None
    where the trace is not at hand.
    """
    file, read = TRACE_FILES[name]
    if not (folder / file).exists():
        return None
    recorded = read(folder / file, most=4000)
    rate = trace_capacity(name, folder)
    start = recorded[0].at

    def requests(seed: int) -> list[Request]:
        own = len(recorded) / (recorded[-1].at - start)
        moved = [each for each in traces.faster(recorded, factor * 0.8 * rate / own) if each.at < duration]
        attacker = Source("attacker", on_off(0.4 * factor * rate, 10.0, 10.0, 5.0), CHAT, ANSWER)
        return merged(moved, attacker.requests(seed, duration))

    return Scenario(f"{name} {factor:g}x", NODE, requests, duration)


@cache
def trace_capacity(name: str, folder: Path = TRACES) -> float:
    """Requests a second of the trace that the engine finishes when it always has enough of them."""
    file, read = TRACE_FILES[name]
    return _finished(NODE, [replace(each, at=0.0) for each in read(folder / file, most=1200)])
