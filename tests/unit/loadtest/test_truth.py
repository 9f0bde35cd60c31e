"""What the generator reports is what the server wrote down about itself.

Truth is the server's own log, on the clock that both processes share, so that a busy machine changes both alike. A run
that says itself that it is not valid is done again: the promise is about those that say they are.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest

from loadtest.http_client import Pool, Target
from loadtest.measures import gaps, quantiles
from loadtest.plan import Setting
from loadtest.record import Record
from loadtest.run import Run, Server, run
from loadtest.scenario_schema import Scenario
from loadtest.sender import Sender, _Answer
from loadtest.statistics import quantile
from loadtest.strict import parsed
from loadtest.validity import validity
from tests.unit.loadtest.synthetic_process import SyntheticProcess

PARTS = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
Truth = list[tuple[Record, dict[str, Any]]]


def scenario(rate: float, duration: float, tokens: int) -> Scenario:
    arrivals = {"process": "poisson", "rate": rate}
    values = {"name": "truth", "duration": duration, "tenants": [{"name": "a", "arrivals": arrivals, "output": tokens}]}
    return parsed(Scenario, values, "test")


def measured(chosen: Scenario, **behaviour: float) -> tuple[Run, Truth]:
    """A run that calls itself valid, each of its records beside what the server knows of it."""
    reasons = []
    for _ in range(4):
        with SyntheticProcess(**behaviour) as server:
            done = run(Server(server.url), chosen, Setting("synthetic"), workers=1)
            log = server.log()
        told = validity(done)
        if told["valid"]:
            return done, [(each, log[f"loadtest-1-a-{each.number}"]) for each in done.records]
        reasons.append(told["reasons"])
    raise AssertionError(f"this machine is too busy to measure anything: {reasons}")


def agree(ours: Callable[[float], float], truth: list[float]) -> None:
    for name, part in PARTS.items():
        assert ours(part) == pytest.approx(quantile(truth, part), rel=0.02), name


def test_percentiles_are_the_servers_own() -> None:
    done, truth = measured(scenario(40, 6, 6), ttft=0.3, sigma=0.5, itl=0.1)
    assert len(done.records) > 150
    assert all(record.finished and record.completion_tokens == 6 == served["tokens"] for record, served in truth)
    intended = {record.number: done.start + record.at for record, _ in truth}
    ttft = [served["first"] - intended[record.number] for record, served in truth]
    e2e = [served["last"] - intended[record.number] for record, served in truth]
    between = [gap for _, served in truth for gap in served["between"]]
    agree(lambda part: quantile([record.ttft for record in done.records], part), ttft)
    agree(lambda part: quantile([record.e2e for record in done.records], part), e2e)
    # In buckets of 1 %.
    agree(gaps(done.records).quantile, between)
    assert quantiles(record.tpot for record in done.records)["p50"] == pytest.approx(0.1, rel=0.03)


def test_a_stall_is_shown_in_full_where_a_closed_loop_hides_it() -> None:
    done, truth = measured(scenario(50, 7, 2), ttft=0.05, sigma=0.3, itl=0.01, stall_at=1.5, stall_seconds=5)
    ttft = [record.ttft for record in done.records]
    true = [served["first"] - done.start - record.at for record, served in truth]
    assert all(value is not None for value in ttft)
    agree(lambda part: quantile(ttft, part), true)
    assert max(ttft) > 4.9
    # Five seconds of arrivals waited, each for as long as was left of the stall.
    waited = sum(value > 0.5 for value in ttft)
    assert waited == pytest.approx(sum(value > 0.5 for value in true), abs=2)
    assert waited == pytest.approx(50 * 4.5, rel=0.15)
    # Four who ask one after the other see it four times, whatever they ask in all, and call it a rare thing. (One less
    # where an answer had just come, some more should the machine stand still for a moment.)
    closed = asyncio.run(
        closed_loop(streams=4, seconds=7, ttft=0.05, sigma=0.3, itl=0.01, stall_at=1.5, stall_seconds=5)
    )
    assert 0 < sum(value > 0.5 for value in closed) < waited / 10
    assert quantile(closed, 0.9) < 0.2 < 2 < quantile(ttft, 0.9)


async def closed_loop(streams: int, seconds: float, **behaviour: float) -> list[float]:
    """What a tool measures that sends the next request when the one before has been answered."""
    found: list[float] = []
    with SyntheticProcess(**behaviour) as server:
        target = Target.of(server.url)
        sender = Sender(target)
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds

        async def ask() -> None:
            pool = Pool(target)
            while loop.time() < end:
                connection, _ = await pool.connection()
                record, answer = _taker(sender, loop.time())
                await connection.start(_payload(target), answer)
                found.append(record.ttft)
            pool.close()

        await asyncio.gather(*(ask() for _ in range(streams)))
    return found


def _payload(target: Target) -> bytes:
    body = b'{"model": "synthetic", "messages": [], "max_tokens": 2, "stream": true}'
    return target.request("POST", "/v1/chat/completions", {"content-type": "application/json"}, body)


def _taker(sender: Sender, now: float) -> tuple[Record, _Answer]:
    from loadtest.answer_stream import AnswerStream
    from loadtest.record import Try

    record = Record(0, "a", 0.0)
    return record, _Answer(record, Try(0.0), AnswerStream(record, now), sender.counters)


def test_several_processes_send_the_same_as_one() -> None:
    chosen = scenario(60, 2, 2)
    with SyntheticProcess(ttft=0.02) as server:
        runs = [run(Server(server.url), chosen, Setting("synthetic"), workers=count) for count in (1, 2)]
    assert [len(each.parts) for each in runs] == [1, 2]
    one, two = ([(each.number, each.at, each.completion_tokens) for each in done.records] for done in runs)
    assert one == two
    assert len(one) > 80


def test_a_sender_that_is_held_up_calls_its_run_invalid() -> None:
    with SyntheticProcess(ttft=0.02) as server:
        done = run(Server(server.url), scenario(60, 2, 2), Setting("synthetic"), workers=1)
    assert not [reason for reason in validity(done)["reasons"] if "not sent" in reason]
    for record in done.records[: len(done.records) // 20]:
        record.lag = 0.0061
    told = validity(done)
    assert not told["valid"]
    assert any("the sender was late: p99 of its lag is 6.1 ms, more than 5 ms" in reason for reason in told["reasons"])
    done.parts[0].cpu_seconds = done.parts[0].seconds
    assert any("used 100% of a core" in reason for reason in validity(done)["reasons"])
    done.parts[0].planned += 3
    assert any("3 of" in reason and "were not sent" in reason for reason in validity(done)["reasons"])
    assert list(itertools.islice(done.records, 1))
