"""What would fit in place of a deployment that does not, nearest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from server.planning.deployment import BadDeployment, Deployment, Weights
from server.planning.hardware import GPUS, Gpu
from server.planning.plan import Ask, Plan, make_plan

MOST = 3
"""How many that fit are named."""

# What a checkpoint can be had in, from many bits to few.
_FEWER_BITS: tuple[Weights, ...] = ("bf16", "fp8", "nvfp4", "int4")


@dataclass(frozen=True)
class Nearest:
    """A deployment that fits, and in what it differs."""

    change: str
    plan: Plan


def nearest(plan: Plan, ask: Ask, *, most: int = MOST) -> list[Nearest]:
    """Up to `most` deployments near `plan`'s that fit, each tried in full; vLLM is asked about each."""
    change, base = repaired(plan.deployment, plan)
    found: list[Nearest] = []

    def try_all(options: Iterator[tuple[str, Deployment]]) -> None:
        for text, option in options:
            if len(found) == most:
                return
            try:
                other = make_plan(option, ask)
            except (BadDeployment, RuntimeError):
                continue
            if not other.problems:
                found.append(Nearest(text, other))

    if change:
        try_all(iter([(change, base)]))
        if found:
            # What was wrong was not the size, so other sizes are not nearer.
            try_all(_kept(plan))
            return found
    try_all(_sized(change, base, plan))
    return found


def repaired(deployment: Deployment, plan: Plan) -> tuple[str, Deployment]:
    """`deployment` without what is wrong whatever the memory, and what was changed for it."""
    changes = []
    kinds = {problem.kind for problem in plan.problems}
    if "fp8 kv" in kinds:
        deployment = replace(deployment, kv_dtype="bf16")
        changes.append("a BF16 KV cache")
    if "context" in kinds:
        factor = -(-deployment.context // plan.shapes.positions)
        # Static YaRN is known good up to the model card's factor of 4.
        if factor <= 4:
            deployment = replace(deployment, yarn_factor=float(factor))
            changes.append(f"YaRN with factor {factor}")
        else:
            deployment = replace(deployment, context=plan.shapes.positions)
            changes.append(f"a context of {plan.shapes.positions:,}")
    return " and ".join(changes), deployment


def _kept(plan: Plan) -> Iterator[tuple[str, Deployment]]:
    """Other ways out for one who wants to keep what `repaired` gives up."""
    wanted, kinds = plan.deployment, {problem.kind for problem in plan.problems}
    if kinds == {"context"}:
        longest = int(plan.shapes.positions * wanted.yarn_factor)
        yield f"a context of {longest:,}", replace(wanted, context=longest)
    if kinds == {"fp8 kv"}:
        for other in _larger(wanted.hardware.gpu, at_least=True):
            if other.fp8_kv:
                on = replace(wanted.hardware, gpu=other)
                yield f"an FP8 KV cache on {on.name}", replace(wanted, hardware=on)


def _larger(gpu: Gpu, *, at_least: bool = False) -> list[Gpu]:
    """GPUs with more memory (or as much), nearest first: same vendor, same kind of link, then the smaller."""

    def distance(other: Gpu) -> tuple[bool, bool, int]:
        vendor = other.device_name.split()[0] != gpu.device_name.split()[0]
        return vendor, other.link.startswith("PCIe") != gpu.link.startswith("PCIe"), other.memory_bytes

    least = gpu.memory_bytes if at_least else gpu.memory_bytes + 1
    return sorted(
        (each for each in GPUS.values() if each.memory_bytes >= least and each.name != gpu.name), key=distance
    )


def _sized(change: str, base: Deployment, plan: Plan) -> Iterator[tuple[str, Deployment]]:
    def named(text: str) -> str:
        return f"{text}, with {change}" if change else text

    gpu = base.hardware.gpu
    if base.kv_dtype == "bf16" and gpu.fp8_kv:
        yield named("an FP8 KV cache"), replace(base, kv_dtype="fp8")
    longest = plan.layout.longest_context // 1024 * 1024
    if 0 < longest < base.context and plan.memory.kv > 0:
        yield named(f"a context of {longest:,}"), replace(base, context=longest, yarn_factor=1.0)
    for weights in _FEWER_BITS[_FEWER_BITS.index(base.weights) + 1 :]:
        if weights == "nvfp4" and "fp4" not in gpu.flops:
            continue
        yield named(f"{weights} weights on {base.hardware.name}"), replace(base, weights=weights)
    for other in _larger(gpu):
        on = replace(base.hardware, gpu=other)
        yield named(f"{base.weights} weights on {on.name}"), replace(base, hardware=on)
    for times in (2, 4):
        on = base.hardware.sized(base.hardware.gpus * times)
        more = replace(base, hardware=on, tensor_parallel=base.tensor_parallel * times)
        yield named(f"{base.weights} weights on {on.name}, tensor parallel {more.tensor_parallel}"), more
