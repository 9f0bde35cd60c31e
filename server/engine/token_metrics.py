"""vLLM's own Prometheus metrics, and ours, with what is observed for every token observed once a step.

And without adding nothing to some twenty counters in each step: nearly all steps bring tokens and no more. One of 32
tokens takes 7 us so, and vLLM's own logger 36.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from server.telemetry.engine_metrics import ITL


def batching_prometheus_logger(hidden: Callable[[Any], bool] = lambda iteration_stats: False) -> Any:
    """A stat logger class for AsyncLLM, which takes it in place of its own PrometheusStatLogger. It leaves steps out
    whose IterationStats are `hidden`.

    A class made here and not at import, since vllm is imported late.
    """
    from vllm.v1.metrics.loggers import WAITING_REASON_CAPACITY, WAITING_REASON_DEFERRED, PrometheusStatLogger

    class BatchingPrometheusLogger(PrometheusStatLogger):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            # What the gauges of each engine show, where they have been set.
            self._shown: dict[int, _Gauges] = {}

        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            if hidden(iteration_stats):
                return
            latencies: Sequence[float] = ()
            if iteration_stats is not None:
                latencies = iteration_stats.inter_token_latencies_iter
                iteration_stats.inter_token_latencies_iter = []
            shown, gauges = self._shown.get(engine_idx), _Gauges.of(scheduler_stats)
            if (
                shown is not None
                and gauges is not None
                and self.gauge_lora_info is None
                and only_tokens(scheduler_stats, iteration_stats, mm_cache_stats)
            ):
                self.counter_generation_tokens[engine_idx].inc(iteration_stats.num_generation_tokens)
                self.histogram_iteration_tokens[engine_idx].observe(iteration_stats.num_generation_tokens)
                self._show(shown, gauges, engine_idx)
            else:
                super().record(scheduler_stats, iteration_stats, mm_cache_stats, engine_idx)
            if gauges is not None:
                self._shown[engine_idx] = gauges
            else:
                # Set by now to what is not told here.
                self._shown.pop(engine_idx, None)
            if latencies:
                observe_all(self.histogram_inter_token_latency[engine_idx], latencies)
                observe_all(ITL, latencies)
                iteration_stats.inter_token_latencies_iter = latencies

        def _show(self, shown: _Gauges, gauges: _Gauges, engine: int) -> None:
            """Sets the gauges that do not show what they should."""
            if gauges.running != shown.running:
                self.gauge_scheduler_running[engine].set(gauges.running)
            if gauges.kv_used != shown.kv_used:
                self.gauge_kv_cache_usage[engine].set(gauges.kv_used)
            if (gauges.waiting, gauges.skipped) != (shown.waiting, shown.skipped):
                self.gauge_scheduler_waiting[engine].set(gauges.waiting + gauges.skipped)
                self.gauge_waiting_by_reason[WAITING_REASON_CAPACITY][engine].set(gauges.waiting)
                self.gauge_waiting_by_reason[WAITING_REASON_DEFERRED][engine].set(gauges.skipped)

    return BatchingPrometheusLogger


class _Gauges(NamedTuple):
    """What vLLM's gauges show of the scheduler."""

    running: int
    waiting: int
    skipped: int
    kv_used: float

    @classmethod
    def of(cls, stats: Any) -> _Gauges | None:
        """Those of vLLM's SchedulerStats; None where there are more, of a connector that fetches KV cache."""
        if stats is None or stats.num_kv_fetch_reqs_by_stage:
            return None
        return cls(stats.num_running_reqs, stats.num_waiting_reqs, stats.num_skipped_waiting_reqs, stats.kv_cache_usage)


def only_tokens(scheduler: Any, iteration: Any, media: Any) -> bool:
    """Whether there is nothing to count in a step but its tokens, in vLLM's SchedulerStats, IterationStats (without
    latencies) and MultiModalCacheStats (0.32): whatever else `PrometheusStatLogger.record` looks at is nothing.
    """
    prompts, cache = iteration and iteration.prompt_token_stats, scheduler.prefix_cache_stats
    return (
        iteration is not None
        and not (prompts.total or prompts.computed or prompts.cached_tokens)
        and not (iteration.finished_requests or iteration.time_to_first_tokens_iter or iteration.num_preempted_reqs)
        and not (iteration.max_num_generation_tokens_iter or iteration.n_params_iter or iteration.num_corrupted_reqs)
        and not (iteration.num_watermarked_reqs or iteration.num_watermark_skipped_reqs)
        and not iteration.num_not_watermarked_reqs
        and not (cache.queries or cache.hits or scheduler.kv_cache_eviction_events)
        and scheduler.connector_prefix_cache_stats is None
        and scheduler.spec_decoding_stats is None
        and scheduler.kv_connector_stats is None
        and scheduler.ec_connector_stats is None
        and scheduler.perf_stats is None
        and (media is None or not (media.queries or media.hits))
    )


def observe_all(histogram: Any, values: Sequence[float]) -> None:
    """What `histogram.observe` of each value does, with one update for each bucket that they fall into.

    prometheus_client offers no such call; this is its `Histogram.observe` (0.26), which a test compares it with.
    """
    if not values:
        return
    bounds, buckets = histogram._upper_bounds, histogram._buckets
    histogram._sum.inc(sum(values))
    low, high = bisect_left(bounds, min(values)), bisect_left(bounds, max(values))
    if low == high:  # nearly always: the gaps of one step are nearly the same
        buckets[low].inc(len(values))
        return
    for place, count in Counter([bisect_left(bounds, value) for value in values]).items():
        buckets[place].inc(count)
