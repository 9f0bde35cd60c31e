"""How much the running engine can hold, from vLLM's own account of its KV cache."""

from __future__ import annotations

from typing import Any

from server.generation.engine_state import EngineSize


def engine_size(vllm_config: Any) -> EngineSize:
    """The size of a started engine.

    vLLM tells how many sequences of the full context its cache holds; what such a sequence takes beyond the blocks of
    its tokens is what a hybrid model holds for each sequence whatever its length (facts: 6 blocks for Qwen3.5).
    """
    cache, scheduler, model = vllm_config.cache_config, vllm_config.scheduler_config, vllm_config.model_config
    engines = vllm_config.parallel_config.data_parallel_size
    block_tokens = cache.effective_attention_block_size or cache.block_size
    token_blocks = -(-model.max_model_len // block_tokens)
    constant = 0
    if cache.kv_cache_max_concurrency:
        constant = round(cache.num_gpu_blocks / engines / cache.kv_cache_max_concurrency) - token_blocks
    return EngineSize(
        sequences=scheduler.max_num_seqs * engines,
        step_tokens=scheduler.max_num_batched_tokens * engines,
        blocks=cache.num_gpu_blocks,
        block_tokens=block_tokens,
        constant_blocks=max(constant, 0),
        max_model_len=model.max_model_len,
    )
