"""Arrivals have the rate and the shape that they are asked for."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest

from loadtest import arrivals


def drawn(times: arrivals.Times, end: float, seed: int = 1) -> list[float]:
    return list(times(random.Random(seed), end))


@pytest.mark.parametrize(
    ("times", "count", "variation"),
    [
        (arrivals.poisson(50), 10_000, 1.0),
        (arrivals.constant(50), 10_000, 0.0),
        (arrivals.gamma(50, 1.0), 10_000, 1.0),
        (arrivals.gamma(50, 0.25), 10_000, 2.0),
        (arrivals.gamma(50, 4.0), 10_000, 0.5),
        (arrivals.on_off(50, 1.0, 1.0), 5000, None),
    ],
)
def test_rate_and_variation(times: arrivals.Times, count: int, variation: float | None) -> None:
    found = drawn(times, 200)
    assert len(found) == pytest.approx(count, rel=0.06)
    assert found == sorted(found)
    assert found[-1] < 200
    if variation is not None:
        gaps = [later - sooner for sooner, later in itertools.pairwise(found)]
        assert statistics.pstdev(gaps) / statistics.mean(gaps) == pytest.approx(variation, abs=0.08)


def test_a_ramp_goes_from_one_rate_to_the_other() -> None:
    found = drawn(arrivals.ramp(10, 90, 100), 100)
    quarters = [sum(25 * n <= at < 25 * (n + 1) for at in found) / 25 for n in range(4)]
    assert quarters == pytest.approx([20, 40, 60, 80], rel=0.12)


def test_steps_change_at_once() -> None:
    found = drawn(arrivals.steps([(0, 10), (50, 100), (60, 0), (80, 10)]), 100)
    assert sum(50 <= at < 60 for at in found) == pytest.approx(1000, rel=0.1)
    assert not [at for at in found if 60 <= at < 80]


def test_nothing_comes_at_no_rate() -> None:
    for times in (arrivals.poisson(0), arrivals.constant(0), arrivals.gamma(0, 1), arrivals.ramp(0, 0, 10)):
        assert drawn(times, 100) == []


def test_the_same_seed_has_the_same_times() -> None:
    assert drawn(arrivals.gamma(5, 0.5), 50, 7) == drawn(arrivals.gamma(5, 0.5), 50, 7)
    assert drawn(arrivals.gamma(5, 0.5), 50, 7) != drawn(arrivals.gamma(5, 0.5), 50, 8)
