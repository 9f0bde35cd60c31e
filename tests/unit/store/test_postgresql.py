"""Several replicas with one PostgreSQL."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from server.store.response_store import LEASE_SECONDS, ResponseStore, StoreStartError, StoreUnavailable
from server.store_settings import StoreSettings
from tests.postgresql_server import PASSWORD, PostgresqlServer
from tests.unit.store.records_made import ANNA, BERT, Clock, record


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresqlServer]:
    started = PostgresqlServer()
    yield started
    started.close()


def settings(server: PostgresqlServer, **more: int) -> StoreSettings:
    return StoreSettings(url=server.url, busy_seconds=1.0, **more)


async def test_replicas_make_the_tables_together_share_them_and_hold_one_bound(server: PostgresqlServer) -> None:
    clock = Clock()
    stores = await asyncio.gather(*(ResponseStore.open(settings(server, max_entries=20), clock) for _ in range(3)))
    await asyncio.gather(*(stores[n % 3].put(record(n, at=n, text="\x00é")) for n in range(40)))
    there = [n for n in range(40) if await stores[0].get(f"resp_{n}", ANNA) is not None]
    assert len(there) == 20
    newest = record(there[-1], at=there[-1], text="\x00é")
    assert [await store.get(newest.id, ANNA) for store in stores] == [newest] * 3
    assert await stores[1].get(newest.id, BERT) is None
    assert not await stores[1].delete(newest.id, BERT)
    assert await stores[1].delete(newest.id, ANNA)
    assert await stores[2].get(newest.id, ANNA) is None
    # One dies.
    await stores[2].put(record("lost", status="queued"))
    clock.now += LEASE_SECONDS + 1
    await stores[1]._beat()
    assert sum(await asyncio.gather(*(store.left_unfinished() for store in stores[:2]))) == 1
    assert (await stores[0].get("resp_lost", ANNA)).status == "failed"
    clock.now += 40 * 86400
    assert await stores[0].purge() == 20
    for store in stores:
        await store.close()


async def test_a_server_that_hangs_or_restarts_fails_requests_in_time_and_then_works_again(
    server: PostgresqlServer,
) -> None:
    store = await ResponseStore.open(settings(server))
    kept = replace(record(1), created_at=int(time.time()))
    await store.put(kept)
    server.pause(True)
    try:
        began = time.monotonic()
        outcomes = await asyncio.gather(*(store.get("resp_1", ANNA) for _ in range(20)), return_exceptions=True)
        assert time.monotonic() - began < 1.5
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    finally:
        server.pause(False)
    await asyncio.sleep(1)
    assert await store.get("resp_1", ANNA) == kept
    server.stop()
    with pytest.raises(StoreUnavailable, match="cannot be reached") as failed:
        await store.get("resp_1", ANNA)
    assert PASSWORD not in str(failed.value)
    with pytest.raises(StoreStartError) as refused:
        await ResponseStore.open(settings(server))
    assert PASSWORD not in str(refused.value)
    server.start()
    assert await store.get("resp_1", ANNA) == kept
    await store.close()
