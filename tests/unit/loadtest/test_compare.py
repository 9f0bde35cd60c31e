"""Two results side by side."""

from __future__ import annotations

import random

import pytest

from loadtest.compare import Line, compare, table
from loadtest.record import Try
from loadtest.results import Result
from loadtest.strict import Misfit
from tests.unit.loadtest.test_results import answered, refused, told


def run(factor: float, seed: int, refusals: int = 0) -> Result:
    rng = random.Random(seed)
    records = [answered(n, n / 50, ttft=factor * rng.lognormvariate(-2, 0.5)) for n in range(400)]
    records += [refused(400 + n, 9.0, Try(0, 503, 0.01, 1.0)) for n in range(refusals)]
    return told(records)


def lines(a: Result, b: Result, tenant: str | None = None) -> dict[str, Line]:
    return {each.name: each for each in compare(a, b, tenant)}


def test_the_same_run_does_not_differ_from_itself() -> None:
    one = run(1.0, 1)
    found = lines(one, one)
    assert all(each.ratio == pytest.approx(1) and not each.differs for name, each in found.items() if each.a)
    assert {"TTFT p99 (s)", "TPOT p50 (s)", "end to end p90 (s)", "goodput (requests/s)", "output tokens/s"} <= set(
        found
    )


def test_what_is_slower_is_told_with_how_sure_that_is() -> None:
    ttft = lines(run(1.0, 1), run(2.0, 2))["TTFT p50 (s)"]
    assert ttft.low < 2.0 < ttft.high
    assert ttft.differs
    assert 0.1 < ttft.high - ttft.low < 0.8


def test_a_small_difference_is_not_taken_for_one() -> None:
    assert not lines(run(1.0, 1), run(1.01, 2))["TTFT p90 (s)"].differs


def test_refusals_and_goodput_are_compared() -> None:
    found = lines(run(1.0, 1, refusals=100), run(1.0, 1, refusals=200))
    assert found["refusals (requests/s)"].ratio == pytest.approx(2)
    assert found["refusals (requests/s)"].differs
    assert found["goodput (requests/s)"].ratio == pytest.approx(1)


def test_one_tenant_can_be_compared() -> None:
    one = run(1.0, 1)
    assert lines(one, one, "b") == {} or all(each.a == 0 for each in lines(one, one, "b").values())
    with pytest.raises(Misfit, match="no tenant `c`"):
        compare(one, one, "c")


def test_the_table_marks_what_differs() -> None:
    text = table(compare(run(1.0, 1), run(2.0, 2)))
    assert text.splitlines()[0].split() == ["A", "B", "B", "/", "A", "95", "%", "interval"]
    assert any(line.startswith("TTFT p50") and line.endswith("*") for line in text.splitlines())
