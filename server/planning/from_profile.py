"""A profile's settings as a deployment: the one place that knows both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from server.planning.deployment import BadDeployment, Deployment, KvDtype, Weights
from server.planning.hardware import GIB, Hardware, gpu
from server.planning.model_config import model_config
from server.settings import Settings

_PRECISIONS: dict[str, Weights] = {
    "bf16": "bf16",
    "fp8": "fp8",
    "nvfp4": "nvfp4",
    "gptq-int4": "int4",
    "awq": "int4",
}

# vLLM's own where a profile says nothing.
_UTILIZATION = 0.92


def deployment_of(settings: Settings) -> Deployment:
    """The deployment that a profile describes.

    Raises BadDeployment where the profile is not for GPUs or asks for what the planner does not cover, UnknownHardware
    and ModelNotFound.
    """
    wanted, engine = settings.hardware, settings.engine
    if wanted.gpu is None:
        raise BadDeployment(f"profile {settings.profile} is for a CPU; a plan is of GPUs")
    card = gpu(wanted.gpu)
    if wanted.memory_gib is not None:
        card = replace(card, memory_bytes=int(wanted.memory_gib * GIB))
    if wanted.usd_per_gpu_hour is not None:
        card = replace(card, price_per_hour=wanted.usd_per_gpu_hour)
    name, config = model_config(settings.weights.shapes or settings.model.path)
    positions = config.get("text_config", config).get("max_position_embeddings", 0)
    speculative = engine.get("speculative_config") or {}
    return Deployment(
        hardware=Hardware(card, wanted.gpus_per_node, wanted.nodes),
        model=config,
        model_name=name,
        weights=_PRECISIONS[settings.weights.precision],
        tensor_parallel=int(engine.get("tensor_parallel_size") or 1),
        data_parallel=int(engine.get("data_parallel_size") or 1),
        pipeline_parallel=int(engine.get("pipeline_parallel_size") or 1),
        expert_parallel=bool(engine.get("enable_expert_parallel", False)),
        context=settings.model.max_model_len or int(positions),
        kv_dtype=_kv_dtype(engine.get("kv_cache_dtype") or "auto"),
        prefix_caching=bool(engine.get("enable_prefix_caching", False)),
        mtp_tokens=int(speculative.get("num_speculative_tokens") or 0),
        gpu_memory_utilization=float(engine.get("gpu_memory_utilization") or _UTILIZATION),
        kv_cache_bytes=engine.get("kv_cache_memory_bytes"),
        max_num_batched_tokens=engine.get("max_num_batched_tokens"),
        max_num_seqs=engine.get("max_num_seqs"),
        max_graph_batch=engine.get("max_cudagraph_capture_size"),
        block_size=engine.get("block_size"),
        prefix_match_unit=engine.get("prefix_match_unit"),
        text_only=bool(engine.get("language_model_only", False)),
        vision_data_parallel=engine.get("mm_encoder_tp_mode") == "data",
        yarn_factor=_yarn_factor(engine.get("hf_overrides") or {}),
    )


def _kv_dtype(name: str) -> KvDtype:
    if name in ("auto", "bfloat16"):
        return "bf16"
    if name in ("fp8", "fp8_e4m3"):
        return "fp8"
    raise BadDeployment(f"the planner knows KV caches in BF16 and FP8, not in {name}")


def _yarn_factor(overrides: dict[str, Any]) -> float:
    rope = overrides.get("text_config", overrides).get("rope_parameters") or {}
    return float(rope.get("factor", 1.0)) if rope.get("rope_type") == "yarn" else 1.0
