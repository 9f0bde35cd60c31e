"""Writes the table of docs/scaling.md from the planner and the manifests' figures. A test fails when it is old.

python -m scripts.scaling_docs
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from scripts.kubernetes.figures import figures
from server.engine.kv_layout import Ask, layouts
from server.planning.costs import CostModel, Load
from server.planning.from_profile import deployment_of
from server.planning.plan import Plan, make_plan
from server.settings import load

TARGET = Path(__file__).parents[1] / "docs" / "scaling.md"
BEGINS, ENDS = "<!-- steps -->", "<!-- /steps -->"

# What is asked in every row: agents' prompts, half of each found in the cache.
LOAD = Load(0.0, input_tokens=4096, cached_share=0.5, output_tokens=1024)

# Profile, replicas, and the overlay that serves them.
STEPS = (
    ("qwen3.5-35b-1xh100-fp8", 1, "made of its profile"),
    ("qwen3.5-397b-4xb200-nvfp4", 1, "made of its profile"),
    ("qwen3.5-397b-8xh200-fp8-latency", 1, "`8xh200-latency`"),
    ("qwen3.5-397b-8xh200-fp8", 1, "`8xh200-throughput`"),
    ("qwen3.5-397b-2x8xh100-bf16", 1, "`2x8xh100`"),
    ("qwen3.5-397b-8xh200-fp8", 4, "`fleet-*`, as shipped"),
    ("qwen3.5-397b-8xh200-fp8", 16, "`fleet-*`, one cell"),
    ("qwen3.5-397b-8xh200-fp8", 125, "8 cells of 16"),
)


def table(ask: Ask) -> str:
    """The rows; `ask` answers how the KV cache is laid out, as vLLM does."""
    head = (
        "GPUs",
        "profile",
        "replicas",
        "overlay",
        "8K requests at once",
        "128K at once",
        "requests/s, full",
        "output tokens/s, full",
        "tokens/s each, half full",
        "$ an hour",
        "rollout",
    )
    plans: dict[str, Plan] = {}
    for profile, _, _ in STEPS:
        if profile not in plans:
            plans[profile] = make_plan(deployment_of(load(profile)), ask)
    rows = [head, tuple("---" for _ in head), *(_row(plans[step[0]], *step) for step in STEPS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(plan: Plan, profile: str, replicas: int, overlay: str) -> tuple[str, ...]:
    costs = _costs(plan)
    most = costs.most_requests_per_second(LOAD)
    half = costs.cost(replace(LOAD, requests_per_second=most / 2))
    assert half is not None
    assert not plan.problems
    at_once = {room.tokens: room.at_once for room in plan.rooms}
    of = figures(profile)
    hours = replicas * (of.start + of.grace) / 3600
    gpus = plan.deployment.hardware.gpus
    return (
        f"{gpus * replicas:,}",
        f"`{profile}`",
        str(replicas),
        overlay,
        f"{at_once[8192] * replicas:,}",
        f"{at_once[131_072] * replicas:,}",
        f"{most * replicas:,.0f}" if most >= 10 else f"{most * replicas:,.1f}",
        f"{most * LOAD.output_tokens * replicas:,.0f}",
        f"{half.output_tokens_per_second_per_sequence:.0f}",
        f"{half.dollars_per_hour * replicas:,.0f}",
        f"{hours:.1f} h",
    )


def _costs(plan: Plan) -> CostModel:
    """As `qwend plan` expects speeds, without flags of its own."""
    layout = plan.layout
    return CostModel(
        plan.roofline,
        plan.deployment.hardware.gpu.price_per_hour,
        max(1, plan.memory.kv),
        max(1, min(layout.max_num_seqs, layout.requests(8192))),
        layout.max_num_batched_tokens,
    )


def with_table(text: str, ask: Ask) -> str:
    """`text` with its table made anew."""
    before, _, rest = text.partition(BEGINS)
    _, _, after = rest.partition(ENDS)
    return f"{before}{BEGINS}\n{table(ask)}\n{ENDS}{after}"


def main() -> None:
    with layouts() as ask:
        TARGET.write_text(with_table(TARGET.read_text(encoding="utf-8"), ask), encoding="utf-8")


if __name__ == "__main__":
    main()
