"""The generator's own limit: rates grow until one fails as often as a busy machine could make it fail."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest

from loadtest import limit as limits
from loadtest.limit import Point, Shape, limit

SHAPE = Shape("some", 2, 100.0, 2.0)


def point(rate: float, why: str = "") -> Point:
    return Point(rate, 2 * rate, why, 0.001, 0.001, 1, 0.1, 0.1)


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], dict[float, list[str]]]:
    """The rates that were tried, and what each try of a rate is to find; none is success."""
    rates: list[float] = []
    found: dict[float, list[str]] = {}

    def measured(server: Any, shape: Shape, rate: float, seconds: float, workers: int | None) -> Point:
        rates.append(rate)
        left = found.get(rate)
        return point(rate, left.pop(0) if left else "")

    @contextmanager
    def nothing() -> Any:
        yield None

    monkeypatch.setattr(limits, "_point", measured)
    monkeypatch.setattr(limits, "_synthetic", nothing)
    return rates, found


def test_the_limit_is_the_last_rate_before_one_that_always_fails(tried: Any) -> None:
    rates, found = tried
    found[400.0] = ["the sender was late"] * 3
    said: list[Point] = []
    best = limit(SHAPE, 1.0, said=lambda shape, each: said.append(each))
    assert best == point(200.0)
    assert rates == [100.0, 200.0, 400.0, 400.0, 400.0]
    assert [each.rate for each in said] == rates


def test_a_moment_of_something_else_is_no_limit(tried: Any) -> None:
    rates, found = tried
    found[100.0] = ["a moment", "another"]
    found[200.0] = ["too much"] * 3
    assert limit(SHAPE, 1.0) == point(100.0)
    assert rates == [100.0] * 3 + [200.0] * 3


def test_there_may_be_none(tried: Any) -> None:
    _, found = tried
    found[100.0] = ["too much"] * 3
    assert limit(SHAPE, 1.0) is None


def test_a_real_run_at_a_rate_that_any_machine_carries() -> None:
    with limits._synthetic() as server:
        found = limits._point(server, Shape("few", 3, 20.0), 20.0, 2.0, 1)
    # Whether this machine was quick enough just now is not asked; what it carried is counted right all the same.
    assert 10 < found.rate < 32
    assert found.tokens == pytest.approx(3 * found.rate, rel=0.2)
    assert 0 < found.sender_cpu < 1
    assert 0 < found.server_cpu < 1
