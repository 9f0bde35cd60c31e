"""The issue's own measure, on a real clock: 60 s at three times the limit."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from server.admission.quota_memory import MemoryStore
from server.admission.quota_redis import RedisStore
from server.admission.quotas import Quotas
from server.admission.rate_limited import RateLimited
from server.admission.tenants import Caller, Quota, Tenant
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

LIMIT = 120_000
SECONDS = 60.0


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server
    finally:
        server.close()


@pytest.mark.timeout(120)
async def test_over_60_s_at_three_times_the_limit_what_is_admitted_is_the_limit(redis: RedisServer) -> None:
    """At once: in memory, and by two replicas over one Redis. Each request uses half of what it reserves."""
    replicas = [Quotas(MemoryStore(), RedisStore(redis.url, 5.0)) for _ in range(2)]
    alone = Quotas(MemoryStore())
    shares = await asyncio.gather(_load([alone], seed=1), _load(replicas, seed=2))
    print("admitted, as a part of the limit:", [round(share, 4) for share in shares])
    for each in (alone, *replicas):
        await each.close()
    for share in shares:
        assert 0.98 <= share <= 1.02


async def _load(replicas: list[Quotas], seed: int) -> float:
    caller = Caller(Tenant("load", quota=Quota(tokens_per_minute=LIMIT)))
    chance = random.Random(seed)
    used = 0
    requests: set[asyncio.Task[None]] = set()

    async def request(tokens: int) -> None:
        nonlocal used
        try:
            hold = await chance.choice(replicas).reserve(caller, 2 * tokens)
        except RateLimited:
            return
        used += tokens
        await asyncio.sleep(chance.uniform(0.01, 0.5))
        await hold.settle(tokens)

    mean = 300
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        task = asyncio.create_task(request(chance.randint(50, 2 * mean - 50)))
        requests.add(task)
        task.add_done_callback(requests.discard)
        await asyncio.sleep(chance.expovariate(3 * LIMIT / 60 / mean))
    await asyncio.gather(*requests)
    return used / LIMIT
