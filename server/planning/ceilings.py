"""Speeds that no software can pass on this hardware, from bytes moved, operations done and bytes sent.

Each is a roofline: a step takes at least as long as the longest of reading memory, computing and sending, all three
overlapped perfectly and without a pause between kernels. Real engines reach a part of it; `docs/planning.md` sets the
ceilings beside public measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.planning.deployment import Deployment, Weights
from server.planning.hardware import Precision
from server.planning.model_shapes import Format, ModelShapes
from server.planning.weights import WeightBytes

_COMPUTE: dict[Weights, dict[Format, Precision]] = {
    "bf16": {"matrix": "bf16", "expert": "bf16", "plain": "bf16"},
    "fp8": {"matrix": "fp8", "expert": "fp8", "plain": "bf16"},
    "nvfp4": {"matrix": "bf16", "expert": "fp4", "plain": "bf16"},
    # Marlin widens four bits to BF16 on the way in.
    "int4": {"matrix": "bf16", "expert": "bf16", "plain": "bf16"},
}

# Bytes per value sent to an expert (FP8) and back (BF16), as DeepEP sends them.
_DISPATCH_BYTES = 1
_COMBINE_BYTES = 2


@dataclass(frozen=True)
class StepTime:
    """Least seconds of one step on each GPU, by what bounds it."""

    memory: float
    compute: float
    network: float

    @property
    def seconds(self) -> float:
        """The longest of the three."""
        return max(self.memory, self.compute, self.network)

    @property
    def bound(self) -> str:
        """Which of them that is."""
        return max(("memory", "compute", "network"), key=lambda name: float(getattr(self, name)))


@dataclass(frozen=True)
class DecodeCeiling:
    """Most output tokens at one batch size and context."""

    sequences: float
    """Sequences of one replica in each step."""
    experts_read: float
    """Part of the routed experts that a step's tokens choose at least once."""
    step: StepTime
    tokens_per_second_per_gpu: float
    tokens_per_second_per_sequence: float


