"""Random traces, and the small engine that they run on: chunked prefill, preemption, statistics that lag, cancels,
priorities, several answers of one prompt and prompts that are mostly cached.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from server.admission.classes import PriorityClass
from server.generation.engine_state import EngineSize

INTERACTIVE, STANDARD, BATCH = PriorityClass
ENDLESS = 3000.0


@dataclass(frozen=True)
class Trace:
    """A random trace by its seed, and what it runs on."""

    seed: int
    count: int = 60
    tenants: int = 4
    seconds: float = 10.0
    cancels: float = 0.2
    lag: int = 1
    blocks: int = 150
    come_back: float = 0.0
    ageing: float = 2.0


def world(code: SimpleNamespace, trace: Trace, **rules: Any) -> Any:
    """A small engine, on which everything runs out."""
    parameters = code.parameters
    size = EngineSize(
        sequences=8, step_tokens=256, blocks=trace.blocks, block_tokens=16, constant_blocks=2, max_model_len=4096
    )
    classes = {
        INTERACTIVE: parameters.ClassRules(ttft_seconds=10.0, total_seconds=60.0),
        STANDARD: parameters.ClassRules(ttft_seconds=30.0, share=0.95, ageing_seconds=trace.ageing),
        BATCH: parameters.ClassRules(ttft_seconds=600.0, share=0.8, ageing_seconds=4 * trace.ageing),
    }
    chosen = parameters.Rules(
        **{"classes": classes, "long_tokens": 600, "max_waiting": 40, "prefill_seconds": 0.2, **rules}
    )
    return code.run.World(
        size, code.engine_model.StepCosts(0.02, 2e-4, 1e-6), chosen, lag_steps=trace.lag, seed=trace.seed,
        come_back=trace.come_back, warm=trace.seed % 2 == 0,
    )  # fmt: skip


def requests(code: SimpleNamespace, trace: Trace) -> list[Any]:
    """The trace's requests; some can never fit."""
    rng = random.Random(trace.seed)
    found = []
    for _ in range(trace.count):
        kind = rng.random()
        prompt = rng.randint(600, 2600) if kind < 0.1 else rng.randint(1, 400)
        most = rng.choice((16, 64, 200))
        found.append(
            code.workload.Request(
                at=rng.uniform(0, trace.seconds),
                tenant=f"t{rng.randrange(trace.tenants)}",
                prompt=prompt,
                output=rng.randint(1, most),
                weight=1.0,
                priority=rng.choice((INTERACTIVE, INTERACTIVE, STANDARD, BATCH)),
                max_tokens=most,
                answers=rng.choice((1, 1, 1, 1, 3)),
                prefix=tuple(range(prompt // 512)) if rng.random() < 0.3 else (),
                cancel_after=rng.uniform(0, 8) if rng.random() < trace.cancels else None,
            )
        )
    return sorted(found, key=lambda each: each.at)


def simulation(code: SimpleNamespace, trace: Trace, check: Any = None, **rules: Any) -> Any:
    """The trace, ready to run."""
    return code.run.Simulation(world(code, trace, **rules), requests(code, trace), "ours", check)
