"""Quotas in memory, by a clock that the tests turn."""

from __future__ import annotations

import asyncio
import random

import pytest

from server.admission.quota_memory import MemoryStore
from server.admission.quota_rules import Kind, Unit
from server.admission.quotas import Hold, Quotas
from server.admission.rate_limited import RateLimited
from server.admission.tenants import Caller, Quota, Tenant


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class Bench:
    """Quotas over a clock, and one caller."""

    def __init__(self, quota: Quota, key: Quota | None = None, now: float = 1000.0) -> None:
        self.clock = Clock(now)
        self.quotas = Quotas(MemoryStore(self.clock))
        self.caller = Caller(Tenant("ada", quota=quota, key_quotas={"ci": key} if key else {}), "ci")

    async def reserve(self, tokens: int = 1) -> Hold:
        return await self.quotas.reserve(self.caller, tokens)

    async def refused(self, tokens: int = 1) -> RateLimited:
        with pytest.raises(RateLimited) as refused:
            await self.reserve(tokens)
        return refused.value

    async def used(self, unit: Unit, kind: Kind = Kind.WINDOW, *, of_key: bool = False) -> float:
        (used,) = (
            standing.used
            for rule, standing in await self.quotas.usage(self.caller)
            if (rule.unit, rule.kind, rule.of_key) == (unit, kind, of_key)
        )
        return used


async def saturate(
    bench: Bench, limit: int, sizes: tuple[int, int], seconds: float, seed: int
) -> list[tuple[float, int]]:
    """Random requests at three times the limit; what was admitted, and when."""
    chance = random.Random(seed)
    end = bench.clock.now + seconds
    admitted = []
    while bench.clock.now < end:
        tokens = chance.randint(*sizes)
        try:
            await bench.reserve(tokens)
        except RateLimited:
            pass
        else:
            admitted.append((bench.clock.now, tokens))
        bench.clock.now += chance.expovariate(3 * limit / 60 / (sum(sizes) / 2))
    return admitted


@pytest.mark.parametrize("idle", [0.0, 37.3], ids=["from the first request on", "after one request and a pause"])
@pytest.mark.parametrize(
    ("burst", "sizes"),
    [
        *((burst, sizes) for burst in (1, 2, 5, 60) for sizes in ((10, 100), (100, 1000))),
        # With a burst of 1 these would come too seldom to fill every second, however many seconds they borrow from.
        *((burst, (10, 3000)) for burst in (2, 5, 60)),
    ],
    ids=str,
)
async def test_over_60_s_at_three_times_the_limit_what_is_admitted_is_the_limit(
    burst: int, sizes: tuple[int, int], idle: float
) -> None:
    limit = 60_000
    for seed in range(3):
        bench = Bench(Quota(tokens_per_minute=limit, burst=burst), now=1000 + 11.7 * seed)
        if idle:
            await bench.reserve(1)
            bench.clock.now += idle
        tokens = sum(tokens for _, tokens in await saturate(bench, limit, sizes, 60, seed))
        assert 0.98 * limit <= tokens <= limit


@pytest.mark.parametrize("burst", [2, 5, 60])
async def test_no_span_of_60_s_sees_more_than_the_limit(burst: int) -> None:
    limit = 60_000
    bench = Bench(Quota(tokens_per_minute=limit, burst=burst))
    admitted = await saturate(bench, limit, (100, 1000), 300, 7)
    for start, _ in admitted:
        assert sum(tokens for when, tokens in admitted if start <= when < start + 60) <= limit
    # And in the long run hardly less.
    assert sum(tokens for _, tokens in admitted) >= 0.98 * 5 * limit


async def test_one_second_takes_no_more_than_its_share() -> None:
    bench = Bench(Quota(requests_per_minute=60, burst=5))
    for _ in range(5):
        await bench.reserve()
    error = await bench.refused()
    assert (error.code, error.type) == ("rate_limit_exceeded", "requests")
    assert "requests per second: limit 5" in error.message
    bench.clock.now += 1.0
    for _ in range(5):
        await bench.reserve()
    await bench.refused()


