"""What vLLM's own code says of a deployment's KV cache; `server.engine.kv_layout` asks it."""

from __future__ import annotations

from dataclasses import dataclass

from server.planning.deployment import Deployment


@dataclass(frozen=True)
class LayoutQuestion:
    """A deployment and the memory that is left for its KV cache."""

    deployment: Deployment
    kv_memory_bytes: int
    """Bytes per GPU; 0 or less asks for the sizes alone."""


@dataclass(frozen=True)
class KvLayout:
    """Sizes on one GPU. A block is the unit that requests are given; it has a page in each layer of a group."""

    block_tokens: int
    """Tokens of one block in the full-attention layers."""
    page_bytes: int
    """One block in one layer."""
    block_bytes: int
    """One block in all the layers that share a block's number."""
    groups: tuple[tuple[str, int], ...]
    """vLLM's groups of layers, which draw on one pool of blocks: kind and number of layers."""
    kv_bytes_per_token: int
    """A token's keys and values in all full-attention layers, the draft layer's included."""
    state_bytes: int
    """State of one sequence in all Gated DeltaNet layers, as computed with: one copy, no padding."""
    constant_blocks: int
    """Blocks that a request holds whatever its length: Gated DeltaNet's states."""
    null_blocks: int
    """Blocks of the pool that no request is given."""
    blocks: int
    """Blocks in the memory asked about; 0 where not even one fits."""
    capacity_tokens: int
    """What vLLM logs as the KV cache's size in tokens, at the deployment's context."""
    longest_context: int
    """Longest context, up to the deployment's, of which one request fits; vLLM's own search."""
    max_num_batched_tokens: int
    max_num_seqs: int
    graph_batch_sizes: tuple[int, ...]
    """Batch sizes that vLLM captures CUDA graphs for."""

    def blocks_for(self, tokens: int) -> int:
        """Blocks that a request of `tokens` tokens, prompt and answer, holds at its end."""
        return -(-tokens // self.block_tokens) + self.constant_blocks

    def requests(self, tokens: int) -> int:
        """How many such requests the pool holds at once."""
        return max(0, self.blocks - self.null_blocks) // self.blocks_for(tokens)
