"""Runs in the child of `kv_layout`: vLLM's own functions on the real configuration, on GPUs that are not there.

The attention layers are not built (that is what vLLM does on GPUs); their specifications are made from the
configuration, and block sizes, groups, pools and searches are vLLM's. A test builds the layers and compares.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from server.engine.cuda_stand_in import StandInGpus, stand_in
from server.planning.deployment import Deployment
from server.planning.layout import KvLayout, LayoutQuestion


def warm_up() -> None:
    """Imports what every question needs."""
    stand_in(StandInGpus("NVIDIA H200", (9, 0), 150 * 10**9, 8))


def layout(question: LayoutQuestion) -> KvLayout:
    """The answer. Raises ValueError where vLLM refuses the configuration."""
    config = engine_config(question)
    _align(config, question.deployment.hardware.gpu.kernel_block_tokens)
    return describe(config, stages(config, layer_specs(config)), question.kv_memory_bytes)


def engine_config(question: LayoutQuestion) -> Any:
    """vLLM's VllmConfig of one replica; data and expert parallelism do not touch its KV cache."""
    deployment = question.deployment
    gpu = deployment.hardware.gpu
    stand_in(StandInGpus(gpu.device_name, gpu.capability, gpu.memory_bytes, count=max(8, deployment.replica_gpus)))
    # The planner itself checks the context against the model's positions and YaRN.
    os.environ["VLLM_ALLOW_LONG_MAX_MODEL_LEN"] = "1"
    from vllm.engine.arg_utils import AsyncEngineArgs

    arguments: dict[str, Any] = {
        "max_model_len": deployment.context,
        "tensor_parallel_size": deployment.tensor_parallel,
        "pipeline_parallel_size": deployment.pipeline_parallel,
        "kv_cache_dtype": "fp8" if deployment.kv_dtype == "fp8" else "auto",
        "enable_prefix_caching": deployment.prefix_caching,
        "max_num_batched_tokens": deployment.max_num_batched_tokens,
        "max_num_seqs": deployment.max_num_seqs,
        "block_size": deployment.block_size,
        "prefix_match_unit": deployment.prefix_match_unit,
        "max_cudagraph_capture_size": deployment.max_graph_batch,
        "language_model_only": deployment.text_only,
        "skip_tokenizer_init": True,
        "disable_log_stats": True,
        "load_format": "dummy",
    }
    if deployment.mtp_tokens:
        arguments["speculative_config"] = {"method": "mtp", "num_speculative_tokens": deployment.mtp_tokens}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(plain_config(deployment)), encoding="utf-8")
        given = {name: value for name, value in arguments.items() if value is not None}
        return AsyncEngineArgs(model=folder, **given).create_engine_config()


def plain_config(deployment: Deployment) -> dict[str, Any]:
    """The model's configuration without its quantisation, which changes weights and nothing of the KV cache."""
    return {name: value for name, value in deployment.model.items() if name != "quantization_config"}


def layer_specs(config: Any) -> dict[str, Any]:
    """What each layer keeps, by the layer's name, from the configuration and the model class's own state shapes."""
    from vllm.model_executor.models import ModelRegistry
    from vllm.utils.torch_utils import STR_DTYPE_TO_TORCH_DTYPE
    from vllm.v1.attention.backends.registry import MambaAttentionBackendEnum
    from vllm.v1.kv_cache_interface import FullAttentionSpec, MambaSpec, get_kv_quant_mode

    cache, model = config.cache_config, config.model_config
    model_class, _ = ModelRegistry.resolve_model_cls(model.architecture, model_config=model)
    attention = FullAttentionSpec(
        block_size=cache.block_size,
        num_kv_heads=model.get_num_kv_heads(config.parallel_config),
        head_size=model.get_head_size(),
        dtype=model.dtype if cache.cache_dtype == "auto" else STR_DTYPE_TO_TORCH_DTYPE[cache.cache_dtype],
        kv_quant_mode=get_kv_quant_mode(cache.cache_dtype),
    )
    state = MambaSpec(
        shapes=model_class.get_mamba_state_shape_from_config(config),
        dtypes=model_class.get_mamba_state_dtype_from_config(config),
        block_size=cache.mamba_block_size,
        page_size_padded=cache.mamba_page_size_padded,
        mamba_type=MambaAttentionBackendEnum.GDN_ATTN,
        mamba_cache_mode=cache.mamba_cache_mode,
        num_speculative_blocks=config.num_speculative_tokens,
    )
    specs: dict[str, Any] = {}
    # Named as vLLM names them: groups are made in this order.
    for index, kind in enumerate(model.hf_text_config.layer_types):
        if kind == "full_attention":
            specs[f"language_model.model.layers.{index}.self_attn.attn"] = attention
        else:
            specs[f"language_model.model.layers.{index}.linear_attn"] = state
    if config.num_speculative_tokens:
        for index in range(getattr(model.hf_text_config, "mtp_num_hidden_layers", 1)):
            specs[f"mtp.layers.{index}.self_attn.attn"] = attention
    return specs


