"""What the engine room tells of the engine, for whoever decides how much goes into it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineSize:
    """What the engine has to give.

    `sequences` run at once at most and share `step_tokens` in one step. The KV cache has `blocks` of `block_tokens`; a
    sequence of any length holds `constant_blocks` beside those of its tokens (a hybrid model's recurrent state: 6 with
    prefix caching, 3 without, measured on vLLM 0.32).
    """

    sequences: int
    step_tokens: int
    blocks: int
    block_tokens: int
    constant_blocks: int
    max_model_len: int

    def footprint(self, tokens: int) -> int:
        """KV tokens that a sequence of `tokens` takes, counted in whole blocks."""
        return (-(-tokens // self.block_tokens) + self.constant_blocks) * self.block_tokens

    @property
    def kv_tokens(self) -> int:
        """KV cache size in tokens."""
        return self.blocks * self.block_tokens


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One step of the engine. `step_seconds` is None where it was idle before, so that the time says nothing.

    `kv_used` is the used part of the KV cache, 0 to 1; `preempted` counts sequences that the engine had to put back.
    """

    step_seconds: float | None
    prefill_tokens: int
    decode_tokens: int
    running: int
    waiting: int
    kv_used: float
    preempted: int = 0
