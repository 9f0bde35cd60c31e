"""The other way to a KV cache layout: vLLM's model is built, layer by layer, and each layer asked what it keeps.

Built as the CPU build of vLLM builds it, for one rank of a group of processes that do not exist, on torch's `meta`
device, where tensors have shapes and no memory. Nothing here is shared with `server.engine.kv_layout_worker` but the
functions of vLLM that both end in. Runs in a child process.
"""

from __future__ import annotations

import inspect
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import server.reference

LENGTHS = (1, 500, 1024, 8192, 100_000, 262_144)
"""Tokens of requests whose blocks are counted."""

KERNEL_BLOCK_TOKENS = 16
"""What FlashAttention and FlashInfer take; the CPU's attention takes 32."""


@dataclass(frozen=True)
class Built:
    block_tokens: int
    page_bytes: int
    block_bytes: int
    groups: tuple[tuple[str, int], ...]
    kv_bytes_per_token: int
    state_bytes: int
    blocks: int
    capacity_tokens: int
    blocks_per_request: tuple[int, ...]
    weights: dict[str, int]
    attention_backends: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    model: dict[str, Any]
    tensor_parallel: int
    kv_dtype: str
    prefix_caching: bool
    mtp_tokens: int
    context: int
    kv_memory_bytes: int


