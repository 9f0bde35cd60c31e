"""Quotas in a real Redis, by its clock; and what happens when it goes."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from server.admission import quota_redis, quotas
from server.admission.quota_memory import MemoryStore
from server.admission.quota_redis import RedisStore
from server.admission.quota_rules import Charge, Kind, Unit, rules
from server.admission.quotas import Hold, Quotas, WhenLost
from server.admission.rate_limited import RateLimited
from server.admission.tenants import Caller, Quota, Tenant
from server.generation.errors import Unavailable
from tests.redis_server import RedisServer

# What a busy machine may take, where the time is not what is tested.
PATIENT = 10.0

EVERYTHING = Quota(
    requests_per_minute=100, tokens_per_minute=6000, tokens_per_day=10_000, concurrent_requests=3, burst=5
)


def caller(name: str, quota: Quota, key: Quota | None = None) -> Caller:
    return Caller(Tenant(name, quota=quota, key_quotas={"ci": key} if key else {}), "ci")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
async def replicas(redis: RedisServer) -> AsyncIterator[list[Quotas]]:
    """Two daemons' quotas over one Redis."""
    both = [Quotas(MemoryStore(), RedisStore(redis.url, PATIENT)) for _ in range(2)]
    yield both
    for each in both:
        await each.close()


def used(usage: list) -> dict[tuple[Kind, Unit, int], float]:
    return {
        (rule.kind, rule.unit, rule.seconds): standing.used for rule, standing in usage if rule.kind is not Kind.SHARE
    }


async def used_comes_to(replica: Quotas, who: Caller, wanted: dict[tuple[Kind, Unit, int], float]) -> None:
    """Returns once that is what is used, which takes a moment; fails if it never is."""
    deadline = time.monotonic() + PATIENT
    while (found := used(await replica.usage(who))) != wanted:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)


async def test_replicas_count_together(replicas: list[Quotas]) -> None:
    one, two = replicas
    who = caller("together", EVERYTHING)
    first, second = await one.reserve(who, 200), await two.reserve(who, 100)
    expected = {
        (Kind.WINDOW, Unit.REQUESTS, 60): 2,
        (Kind.WINDOW, Unit.TOKENS, 60): 300,
        (Kind.WINDOW, Unit.TOKENS, 86400): 300,
        (Kind.SEATS, Unit.REQUESTS, 0): 2,
    }
    assert used(await one.usage(who)) == used(await two.usage(who)) == expected
    assert one.headers(who)["x-ratelimit-remaining-tokens"] == "5800", "as it was told last"
    assert two.headers(who)["x-ratelimit-remaining-tokens"] == "5700"
    await first.settle(20)
    await second.settle(150)
    assert used(await two.usage(who)) == {
        (Kind.WINDOW, Unit.REQUESTS, 60): 2,
        (Kind.WINDOW, Unit.TOKENS, 60): 170,
        (Kind.WINDOW, Unit.TOKENS, 86400): 170,
        (Kind.SEATS, Unit.REQUESTS, 0): 0,
    }


async def test_a_refusal_takes_nothing(replicas: list[Quotas]) -> None:
    one, two = replicas
    who = caller("nothing", EVERYTHING, key=Quota(tokens_per_minute=500, burst=60))
    await one.reserve(who, 450)
    with pytest.raises(RateLimited) as refused:
        await two.reserve(who, 60)
    assert (refused.value.code, refused.value.type) == ("tokens_exceeded", "tokens")
    assert 50 < refused.value.retry_after <= 60
    assert used(await one.usage(caller("nothing", EVERYTHING))) == {
        (Kind.WINDOW, Unit.REQUESTS, 60): 1,
        (Kind.WINDOW, Unit.TOKENS, 60): 450,
        (Kind.WINDOW, Unit.TOKENS, 86400): 450,
        (Kind.SEATS, Unit.REQUESTS, 0): 1,
    }