async def test_a_request_larger_than_a_seconds_share_is_possible_and_the_next_seconds_pay_for_it() -> None:
    bench = Bench(Quota(tokens_per_minute=6000, burst=1))  # 100 a second
    await bench.reserve(1000)
    for _ in range(9):
        await bench.refused(1)
        bench.clock.now += 1.0
    bench.clock.now += 0.01
    await bench.reserve(1)


async def test_a_request_larger_than_the_whole_limit_is_told_not_to_come_back() -> None:
    bench = Bench(Quota(tokens_per_minute=6000))
    error = await bench.refused(6001)
    assert (error.status, error.type, error.code, error.retry_after) == (429, "tokens", "tokens_exceeded", None)
    assert error.headers == {"x-should-retry": "false"}
    assert "requested 6001" in error.message
    await bench.reserve(6000)


async def test_a_refusal_takes_nothing_from_any_quota() -> None:
    """All or nothing: the last of the rules refuses here, those before had room."""
    bench = Bench(
        Quota(requests_per_minute=100, tokens_per_minute=1000, tokens_per_day=1000, concurrent_requests=9, burst=60),
        key=Quota(tokens_per_minute=500, burst=60),
    )
    await bench.reserve(400)
    error = await bench.refused(101)
    assert "This API key" in error.message
    assert await bench.used(Unit.REQUESTS) == 1
    assert await bench.used(Unit.REQUESTS, Kind.SEATS) == 1
    assert await bench.used(Unit.TOKENS, of_key=True) == 400
    await bench.reserve(100)


@pytest.mark.parametrize(
    ("quota", "tokens", "type", "code"),
    [
        (Quota(requests_per_minute=1), 1, "requests", "rate_limit_exceeded"),
        (Quota(tokens_per_minute=10, burst=60), 6, "tokens", "tokens_exceeded"),
        (Quota(tokens_per_day=10), 6, "tokens", "daily_tokens_exceeded"),
        (Quota(concurrent_requests=1), 1, "requests", "concurrency_exceeded"),
    ],
)
async def test_each_refusal_says_which_quota_it_was(quota: Quota, tokens: int, type: str, code: str) -> None:
    bench = Bench(quota)
    await bench.reserve(tokens)
    for _ in range(20):
        error = await bench.refused(tokens)
        assert (error.status, error.type, error.code, error.outcome) == (429, type, code, "rate_limited")
        assert error.retry_after is not None
        assert 1 <= error.retry_after <= 60


async def test_waiting_as_long_as_told_helps() -> None:
    bench = Bench(Quota(tokens_per_minute=600, burst=60))
    await bench.reserve(300)
    bench.clock.now += 20
    await bench.reserve(300)
    error = await bench.refused(200)
    assert error.retry_after is not None
    assert 40 <= error.retry_after <= 45
    bench.clock.now += 39
    await bench.refused(200)
    bench.clock.now += error.retry_after - 39
    await bench.reserve(200)


async def test_what_was_not_used_is_given_back_once() -> None:
    bench = Bench(Quota(tokens_per_minute=1000, tokens_per_day=5000, concurrent_requests=1, burst=60))
    hold = await bench.reserve(900)
    bench.clock.now += 5
    await hold.settle(100)
    await hold.settle(0)
    usage = {(rule.unit, rule.seconds): standing.used for rule, standing in await bench.quotas.usage(bench.caller)}
    assert usage == {(Unit.TOKENS, 60): 100, (Unit.TOKENS, 86400): 100, (Unit.REQUESTS, 0): 0}
    second = await bench.reserve(900)
    await bench.refused(1)
    await second.settle(900)
    assert (await bench.refused(1)).code == "tokens_exceeded"


async def test_given_back_tokens_leave_the_window_when_the_reservation_would_have() -> None:
    bench = Bench(Quota(tokens_per_minute=1000, burst=60))
    hold = await bench.reserve(1000)
    bench.clock.now += 61
    other = await bench.reserve(1000)
    await hold.settle(10)  # its minute is over: nothing of it counts any more
    assert await bench.used(Unit.TOKENS) == 1000
    await other.settle(1000)


