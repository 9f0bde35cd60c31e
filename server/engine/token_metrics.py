"""vLLM's own Prometheus metrics, and ours, with what is observed for every token observed once a step."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from server.telemetry.engine_metrics import ITL


def batching_prometheus_logger(hidden: Callable[[Any], bool] = lambda iteration_stats: False) -> Any:
    """A stat logger class for AsyncLLM, which takes it in place of its own PrometheusStatLogger. It leaves steps out
    whose IterationStats are `hidden`.

    A class made here and not at import, since vllm is imported late.
    """
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    class BatchingPrometheusLogger(PrometheusStatLogger):  # type: ignore[misc]
        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            if hidden(iteration_stats):
                return
            latencies: Sequence[float] = ()
            if iteration_stats is not None:
                latencies = iteration_stats.inter_token_latencies_iter
                iteration_stats.inter_token_latencies_iter = []
            super().record(scheduler_stats, iteration_stats, mm_cache_stats, engine_idx)
            if latencies:
                observe_all(self.histogram_inter_token_latency[engine_idx], latencies)
                observe_all(ITL, latencies)
                iteration_stats.inter_token_latencies_iter = latencies

    return BatchingPrometheusLogger


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
