"""Bytes of weights on one GPU, by component."""

from __future__ import annotations

from dataclasses import dataclass

from server.planning.deployment import BadDeployment, Deployment, Weights
from server.planning.model_shapes import Component, ModelShapes, Tensor

BF16 = 2.0

BYTES: dict[Weights, dict[str, float]] = {
    "bf16": {"matrix": BF16, "expert": BF16, "plain": BF16},
    # One byte and a float32 scale for each block of 128 x 128. Embeddings, norms, routers, gates, the convolution and
    # the vision tower stay in BF16 (`modules_to_not_convert` of Qwen's FP8 checkpoints).
    "fp8": {"matrix": 1 + 4 / 128**2, "expert": 1 + 4 / 128**2, "plain": BF16},
    # Only the routed experts: four bits and an FP8 scale for each 16. This gives the 238 GB that vLLM's recipe names.
    "nvfp4": {"matrix": BF16, "expert": 0.5 + 1 / 16, "plain": BF16},
    # GPTQ and AWQ, again only the routed experts: four bits, and a BF16 scale and a 4-bit zero point for each 128.
    "int4": {"matrix": BF16, "expert": 0.5 + 2.5 / 128, "plain": BF16},
}
"""Bytes per parameter by the checkpoint's precision and a tensor's format."""

# 4-bit checkpoints leave the draft layer in BF16 (vLLM's `qwen3_5_mtp.py` names both cases).
_DRAFT: dict[Weights, Weights] = {"bf16": "bf16", "fp8": "fp8", "nvfp4": "bf16", "int4": "bf16"}

_FIRST_STAGE: frozenset[Component] = frozenset({"embeddings", "vision"})
_LAST_STAGE: frozenset[Component] = frozenset({"lm_head", "mtp"})


@dataclass(frozen=True)
class WeightBytes:
    """Bytes on one GPU."""

    by_component: dict[Component, int]
    read_always: int
    """Bytes that every decode step reads, routed and draft weights left out."""
    read_experts: int
    """Bytes of all routed experts here; a step reads those that its tokens chose."""
    read_draft: int
    """Bytes that a pass of the draft layer reads, without its routed experts, with the shared lm_head."""
    draft_experts: int

    @property
    def total(self) -> int:
        """All components."""
        return sum(self.by_component.values())


def parameter_bytes(tensor: Tensor, weights: Weights) -> float:
    """Bytes that one parameter of `tensor` takes."""
    return BYTES[_DRAFT[weights] if tensor.drafts else weights][tensor.format]


def weight_bytes(deployment: Deployment, shapes: ModelShapes) -> WeightBytes:
    """Bytes of weights on one GPU. Raises BadDeployment where parallelism cannot divide the model.

    With pipeline parallelism, of the heaviest stage: an even part of the layers, and the larger of what only the first
    stage has (embeddings, vision tower) and what only the last one has (lm_head, draft layer).
    """
    check_division(deployment, shapes)
    parts: dict[Component, float] = {}
    lighter = _lighter_end(deployment, shapes)
    always = experts = draft = draft_experts = 0.0
    for tensor in shapes.tensors():
        if tensor.drafts and not deployment.mtp_tokens:
            continue
        if tensor.component == "vision" and deployment.text_only:
            continue
        if tensor.component in lighter:
            continue
        size = _size(tensor, deployment, shapes)
        if tensor.component not in _FIRST_STAGE | _LAST_STAGE:
            size /= deployment.pipeline_parallel
        parts[tensor.component] = parts.get(tensor.component, 0) + size
        if tensor.split == "experts":
            draft_experts += size if tensor.drafts else 0
            experts += 0 if tensor.drafts else size
        elif tensor.drafts:
            draft += size
        elif tensor.read_per_token or (tensor.component == "embeddings" and shapes.tied):
            always += size
    head = parts.get("embeddings" if shapes.tied else "lm_head", 0)
    return WeightBytes(
        {name: round(size) for name, size in parts.items()},
        round(always),
        round(experts),
        round(draft + head),
        round(draft_experts),
    )


def _lighter_end(deployment: Deployment, shapes: ModelShapes) -> frozenset[Component]:
    """Components of the first or the last pipeline stage, whichever takes less, to be left out of the heaviest."""
    if deployment.pipeline_parallel == 1:
        return frozenset()

    def total(components: frozenset[Component]) -> float:
        return sum(_size(each, deployment, shapes) for each in shapes.tensors() if each.component in components)

    return min(_FIRST_STAGE, _LAST_STAGE, key=total)


def _size(tensor: Tensor, deployment: Deployment, shapes: ModelShapes) -> float:
    return tensor.parameters * parameter_bytes(tensor, deployment.weights) * _part(tensor, deployment, shapes)


def check_division(deployment: Deployment, shapes: ModelShapes) -> None:
    """Raises BadDeployment where vLLM would refuse to divide the model by this tensor parallel size."""
    size = deployment.tensor_parallel
    for count, what in (
        (shapes.q_heads, "attention heads"),
        (shapes.gdn_k_heads, "Gated DeltaNet key heads"),
        (shapes.gdn_v_heads, "Gated DeltaNet value heads"),
    ):
        if count % size:
            raise BadDeployment(f"tensor parallel {size} does not divide the model's {count} {what}")
    kv = shapes.kv_heads
    if kv % size and size % kv:
        raise BadDeployment(f"tensor parallel {size} and the model's {kv} KV heads do not divide each other")
    if deployment.expert_parallel and shapes.experts % deployment.expert_gpus:
        raise BadDeployment(f"{shapes.experts} experts are not divided evenly by {deployment.expert_gpus} GPUs")
    if deployment.expert_parallel and not shapes.experts:
        raise BadDeployment("expert parallelism needs a model with experts")
    if deployment.pipeline_parallel > 1 and deployment.mtp_tokens:
        raise BadDeployment("the MTP layer drafts on the last pipeline stage alone, which this plan does not cover")
    if deployment.mtp_tokens and not shapes.mtp_layers:
        raise BadDeployment("the model has no MTP layer to draft with")


def _part(tensor: Tensor, deployment: Deployment, shapes: ModelShapes) -> float:
    """Part of `tensor` that one GPU holds."""
    size = deployment.tensor_parallel
    if tensor.split == "none" or (tensor.split == "vision" and deployment.vision_data_parallel):
        return 1.0
    if tensor.split == "kv heads":
        return 1 / min(size, shapes.kv_heads)
    if tensor.split == "experts" and deployment.expert_parallel:
        return 1 / deployment.expert_gpus
    return 1 / size