def prepare() -> None:
    os.environ.update({"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"})
    from server.engine import torchvision_ops

    torchvision_ops.ensure()
    import torch
    import torch.distributed
    from vllm.distributed import parallel_state
    from vllm.model_executor.models import registry
    from vllm.v1.attention.backend import MultipleOf
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    torch.set_num_threads(1)
    registry._LazyRegisteredModel.inspect_model_cls = lambda self: registry._ModelInfo.from_model_cls(
        self.load_model_cls()
    )
    CPUAttentionBackend.get_supported_kernel_block_sizes = staticmethod(
        lambda kv_cache_spec=None: [MultipleOf(KERNEL_BLOCK_TOKENS)]
    )
    parallel_state._node_count = lambda group: 1
    # Groups of a world of which only this rank exists: no channels, no broadcasts.
    new_group = torch.distributed.new_group
    torch.distributed.new_group = lambda ranks=None, **_: new_group(ranks, backend="fake")
    make = parallel_state.GroupCoordinator.__init__
    signature = inspect.signature(make)

    def silent(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        for name in signature.parameters:
            if name == "use_device_communicator" or "message_queue" in name:
                bound.arguments[name] = False
        make(*bound.args, **bound.kwargs)

    parallel_state.GroupCoordinator.__init__ = silent


def build(wanted: Wanted) -> Built:
    import torch
    from vllm.config import set_current_vllm_config
    from vllm.config.vllm import get_layers_from_vllm_config
    from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
    from vllm.model_executor.model_loader.utils import initialize_model
    from vllm.platforms import current_platform
    from vllm.utils.torch_utils import set_default_torch_dtype
    from vllm.v1.core import kv_cache_utils
    from vllm.v1.kv_cache_interface import MambaSpec

    config = engine_config(wanted)
    with set_current_vllm_config(config):
        join_world(config.parallel_config.world_size)
        with set_default_torch_dtype(config.model_config.dtype), torch.device("meta"):
            models = [initialize_model(vllm_config=config, model_config=config.model_config)]
            if config.speculative_config is not None:
                draft = config.speculative_config.draft_model_config
                models.append(initialize_model(vllm_config=config, model_config=draft))
        current_platform.update_block_size_for_backend(config)
        layers = get_layers_from_vllm_config(config, AttentionLayerBase)
        specs = {name: spec for name, layer in layers.items() if (spec := layer.get_kv_cache_spec(config))}
        backends = {layer.get_attn_backend().get_name() for layer in layers.values()}
    config.cache_config.kv_cache_layout = config.cache_config.kv_cache_layout or "LBHNC"
    answer = kv_cache_utils.generate_scheduler_kv_cache_config(
        kv_cache_utils.get_kv_cache_configs(config, [dict(specs)], [wanted.kv_memory_bytes])
    )
    tokens, _ = kv_cache_utils.get_kv_cache_capacity(config, answer)
    attention = [spec for spec in specs.values() if not isinstance(spec, MambaSpec)]
    return Built(
        block_tokens=config.cache_config.block_size,
        page_bytes=attention[0].page_size_bytes,
        # Each group lists the whole pool, which they share.
        block_bytes=sum(tensor.size for tensor in answer.kv_cache_tensors)
        // len(answer.kv_cache_groups)
        // answer.num_blocks,
        groups=tuple((type(g.kv_cache_spec).__name__, len(g.layer_names)) for g in answer.kv_cache_groups),
        kv_bytes_per_token=sum(spec.page_size_bytes for spec in attention) // attention[0].block_size,
        state_bytes=sum(spec.real_page_size_bytes for spec in specs.values() if isinstance(spec, MambaSpec)),
        blocks=answer.num_blocks,
        capacity_tokens=tokens,
        blocks_per_request=tuple(blocks_of(config, answer.kv_cache_groups, length) for length in LENGTHS),
        weights=weights(models),
        attention_backends=tuple(sorted(backends)),
    )


def blocks_of(config: Any, groups: list[Any], tokens: int) -> int:
    """Blocks that vLLM counts for one request, were it the longest that is allowed."""
    longest, config.model_config.max_model_len = config.model_config.max_model_len, tokens
    try:
        specs = [group.kv_cache_spec for group in groups]
        return sum(-(-spec.max_memory_usage_bytes(config) // spec.page_size_bytes) for spec in specs)
    finally:
        config.model_config.max_model_len = longest


def engine_config(wanted: Wanted) -> Any:
    from vllm.engine.arg_utils import AsyncEngineArgs

    more: dict[str, Any] = {}
    if wanted.mtp_tokens:
        more["speculative_config"] = {"method": "mtp", "num_speculative_tokens": wanted.mtp_tokens}
    return AsyncEngineArgs(
        model=checkpoint(wanted.model),
        tensor_parallel_size=wanted.tensor_parallel,
        max_model_len=wanted.context,
        kv_cache_dtype=wanted.kv_dtype,
        enable_prefix_caching=wanted.prefix_caching,
        # The CPU platform begins at 128 otherwise; GPUs begin at 16.
        block_size=KERNEL_BLOCK_TOKENS,
        skip_tokenizer_init=True,
        load_format="dummy",
        enforce_eager=True,
        **more,
    ).create_engine_config()


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def checkpoint(model: dict[str, Any]) -> str:
    """A folder with all of a checkpoint but its weights; it stays while layers are built, which read it too."""
    folder = Path(_folder().name)
    (folder / "config.json").write_text(json.dumps(model), encoding="utf-8")
    reference = Path(server.reference.__file__).with_name("checkpoint")
    for name in ("preprocessor_config.json", "video_preprocessor_config.json", "tokenizer_config.json"):
        shutil.copy(reference / name, folder)
    return str(folder)


def join_world(size: int) -> None:
    """Makes this process rank 0 of `size` that are not there."""
    import torch.distributed
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from vllm.distributed import parallel_state

    if torch.distributed.is_initialized():
        parallel_state.destroy_model_parallel()
        parallel_state.destroy_distributed_environment()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
    torch.distributed.init_process_group("fake", rank=0, world_size=size, store=FakeStore())
    parallel_state.init_distributed_environment(size, 0, "env://", 0, "gloo")
    parallel_state.initialize_model_parallel(size)


_COMPONENTS = (
    ("visual.", "vision"),
    (".mlp.experts.", "routed experts"),
    (".mlp.shared_expert.", "shared expert"),
    (".linear_attn.", "gdn"),
    (".self_attn.", "attention"),
    ("embed_tokens.", "embeddings"),
    ("lm_head.", "lm_head"),
)


def weights(models: list[Any]) -> dict[str, int]:
    """Bytes of all parameters by component; the draft model shares embeddings and lm_head with the first."""
    found: dict[str, int] = {}
    for index, model in enumerate(models):
        for name, parameter in model.named_parameters():
            component = next((each for part, each in _COMPONENTS if part in name), "other")
            if index:
                if component in ("embeddings", "lm_head"):
                    continue
                component = "mtp"
            found[component] = found.get(component, 0) + parameter.numel() * parameter.itemsize
    return found
