"""Two daemons that count one tenant's quotas in one Redis, offered several times what its limit allows; and Redis gone
in the middle.

Quotas are policy of the front end, so most of it runs over the synthetic engine; the slow test is the same with the
reference checkpoint and a whole minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.chat_client import long_body
from tests.daemon_process import DaemonProcess
from tests.deploy.results import keep
from tests.redis_server import RedisServer

# Two start at once.
START_SECONDS = 420
KEY = "sk-of-the-shared-quotas-test"
SYNTHETIC, REAL = "tests.synthetic_cli", "server.cli"


@dataclass(frozen=True)
class Answer:
    """`at` is when it was asked, on the monotonic clock, `daemon` whom."""

    at: float
    daemon: int
    status: int
    code: str | None
    seconds: float
    retry_after: str | None


class Pair:
    """Two daemons over one Redis, with one tenant of so many requests a minute."""

    def __init__(self, redis: RedisServer, folder: Path, module: str, limit: int, burst: int, when: str) -> None:
        tenants = folder / "tenants.yaml"
        tenants.write_text(
            f"tenants: [{{name: one, keys: ['{KEY}'], quotas: {{requests_per_minute: {limit}, burst: {burst}}}}}]"
        )
        settings = {
            "QWEND_QUOTAS__STORAGE_URL": redis.url,
            "QWEND_QUOTAS__WHEN_UNREACHABLE": when,
            # A machine that is busy with something else is not what is tried.
            "QWEND_QUOTAS__STORAGE_SECONDS": "5",
        }
        self.daemons = [DaemonProcess("--tenants", str(tenants), module=module, environment=settings) for _ in range(2)]

    def logged(self, text: str) -> list[int]:
        """How often each daemon's log says it."""
        return [daemon.log.count(text) for daemon in self.daemons]


@contextmanager
def pair(
    redis: RedisServer, folder: Path, *, limit: int, module: str = SYNTHETIC, burst: int = 60, when: str = "local"
) -> Iterator[Pair]:
    running = Pair(redis, folder, module, limit, burst, when)
    try:
        for daemon in running.daemons:
            daemon.wait_ready(START_SECONDS)
        yield running
    finally:
        for daemon in running.daemons:
            daemon.stop()


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        yield server
    finally:
        server.close()


async def offer(
    daemons: Sequence[DaemonProcess], rate: float, seconds: float, answers: list[Answer] | None = None
) -> list[Answer]:
    """Asks for one token `rate` times a second, of the one and the other by turns, whatever is answered. `answers` can
    be watched meanwhile."""
    answers = [] if answers is None else answers
    began = time.monotonic()

    async def ask(client: httpx.AsyncClient, daemon: int) -> None:
        sent = time.monotonic()
        answer = await client.post("/v1/chat/completions", json=long_body(1))
        code = answer.json()["error"]["code"] if answer.status_code != 200 else None
        answers.append(
            Answer(sent, daemon, answer.status_code, code, time.monotonic() - sent, answer.headers.get("retry-after"))
        )

    async with clients(daemons) as both, asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            group.create_task(ask(both[number % 2], number % 2))
    return answers


@contextlib.asynccontextmanager
async def clients(daemons: Sequence[DaemonProcess]) -> AsyncIterator[list[httpx.AsyncClient]]:
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    base_url=each.url,
                    timeout=30,
                    headers={"authorization": f"Bearer {KEY}"},
                    limits=httpx.Limits(max_connections=None),
                )
            )
            for each in daemons
        ]


def admitted(answers: Sequence[Answer]) -> int:
    return sum(each.status == 200 for each in answers)


def kinds(answers: Sequence[Answer]) -> dict[str, int]:
    return dict(Counter(f"{each.status} {each.code or ''}".strip() for each in answers))


async def test_two_daemons_admit_one_limit_together(redis: RedisServer, tmp_path: Path) -> None:
    with pair(redis, tmp_path, limit=100) as both:
        answers = await offer(both.daemons, rate=60, seconds=6)
    assert kinds(answers).keys() == {"200", "429 rate_limit_exceeded"}
    assert admitted(answers) == pytest.approx(100, rel=0.02), "of 360 that were offered within the minute"
    for daemon in (0, 1):
        assert admitted([each for each in answers if each.daemon == daemon]) > 20, "both admitted some of it"


