"""Metrics of the engine as the front end sees it, beside vLLM's own: heartbeat, steps, gaps between tokens."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import Counter, Gauge, Histogram

HEARTBEAT_AGE = Gauge(
    "qwend_engine_heartbeat_age_seconds",
    "Seconds since the engine's last step while it has work; 0 while it has none.",
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


class Heartbeat:
    """When the engine last told of a step. `working_since` is the time from which it has had something to do, None
    while it has nothing.
    """

    def __init__(self, working_since: Callable[[], float | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._working_since = working_since
        self._clock = clock
        self._last = clock()
        HEARTBEAT_AGE.set_function(self.age)

    def step(
        self, seconds: float | None, prefill_tokens: int, decode_tokens: int, kv_used: float, preempted: int
    ) -> None:
        """A step has ended."""
        self._last = self._clock()
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

    def age(self) -> float:
        """See `HEARTBEAT_AGE`."""
        since = self._working_since()
        return 0.0 if since is None else max(0.0, self._clock() - max(self._last, since))
