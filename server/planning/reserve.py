"""An estimate of the memory per GPU that is neither weights nor KV cache.

vLLM measures this at start, with a step of `max_num_batched_tokens` and its largest image, and nothing but that
measurement is exact; so each part is named, is on the high side, and the whole can be replaced by a measured figure
(`--reserve-gib`, from vLLM's line "Available KV cache memory" of a real start).
"""

from __future__ import annotations

from dataclasses import dataclass

from server.planning.deployment import Deployment
from server.planning.hardware import GIB
from server.planning.model_shapes import ModelShapes

BF16 = 2
FLOAT32 = 4

# Pixels of the largest image that Qwen3.5's processor makes, over the 16 x 16 of a patch.
_LARGEST_IMAGE_PATCHES = 16_777_216 // 256
# CUDA context, loaded kernels, cuBLAS and attention workspaces.
_CONTEXT_BYTES = int(1.0 * GIB)
# NCCL's channels and the custom all-reduce buffers, where there is more than one GPU.
_COLLECTIVE_BYTES = int(1.0 * GIB)
# Buffers of the all-to-all kernels that carry tokens to experts on other GPUs.
_ALL_TO_ALL_BYTES = int(1.0 * GIB)
# A graph of one layer at one batch size: kernel nodes and their parameters. Models of 60 to 90 layers log 0.5 to 1.5
# GiB for the 51 to 67 sizes that vLLM captures.
_GRAPH_BYTES_PER_LAYER = 200 * 1024
# The logits in float32, their softmax, and the sorted copy of a sampling step with top-p.
_LOGITS_COPIES = 3
# Room that fragmentation of the allocator takes, as part of the activations.
_FRAGMENTATION = 0.15


@dataclass(frozen=True)
class Reserve:
    """Bytes on one GPU; a measured reserve is all in `activations`."""

    activations: int
    graphs: int
    context: int
    estimated: bool = True

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.graphs + self.context


def reserve(
    deployment: Deployment, shapes: ModelShapes, *, step_tokens: int, sequences: int, graph_sizes: int
) -> Reserve:
    """The estimate for steps of `step_tokens` tokens, `sequences` at once and `graph_sizes` captured batch sizes."""
    if deployment.reserve_bytes is not None:
        return Reserve(deployment.reserve_bytes, 0, 0, estimated=False)
    language = step_tokens * _bytes_per_token(deployment, shapes)
    logits = sequences * shapes.vocabulary * FLOAT32 * _LOGITS_COPIES
    vision = 0
    if shapes.vision is not None and not deployment.text_only:
        width, inner = int(shapes.vision["hidden_size"]), int(shapes.vision["intermediate_size"])
        # Input, norm, query, key, value, output and the inner layer of one block, of the largest image.
        part = 1 if deployment.vision_data_parallel else deployment.tensor_parallel
        vision = int(_LARGEST_IMAGE_PATCHES * (3 * width + (4 * width + inner) / part) * BF16)
        # The image's tokens, kept until the prompt's steps have used them.
        vision += _LARGEST_IMAGE_PATCHES // 4 * shapes.hidden * BF16
    # The three peaks come one after another, so the largest counts.
    activations = int(max(language, logits, vision) * (1 + _FRAGMENTATION))
    context = _CONTEXT_BYTES
    if deployment.gpus > 1:
        context += _COLLECTIVE_BYTES
    if deployment.expert_gpus > deployment.tensor_parallel:
        context += _ALL_TO_ALL_BYTES
    layers = shapes.layers + (shapes.mtp_layers if deployment.mtp_tokens else 0)
    graphs = graph_sizes * layers * _GRAPH_BYTES_PER_LAYER // deployment.pipeline_parallel
    return Reserve(activations, graphs, context)


def _bytes_per_token(deployment: Deployment, shapes: ModelShapes) -> float:
    """Peak of activations in the layers, per token of a step, with the residual stream and one layer's own."""
    size = deployment.tensor_parallel
    stream = 3 * shapes.hidden
    q = shapes.q_heads * shapes.head_dim
    attention = (4 * q + 2 * max(shapes.kv_heads, size) * shapes.head_dim) / size
    keys, values = shapes.gdn_k_heads * shapes.gdn_k_dim, shapes.gdn_v_heads * shapes.gdn_v_dim
    # Projections, the convolution's output and the chunked kernel's intermediates.
    gdn = 2 * (2 * keys + 3 * values) / size
    if shapes.experts:
        inner = shapes.expert_inner if deployment.expert_parallel else shapes.expert_inner / size
        # vLLM's fused experts keep gate and up, their product and each chosen expert's output.
        mlp = shapes.active_experts * (2 * inner + inner + shapes.hidden)
    else:
        mlp = 3 * shapes.dense_inner / size
    return (stream + max(attention, gdn, mlp)) * BF16
