"""A plan as tables for people and as one JSON object for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from server.planning.costs import Cost, CostModel, Load, hosted
from server.planning.nearest import Nearest
from server.planning.plan import CEILING_CONTEXT, Plan


def gib(size: float) -> str:
    """Bytes as GiB."""
    return f"{size / 2**30:,.2f} GiB"


def show(
    console: Console, plan: Plan, near: Sequence[Nearest], costs: CostModel, cost: Cost | None, load: Load
) -> None:
    """Prints the plan."""
    deployment = plan.deployment
    console.print(headline(plan), highlight=False)
    console.print()
    _show_weights(console, plan)
    _show_memory(console, plan)
    _show_layout(console, plan)
    if plan.problems:
        _show_problems(console, plan, near)
        return
    _show_rooms(console, plan)
    _show_ceilings(console, plan)
    _show_cost(console, costs, cost, load, deployment.hardware.gpus)


def headline(plan: Plan) -> str:
    """The deployment in one line."""
    deployment = plan.deployment
    parts = [
        f"{deployment.model_name}, {deployment.weights} weights, on {deployment.hardware.name}:",
        f"tensor parallel {deployment.tensor_parallel}, data parallel {deployment.data_parallel}",
    ]
    if deployment.pipeline_parallel > 1:
        parts.append(f"pipeline parallel {deployment.pipeline_parallel}")
    if deployment.expert_parallel:
        parts.append(f"with experts over {deployment.expert_gpus} GPUs")
    kv = f", context {deployment.context:,}, {deployment.kv_dtype} KV cache"
    kv += "" if deployment.prefix_caching else ", no prefix caching"
    kv += f", MTP {deployment.mtp_tokens}" if deployment.mtp_tokens else ""
    kv += f", YaRN {deployment.yarn_factor:g}" if deployment.yarn_factor != 1 else ""
    return " ".join(parts) + kv


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def _show_weights(console: Console, plan: Plan) -> None:
    counts: dict[str, int] = {}
    for tensor in plan.shapes.tensors():
        counts[tensor.component] = counts.get(tensor.component, 0) + tensor.parameters
    weights = plan.memory.weights
    table = _table("Weights", "component", "parameters", "per GPU")
    for component, size in sorted(weights.by_component.items(), key=lambda item: -item[1]):
        table.add_row(component, f"{counts[component]:,}", gib(size))
    left_out = [name for name in counts if name not in weights.by_component]
    ends = ("embeddings", "vision", "lm_head", "mtp") if plan.deployment.pipeline_parallel > 1 else ()
    for name in left_out:
        table.add_row(f"{name} ({'on another stage' if name in ends else 'not loaded'})", f"{counts[name]:,}", "-")
    table.add_row("all", f"{sum(counts.values()):,}", gib(weights.total), style="bold")
    console.print(table)


def _show_memory(console: Console, plan: Plan) -> None:
    memory, share, given = plan.memory, plan.deployment.gpu_memory_utilization, plan.deployment.kv_cache_bytes
    table = _table("Memory of each GPU", "use", "bytes", "")
    table.add_row("GPU", gib(memory.total), "")
    table.add_row(
        "vLLM may take", gib(memory.usable), f"gpu_memory_utilization {share:g}" if given is None else "all of it"
    )
    table.add_row("weights", gib(memory.weights.total), "exact but for 4-bit checkpoints")
    if memory.reserve.estimated:
        table.add_row("activations", gib(memory.reserve.activations), "estimate")
        table.add_row(
            "CUDA graphs", gib(memory.reserve.graphs), f"estimate, {len(plan.layout.graph_batch_sizes)} sizes"
        )
        table.add_row("context, collectives", gib(memory.reserve.context), "estimate")
    else:
        table.add_row("reserve", gib(memory.reserve.total), "as given")
    if memory.kv > 0:
        table.add_row("KV cache", gib(memory.kv), "what is left" if given is None else "as given", style="bold")
    else:
        table.add_row("missing", gib(-memory.kv), "too little is left for the KV cache", style="bold red")
    console.print(table)


def _show_layout(console: Console, plan: Plan) -> None:
    layout, replicas = plan.layout, plan.deployment.data_parallel
    table = _table("KV cache of each GPU, by vLLM's own code", "", "")
    table.show_header = False
    table.add_row("KV per token", f"{layout.kv_bytes_per_token:,} bytes")
    table.add_row("block", f"{layout.block_tokens:,} tokens, {layout.block_bytes:,} bytes")
    table.add_row("page (a block in one layer)", f"{layout.page_bytes:,} bytes")
    table.add_row(
        "groups of layers", ", ".join(f"{count} {kind.removesuffix('Spec')}" for kind, count in layout.groups)
    )
    table.add_row("Gated DeltaNet state of a sequence", f"{layout.state_bytes / 2**20:,.1f} MiB")
    table.add_row("blocks of a sequence beside its tokens'", f"{layout.constant_blocks}")
    table.add_row("blocks", f"{layout.blocks:,}")
    table.add_row("tokens, as vLLM logs them", f"{layout.capacity_tokens:,}" + (" a replica" if replicas > 1 else ""))
    table.add_row("longest context that fits", f"{layout.longest_context:,}")
    table.add_row("max_num_batched_tokens, max_num_seqs", f"{layout.max_num_batched_tokens:,}, {layout.max_num_seqs:,}")
    console.print(table)


def _show_rooms(console: Console, plan: Plan) -> None:
    table = _table("Requests that fit at once, in all", "length", "tokens", "blocks each", "at once", "bounded by")
    for room in plan.rooms:
        table.add_row(room.name, f"{room.tokens:,}", f"{room.blocks:,}", f"{room.at_once:,}", room.limited_by)
    console.print(table)


def _show_ceilings(console: Console, plan: Plan) -> None:
    table = _table(
        f"Ceilings at {CEILING_CONTEXT:,} tokens of context (no software can pass them)",
        "sequences of a replica",
        "experts read",
        "bound by",
        "step",
        "tokens/s each",
        "tokens/s per GPU",
    )
    for row in plan.decode:
        table.add_row(
            f"{row.sequences:g}",
            f"{row.experts_read:.0%}" if plan.shapes.experts else "-",
            row.step.bound,
            f"{row.step.seconds * 1e3:.2f} ms",
            f"{row.tokens_per_second_per_sequence:,.0f}",
            f"{row.tokens_per_second_per_gpu:,.0f}",
        )
    table.add_row(
        "prefill",
        "",
        plan.prefill_step.bound,
        f"{plan.prefill_step.seconds * 1e3:.2f} ms",
        "",
        f"{plan.prefill_tokens_per_second_per_gpu:,.0f}",
    )
    console.print(table)
    drafts = plan.deployment.mtp_tokens
    if drafts:
        console.print(f"With every one of {drafts} drafted tokens accepted.\n", highlight=False)


def _show_cost(console: Console, model: CostModel, cost: Cost | None, load: Load, gpus: int) -> None:
    console.print(
        f"Expected cost at {load.requests_per_second:.2f} requests/s of {load.input_tokens:,} input tokens "
        f"({load.cached_share:.0%} cached) and {load.output_tokens:,} output tokens, {gpus} GPU{'s' * (gpus > 1)} at "
        f"${model.price_per_gpu_hour:.2f} an hour; decode at {model.decode_efficiency:.0%} and prefill at "
        f"{model.prefill_efficiency:.0%} of the ceilings:",
        style="bold",
        highlight=False,
    )
    if cost is None:
        most = model.most_requests_per_second(load)
        console.print(f"more than it can carry; {most:.2f} requests/s of this kind are the most", highlight=False)
        return
    table = _table("US dollars per million tokens", "", "input", "cached", "output")
    table.add_row("this deployment", f"{cost.input:.3f}", f"{cost.cached:.4f}", f"{cost.output:.3f}", style="bold")
    for price in hosted(model.roofline.deployment.model_name):
        table.add_row(price.name, f"{price.input:.3f}", f"{price.cached:.4f}", f"{price.output:.3f}")
    console.print(table)
    console.print(
        f"{cost.sequences:.1f} sequences of a replica at a time, {cost.output_tokens_per_second_per_sequence:.0f} "
        f"tokens/s each; prefill takes {cost.prefill_share:.0%} of the time",
        highlight=False,
    )


def _show_problems(console: Console, plan: Plan, near: Sequence[Nearest]) -> None:
    console.print("Does not fit:", style="bold red")
    for problem in plan.problems:
        console.print(f"  {problem.reason}", highlight=False, soft_wrap=True)
    if not near:
        console.print("Nothing near it fits either.", highlight=False)
        return
    console.print("Nearest that fits:", style="bold")
    for each in near:
        layout = each.plan.layout
        console.print(
            f"  {each.change}: {gib(each.plan.memory.kv)} of KV cache on each GPU, {layout.capacity_tokens:,} tokens",
            highlight=False,
            soft_wrap=True,
        )


def as_json(plan: Plan, near: Sequence[Nearest], costs: CostModel | None, cost: Cost | None) -> dict[str, Any]:
    """The plan as plain values, sizes in bytes."""
    deployment = asdict(plan.deployment)
    del deployment["model"]
    weights = plan.memory.weights
    return {
        "deployment": deployment,
        "parameters": plan.shapes.parameters,
        "active_parameters": plan.shapes.active_parameters,
        "fits": not plan.problems,
        "problems": [problem.reason for problem in plan.problems],
        "nearest": [
            {"change": each.change, "hardware": each.plan.deployment.hardware.name, "kv_bytes": each.plan.memory.kv}
            for each in near
        ],
        "memory_per_gpu": {
            "total": plan.memory.total,
            "usable": plan.memory.usable,
            "weights": {**weights.by_component, "total": weights.total},
            "reserve": asdict(plan.memory.reserve) | {"total": plan.memory.reserve.total},
            "kv_cache": plan.memory.kv,
        },
        "kv_cache": asdict(plan.layout),
        "requests_at_once": [asdict(room) for room in plan.rooms],
        "ceilings": {
            "context": CEILING_CONTEXT,
            "decode": [
                asdict(row) | {"bound": row.step.bound, "step_seconds": row.step.seconds} for row in plan.decode
            ],
            "prefill_tokens_per_second_per_gpu": plan.prefill_tokens_per_second_per_gpu,
            "prefill_bound": plan.prefill_step.bound,
        },
        "cost_per_million_tokens": None
        if cost is None or costs is None
        else asdict(cost)
        | {
            "price_per_gpu_hour": costs.price_per_gpu_hour,
            "decode_efficiency": costs.decode_efficiency,
            "prefill_efficiency": costs.prefill_efficiency,
        },
        "hosted_prices": [asdict(price) for price in hosted(deployment["model_name"])],
    }
