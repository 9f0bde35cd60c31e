"""Metrics of the engine as the front end sees it, beside vLLM's own: heartbeat, steps, gaps between tokens."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

HEARTBEAT_AGE = Gauge(
    "qwend_engine_heartbeat_age_seconds",
    "Seconds that the engine has had work and made no step, as the probes count them; 0 after each step.",
)
STEPS = Counter("qwend_engine_steps", "Steps that the engine has told of.")
STEP_TOKENS = Counter("qwend_engine_step_tokens", "Tokens computed in steps: `prefill` or `decode`.", ["kind"])
STEP_BUSY = Counter("qwend_engine_busy_seconds", "Seconds that the engine's steps took.")
KV_USED = Gauge("qwend_engine_kv_used_ratio", "Used part of the KV cache after the last step, 0 to 1.")
PREEMPTIONS = Counter("qwend_engine_preemptions", "Sequences that the engine had to put back for want of KV cache.")
ITL = Histogram(
    "qwend_inter_token_latency_seconds",
    "Seconds between two tokens of an answer as they come from the engine.",
    # vLLM's own bounds.
    buckets=(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80),
)

_PREFILL, _DECODE = STEP_TOKENS.labels("prefill"), STEP_TOKENS.labels("decode")


def show_heartbeat(age: Callable[[], float]) -> None:
    """Lets the gauge read the heartbeat when it is asked for."""
    HEARTBEAT_AGE.set_function(age)


def count_step(seconds: float | None, prefill_tokens: int, decode_tokens: int, kv_used: float, preempted: int) -> None:
    """A step has ended."""
    STEPS.inc()
    if prefill_tokens:
        _PREFILL.inc(prefill_tokens)
    if decode_tokens:
        _DECODE.inc(decode_tokens)
    if seconds:
        STEP_BUSY.inc(seconds)
    KV_USED.set(kv_used)
    if preempted:
        PREEMPTIONS.inc(preempted)
