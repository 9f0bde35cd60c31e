"""The shape of the reference checkpoint: Qwen3.5's class and structure at 1/96,000 of its size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

HIDDEN = 192

IMAGE_PROCESSOR = {
    "image_processor_type": "Qwen2VLImageProcessor",
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    # From 64 x 64 to 256 x 256 pixels, 4 to 64 tokens: larger pictures are scaled down to what training has seen.
    "size": {"shortest_edge": 4096, "longest_edge": 65536},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
    "processor_class": "Qwen3VLProcessor",
}
VIDEO_PROCESSOR = {**IMAGE_PROCESSOR, "video_processor_type": "Qwen3VLVideoProcessor"}
del VIDEO_PROCESSOR["image_processor_type"]


def build(tokenizer: Any) -> Any:
    """A freshly initialised Qwen3_5MoeForConditionalGeneration in float32.

    Three Gated DeltaNet layers to one of full attention, 8 experts of which 2 are used and a shared one, a vision tower
    of two layers with patches of 16 x 16 pixels that are merged 2 x 2.
    """
    from transformers import Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in tokenizer.get_added_vocab()}
    vocabulary = (len(tokenizer) + 63) // 64 * 64
    text = {
        "vocab_size": vocabulary,
        "hidden_size": HIDDEN,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "max_position_embeddings": 262144,
        "linear_key_head_dim": 64,
        "linear_value_head_dim": 64,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "moe_intermediate_size": 128,
        "shared_expert_intermediate_size": 128,
        "num_experts": 8,
        "num_experts_per_tok": 2,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "output_router_logits": True,
        "router_aux_loss_coef": 0.01,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 1e7,
            "mrope_section": [3, 3, 2],
            "mrope_interleaved": True,
            "partial_rotary_factor": 0.25,
        },
    }
    vision = {
        "depth": 2,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 2,
        "out_hidden_size": HIDDEN,
        "num_position_embeddings": 256,
        "patch_size": 16,
    }
    config = Qwen3_5MoeConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    return Qwen3_5MoeForConditionalGeneration(config)


def load(folder: Path, dtype: Any = None) -> Any:
    """An exported checkpoint as a network, by default in float32, to train it on."""
    import torch
    from transformers import Qwen3_5MoeForConditionalGeneration

    return Qwen3_5MoeForConditionalGeneration.from_pretrained(folder, dtype=dtype or torch.float32)
