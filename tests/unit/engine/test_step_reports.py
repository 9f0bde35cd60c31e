from __future__ import annotations

from types import SimpleNamespace

from server.engine.size import engine_size
from server.engine.step_reports import StepClock


def test_a_step_is_the_time_between_reports_while_there_is_work() -> None:
    clock = StepClock()
    assert clock.step(10.0, busy=True, computed=0.2) == 0.2
    assert clock.step(10.5, busy=True, computed=0.4) == 0.5
    assert clock.step(11.5, busy=False, computed=0.9) == 1.0


def test_the_pause_before_a_step_is_none_of_it() -> None:
    clock = StepClock()
    clock.step(10.0, busy=False, computed=0.2)
    assert clock.step(99.0, busy=True, computed=0.3) == 0.3
    clock.step(99.5, busy=False, computed=None)
    assert clock.step(200.0, busy=True, computed=None) is None


def test_the_size_is_read_from_vllms_own_account() -> None:
    # The figures of the real model on eight GPUs (FP8 KV cache), and of the reference checkpoint on a CPU.
    real = _config(blocks=2647, block_tokens=1056, longest=262_144, concurrency=2647 / (249 + 6))
    size = engine_size(real)
    assert (size.block_tokens, size.constant_blocks, size.blocks) == (1056, 6, 2647)
    small = engine_size(_config(blocks=8192, block_tokens=256, longest=32_768, concurrency=61.134328))
    assert (small.constant_blocks, small.kv_tokens) == (6, 2_097_152)
    assert small.footprint(1) == 7 * 256
    assert small.footprint(257) == 8 * 256


def test_replicas_inside_the_engine_count_together() -> None:
    size = engine_size(_config(blocks=8000, block_tokens=256, longest=25_600, concurrency=1000 / 106, engines=8))
    assert (size.sequences, size.step_tokens, size.blocks, size.constant_blocks) == (8 * 256, 8 * 2048, 8000, 6)


def _config(*, blocks: int, block_tokens: int, longest: int, concurrency: float, engines: int = 1) -> SimpleNamespace:
    return SimpleNamespace(
        cache_config=SimpleNamespace(
            num_gpu_blocks=blocks,
            effective_attention_block_size=block_tokens,
            block_size=block_tokens,
            kv_cache_max_concurrency=concurrency,
        ),
        scheduler_config=SimpleNamespace(max_num_seqs=256, max_num_batched_tokens=2048),
        model_config=SimpleNamespace(max_model_len=longest),
        parallel_config=SimpleNamespace(data_parallel_size=engines),
    )