@pytest.mark.parametrize("when", ["local", "refuse", "allow"])
async def test_without_redis_it_is_as_configured_and_nothing_fails(
    when: str, redis: RedisServer, tmp_path: Path
) -> None:
    limit = 60
    with pair(redis, tmp_path, limit=limit, when=when) as both:
        answers: list[Answer] = []
        load = asyncio.create_task(offer(both.daemons, rate=60, seconds=8, answers=answers))
        # Until all of it is admitted and answered, and more was refused.
        while admitted(answers) < 0.98 * limit or len(answers) < limit + 30:
            assert not load.done(), kinds(answers)
            await asyncio.sleep(0.01)
        killed = time.monotonic()
        redis.kill()
        await load
        # What was asked when the connection broke may have been answered either way.
        before = [each for each in answers if each.at + each.seconds < killed]
        after = [each for each in answers if each.at > killed + 0.5]
        assert admitted(before) <= 1.02 * limit
        assert len(after) > 2 * limit, "both could admit their own limit"
        assert not any(each.status == 500 for each in answers), kinds(answers)
        assert max(each.seconds for each in answers) < 5
        if when == "local":
            # Each of them alone, from nothing.
            assert kinds(after).keys() <= {"200", "429 rate_limit_exceeded"}
            for daemon in (0, 1):
                alone = [each for each in answers if each.daemon == daemon and each.at + each.seconds > killed]
                assert admitted(alone) == pytest.approx(limit, rel=0.02)
        elif when == "refuse":
            assert kinds(after).keys() == {"503 quota_store_unavailable"}
            assert all(int(each.retry_after) >= 1 for each in after)
        else:
            assert kinds(after).keys() == {"200"}
        assert both.logged("Redis does not answer") == [1, 1]
        redis.start()
        await until_back(both)
        again = await offer(both.daemons, rate=60, seconds=3)
        assert admitted(again) == pytest.approx(limit, rel=0.02), "one limit for both again"


async def until_back(both: Pair) -> None:
    deadline = time.monotonic() + 15
    while both.logged("Redis answers again") != [1, 1]:
        assert time.monotonic() < deadline, "Redis is there and not used"
        await asyncio.sleep(0.1)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(600)
async def test_two_real_daemons_over_a_minute_and_without_redis(redis: RedisServer, tmp_path: Path) -> None:
    limit, rate = 300, 15
    with pair(redis, tmp_path, limit=limit, module=REAL, burst=5) as both:
        answers = await offer(both.daemons, rate=rate, seconds=75)
        # Every span of a minute that begins with a request.
        first = min(each.at for each in answers)
        starts = [each.at for each in answers if each.at <= first + 15]
        spans = [admitted([each for each in answers if start <= each.at < start + 60]) for start in sorted(starts)]
        load = asyncio.create_task(offer(both.daemons, rate=rate, seconds=30))
        await asyncio.sleep(10)
        killed = time.monotonic()
        redis.kill()
        without = await load
    figures = {
        "limit_per_minute": limit,
        "offered_per_minute": rate * 60,
        "admitted_in_first_minute": spans[0],
        "admitted_in_any_minute": [min(spans), max(spans)],
        "by_daemon": [admitted([each for each in answers if each.daemon == daemon]) for daemon in (0, 1)],
        "answers": kinds(answers),
        "answers_around_the_outage": kinds(without),
        "slowest_around_the_outage_seconds": round(max(each.seconds for each in without), 2),
    }
    keep("shared-quotas", figures)
    assert spans[0] == pytest.approx(limit, rel=0.02)
    assert max(spans) <= limit * 1.02
    assert kinds(without).keys() <= {"200", "429 rate_limit_exceeded"}
    after = [each for each in without if each.at > killed + 1]
    assert admitted(after) > 0, "each counts alone and has its own limit"
