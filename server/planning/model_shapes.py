"""The matrices of a Qwen3.5 checkpoint, counted from its `config.json`.

The counts follow transformers' and vLLM's modules of the class (`vllm/model_executor/models/qwen3_5.py`,
`qwen3_next.py`, `qwen3_vl.py`, `qwen3_5_mtp.py`). For the 397B they add up to the 403,397,928,944 parameters that the
hub counts in the published checkpoint, vision tower and draft layer included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Component = Literal[
    "attention",
    "gdn",
    "routed experts",
    "shared expert",
    "dense mlp",
    "embeddings",
    "lm_head",
    "vision",
    "mtp",
    "other",
]

Split = Literal["columns", "kv heads", "experts", "vision", "none"]
"""How tensor parallelism divides a matrix: evenly, by KV heads (no further than their number), by whole experts or
slices of each, as the vision tower is (evenly or not at all), or not at all."""

Format = Literal["matrix", "expert", "plain"]
"""What a quantised checkpoint stores in few bits: large matrices, routed experts; `plain` is BF16 in every one."""


@dataclass(frozen=True)
class Tensor:
    """Parameters of one kind in one component, summed over layers."""

    component: Component
    parameters: int
    split: Split
    format: Format
    drafts: bool = False
    """Belongs to the MTP layer, which is loaded only when it drafts."""
    read_per_token: bool = True
    """Whether a decode step reads it; an embedding table is read by row and the vision tower not at all."""


class NotQwen35(ValueError):
    """A configuration that is not of a model of this family."""


@dataclass(frozen=True)
class ModelShapes:
    """What the formulas need of a configuration. Build it with `model_shapes`."""

    hidden: int
    layers: int
    full_layers: int
    q_heads: int
    kv_heads: int
    head_dim: int
    gate: bool
    gdn_k_heads: int
    gdn_v_heads: int
    gdn_k_dim: int
    gdn_v_dim: int
    conv_kernel: int
    experts: int
    active_experts: int
    expert_inner: int
    shared_inner: int
    dense_inner: int
    vocabulary: int
    tied: bool
    mtp_layers: int
    positions: int
    """Positions that the model was trained for, before any YaRN."""
    vision: dict[str, Any] | None

    @property
    def gdn_layers(self) -> int:
        """Layers of Gated DeltaNet."""
        return self.layers - self.full_layers

    @property
    def parameters(self) -> int:
        """All parameters of the checkpoint, vision tower and MTP layer included."""
        return sum(tensor.parameters for tensor in self.tensors())

    @property
    def active_parameters(self) -> int:
        """Parameters that one token is multiplied with in the language model, without its embedding row."""
        return sum(
            tensor.parameters * self.active_experts // self.experts
            if tensor.component == "routed experts"
            else tensor.parameters
            for tensor in self.tensors()
            if tensor.read_per_token and not tensor.drafts
        ) + (self.vocabulary * self.hidden if self.tied else 0)

    def tensors(self) -> Iterator[Tensor]:
        """All parameters, each once."""
        yield from self._layer_tensors(self.full_layers, self.gdn_layers, drafts=False)
        yield Tensor("other", self.hidden, "none", "plain")
        yield Tensor("embeddings", self.vocabulary * self.hidden, "columns", "plain", read_per_token=False)
        if not self.tied:
            yield Tensor("lm_head", self.vocabulary * self.hidden, "columns", "plain")
        yield from self._vision_tensors()
        if self.mtp_layers:
            yield Tensor("mtp", 2 * self.hidden * self.hidden, "columns", "plain", drafts=True)
            yield Tensor("mtp", 3 * self.hidden, "none", "plain", drafts=True)
            yield from self._layer_tensors(self.mtp_layers, 0, drafts=True)

    def _layer_tensors(self, full: int, gdn: int, *, drafts: bool) -> Iterator[Tensor]:
        hidden = self.hidden

        def tensor(component: Component, parameters: int, split: Split, form: Format) -> Tensor:
            return Tensor("mtp" if drafts else component, parameters, split, form, drafts)

        q = self.q_heads * self.head_dim
        kv = self.kv_heads * self.head_dim
        yield tensor("attention", full * hidden * (q * (2 if self.gate else 1) + q), "columns", "matrix")
        yield tensor("attention", full * hidden * 2 * kv, "kv heads", "matrix")
        yield tensor("attention", full * 2 * self.head_dim, "none", "plain")
        if gdn:
            keys, values = self.gdn_k_heads * self.gdn_k_dim, self.gdn_v_heads * self.gdn_v_dim
            yield tensor("gdn", gdn * hidden * (2 * keys + 2 * values + values), "columns", "matrix")
            # Two gates per value head, the short convolution, decay and its bias.
            small = hidden * 2 * self.gdn_v_heads + (2 * keys + values) * self.conv_kernel + 2 * self.gdn_v_heads
            yield tensor("gdn", gdn * small, "columns", "plain")
            yield tensor("gdn", gdn * self.gdn_v_dim, "none", "plain")
        layers = full + gdn
        yield tensor("other", layers * 2 * hidden, "none", "plain")
        if self.experts:
            yield tensor("routed experts", layers * self.experts * 3 * hidden * self.expert_inner, "experts", "expert")
            yield tensor("shared expert", layers * 3 * hidden * self.shared_inner, "columns", "matrix")
            yield tensor("other", layers * hidden * (self.experts + 1), "none", "plain")
        else:
            yield tensor("dense mlp", layers * 3 * hidden * self.dense_inner, "columns", "matrix")

    def _vision_tensors(self) -> Iterator[Tensor]:
        if self.vision is None:
            return
        width, inner, depth = (int(self.vision[key]) for key in ("hidden_size", "intermediate_size", "depth"))
        merged = width * int(self.vision["spatial_merge_size"]) ** 2
        patch = int(self.vision["in_channels"]) * int(self.vision["temporal_patch_size"])
        patch *= int(self.vision["patch_size"]) ** 2
        out = int(self.vision["out_hidden_size"])

        def tensor(parameters: int, split: Split) -> Tensor:
            return Tensor("vision", parameters, split, "plain", read_per_token=False)

        # Weights and biases of column-parallel layers are divided; biases of row-parallel ones and norms are not.
        yield tensor(depth * (width * 3 * width + 3 * width + width * width + 2 * width * inner + inner), "vision")
        yield tensor(merged * merged + merged + merged * out, "vision")
        whole = patch * width + width + int(self.vision["num_position_embeddings"]) * width
        yield tensor(whole + depth * (4 * width + 2 * width) + 2 * width + out, "none")


def model_shapes(config: dict[str, Any]) -> ModelShapes:
    """The shapes in a `config.json`. Raises NotQwen35 where it lacks what such a model has."""
    text = config.get("text_config", config)
    try:
        layers = int(text["num_hidden_layers"])
        types = text.get("layer_types") or [
            "full_attention" if (index + 1) % int(text["full_attention_interval"]) == 0 else "linear_attention"
            for index in range(layers)
        ]
        experts = int(text.get("num_experts", 0))
        rope = text.get("rope_parameters") or {}
        return ModelShapes(
            hidden=int(text["hidden_size"]),
            layers=layers,
            full_layers=types.count("full_attention"),
            q_heads=int(text["num_attention_heads"]),
            kv_heads=int(text["num_key_value_heads"]),
            head_dim=int(text["head_dim"]),
            gate=bool(text.get("attn_output_gate", True)),
            gdn_k_heads=int(text["linear_num_key_heads"]),
            gdn_v_heads=int(text["linear_num_value_heads"]),
            gdn_k_dim=int(text["linear_key_head_dim"]),
            gdn_v_dim=int(text["linear_value_head_dim"]),
            conv_kernel=int(text["linear_conv_kernel_dim"]),
            experts=experts,
            active_experts=int(text["num_experts_per_tok"]) if experts else 0,
            expert_inner=int(text["moe_intermediate_size"]) if experts else 0,
            shared_inner=int(text["shared_expert_intermediate_size"]) if experts else 0,
            dense_inner=0 if experts else int(text["intermediate_size"]),
            vocabulary=int(text["vocab_size"]),
            tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
            mtp_layers=int(text.get("mtp_num_hidden_layers", 0)),
            positions=int(rope.get("original_max_position_embeddings", text["max_position_embeddings"])),
            vision=config.get("vision_config"),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotQwen35(f"the configuration is not one of Qwen3.5's family: {error!r}") from error
