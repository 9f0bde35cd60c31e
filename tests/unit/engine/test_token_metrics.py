"""Metrics that are observed once a step are what vLLM's own are, observed one by one."""

from __future__ import annotations

import copy
import math
import random
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram

from server.engine.arguments import model_path
from server.engine.token_metrics import batching_prometheus_logger, observe_all, only_tokens
from server.engine.torchvision_ops import ensure
from server.settings import EMBEDDED

BOUNDS = (0.01, 0.025, 0.05, 0.1, 1.0)
VALUES = st.one_of(st.sampled_from([*BOUNDS, 0.0]), st.floats(0, 3))


def samples(histogram: Histogram) -> dict[tuple[str, str], float]:
    (family,) = histogram.collect()
    return {(each.name, each.labels.get("le", "")): each.value for each in family.samples if "created" not in each.name}


@given(st.lists(st.lists(VALUES, max_size=40), max_size=4))
def test_at_once_is_as_one_by_one(rounds: list[list[float]]) -> None:
    one_by_one, at_once = (Histogram("x", "x", buckets=BOUNDS, registry=CollectorRegistry()) for _ in range(2))
    for values in rounds:
        for value in values:
            one_by_one.observe(value)
        observe_all(at_once, values)
    expected, found = samples(one_by_one), samples(at_once)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert found[key] == pytest.approx(value), key
    assert found["x_bucket", "+Inf"] == sum(map(len, rounds))


def test_with_labels_as_vllm_has_it() -> None:
    histogram = Histogram("x", "x", ["engine"], buckets=BOUNDS, registry=CollectorRegistry())
    observe_all(histogram.labels("0"), [0.02, math.inf])
    assert samples(histogram)["x_bucket", "0.025"] == 1
    assert samples(histogram)["x_bucket", "+Inf"] == 2


def test_vllms_logger_gets_everything_but_the_latencies_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[tuple[list[float], Any, Any, int]] = []

    class PrometheusStatLogger:
        def __init__(self) -> None:
            self.gauge_lora_info = None
            self.metric = Histogram("latency", "x", ["engine"], buckets=BOUNDS, registry=CollectorRegistry())
            self.histogram_inter_token_latency = {index: self.metric.labels(str(index)) for index in (0, 1)}

        def record(self, scheduler_stats: Any, stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0) -> None:
            told = [] if stats is None else list(stats.inter_token_latencies_iter)
            recorded.append((told, scheduler_stats, mm_cache_stats, engine_idx))

    reasons = {"WAITING_REASON_CAPACITY": "capacity", "WAITING_REASON_DEFERRED": "deferred"}
    fake = SimpleNamespace(PrometheusStatLogger=PrometheusStatLogger, **reasons)
    monkeypatch.setitem(sys.modules, "vllm.v1.metrics.loggers", fake)
    logger = batching_prometheus_logger()()
    stats = SimpleNamespace(inter_token_latencies_iter=[0.02, 0.02, 3.0])
    scheduler = SimpleNamespace(
        num_kv_fetch_reqs_by_stage={},
        num_running_reqs=1,
        num_waiting_reqs=0,
        num_skipped_waiting_reqs=0,
        kv_cache_usage=0.1,
    )
    logger.record(scheduler, stats, "media", 1)
    logger.record(scheduler, None)
    assert recorded == [([], scheduler, "media", 1), ([], scheduler, None, 0)]
    # Other loggers are told of the same stats after this one.
    assert stats.inter_token_latencies_iter == [0.02, 0.02, 3.0]
    (metric,) = logger.metric.collect()
    counts = {each.labels["engine"]: each.value for each in metric.samples if each.name == "latency_count"}
    assert counts == {"0": 0, "1": 3}


# Against vLLM's own logger


def random_step(rng: random.Random) -> tuple[Any, Any, Any]:
    """Stats of one step: now and then something of nearly all that vLLM counts, and else nothing but tokens."""
    from vllm.v1.metrics.stats import IterationStats, MultiModalCacheStats, SchedulerStats

    scheduler, stats = SchedulerStats(), IterationStats()
    scheduler.num_running_reqs, scheduler.num_waiting_reqs = rng.choice((3, 4)), rng.choice((0, 0, 5))
    scheduler.num_skipped_waiting_reqs, scheduler.kv_cache_usage = rng.choice((0, 0, 1)), rng.choice((0.1, 0.2))
    stats.num_generation_tokens = rng.randint(0, 9)
    stats.inter_token_latencies_iter = [rng.uniform(0.001, 2) for _ in range(stats.num_generation_tokens)]
    media = None if rng.random() < 0.5 else MultiModalCacheStats()

    def now_and_then() -> bool:
        return rng.random() < 0.1

    if now_and_then():
        prompt = stats.prompt_token_stats
        prompt.computed, prompt.local_cache_hit, prompt.cached_tokens, prompt.total = 7, 2, 2, 9
        stats.time_to_first_tokens_iter.append(0.2)
    if now_and_then():
        stats.num_preempted_reqs = 1
    if now_and_then():
        stats.n_params_iter.append(2)
    if now_and_then():
        stats.max_num_generation_tokens_iter.append(40)
    if now_and_then():
        scheduler.prefix_cache_stats.queries, scheduler.prefix_cache_stats.hits = 100, 60
    if media is not None and now_and_then():
        media.queries, media.hits = 3, 1
    return scheduler, stats, media


def told(logger: type, steps: list[tuple[Any, Any, Any]], config: Any) -> dict[tuple[str, frozenset[Any]], float]:
    """Every `vllm:` sample of such a logger once it was told of the steps."""
    one = logger(config, [0])
    for step in steps:
        one.record(*copy.deepcopy(step), engine_idx=0)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in REGISTRY.collect()
        if family.name.startswith("vllm:")
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


@pytest.mark.parametrize("seed", range(3))
def test_what_is_left_out_is_nothing(seed: int) -> None:
    ensure()
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    config = EngineArgs(model=model_path(EMBEDDED), max_model_len=1024).create_engine_config()
    rng = random.Random(seed)
    steps = [random_step(rng) for _ in range(200)]
    # The last one has nothing but tokens, and sets the gauges all the same.
    last = next(step for step in reversed(steps) if only_tokens(*step))
    last[0].num_running_reqs, last[0].num_waiting_reqs, last[0].num_skipped_waiting_reqs = 9, 7, 2
    last[0].kv_cache_usage = 0.77
    steps.append(last)
    plain = sum(only_tokens(*step) for step in steps)
    assert 40 < plain < 160, "both ways are gone"
    theirs, ours = (told(each, steps, config) for each in (PrometheusStatLogger, batching_prometheus_logger()))
    assert ours.keys() == theirs.keys()
    for key, value in theirs.items():
        assert ours[key] == pytest.approx(value), key
