"""The method of docs/cost.md, beside its calculation by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.telemetry.cost import CostMeter


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def meter(clock: Clock) -> CostMeter:
    return CostMeter(3600.0, 1000, clock=clock)


def test_the_sum_by_hand() -> None:
    clock = Clock()
    costs = meter(clock)
    start = costs.mark()
    for wait, seconds, prefill, decode, busy in ((2, 2, 100, 0, True), (1, 1, 0, 10, False), (4, 3, 50, 10, True)):
        clock.now += wait
        costs.step(seconds, prefill, decode, busy=busy)
    assert (costs.input_dollars, costs.output_dollars, costs.idle_dollars) == (4.0, 2.0, 1.0)
    cost = costs.cost(start, computed=30, cached=2, output=5)
    assert (cost.input, cost.cached, cost.output) == pytest.approx((0.8, 0.6, 0.5))
    assert cost.total == pytest.approx(1.9)


def test_cached_tokens_are_paid_from_the_money_that_comes() -> None:
    clock = Clock()
    costs = meter(clock)
    costs.cost(costs.mark(), computed=0, cached=2, output=0)  # 0.6 dollars are owed
    clock.now += 2.0
    costs.step(1.0, 0, 10, busy=False)
    assert costs.cached_dollars == pytest.approx(0.6)
    assert (costs.output_dollars, costs.idle_dollars) == pytest.approx((0.7, 0.7))


def test_a_running_step_is_not_idle() -> None:
    clock = Clock()
    costs = meter(clock)
    costs.step(None, 0, 0, busy=True)
    clock.now += 3.0
    costs.settle()
    assert costs.idle_dollars == 0.0
    costs.step(3.0, 0, 5, busy=False)
    assert costs.output_dollars == 3.0
    clock.now += 1.0
    costs.settle()
    assert costs.idle_dollars == 1.0


def test_the_price_is_of_the_last_minute() -> None:
    clock = Clock()
    costs = meter(clock)
    for tokens in (10, 20):
        for _ in range(600):
            clock.now += 1.0
            costs.step(1.0, 0, tokens, busy=True)
        assert costs.prices()["output"] == pytest.approx(1e6 / tokens, rel=1e-3)


STEPS = st.lists(
    st.tuples(
        st.floats(0, 10),
        st.none() | st.floats(0, 20),
        st.integers(0, 1000),
        st.integers(0, 100),
        st.booleans(),
        st.integers(0, 50),
    )
)


@given(STEPS)
def test_no_money_is_made_or_lost(steps: list[tuple[float, float | None, int, int, bool, int]]) -> None:
    clock = Clock()
    costs = meter(clock)
    for wait, seconds, prefill, decode, busy, cached in steps:
        clock.now += wait
        costs.settle()
        costs.step(seconds, prefill, decode, busy=busy)
        costs.cost(costs.mark(), computed=prefill, cached=cached, output=decode)
    spent = costs.input_dollars + costs.output_dollars + costs.cached_dollars + costs.idle_dollars
    assert spent == pytest.approx(clock.now, abs=1e-6)
    assert min(costs.input_dollars, costs.output_dollars, costs.cached_dollars, costs.idle_dollars) >= 0
