"""A histogram filled at once is what it is when it is filled one by one."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from server.engine.token_metrics import batching_prometheus_logger, observe_all

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
            self.metric = Histogram("latency", "x", ["engine"], buckets=BOUNDS, registry=CollectorRegistry())
            self.histogram_inter_token_latency = {index: self.metric.labels(str(index)) for index in (0, 1)}

        def record(self, scheduler_stats: Any, stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0) -> None:
            told = [] if stats is None else list(stats.inter_token_latencies_iter)
            recorded.append((told, scheduler_stats, mm_cache_stats, engine_idx))

    fake = SimpleNamespace(PrometheusStatLogger=PrometheusStatLogger)
    monkeypatch.setitem(sys.modules, "vllm.v1.metrics.loggers", fake)
    logger = batching_prometheus_logger()()
    stats = SimpleNamespace(inter_token_latencies_iter=[0.02, 0.02, 3.0])
    logger.record("scheduler", stats, "media", 1)
    logger.record("scheduler", None)
    assert recorded == [([], "scheduler", "media", 1), ([], "scheduler", None, 0)]
    # Other loggers are told of the same stats after this one.
    assert stats.inter_token_latencies_iter == [0.02, 0.02, 3.0]
    (metric,) = logger.metric.collect()
    counts = {each.labels["engine"]: each.value for each in metric.samples if each.name == "latency_count"}
    assert counts == {"0": 0, "1": 3}
