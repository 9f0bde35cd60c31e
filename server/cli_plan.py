"""`qwend plan`: what a deployment will do, before it costs anything."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from server.cli_profiles import load_or_exit
from server.engine.kv_layout import LayoutFailed, layouts
from server.planning.costs import ACCEPTANCE, DECODE_EFFICIENCY, PREFILL_EFFICIENCY, CostModel, Load
from server.planning.deployment import BadDeployment, Deployment
from server.planning.from_profile import deployment_of
from server.planning.hardware import GIB, UnknownHardware, hardware
from server.planning.model_config import ModelNotFound, model_config, stored_weights
from server.planning.model_shapes import NotQwen35, model_shapes
from server.planning.nearest import nearest
from server.planning.plan import Plan, make_plan
from server.planning.plot import PlotImpossible, draw
from server.planning.report import as_json, show
from server.planning.weights import check_division

EXIT_DOES_NOT_FIT = 1
EXIT_USAGE = 2

_UNITS = {"K": 1024, "M": 1_010_000}
_SWITCHES = ("--expert-parallel/--no-expert-parallel", "--prefix-caching/--no-prefix-caching")


class BadFlags(ValueError):
    """Flags that do not go together or have no meaning."""


def plan(
    profile: Annotated[str | None, typer.Option(help="Profile name or file; flags win over it.")] = None,
    hardware_: Annotated[
        str | None, typer.Option("--hardware", help="Such as 8xH200, or 2x8xH100 for two nodes.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A shipped model's name, a folder, a config.json or a hub id.")
    ] = None,
    weights: Annotated[str | None, typer.Option(help="bf16, fp8, nvfp4 or int4; by default what is stored.")] = None,
    context: Annotated[str | None, typer.Option(help="Tokens, as 262144, 256K or 1M (1,010,000).")] = None,
    tensor_parallel: Annotated[int | None, typer.Option(min=1, help="By default all GPUs.")] = None,
    data_parallel: Annotated[int | None, typer.Option(min=1, help="Replicas.")] = None,
    pipeline_parallel: Annotated[int | None, typer.Option(min=1, help="Stages.")] = None,
    expert_parallel: Annotated[bool | None, typer.Option(_SWITCHES[0], help="Whole experts on each GPU.")] = None,
    kv_cache_dtype: Annotated[str | None, typer.Option(help="bf16 or fp8.")] = None,
    prefix_caching: Annotated[bool | None, typer.Option(_SWITCHES[1], help="Keep prompts' blocks.")] = None,
    mtp: Annotated[int | None, typer.Option(min=0, help="Tokens drafted by the model's MTP layer; 0 is none.")] = None,
    yarn: Annotated[float | None, typer.Option(min=1, help="YaRN factor, such as 4 for a context of 1M.")] = None,
    text_only: Annotated[bool | None, typer.Option(help="Without the vision tower.")] = None,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(help="Part of the memory for vLLM; 0.9 by default.")
    ] = None,
    max_num_batched_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens of a step.")] = None,
    max_num_seqs: Annotated[int | None, typer.Option(min=1, help="Most sequences of a replica.")] = None,
    reserve_gib: Annotated[
        float | None, typer.Option(min=0, help="Measured memory beside weights and KV cache, in place of the estimate.")
    ] = None,
    price: Annotated[float | None, typer.Option(min=0, help="US dollars of a GPU for an hour.")] = None,
    requests_per_second: Annotated[
        float | None, typer.Option(min=0.0001, help="Load of the cost; by default half of what it can carry.")
    ] = None,
    input_tokens: Annotated[int, typer.Option(min=1, help="Prompt tokens of a request of the load.")] = 4096,
    cached_share: Annotated[float, typer.Option(min=0, max=1, help="Part of them in the prefix cache.")] = 0.5,
    output_tokens: Annotated[int, typer.Option(min=1, help="Answer tokens of a request of the load.")] = 1024,
    decode_efficiency: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of the decode ceiling that is expected.")
    ] = DECODE_EFFICIENCY,
    prefill_efficiency: Annotated[
        float, typer.Option(min=0.01, max=1, help="Part of the prefill ceiling that is expected.")
    ] = PREFILL_EFFICIENCY,
    acceptance: Annotated[
        float, typer.Option(min=0, max=1, help="Chance of a drafted token to be right.")
    ] = ACCEPTANCE,
    as_json_: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the plan into this PNG file.")] = None,
) -> None:
    """Says what a model on given hardware will do: memory, room for requests, ceilings of speed, cost. Needs no GPU.

    Exit status 1 means that it does not fit; the reason and the nearest that does are printed.
    """
    flags = {
        "tensor_parallel": tensor_parallel,
        "data_parallel": data_parallel,
        "pipeline_parallel": pipeline_parallel,
        "expert_parallel": expert_parallel,
        "kv_dtype": kv_cache_dtype,
        "prefix_caching": prefix_caching,
        "mtp_tokens": mtp,
        "yarn_factor": yarn,
        "text_only": text_only,
        "gpu_memory_utilization": gpu_memory_utilization,
        "max_num_batched_tokens": max_num_batched_tokens,
        "max_num_seqs": max_num_seqs,
        "reserve_bytes": None if reserve_gib is None else int(reserve_gib * GIB),
        "weights": weights,
        "context": context,
    }
    try:
        deployment = _deployment(profile, hardware_, model, {name: v for name, v in flags.items() if v is not None})
        # Known in no time, and vLLM takes seconds to be asked.
        check_division(deployment, model_shapes(deployment.model))
        with layouts() as ask:
            found = make_plan(deployment, ask)
            near = nearest(found, ask) if found.problems else []
        costs = _cost_model(found, price, decode_efficiency, prefill_efficiency, acceptance)
        shape = Load(0.0, input_tokens, cached_share, output_tokens)
        if requests_per_second is None:
            requests_per_second = costs.most_requests_per_second(shape) / 2
        load_ = replace(shape, requests_per_second=requests_per_second)
        cost = None if found.problems else costs.cost(load_)
        if plot is not None:
            draw(plot, found, costs, shape)
    except (
        BadDeployment,
        BadFlags,
        LayoutFailed,
        ModelNotFound,
        NotQwen35,
        PlotImpossible,
        UnknownHardware,
    ) as error:
        typer.echo(f"qwend: {error}", err=True)
        raise typer.Exit(EXIT_USAGE) from error
    if as_json_:
        typer.echo(json.dumps(as_json(found, near, costs, cost), indent=2))
    else:
        from rich.console import Console

        show(Console(width=110, soft_wrap=False), found, near, costs, cost, load_)
    if found.problems:
        raise typer.Exit(EXIT_DOES_NOT_FIT)


def _deployment(profile: str | None, machine: str | None, model: str | None, flags: dict[str, Any]) -> Deployment:
    """The deployment that profile and flags describe."""
    for name, values in (("weights", ("bf16", "fp8", "nvfp4", "int4")), ("kv_dtype", ("bf16", "fp8"))):
        if name in flags and flags[name] not in values:
            raise BadFlags(f"{flags[name]!r} is none of {', '.join(values)}")
    if "context" in flags:
        flags["context"] = _tokens(flags["context"])
    if profile is not None:
        start = deployment_of(load_or_exit(profile))
        if model is not None:
            flags["model_name"], flags["model"] = model_config(model)
        if machine is not None:
            flags["hardware"] = hardware(machine)
        return replace(start, **flags)
    if machine is None or model is None:
        raise BadFlags("give --profile, or --hardware and --model")
    name, config = model_config(model)
    on = hardware(machine)
    start = Deployment(on, config, name, stored_weights(config, model), tensor_parallel=1)
    if "tensor_parallel" not in flags:
        others = flags.get("data_parallel", 1) * flags.get("pipeline_parallel", 1)
        flags["tensor_parallel"] = max(1, on.gpus // others)
    return replace(start, **flags)


def _cost_model(found: Plan, price: float | None, decode: float, prefill: float, acceptance: float) -> CostModel:
    layout = found.layout
    return CostModel(
        found.roofline,
        found.deployment.hardware.gpu.price_per_hour if price is None else price,
        max(1, found.memory.kv),
        max(1, min(layout.max_num_seqs, layout.requests(8192))),
        layout.max_num_batched_tokens,
        decode,
        prefill,
        acceptance,
    )


def _tokens(text: str) -> int:
    """A number of tokens: plain, in K of 1,024, or `1M`, which is the model card's 1,010,000."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in _UNITS else (text, "")
    if not number.replace("_", "").isdigit() or int(number) < 1:
        raise BadFlags(f"{text!r} is no number of tokens; write 262144, 256K or 1M")
    return int(number) * _UNITS.get(unit, 1)
