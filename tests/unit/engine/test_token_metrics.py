"""A histogram filled at once is what it is when it is filled one by one."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from server.engine.token_metrics import observe_all

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