@dataclass(frozen=True)
class Roofline:
    """A deployment's ceilings. `weights` are the bytes on one GPU."""

    deployment: Deployment
    shapes: ModelShapes
    weights: WeightBytes

    def distinct_experts(self, tokens: float) -> float:
        """Part of E experts that `tokens` tokens, each choosing k at random, choose at least once: 1-(1-k/E)^tokens.

        Real routers choose less evenly, so that real batches read fewer.
        """
        if not self.shapes.experts:
            return 1.0
        return 1.0 - float((1 - self.shapes.active_experts / self.shapes.experts) ** tokens)

    def decode(self, sequences: float, context: int, acceptance: float = 1.0) -> DecodeCeiling:
        """One replica decodes `sequences` sequences of `context` tokens.

        With MTP a step checks the drafted tokens too; `acceptance` is the chance of each to be right given that those
        before it were. 1 is the ceiling.
        """
        drafts, stages = self.deployment.mtp_tokens, self.deployment.pipeline_parallel
        # Each stage works on its share of the sequences while the others work on theirs.
        in_flight, sequences = sequences, sequences / stages
        checked = sequences * (1 + drafts)
        part = self.distinct_experts(checked * self._replicas_sharing_experts())
        read = self.weights.read_always + self.weights.read_experts * part
        read += sequences * (context * self.kv_bytes_per_token() + 2 * self.state_bytes())
        if drafts:
            draft_part = self.distinct_experts(sequences * self._replicas_sharing_experts())
            read += drafts * (self.weights.read_draft + self.weights.draft_experts * draft_part)
        gpu = self.deployment.hardware.gpu
        step = StepTime(
            memory=read / gpu.bandwidth,
            compute=checked * self.compute_seconds(context),
            network=checked * self.network_seconds(),
        )
        tokens = sum(acceptance**position for position in range(drafts + 1))
        per_sequence = tokens / step.seconds / stages
        return DecodeCeiling(
            in_flight, part, step, in_flight * per_sequence / self.deployment.replica_gpus, per_sequence
        )

    def prefill(self, context: int, step_tokens: int) -> tuple[float, StepTime]:
        """Most prompt tokens per second per GPU, for prompts of `context` tokens in steps of `step_tokens`."""
        part = self.distinct_experts(step_tokens * self._replicas_sharing_experts())
        weights = self.weights.read_always + self.weights.read_experts * part
        step = StepTime(
            memory=weights / self.deployment.hardware.gpu.bandwidth,
            # A token meets half of the prompt on average.
            compute=step_tokens * self.compute_seconds(context // 2),
            network=step_tokens * self.network_seconds(),
        )
        return step_tokens / step.seconds / self.deployment.replica_gpus, step

    def _replicas_sharing_experts(self) -> int:
        return max(1, self.deployment.expert_gpus // self.deployment.tensor_parallel)

    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values on one GPU, in the layers that every step reads."""
        shapes = self.shapes
        heads = max(1, shapes.kv_heads // self.deployment.tensor_parallel)
        size = 1 if self.deployment.kv_dtype == "fp8" else 2
        return shapes.full_layers * 2 * heads * shapes.head_dim * size // self.deployment.pipeline_parallel

    def state_bytes(self) -> int:
        """Bytes of one sequence's Gated DeltaNet state on one GPU: float32 matrices and the BF16 convolution window."""
        shapes = self.shapes
        matrices = shapes.gdn_v_heads * shapes.gdn_v_dim * shapes.gdn_k_dim * 4
        channels = 2 * shapes.gdn_k_heads * shapes.gdn_k_dim + shapes.gdn_v_heads * shapes.gdn_v_dim
        window = channels * (shapes.conv_kernel - 1) * 2
        return shapes.gdn_layers * (matrices + window) // self.deployment.replica_gpus

    def compute_seconds(self, context: int) -> float:
        """Seconds of one GPU's arithmetic for one token of its replica that attends to `context` others."""
        shapes, gpu = self.shapes, self.deployment.hardware.gpu
        precisions = _COMPUTE[self.deployment.weights]
        seconds = 0.0
        for tensor in shapes.tensors():
            if tensor.drafts or not tensor.read_per_token:
                continue
            used = tensor.parameters
            if tensor.component == "routed experts":
                used = used * shapes.active_experts // shapes.experts
            seconds += 2 * used / gpu.rate(precisions[tensor.format])
        # Scores and their products with the values; then, in Gated DeltaNet, decay, correction, update and read.
        attention = 4 * shapes.full_layers * shapes.q_heads * shapes.head_dim * context
        gdn = 8 * shapes.gdn_layers * shapes.gdn_v_heads * shapes.gdn_v_dim * shapes.gdn_k_dim
        return (seconds + (attention + gdn) / gpu.rate("bf16")) / self.deployment.replica_gpus

    def network_seconds(self) -> float:
        """Seconds of one GPU's link, one direction, for one token of its replica."""
        deployment, shapes, hardware = self.deployment, self.shapes, self.deployment.hardware
        size, hidden = deployment.tensor_parallel, shapes.hidden
        seconds = 0.0
        if size > 1:
            # Two all-reduces a layer, in rings: inside the node, then between nodes with a share for each GPU.
            inside = min(size, hardware.per_node)
            across = size // inside
            volume = 2.0 * shapes.layers * hidden * 2
            seconds += volume * 2 * (inside - 1) / inside / hardware.gpu.link_bandwidth
            seconds += volume / inside * 2 * (across - 1) / across / hardware.node_bandwidth
        others = deployment.expert_gpus - 1
        if deployment.expert_gpus > size:
            # Distinct other GPUs among the k experts' owners; each gets the token once and answers once.
            reached = others * (1 - (1 - 1 / deployment.expert_gpus) ** shapes.active_experts)
            volume = shapes.layers * reached * hidden * (_DISPATCH_BYTES + _COMBINE_BYTES) / size
            far = max(0, deployment.expert_gpus - hardware.per_node) / others
            seconds += max(volume * (1 - far) / hardware.gpu.link_bandwidth, volume * far / hardware.node_bandwidth)
        return seconds / deployment.pipeline_parallel