async def test_memory_and_redis_give_the_same_answers(redis: RedisServer) -> None:
    """The same random charges to both; what depends on the time is left out or compared loosely."""
    who = caller("same", Quota(requests_per_minute=25, tokens_per_minute=9000, concurrent_requests=5, burst=60))
    memory, remote = MemoryStore(), RedisStore(redis.url, PATIENT)
    chance = random.Random(3)
    held: list[tuple[str, list[Charge], float, float]] = []
    seen = set()
    try:
        for number in range(300):
            if held and chance.random() < 0.45:
                name, charges, here, there = held.pop(chance.randrange(len(held)))
                back = [Charge(each.rule, chance.randint(0, each.cost)) for each in charges if each.rule.seconds] + [
                    each for each in charges if not each.rule.seconds
                ]
                await memory.give_back(back, here, name)
                await remote.give_back(back, there, name)
                continue
            tokens = chance.choice([chance.randint(1, 30), chance.randint(1, 30), chance.randint(1, 400), 9001])
            charges = [Charge(rule, tokens if rule.unit is Unit.TOKENS else 1) for rule in rules(who)]
            force = chance.random() < 0.05
            ours = await memory.take(charges, str(number), force=force)
            theirs = await remote.take(charges, str(number), force=force)
            assert ours.refused == theirs.refused
            assert ours.wait_seconds == pytest.approx(theirs.wait_seconds, abs=1.6)
            assert [each.used for each in ours.standings] == [each.used for each in theirs.standings]
            for mine, other in zip(ours.standings, theirs.standings, strict=True):
                assert mine.reset_seconds == pytest.approx(other.reset_seconds, abs=1.6)
            seen.add(ours.refused)
            if ours.refused is None:
                held.append((str(number), charges, ours.at, theirs.at))
    finally:
        await remote.close()
    assert seen == {None, 0, 1, 2}, "each rule refused something, and not everything was refused"


async def test_a_second_share_is_a_bucket_there_too(replicas: list[Quotas]) -> None:
    who = caller("share", Quota(tokens_per_minute=60_000, burst=1))
    hold = await replicas[0].reserve(who, 2500)
    with pytest.raises(RateLimited) as refused:
        await replicas[1].reserve(who, 1)
    assert "tokens per second: limit 1000" in refused.value.message
    await hold.settle(100)
    await replicas[1].reserve(who, 1)


async def test_many_at_once_never_get_more_than_there_is(replicas: list[Quotas]) -> None:
    who = caller("many", Quota(concurrent_requests=7, tokens_per_minute=1000, burst=60))
    answers = await asyncio.gather(*(replicas[n % 2].reserve(who, 100) for n in range(100)), return_exceptions=True)
    holds = [each for each in answers if isinstance(each, Hold)]
    assert len(holds) == 7
    assert all(isinstance(each, Hold | RateLimited) for each in answers)
    await asyncio.gather(*(hold.settle(0) for hold in holds))
    assert used(await replicas[0].usage(who)) == {(Kind.SEATS, Unit.REQUESTS, 0): 0, (Kind.WINDOW, Unit.TOKENS, 60): 0}


