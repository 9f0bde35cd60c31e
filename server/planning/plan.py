"""One deployment, planned: memory, room for requests, ceilings, and whether it can be at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from server.planning.ceilings import DecodeCeiling, Roofline, StepTime
from server.planning.deployment import Deployment
from server.planning.layout import KvLayout, LayoutQuestion
from server.planning.model_shapes import ModelShapes, model_shapes
from server.planning.reserve import Reserve, reserve
from server.planning.weights import WeightBytes, check_division, weight_bytes

Ask = Callable[[LayoutQuestion], KvLayout]
"""Asks vLLM for a layout: `server.engine.kv_layout.layouts`."""

REQUEST_LENGTHS: tuple[tuple[str, int], ...] = (
    ("short chat", 1024),
    ("8K", 8192),
    ("32K", 32_768),
    ("128K", 131_072),
    ("256K", 262_144),
    ("1M", 1_010_000),
)
"""Names and lengths in tokens, prompt and answer; the last is the model card's for YaRN."""

CEILING_CONTEXT = 8192
"""Tokens of the sequences and prompts that the printed ceilings are for."""

_CEILING_BATCHES = (1, 8, 32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Memory:
    """Bytes on one GPU."""

    total: int
    usable: int
    """What vLLM may take of the total."""
    weights: WeightBytes
    reserve: Reserve
    kv: int
    """What is left for the KV cache, or what it is given; negative where weights and reserve (and that) do not fit."""


@dataclass(frozen=True)
class Room:
    """Requests of one length."""

    name: str
    tokens: int
    blocks: int
    """Blocks that one of them holds at its end."""
    at_once: int
    """How many fit in the KV caches of all replicas; 0 where the context is shorter."""
    limited_by: str
    """`kv cache`, `max_num_seqs` or `context`."""


@dataclass(frozen=True)
class Problem:
    """Why a deployment cannot be. Problems of `memory` depend on sizes; the others are of kind."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All figures, per GPU where it says so. Where `problems` is not empty the engine would not start."""

    deployment: Deployment
    shapes: ModelShapes
    memory: Memory
    layout: KvLayout
    rooms: tuple[Room, ...]
    decode: tuple[DecodeCeiling, ...]
    prefill_tokens_per_second_per_gpu: float
    prefill_step: StepTime
    problems: tuple[Problem, ...]

    @property
    def roofline(self) -> Roofline:
        """The deployment's ceilings."""
        return Roofline(self.deployment, self.shapes, self.memory.weights)


def static_problems(deployment: Deployment, shapes: ModelShapes) -> list[Problem]:
    """What is wrong whatever the memory."""
    found = []
    gpu = deployment.hardware.gpu
    longest = int(shapes.positions * deployment.yarn_factor)
    if deployment.context > longest:
        stretched = f" x YaRN factor {deployment.yarn_factor:g}" if deployment.yarn_factor != 1 else " without YaRN"
        found.append(
            Problem(
                "context",
                f"a context of {deployment.context:,} tokens is beyond the {longest:,} positions that the model knows"
                f" ({shapes.positions:,}{stretched})",
            )
        )
    if deployment.kv_dtype == "fp8" and not gpu.fp8_kv:
        major, minor = gpu.capability
        found.append(
            Problem(
                "fp8 kv",
                f"an FP8 KV cache needs a GPU that converts to and from e4m3 (compute capability 8.9 or later); "
                f"{gpu.name} has {major}.{minor}",
            )
        )
    return found


def certain_problems(deployment: Deployment, shapes: ModelShapes) -> list[Problem]:
    """What no engine could do, told without asking vLLM: nothing that rests on an estimate.

    Raises BadDeployment where the model cannot be divided like this.
    """
    check_division(deployment, shapes)
    weights = weight_bytes(deployment, shapes)
    usable = deployment.usable_bytes
    exact = deployment.weights in ("bf16", "fp8")
    too_heavy = [_weights_problem(deployment, weights.total, usable)] if exact and weights.total > usable else []
    return [*static_problems(deployment, shapes), *too_heavy]


def make_plan(deployment: Deployment, ask: Ask) -> Plan:
    """Plans `deployment`.

    Raises BadDeployment where the model cannot be divided like this, NotQwen35 where it is not of this family, and
    what `ask` raises. Other problems are in the plan.
    """
    shapes = model_shapes(deployment.model)
    weights = weight_bytes(deployment, shapes)
    problems = static_problems(deployment, shapes)
    # What vLLM would choose for a step decides the reserve, and the reserve the memory that its pool is cut from.
    sizes = ask(LayoutQuestion(deployment, 0))
    set_aside = reserve(
        deployment,
        shapes,
        step_tokens=sizes.max_num_batched_tokens,
        sequences=sizes.max_num_seqs,
        graph_sizes=len(sizes.graph_batch_sizes),
    )
    usable, given = deployment.usable_bytes, deployment.kv_cache_bytes
    left = usable - weights.total - set_aside.total
    if given is not None:
        left = given if given <= left else left - given
    layout = ask(LayoutQuestion(deployment, left)) if left > 0 else sizes
    memory = Memory(deployment.hardware.gpu.memory_bytes, usable, weights, set_aside, left)
    problems += _memory_problems(deployment, memory, layout)
    roofline = Roofline(deployment, shapes, weights)
    prefill, prefill_step = roofline.prefill(CEILING_CONTEXT, layout.max_num_batched_tokens)
    return Plan(
        deployment,
        shapes,
        memory,
        layout,
        rooms(deployment, layout),
        tuple(
            roofline.decode(batch, CEILING_CONTEXT)
            for batch in _CEILING_BATCHES
            if batch == 1 or batch <= min(layout.max_num_seqs, layout.requests(CEILING_CONTEXT))
        ),
        prefill,
        prefill_step,
        tuple(problems),
    )


def rooms(deployment: Deployment, layout: KvLayout) -> tuple[Room, ...]:
    """How many requests of each length fit at once, in all replicas."""
    found = []
    for name, tokens in REQUEST_LENGTHS:
        fit = layout.requests(tokens)
        if tokens > deployment.context:
            fit, limit = 0, "context"
        elif fit > layout.max_num_seqs:
            fit, limit = layout.max_num_seqs, "max_num_seqs"
        else:
            limit = "kv cache"
        found.append(Room(name, tokens, layout.blocks_for(tokens), fit * deployment.data_parallel, limit))
    return tuple(found)


def _weights_problem(deployment: Deployment, weights: int, usable: int) -> Problem:
    take = f"the {deployment.weights} weights take {_gib(weights)} on each GPU"
    return Problem("memory", f"{take}, {_offered(deployment, usable)}")


def _offered(deployment: Deployment, usable: int) -> str:
    gpu = deployment.hardware.gpu
    if deployment.kv_cache_bytes is not None:
        return f"of {_gib(usable)} that each {gpu.name} has"
    part = f"({deployment.gpu_memory_utilization:.0%} of {_gib(gpu.memory_bytes)})"
    return f"of {_gib(usable)} that each {gpu.name} offers {part}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _memory_problems(deployment: Deployment, memory: Memory, layout: KvLayout) -> list[Problem]:
    gib, where = _gib, _offered(deployment, memory.usable)
    if memory.weights.total > memory.usable:
        return [_weights_problem(deployment, memory.weights.total, memory.usable)]
    if memory.kv <= 0:
        given = deployment.kv_cache_bytes
        left = "nothing for the KV cache" if given is None else f"no {gib(given)} for the KV cache"
        return [
            Problem(
                "memory",
                f"weights of {gib(memory.weights.total)} and a reserve of {gib(memory.reserve.total)} leave {left} "
                f"{where}",
            )
        ]
    if layout.longest_context < deployment.context:
        return [
            Problem(
                "kv memory",
                f"the {gib(memory.kv)} of KV cache on each GPU hold one request of at most "
                f"{layout.longest_context:,} tokens, not of {deployment.context:,}",
            )
        ]
    return []
