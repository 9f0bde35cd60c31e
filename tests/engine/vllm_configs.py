"""Builds vLLM's full VllmConfig for many sets of engine arguments, on a machine without the GPUs that they are for.

python -m tests.engine.vllm_configs cuda|rocm|cpu < cases.json > built.json

A case is an object with `arguments` (for AsyncEngineArgs), `environment`, `headless`, and, but on a CPU, `gpu` with
`name`, `capability` ([major, minor]), `memory_gib` and `count`. The answer is a list with, for each, `error` (null or
what vLLM said) and what it made of the arguments. One process builds all: importing vllm takes longer than any of them.

What is stood in for is the platform: its GPUs, their memory and what they can do, and the compiled kernels, which are
only looked for and never run. All else is vLLM's own. No weights are read and no network is needed.
"""

from __future__ import annotations

import functools
import gc
import json
import os
import sys
import types
from typing import Any

from server.engine.arguments import model_path
from server.engine.child_processes import prepare_children
from server.engine.torchvision_ops import ensure
from server.settings import EMBEDDED

_GIB = 2**30

GPU: dict[str, Any] = {}
"""The GPU of the case that is being built."""


def stand_in(kind: str) -> None:
    """Makes vllm believe in a machine with the GPUs of `GPU`. Must run before anything of vllm is imported but this."""
    import torch

    torch.cuda.device_count = lambda: GPU.get("count", 8)
    _let_kernels_be_missing()
    if kind == "rocm":
        # Read once at import; without amdsmi vLLM asks torch.
        torch.cuda.get_device_properties = lambda *_: types.SimpleNamespace(
            gcnArchName="gfx942", total_memory=int(GPU.get("memory_gib", 192) * _GIB), multi_processor_count=304
        )
    import vllm.platforms as platforms
    from vllm.platforms.interface import DeviceCapability, Platform

    Platform.import_kernels = classmethod(lambda cls: None)
    if kind == "rocm":
        # vLLM's modules look at each other through `current_platform` while they load, so it must be one already.
        platforms._current_platform = _bare_rocm(Platform)
        from vllm.platforms.rocm import RocmPlatform as Real
    else:
        from vllm.platforms.cuda import NonNvmlCudaPlatform as Real

    class StandIn(Real):  # type: ignore[misc, valid-type]
        @classmethod
        def get_device_capability(cls, device_id: int = 0) -> Any:
            return DeviceCapability(*GPU["capability"])

        @classmethod
        def get_device_name(cls, device_id: int = 0) -> str:
            return str(GPU["name"])

        @classmethod
        def get_device_total_memory(cls, device_id: int = 0) -> int:
            return int(GPU["memory_gib"] * _GIB)

        @classmethod
        def is_fully_connected(cls, physical_device_ids: list[int]) -> bool:
            return True

        @classmethod
        def device_count(cls) -> int:
            return int(GPU["count"])

        @classmethod
        def num_compute_units(cls, device_id: int = 0) -> int:
            return 132

        @classmethod
        def import_kernels(cls) -> None:
            pass

    platforms._current_platform = StandIn()
    from vllm.triton_utils import triton

    # Without a GPU Triton is left out, and what vLLM has in its place knows no options to choose between.
    triton.Config = lambda kwargs=None, num_warps=4, num_stages=1, **_: types.SimpleNamespace(
        kwargs=kwargs or {}, num_warps=num_warps, num_stages=num_stages
    )


def _bare_rocm(platform: Any) -> Any:
    from vllm.platforms.interface import PlatformEnum

    class Bare(platform):  # type: ignore[misc, valid-type]
        _enum = PlatformEnum.ROCM
        device_name = device_type = "cuda"

    return Bare()


def _let_kernels_be_missing() -> None:
    """vLLM's Python beside a compiled operator registers a fake of it, and asks whether it is there; say yes to all."""
    import torch._ops
    import torch.library

    sys.modules["vllm._C_stable_libtorch"] = types.ModuleType("missing")
    for name in ("_vllm_fa2_C", "_vllm_fa3_C"):
        sys.modules[f"vllm.vllm_flash_attn.{name}"] = types.ModuleType("missing")
    real_register, real_getattr = torch.library.register_fake, torch._ops._OpNamespace.__getattr__

    def register_fake(op: Any, func: Any = None, /, **options: Any) -> Any:
        def decorate(function: Any) -> Any:
            try:
                return real_register(op, function, **options)
            except RuntimeError:
                return function

        return decorate if func is None else decorate(func)

    def operator(self: Any, name: str) -> Any:
        try:
            return real_getattr(self, name)
        except AttributeError:
            if self.name.startswith(("_C", "_moe_C", "_rocm_C", "vllm")):
                return lambda *_, **__: True
            raise

    torch.library.register_fake = register_fake
    torch._ops._OpNamespace.__getattr__ = operator


