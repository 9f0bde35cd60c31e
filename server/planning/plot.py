"""A plan as a picture: requests at once by context, memory of a GPU by use, cost by load."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from server.planning.costs import CostModel, Load, hosted
from server.planning.hardware import GIB
from server.planning.plan import REQUEST_LENGTHS, Plan

# Okabe and Ito's colours, which stay apart for most colour-blind eyes.
_BLUE, _ORANGE, _GREEN, _VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_STACK = {
    "routed experts": "#0072B2",
    "dense mlp": "#0072B2",
    "gdn": "#56B4E9",
    "attention": "#A6CEE3",
    "shared expert": "#4C5C96",
    "embeddings": "#9C89B8",
    "lm_head": "#BDB2D0",
    "vision": "#CC79A7",
    "mtp": "#882255",
    "other weights": "#888888",
    "other": "#888888",
    "reserve (estimate)": "#E69F00",
    "reserve": "#E69F00",
    "KV cache": "#009E73",
    "not given to vLLM": "#DDDDDD",
}
# Weights smaller than this part of the GPU are drawn together.
_LEAST = 0.012
_LOADS = [share / 100 for share in (1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 50, 60, 70, 80, 90, 97)]


class PlotImpossible(RuntimeError):
    """The picture cannot be drawn or written."""


def draw(path: Path, plan: Plan, costs: CostModel, load: Load) -> None:
    """Writes the picture. Raises PlotImpossible where matplotlib is missing or the file cannot be written."""
    try:
        import matplotlib
    except ImportError as error:
        raise PlotImpossible("--plot needs matplotlib: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(
        1, 3, figsize=(16, 5.2), width_ratios=(1.15, 0.8, 1.15), layout="constrained"
    )
    deployment = plan.deployment
    figure.suptitle(
        f"{deployment.model_name}, {deployment.weights} weights, {deployment.kv_dtype} KV cache, on "
        f"{deployment.hardware.name} (TP {deployment.tensor_parallel}, DP {deployment.data_parallel}"
        f"{', EP' if deployment.expert_parallel else ''})",
        fontsize=12,
    )
    _draw_rooms(left, plan)
    _draw_memory(middle, plan)
    _draw_costs(right, plan, costs, load)
    try:
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        raise PlotImpossible(f"cannot write {path}: {error}") from error
    finally:
        pyplot.close(figure)


def _draw_rooms(axes: Any, plan: Plan) -> None:
    layout, deployment = plan.layout, plan.deployment
    axes.set_title("Requests that fit at once")
    lengths = [512 * 2 ** (step / 4) for step in range(60) if 512 * 2 ** (step / 4) <= deployment.context]
    lengths.append(deployment.context)
    replicas = deployment.data_parallel
    most = layout.max_num_seqs * replicas
    fit = [layout.requests(int(length)) * replicas for length in lengths]
    axes.plot(lengths, fit, color=_BLUE, lw=1.2, ls="--", label="what the KV cache holds")
    axes.plot(lengths, [min(each, most) for each in fit], color=_BLUE, lw=2.4, label="what runs at once")
    axes.axhline(most, color="grey", lw=0.8)
    axes.text(deployment.context, most * 1.04, f"max_num_seqs: {most:,} in all", color="grey", fontsize=9, ha="right")
    for name, tokens in REQUEST_LENGTHS:
        at_once = min(layout.requests(tokens) * replicas, most)
        if tokens <= deployment.context and at_once:
            axes.plot(tokens, at_once, "o", color=_BLUE)
            axes.annotate(
                f"{name}: {at_once:,}", (tokens, at_once), (-4, -14), textcoords="offset points", fontsize=9, ha="right"
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(left=lengths[0] / 4)
    axes.set_ylim(max(0.5, min(fit) / 4), max(most, max(fit)) * 2)
    axes.set_xlabel("tokens of a request, prompt and answer")
    axes.set_ylabel("requests, all replicas")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1024:g}K" if value >= 1024 else f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axes.grid(alpha=0.25)
    axes.legend(loc="lower left", fontsize=9)


def _draw_memory(axes: Any, plan: Plan) -> None:
    memory = plan.memory
    axes.set_title(f"Memory of one {plan.deployment.hardware.gpu.name}")
    parts: list[tuple[str, int]] = sorted(memory.weights.by_component.items(), key=lambda item: -item[1])
    small = sum(size for _, size in parts if size < _LEAST * memory.total)
    parts = [(name, size) for name, size in parts if size >= _LEAST * memory.total]
    if small:
        parts.append(("other weights", small))
    parts.append(("reserve (estimate)" if memory.reserve.estimated else "reserve", memory.reserve.total))
    if memory.kv > 0:
        parts.append(("KV cache", memory.kv))
        parts.append(("not given to vLLM", memory.total - memory.usable))
    bottom = 0.0
    labels: list[tuple[float, str]] = []
    for name, size in parts:
        axes.bar(0, size / GIB, bottom=bottom, width=0.6, color=_STACK[name], edgecolor="white", linewidth=0.8)
        labels.append((bottom + size / GIB / 2, f"{name}, {size / GIB:.1f}"))
        bottom += size / GIB
    top = max(bottom, memory.total / GIB)
    # Labels of thin slices are moved apart, each with a line to its slice.
    gap, height = top * 0.042, 0.0
    for middle, text in labels:
        height = max(middle, height + gap)
        axes.annotate(
            text,
            (0.3, middle),
            (0.42, height),
            fontsize=9,
            va="center",
            arrowprops={"arrowstyle": "-", "color": "grey", "lw": 0.6, "relpos": (0, 0.5)},
        )
    axes.axhline(memory.total / GIB, color="black", lw=1)
    axes.text(-0.34, memory.total / GIB, f"{memory.total / GIB:.1f} GiB ", fontsize=9, va="bottom")
    axes.set_xlim(-0.4, 1.5)
    axes.set_ylim(0, top * 1.06)
    axes.set_xticks([])
    axes.set_ylabel("GiB")
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _draw_costs(axes: Any, plan: Plan, costs: CostModel, load: Load) -> None:
    axes.set_title("Expected cost by load")
    if plan.problems:
        axes.text(0.5, 0.5, "does not fit", ha="center", va="center", fontsize=14, color=_VERMILION)
        axes.set_axis_off()
        return
    most = costs.most_requests_per_second(load)
    found = [
        cost for share in _LOADS if (cost := costs.cost(replace(load, requests_per_second=share * most))) is not None
    ]
    rates = [cost.load.requests_per_second for cost in found]
    axes.plot(rates, [cost.output for cost in found], color=_VERMILION, lw=2.4, label="output")
    axes.plot(rates, [cost.input for cost in found], color=_BLUE, lw=2.4, label="input, computed")
    axes.plot(rates, [cost.cached for cost in found], color=_GREEN, lw=2.4, label="input, cached")
    title = f"at ${costs.price_per_gpu_hour:g} per GPU-hour"
    lines: list[tuple[float, str]] = []
    if prices := hosted(plan.deployment.model_name):
        public = prices[-1]
        title += f";\ndotted: {public.name}"
        lines = [(public.output, _VERMILION), (public.input, _BLUE), (public.cached, _GREEN)]
    for price, colour in lines:
        axes.axhline(price, color=colour, lw=1, ls=":")
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        axes.text(rates[0], price, f"${price:g}", color=colour, fontsize=8, va="center", bbox=box)
    axes.axvline(most, color="grey", lw=0.8)
    place = {"transform": axes.get_xaxis_transform(), "ha": "right", "va": "bottom"}
    axes.text(most * 0.97, 0.5, "full", rotation=90, color="grey", fontsize=9, **place)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"${value:g}")
    axes.set_xlabel(
        f"requests per second of {load.input_tokens:,} input ({load.cached_share:.0%} cached) and "
        f"{load.output_tokens:,} output tokens",
        fontsize=9,
    )
    axes.set_ylabel("US dollars per million tokens")
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right", fontsize=9, title=title, title_fontsize=9)
