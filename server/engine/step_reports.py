"""What the engine tells of each of its steps, for admission: through vLLM's own statistics, in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from server.generation.engine_state import EngineReport

Listener = Callable[[EngineReport], None]


def step_reporter(listeners: list[Listener]) -> Any:
    """A stat logger class for AsyncLLM that tells each step to `listeners`, which may be added to later.

    A class made here and not at import, since vllm is imported late. `record` is called on the event loop, right after
    a step's tokens were written (server/engine/after_tokens.py).
    """
    from vllm.v1.metrics.loggers import StatLoggerBase

    class StepReporter(StatLoggerBase):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, engine_index: int = 0) -> None:
            self._steps = StepClock()
            # Each replica inside the engine tells of its own steps; together they do as many times as much in one.
            self._engines = vllm_config.parallel_config.data_parallel_size

        def record(
            self,
            scheduler_stats: Any,
            iteration_stats: Any,
            mm_cache_stats: Any = None,
            engine_idx: int = 0,
        ) -> None:
            if scheduler_stats is None:
                return
            details = scheduler_stats.iteration_details
            computed = details.elapsed_ms / 1000 if details else None
            running, waiting = scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs
            report = EngineReport(
                step_seconds=self._steps.step(time.monotonic(), busy=running + waiting > 0, computed=computed),
                prefill_tokens=details.num_ctx_tokens * self._engines if details else 0,
                decode_tokens=details.num_generation_tokens * self._engines if details else 0,
                running=running,
                waiting=waiting,
                kv_used=scheduler_stats.kv_cache_usage,
                preempted=iteration_stats.num_preempted_reqs if iteration_stats else 0,
            )
            for listener in listeners:
                listener(report)

        def log_engine_initialized(self) -> None:
            pass

    return StepReporter


class StepClock:
    """How long each step took, from the times at which they are reported.

    While the engine has work its steps follow each other, so that a step is the time from one report to the next, with
    scheduling and all; the first one after a pause took at least what it computed.
    """

    def __init__(self) -> None:
        self._last = 0.0
        self._busy = False

    def step(self, now: float, *, busy: bool, computed: float | None) -> float | None:
        """Seconds of the step reported at `now`, None where nothing is known. `busy`: the engine goes on after it."""
        seconds = now - self._last if self._busy else computed
        self._last, self._busy = now, busy
        return seconds