def build(case: dict[str, Any]) -> dict[str, Any]:
    """What vLLM makes of one case."""
    from vllm.engine.arg_utils import AsyncEngineArgs

    from server.engine.nested_configs import with_configs

    _change_to(case.get("gpu") or {})
    before = dict(os.environ)
    os.environ.update(case["environment"])
    try:
        # The thinking budget looks </think> up; any tokenizer of the family will do.
        arguments = AsyncEngineArgs(**with_configs({"tokenizer": model_path(EMBEDDED), **case["arguments"]}))
        config = arguments.create_engine_config(headless=case.get("headless", False))
        return {"error": None, **_facts(config)}
    except Exception as error:  # noqa: BLE001 - whatever vLLM says is the answer
        return {"error": f"{type(error).__name__}: {error}"}
    finally:
        os.environ.clear()
        os.environ.update(before)


def _change_to(gpu: dict[str, Any]) -> None:
    """vLLM remembers much of what it has once asked a GPU."""
    if gpu == GPU:
        return
    GPU.clear()
    GPU.update(gpu)
    for remembered in gc.get_objects():
        if isinstance(remembered, functools._lru_cache_wrapper) and str(remembered.__module__).startswith("vllm"):
            remembered.cache_clear()


def _facts(config: Any) -> dict[str, Any]:
    parallel, model, cache, scheduler = (
        config.parallel_config,
        config.model_config,
        config.cache_config,
        config.scheduler_config,
    )
    draft = config.speculative_config
    return {
        "architecture": model.architecture,
        "quantization": model.quantization,
        "max_model_len": model.max_model_len,
        "multimodal": model.is_multimodal_model and not model.multimodal_config.language_model_only,
        "world_size": parallel.world_size,
        "world_size_across_dp": parallel.world_size_across_dp,
        "local_world_size": parallel.local_world_size,
        "node_rank": parallel.node_rank_within_dp,
        "executor": str(parallel.distributed_executor_backend),
        "expert_parallel": parallel.enable_expert_parallel,
        "kv_heads": model.get_num_kv_heads(parallel),
        "cache_dtype": cache.cache_dtype,
        "mamba_cache_mode": cache.mamba_cache_mode,
        "prefix_caching": cache.enable_prefix_caching,
        "chunked_prefill": scheduler.enable_chunked_prefill,
        "speculative_tokens": draft.num_speculative_tokens if draft else 0,
        "draft_architecture": draft.draft_model_config.architecture if draft else None,
        "largest_graph": config.compilation_config.max_cudagraph_capture_size,
        "attention": _attention(config),
        "block_tokens": _block_tokens(config) if GPU else cache.block_size,
    }


def _attention(config: Any) -> str:
    """The attention backend that vLLM would take of those that can be imported here, or why it would take none."""
    from vllm.config import set_current_vllm_config
    from vllm.v1.attention.selector import get_attn_backend

    model = config.model_config
    try:
        with set_current_vllm_config(config):
            backend = get_attn_backend(
                model.get_head_size(),
                model.dtype,
                config.cache_config.cache_dtype,
                num_heads=model.get_num_attention_heads(config.parallel_config),
            )
        return str(backend.get_name())
    except Exception as error:  # noqa: BLE001 - whatever vLLM says is the answer
        return f"{type(error).__name__}: {error}"


def _block_tokens(config: Any) -> int:
    """Tokens of a block, by vLLM's own alignment for hybrid models, whose backend is only asked for its granularity."""
    from vllm.config import set_current_vllm_config
    from vllm.platforms import current_platform
    from vllm.platforms.interface import Platform
    from vllm.v1.attention.backend import MultipleOf

    class Backend:
        @staticmethod
        def customize_spec(spec: Any) -> Any:
            return spec

        @staticmethod
        def get_supported_kernel_block_sizes(kv_cache_spec: Any = None) -> list[Any]:
            return [MultipleOf(16)]

    with set_current_vllm_config(config):
        Platform._align_hybrid_block_size.__func__(type(current_platform), config, Backend)
    return int(config.cache_config.block_size)


def main(kind: str) -> None:
    prepare_children()  # vLLM looks at a model's class in a process of its own
    ensure()
    if kind != "cpu":
        stand_in(kind)
    out, sys.stdout = sys.stdout, sys.stderr  # vLLM prints
    json.dump([build(case) for case in json.load(sys.stdin)], out)


if __name__ == "__main__":
    main(sys.argv[1])
