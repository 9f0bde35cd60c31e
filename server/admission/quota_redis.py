"""Counting quotas in a Redis that several replicas share.

`limits` brings the connection: plain, TLS, sentinels or a cluster, by the URL's scheme. Each booking is one script and
so one round trip, atomic over all its rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limits.aio.storage import Storage
from limits.storage import storage_from_string
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from server.admission.quota_rules import NEVER, SLOTS, Charge, Standing, Verdict

LEASE_SECONDS = 60.0
"""How long seats last that nobody renews: those of a replica that died."""

_PREFIX = "qwend"
_AT_ONCE = 32
_GRACE_ROUNDS = 8
_RENEWED_AT_ONCE = 500


class StoreLost(Exception):
    """Redis did not answer, or not in time. What was asked may have been done all the same."""


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


class RedisStore:
    """A `Store` in Redis. Every call raises StoreLost when Redis does not answer within `seconds`."""

    def __init__(self, url: str, seconds: float = 0.2) -> None:
        """`url` as `limits` takes it: `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`, `redis+unix://`.

        Nothing is connected yet. Raises ValueError when it is no such URL.
        """
        once = Retry(NoBackoff(), 0)
        storage: Storage = storage_from_string(  # type: ignore[assignment]
            f"async+{url.removeprefix('async+')}",
            implementation="redispy",
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=once,  # type: ignore[arg-type]
        )
        self._redis: Any = storage.bridge.get_connection()  # type: ignore[attr-defined]
        self._take = self._redis.register_script(_script("quota_take.lua"))
        self._give_back = self._redis.register_script(_script("quota_give_back.lua"))
        self._renew = self._redis.register_script(_script("quota_renew.lua"))
        # A burst of requests must not become a burst of connections.
        self._seconds = seconds
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def take(self, charges: Sequence[Charge], hold: str, *, force: bool = False) -> Verdict:
        """Books all charges, or none; see `Store`. Raises StoreLost."""
        arguments = [hold, int(LEASE_SECONDS * 1000), int(force), SLOTS, *_flat(charges)]
        now, refused, wait, *standings = await self._run(self._take, _keys(charges), arguments)
        return Verdict(
            at=float(now) / 1000,
            refused=refused - 1 if refused else None,
            wait_seconds=NEVER if wait < 0 else wait / 1000,
            standings=[
                Standing(used, reset / 1000) for used, reset in zip(standings[::2], standings[1::2], strict=True)
            ],
        )

    async def give_back(self, charges: Sequence[Charge], at: float, hold: str) -> None:
        """Undoes a booking in part or whole; see `Store`. Raises StoreLost."""
        await self._run(self._give_back, _keys(charges), [hold, f"{at * 1000:.3f}", SLOTS, *_flat(charges)])

    async def renew(self, holds: Mapping[str, Sequence[str]]) -> None:
        """Makes seats last for another lease: the holds by their rule's key. Raises StoreLost."""
        for key, names in holds.items():
            for start in range(0, len(names), _RENEWED_AT_ONCE):
                some = names[start : start + _RENEWED_AT_ONCE]
                await self._run(self._renew, [_prefixed(key)], [int(LEASE_SECONDS * 1000), *some])

    async def check(self) -> None:
        """Raises StoreLost unless Redis answers."""
        await self._within(self._redis.ping())

    async def close(self) -> None:
        """Closes the connections."""
        await self._redis.aclose()

    async def _run(self, script: Any, keys: list[str], arguments: list[Any]) -> Any:
        return await self._within(script(keys=keys, args=arguments))

    async def _within(self, answer: Any) -> Any:
        asked = asyncio.ensure_future(self._in_turn(answer))
        try:
            # Not `asyncio.timeout`: it would wait for the client to clean up a connection that does not answer.
            await asyncio.wait({asked}, timeout=self._seconds)
            for _ in range(_GRACE_ROUNDS):
                if asked.done():
                    break
                # It may be this loop that was late, with the answer there to be read.
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            asked.cancel()
            raise
        if not asked.done():
            asked.cancel()
            asked.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise StoreLost(f"no answer in {self._seconds} s")
        try:
            return asked.result()
        except (RedisError, OSError, TimeoutError) as error:
            raise StoreLost(f"{type(error).__name__}: {error}") from error

    async def _in_turn(self, answer: Any) -> Any:
        try:
            async with self._turns:
                return await answer
        finally:
            answer.close()  # where its turn never came


def _prefixed(key: str) -> str:
    return f"{_PREFIX}:{key}"


def _keys(charges: Sequence[Charge]) -> list[str]:
    return [_prefixed(charge.rule.key) for charge in charges]


def _flat(charges: Sequence[Charge]) -> list[Any]:
    return [
        each
        for charge in charges
        for each in (str(charge.rule.kind), charge.rule.limit, charge.rule.seconds, charge.cost)
    ]