async def test_giving_back_also_makes_the_next_seconds_pay_less() -> None:
    bench = Bench(Quota(tokens_per_minute=6000, burst=1))
    hold = await bench.reserve(1000)
    await bench.refused()
    await hold.settle(50)
    await bench.reserve()


async def test_what_was_used_on_top_counts_although_nobody_can_refuse_it() -> None:
    bench = Bench(Quota(tokens_per_minute=1000, burst=60))
    hold = await bench.reserve(10)
    await hold.settle(1500)
    assert await bench.used(Unit.TOKENS) == 1500
    assert (await bench.refused(1)).code == "tokens_exceeded"


async def test_an_estimate_is_corrected_both_ways() -> None:
    bench = Bench(Quota(tokens_per_minute=1000, burst=60))
    hold = await bench.reserve(100)
    await hold.correct(400)
    assert await bench.used(Unit.TOKENS) == 400
    await hold.correct(50)
    assert await bench.used(Unit.TOKENS) == 50
    bench.clock.now += 10
    await hold.correct(1000)
    with pytest.raises(RateLimited):
        await hold.correct(1001)
    assert hold.tokens == 1000
    await hold.settle(70)
    assert await bench.used(Unit.TOKENS) == 70
    await hold.correct(500)
    assert await bench.used(Unit.TOKENS) == 70, "it is over"


async def test_a_cancelled_request_counts_nowhere() -> None:
    bench = Bench(Quota(requests_per_minute=1, tokens_per_minute=1000, concurrent_requests=1, burst=60))
    hold = await bench.reserve(1000)
    await hold.cancel()
    await hold.settle(1000)
    await hold.cancel()
    again = await bench.reserve(1000)
    assert [standing.used for _, standing in await bench.quotas.usage(bench.caller)] == [1, 1000, 1]
    await again.settle(0)


async def test_requests_at_the_same_time_never_get_more_seats_than_there_are() -> None:
    bench = Bench(Quota(concurrent_requests=7))
    answers = await asyncio.gather(*(bench.reserve() for _ in range(100)), return_exceptions=True)
    holds = [each for each in answers if isinstance(each, Hold)]
    assert len(holds) == 7
    for hold in holds:
        await hold.settle(1)
    assert await bench.used(Unit.REQUESTS, Kind.SEATS) == 0


async def test_a_changed_limit_holds_at_once_for_what_was_used_before() -> None:
    bench = Bench(Quota(tokens_per_minute=1000, burst=60))
    hold = await bench.reserve(600)
    bench.caller = Caller(Tenant("ada", quota=Quota(tokens_per_minute=700, burst=60)))
    await bench.refused(101)
    await bench.reserve(100)
    await hold.settle(0)
    assert await bench.used(Unit.TOKENS) == 100


async def test_tenants_do_not_share() -> None:
    bench = Bench(Quota(requests_per_minute=1))
    await bench.reserve()
    await bench.quotas.reserve(Caller(Tenant("bob", quota=Quota(requests_per_minute=1))), 1)


async def test_headers_say_what_is_left() -> None:
    bench = Bench(
        Quota(requests_per_minute=100, tokens_per_minute=1000, burst=60), key=Quota(requests_per_minute=10, burst=60)
    )
    assert bench.quotas.headers(bench.caller) == {
        "x-ratelimit-limit-requests": "10",
        "x-ratelimit-remaining-requests": "10",
        "x-ratelimit-reset-requests": "0s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "1000",
        "x-ratelimit-reset-tokens": "0s",
    }
    hold = await bench.reserve(300)
    headers = bench.quotas.headers(bench.caller)
    assert headers["x-ratelimit-remaining-requests"] == "9"
    assert headers["x-ratelimit-remaining-tokens"] == "700"
    assert headers["x-ratelimit-reset-tokens"] == "1m1s"
    await hold.settle(2000)
    assert bench.quotas.headers(bench.caller)["x-ratelimit-remaining-tokens"] == "0"


async def test_a_caller_without_quotas_is_never_refused() -> None:
    bench = Bench(Quota())
    for _ in range(1000):
        await bench.reserve(10**9)
    assert bench.quotas.headers(bench.caller) == {}
