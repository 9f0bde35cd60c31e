"""A model on hardware, as one frozen value: all that the planner needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from server.planning.hardware import Hardware

Weights = Literal["bf16", "fp8", "nvfp4", "int4"]
"""How the checkpoint stores its large matrices; see `weights.py` for what stays in BF16."""

KvDtype = Literal["bf16", "fp8"]


class BadDeployment(ValueError):
    """A deployment that no engine could have, whatever the memory: sizes that do not go together."""


@dataclass(frozen=True)
class Deployment:
    """One way to serve a model: `data_parallel` replicas of `pipeline_parallel` stages of `tensor_parallel` GPUs."""

    hardware: Hardware
    model: dict[str, Any] = field(repr=False)
    """The checkpoint's `config.json`."""
    model_name: str
    weights: Weights
    tensor_parallel: int
    data_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: bool = False
    context: int = 262_144
    """Longest prompt and answer together, in tokens."""
    kv_dtype: KvDtype = "bf16"
    prefix_caching: bool = True
    mtp_tokens: int = 0
    """Tokens that the model's own draft layer proposes for each step; 0 is none."""
    gpu_memory_utilization: float = 0.9
    kv_cache_bytes: int | None = None
    """What each GPU's KV cache is given outright, whatever `gpu_memory_utilization` would leave it; None is that."""
    max_num_batched_tokens: int | None = None
    """Most tokens of one step; None is what vLLM chooses."""
    max_num_seqs: int | None = None
    """Most sequences of one replica at once; None is what vLLM chooses."""
    max_graph_batch: int | None = None
    """Largest batch that CUDA graphs are captured for; None is what vLLM chooses."""
    block_size: int | None = None
    """Tokens of a block that are asked for; vLLM makes it larger where a Gated DeltaNet state needs it."""
    prefix_match_unit: int | None = None
    text_only: bool = False
    """Leaves the vision tower out."""
    vision_data_parallel: bool = False
    """Every GPU holds the whole vision tower (`mm_encoder_tp_mode: data`)."""
    yarn_factor: float = 1.0
    """By how much YaRN stretches the positions that the model was trained for; 1 is none."""
    reserve_bytes: int | None = None
    """Measured memory per GPU beside weights and KV cache, in place of the estimate."""

    def __post_init__(self) -> None:
        """Raises BadDeployment."""
        if self.gpus > self.hardware.gpus:
            raise BadDeployment(
                f"tensor parallel {self.tensor_parallel} x data parallel {self.data_parallel} x pipeline parallel "
                f"{self.pipeline_parallel} needs {self.gpus} GPUs; {self.hardware.name} has {self.hardware.gpus}"
            )
        if not 0 < self.gpu_memory_utilization <= 1:
            raise BadDeployment("gpu_memory_utilization is a part of the memory: above 0, at most 1")

    @property
    def usable_bytes(self) -> int:
        """What vLLM may take of each GPU: a part of it, or all where the KV cache's size is given."""
        total = self.hardware.gpu.memory_bytes
        return int(total * self.gpu_memory_utilization) if self.kv_cache_bytes is None else total

    @property
    def replica_gpus(self) -> int:
        """GPUs of one replica."""
        return self.tensor_parallel * self.pipeline_parallel

    @property
    def gpus(self) -> int:
        """GPUs in use."""
        return self.replica_gpus * self.data_parallel

    @property
    def expert_gpus(self) -> int:
        """Over how many GPUs a layer's routed experts are dealt out; 1 where each GPU has a slice of all of them."""
        return self.tensor_parallel * self.data_parallel if self.expert_parallel else 1