async def test_a_dead_replicas_seats_are_freed_and_a_live_ones_are_kept(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (quota_redis, quotas):
        monkeypatch.setattr(module, "LEASE_SECONDS", 2.5)
    who = caller("lease", Quota(concurrent_requests=2))
    dead, alive = (Quotas(MemoryStore(), RedisStore(redis.url, PATIENT)) for _ in range(2))
    await dead.reserve(who, 1)
    kept = await alive.reserve(who, 1)
    with pytest.raises(RateLimited):
        await alive.reserve(who, 1)
    await dead.close()  # nobody renews its seat
    await used_comes_to(alive, who, {(Kind.SEATS, Unit.REQUESTS, 0): 1})
    await asyncio.sleep(3)
    assert used(await alive.usage(who)) == {(Kind.SEATS, Unit.REQUESTS, 0): 1}, "which is renewed"
    await kept.settle(1)
    assert used(await alive.usage(who)) == {(Kind.SEATS, Unit.REQUESTS, 0): 0}
    await alive.close()


async def test_without_redis_requests_go_on_and_come_back_to_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(quotas, "_RETRY_SECONDS", 0.1)
    server = RedisServer()
    one = Quotas(MemoryStore(), RedisStore(server.url, PATIENT))
    who = caller("outage", Quota(requests_per_minute=100, concurrent_requests=2, burst=60))
    try:
        before = await one.reserve(who, 1)
        server.kill()
        began = time.monotonic()
        during = [await one.reserve(who, 1) for _ in range(2)]
        await before.settle(1)
        assert time.monotonic() - began < PATIENT / 2, "a closed port is told at once"
        with pytest.raises(RateLimited, match="2 requests at a time"):
            await one.reserve(who, 1)  # this process's own bound
        assert one.headers(who)["x-ratelimit-remaining-requests"] == "98"
        server.start()
        deadline = time.monotonic() + 5
        told = ""
        while "answers again" not in told and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
            captured = capsys.readouterr()
            told += captured.out + captured.err
        assert told.count("does not answer") == 1
        after = await one.reserve(who, 1)
        assert one.headers(who)["x-ratelimit-remaining-requests"] == "99", "counted in the new Redis"
        for hold in (*during, after):
            await hold.settle(1)
        assert used(await one.usage(who))[Kind.SEATS, Unit.REQUESTS, 0] == 0
    finally:
        await one.close()
        server.close()


@pytest.mark.parametrize("when", [WhenLost.REFUSE, WhenLost.ALLOW])
async def test_without_redis_who_has_limits_is_refused_or_has_none_as_is_said(
    when: WhenLost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quotas, "_RETRY_SECONDS", 0.1)
    server = RedisServer()
    one = Quotas(MemoryStore(), RedisStore(server.url, PATIENT), when)
    who, free = caller("said", Quota(requests_per_minute=2, concurrent_requests=1, burst=60)), caller("free", Quota())
    try:
        before = await one.reserve(who, 1)
        server.kill()
        for _ in range(5):
            if when is WhenLost.REFUSE:
                with pytest.raises(Unavailable) as refused:
                    await one.reserve(who, 1)
                assert (refused.value.status, refused.value.code) == (503, "quota_store_unavailable")
                assert refused.value.retry_after == 1
            else:
                hold = await one.reserve(who, 1)
                await hold.correct(1000)
                await hold.settle(2000)
        await (await one.reserve(free, 1)).settle(1)
        assert one.headers(who) == {}, "nobody knows"
        await before.correct(5)
        await before.settle(9)
        server.start()
        await used_comes_to(one, who, {(Kind.WINDOW, Unit.REQUESTS, 60): 0, (Kind.SEATS, Unit.REQUESTS, 0): 0})
        while not one.headers(who):
            await asyncio.sleep(0.02)
        await one.reserve(who, 1)
        with pytest.raises(RateLimited):
            await one.reserve(who, 1)
    finally:
        await one.close()
        server.close()


async def test_a_redis_that_never_answers_costs_a_quarter_of_a_second_once() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        one = Quotas(MemoryStore(), RedisStore(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        who = caller("silent", Quota(requests_per_minute=1000, burst=60))
        try:
            began = time.monotonic()
            await asyncio.gather(*(one.reserve(who, 1) for _ in range(100)))
            took = time.monotonic() - began
            print(f"100 requests at once went on after {took:.2f} s")
            # A fifth of a second and what a busy machine adds: they wait together, not one after the other.
            assert took < 4
            began = time.monotonic()
            for _ in range(20):
                await one.reserve(who, 1)
            assert time.monotonic() - began < 2, "the next do not wait at all: with a wait for each it would be 4 s"
        finally:
            await one.close()


async def test_a_client_that_leaves_while_it_reserves_keeps_nothing(replicas: list[Quotas]) -> None:
    who = caller("leaver", Quota(concurrent_requests=5, tokens_per_minute=1000, burst=60))
    for _ in range(20):
        task = asyncio.create_task(replicas[0].reserve(who, 10))
        await asyncio.sleep(0.0005 * random.random())
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).settle(0)
    await used_comes_to(replicas[0], who, {(Kind.SEATS, Unit.REQUESTS, 0): 0, (Kind.WINDOW, Unit.TOKENS, 60): 0})
