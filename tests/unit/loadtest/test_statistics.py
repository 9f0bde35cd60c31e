"""Quantiles, intervals and buckets say what a slow and plain way of computing says."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.histogram import Histogram
from loadtest.statistics import count_draw, jain, max_min, quantile, quantile_draw, ratio_interval, sum_draw


def test_a_quantile_is_one_of_the_values() -> None:
    values = [float(each) for each in range(1, 101)]
    random.Random(1).shuffle(values)
    assert [quantile(values, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1, 51, 100, 100]
    assert math.isnan(quantile([], 0.5))


def test_jain_knows_equal_and_all_for_one() -> None:
    assert jain([3, 3, 3]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) == jain([0, 0]) == 1


@pytest.mark.parametrize("part", [0.5, 0.9])
def test_drawing_a_quantile_is_like_resampling(part: float) -> None:
    rng = random.Random(3)
    values = [rng.lognormvariate(0, 1) for _ in range(300)]
    slow = sorted(quantile(rng.choices(values, k=len(values)), part) for _ in range(3000))
    draw = quantile_draw(values, part)
    quick = sorted(draw(rng) for _ in range(3000))
    for place in (0.05, 0.5, 0.95):
        # Far apart only where the values themselves are: compared by their ranks.
        ranks = [sum(value <= quantile(each, place) for value in values) / len(values) for each in (slow, quick)]
        assert ranks[0] == pytest.approx(ranks[1], abs=0.012)


@pytest.mark.parametrize("of", [100, 5000])
def test_drawing_a_count_is_binomial(of: int) -> None:
    rng = random.Random(4)
    drawn = [count_draw(of // 5, of)(rng) for _ in range(4000)]
    mean = sum(drawn) / len(drawn)
    spread = math.sqrt(sum((each - mean) ** 2 for each in drawn) / len(drawn))
    assert mean == pytest.approx(of / 5, rel=0.02)
    assert spread == pytest.approx(math.sqrt(of * 0.2 * 0.8), rel=0.05)


def test_the_interval_holds_the_ratio_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        rng = random.Random(seed)
        a = [rng.expovariate(1.0) for _ in range(400)]
        b = [1.5 * rng.expovariate(1.0) for _ in range(400)]
        low, high = ratio_interval(quantile_draw(a, 0.5), quantile_draw(b, 0.5), seed=seed, draws=400)
        held += low <= 1.5 <= high
    assert 178 <= held <= 199


def test_sums_are_drawn_about_their_mean() -> None:
    low, high = ratio_interval(sum_draw([2.0] * 50), sum_draw([1.0, 3.0] * 25))
    assert low < 1 < high
    assert high - low < 0.4


def test_buckets_are_within_one_percent_and_can_be_put_together() -> None:
    rng = random.Random(5)
    values = [rng.lognormvariate(-5, 1) for _ in range(5000)]
    parts = [Histogram(), Histogram()]
    for place, value in enumerate(values):
        parts[place % 2].add(value)
    whole = Histogram().merge(parts)
    assert whole.size == 5000
    for part in (0.1, 0.5, 0.9, 0.99):
        assert whole.quantile(part) == pytest.approx(quantile(values, part), rel=0.011)
    assert whole.cumulative()[-1][1] == 1


def test_what_came_at_once_is_told_as_nothing() -> None:
    one = Histogram()
    one.add(0.0)
    assert one.quantile(0.5) == 0
    assert math.isnan(Histogram().quantile(0.5))


def test_shares_are_max_min_fair() -> None:
    # Who asks for little has it, and the others share what is left by their weights.
    assert max_min(10, [1, 9, 9], [1, 1, 1]) == [1, 4.5, 4.5]
    assert max_min(10, [1, 9, 9], [1, 1, 2]) == [1, 3, 6]
    assert max_min(10, [2, 3], [1, 1]) == [2, 3]
    assert max_min(0, [2, 3], [1, 1]) == [0, 0]
    assert max_min(5, [], []) == []


@given(
    total=st.floats(0, 1000),
    asked=st.lists(st.tuples(st.floats(0, 1000), st.floats(0.1, 10)), min_size=1, max_size=8),
)
def test_nobody_can_have_more_but_from_who_has_less(total: float, asked: list[tuple[float, float]]) -> None:
    demands, weights = [each for each, _ in asked], [each for _, each in asked]
    shares = max_min(total, demands, weights)
    assert all(share <= demand + 1e-9 for share, demand in zip(shares, demands, strict=True))
    assert sum(shares) == pytest.approx(min(total, sum(demands)), abs=1e-6)
    levels = [share / weight for share, weight in zip(shares, weights, strict=True)]
    hungry = [level for level, share, demand in zip(levels, shares, demands, strict=True) if share < demand - 1e-6]
    assert all(level == pytest.approx(max(levels), rel=1e-6, abs=1e-6) for level in hungry)