def stages(config: Any, specs: dict[str, Any]) -> list[dict[str, Any]]:
    """The layers of each pipeline stage."""
    from vllm.distributed.utils import get_pp_indices

    count, total = config.parallel_config.pipeline_parallel_size, config.model_config.hf_text_config.num_hidden_layers
    if count == 1:
        return [specs]
    names = list(specs)
    return [{name: specs[name] for name in names[slice(*get_pp_indices(total, rank, count))]} for rank in range(count)]


def describe(config: Any, workers: list[dict[str, Any]], kv_memory_bytes: int) -> KvLayout:
    """What vLLM's pool of blocks is for the layers of each worker, each with this memory."""
    from vllm.v1.core import kv_cache_utils as utils
    from vllm.v1.kv_cache_interface import MambaSpec

    cache, scheduler, memory = config.cache_config, config.scheduler_config, max(0, kv_memory_bytes)
    # vLLM chooses it once the layers are built; the sizes are the same in every layout.
    cache.kv_cache_layout = cache.kv_cache_layout or "LBHNC"
    specs = {name: spec for worker in workers for name, spec in worker.items()}
    groups = utils.get_kv_cache_groups(config, dict(specs))
    parts = [utils._project_kv_cache_groups_to_worker(groups, worker) for worker in workers]
    block_bytes = max(utils._pool_bytes_per_block(config, part) for part in parts)
    try:
        answer = utils.generate_scheduler_kv_cache_config(
            utils.get_kv_cache_configs(config, [dict(worker) for worker in workers], [memory] * len(workers))
        )
        blocks = answer.num_blocks
        tokens, _ = utils.get_kv_cache_capacity(config, answer)
    except ValueError:
        # Not one request of the full context fits, so vLLM would not start.
        blocks, tokens, answer = memory // block_bytes, 0, None
    if answer is not None:
        # The scheduler's own check of `prefix_match_unit`.
        utils.resolve_kv_cache_block_sizes(answer, config)
    states = [group.kv_cache_spec for group in groups if isinstance(group.kv_cache_spec, MambaSpec)]
    attention = [[spec for spec in worker.values() if not isinstance(spec, MambaSpec)] for worker in workers]
    return KvLayout(
        block_tokens=cache.block_size,
        page_bytes=attention[0][0].page_size_bytes,
        block_bytes=block_bytes,
        groups=tuple((type(group.kv_cache_spec).__name__, len(group.layer_names)) for group in groups),
        kv_bytes_per_token=max(sum(spec.page_size_bytes // spec.block_size for spec in part) for part in attention),
        state_bytes=max(
            sum(spec.real_page_size_bytes for spec in worker.values() if isinstance(spec, MambaSpec))
            for worker in workers
        ),
        constant_blocks=sum(spec.max_memory_usage_bytes(config) // spec.page_size_bytes for spec in states),
        null_blocks=1,
        blocks=blocks,
        capacity_tokens=tokens,
        # Without the block that no request is given, as vLLM's own check has it.
        longest_context=min(
            utils._estimate_max_model_len_from_groups(config, part, max(0, memory - block_bytes)) for part in parts
        ),
        max_num_batched_tokens=scheduler.max_num_batched_tokens,
        max_num_seqs=scheduler.max_num_seqs,
        graph_batch_sizes=tuple(config.compilation_config.cudagraph_capture_sizes or ()),
    )


def _align(config: Any, kernel_block_tokens: int) -> None:
    """vLLM's own alignment of attention blocks to the Gated DeltaNet state, for the attention backend of the GPU."""
    from vllm.platforms import current_platform
    from vllm.v1.attention.backend import MultipleOf

    class Backend:
        """The two things that the alignment asks of an attention backend."""

        @staticmethod
        def customize_spec(spec: Any) -> Any:
            return spec

        @staticmethod
        def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[Any]:
            return [MultipleOf(kernel_block_tokens)]

    cache = config.cache_config
    if not cache.user_specified_block_size:
        cache.block_size = max(cache.block_size, kernel_block_tokens)
    current_platform._align_hybrid_block_size(config, Backend)
