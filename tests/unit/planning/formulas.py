"""The KV cache by hand: the formulas that vLLM's own functions are compared with, and that stand in for them here."""

from __future__ import annotations

from math import ceil

from server.planning.layout import KvLayout, LayoutQuestion
from server.planning.model_shapes import model_shapes


def graph_sizes(question: LayoutQuestion) -> tuple[int, ...]:
    """Batch sizes that vLLM captures: by eights to 256, by sixteens from there, twice the tokens of all sequences."""
    deployment = question.deployment
    checked = (deployment.max_num_seqs or 128) * (1 + deployment.mtp_tokens)
    most = deployment.max_graph_batch or min(2 * checked, 512)
    return (1, 2, 4, *range(8, min(most, 256) + 1, 8), *range(272, most + 1, 16))


def formula_layout(question: LayoutQuestion) -> KvLayout:
    """What vLLM should answer, for one pipeline stage and the model's full attention in every fourth layer."""
    deployment = question.deployment
    shapes = model_shapes(deployment.model)
    size, drafts = deployment.tensor_parallel, deployment.mtp_tokens
    token = 2 * max(1, shapes.kv_heads // size) * shapes.head_dim * (1 if deployment.kv_dtype == "fp8" else 2)
    channels = 2 * shapes.gdn_k_heads * shapes.gdn_k_dim + shapes.gdn_v_heads * shapes.gdn_v_dim
    state = channels // size * (shapes.conv_kernel - 1 + drafts) * 2
    state += shapes.gdn_v_heads // size * shapes.gdn_v_dim * shapes.gdn_k_dim * 4
    unit = deployment.hardware.gpu.kernel_block_tokens
    block = unit * ceil(state / (unit * token))
    attention = shapes.full_layers + (shapes.mtp_layers if drafts else 0)
    block_bytes = attention * block * token
    constant = shapes.gdn_layers // shapes.full_layers * ((2 if deployment.prefix_caching else 1) + drafts)
    blocks = max(0, question.kv_memory_bytes) // block_bytes
    longest = min(deployment.context, max(0, blocks - constant) * block)
    each = ceil(deployment.context / block) + constant
    return KvLayout(
        block_tokens=block,
        page_bytes=block * token,
        block_bytes=block_bytes,
        groups=(("MambaSpec", 15), ("MambaSpec", 15), ("MambaSpec", 15), ("FullAttentionSpec", attention)),
        kv_bytes_per_token=attention * token,
        state_bytes=shapes.gdn_layers * state,
        constant_blocks=constant,
        null_blocks=1,
        blocks=blocks,
        capacity_tokens=int(blocks / each * deployment.context) if longest == deployment.context else 0,
        longest_context=longest,
        max_num_batched_tokens=deployment.max_num_batched_tokens or 2048,
        max_num_seqs=deployment.max_num_seqs or 128,
        graph_batch_sizes=graph_sizes(question),
    )
