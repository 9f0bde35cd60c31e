"""What is kept, for whom, and what goes first."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from server.store.response_store import LEASE_SECONDS, LOST, RecordTooLarge, ResponseStore, StoreUnavailable
from server.store_settings import StoreSettings
from tests.unit.store.records_made import ANNA, BERT, CARL, NOBODY, Clock, record


async def held(store: ResponseStore, numbers: Any, owner: Any = ANNA) -> list[Any]:
    return [number for number in numbers if await store.get(f"resp_{number}", owner) is not None]


async def test_what_was_put_is_there_after_a_restart(opened: Any) -> None:
    written = record(1, text="\x00 ünïcode 🙂", status="incomplete")
    async with opened() as store:
        await store.put(written)
        assert await store.get("resp_1", ANNA) == written
    async with opened() as store:
        assert await store.get("resp_1", ANNA) == written


@pytest.mark.parametrize("other", [BERT, CARL, NOBODY])
async def test_another_key_neither_reads_nor_deletes_nor_overwrites(opened: Any, other: Any) -> None:
    async with opened() as store:
        await store.put(record(1))
        assert await store.get("resp_1", other) is None
        assert not await store.delete("resp_1", other)
        with pytest.raises(ValueError, match="another owner"):
            await store.put(record(1, other, text="mine now"))
        assert not await store.replace(record(1, other, text="mine now"))
        assert await store.get("resp_1", ANNA) == record(1)


async def test_put_replaces_and_what_was_deleted_stays_deleted_for_replace(opened: Any) -> None:
    async with opened() as store:
        await store.put(record(1, status="in_progress"))
        assert await store.replace(record(1, text="done"))
        assert await store.get("resp_1", ANNA) == record(1, text="done")
        assert await store.delete("resp_1", ANNA)
        assert not await store.delete("resp_1", ANNA)
        assert not await store.replace(record(1))
        assert await held(store, [1]) == []


@pytest.mark.parametrize("id", ["", "resp_\x00", "resp_\ud800", "x" * 129, "resp_1' OR 1=1", "resp_1\n"])
async def test_a_stranger_may_ask_for_any_id(opened: Any, id: str) -> None:
    async with opened() as store:
        assert await store.get(id, ANNA) is None
        assert not await store.delete(id, ANNA)


async def test_the_oldest_finished_go_first(opened: Any) -> None:
    async with opened(max_entries=3) as store:
        await store.put(record(0, at=5))
        await store.put(record(1, at=0, status="in_progress"))
        for number in (2, 3, 4):
            await store.put(record(number, BERT, at=number))
        assert await held(store, range(5)) == [0, 1]
        assert await held(store, range(5), BERT) == [4]


async def test_of_the_same_second_the_first_put_goes_first(opened: Any) -> None:
    async with opened(max_entries=2) as store:
        for name in ("z", "y", "x"):
            await store.put(record(name))
        assert await held(store, "xyz") == ["x", "y"]


async def test_bytes_are_bounded_together(opened: Any) -> None:
    bounds = {"max_bytes": 10_000, "max_bytes_per_key": 10_000, "max_record_bytes": 5000}
    async with opened(**bounds) as store:
        for number in range(6):
            await store.put(record(number, at=number, size=2500))
        assert await held(store, range(6)) == [2, 3, 4, 5]
        await store.put(record(6, at=6, size=5000))
        assert await held(store, range(7)) == [4, 5, 6]
        # One that grows when it is finished pushes out others too.
        await store.put(record(4, at=4, size=5000))
        assert await held(store, range(7)) == [4, 6]


async def test_a_key_pushes_out_only_its_own(opened: Any) -> None:
    async with opened(max_entries_per_key=2, max_bytes_per_key=6000, max_record_bytes=4000) as store:
        await store.put(record("old", BERT))
        await store.put(record("same", CARL))
        for number in range(5):
            await store.put(record(number, at=10 + number))
        assert await held(store, range(5)) == [3, 4]
        await store.put(record(5, at=20, size=4000))
        await store.put(record(6, at=21, size=4000))
        assert await held(store, range(7)) == [6]
        assert await held(store, ["old"], BERT) == ["old"]
        assert await held(store, ["same"], CARL) == ["same"]


async def test_no_room_but_unfinished_ones_refuses_a_new_one_and_finishes_the_others(opened: Any) -> None:
    async with opened(max_entries=2) as store:
        for number in (0, 1):
            await store.put(record(number, status="queued"))
        with pytest.raises(StoreUnavailable, match="unfinished") as refused:
            await store.put(record(2, BERT))
        assert (refused.value.status, refused.value.code) == (503, "store_unavailable")
        assert await held(store, [2], BERT) == []
        await store.put(record(0, size=3000))
        await store.put(record(2, BERT))
        assert (await held(store, [0, 1]), await held(store, [2], BERT)) == ([1], [2])


async def test_a_record_that_is_too_large_is_refused_by_its_size(opened: Any) -> None:
    async with opened(max_record_bytes=2000) as store:
        await store.put(record(1, size=2000))
        with pytest.raises(RecordTooLarge, match="2001 bytes"):
            await store.put(record(1, size=2001))
        assert (await store.get("resp_1", ANNA)).size == 2000


async def test_age_hides_at_once_and_purge_deletes_the_finished(opened: Any, clock: Clock, file: Path) -> None:
    async with opened(lifetime_seconds=100) as store:
        await store.put(record(1))
        await store.put(record(2, at=50))
        await store.put(record(3, status="in_progress"))
        clock.now += 99
        assert await held(store, [1, 2, 3]) == [1, 2, 3]
        clock.now += 1
        assert await held(store, [1, 2, 3]) == [2, 3]
        assert not await store.delete("resp_1", ANNA)
        assert await store.purge() == 1
        assert await store.purge() == 0
        with sqlite3.connect(file) as beside:
            assert beside.execute("SELECT id FROM qwend_responses ORDER BY id").fetchall() == [("resp_2",), ("resp_3",)]
        beside.close()


async def test_a_purge_of_many_gives_the_disk_back(opened: Any, clock: Clock, file: Path) -> None:
    async with opened(lifetime_seconds=100) as store:
        for number in range(450):
            await store.put(record(number, size=50_000))
    assert file.stat().st_size > 20_000_000  # more pages than one step gives back
    clock.now += 200
    async with opened(lifetime_seconds=100) as store:
        assert await store.purge() == 450
    assert file.stat().st_size < 200_000


async def test_fifty_at_once_are_all_stored(opened: Any) -> None:
    async with opened(max_entries=30) as store:
        await asyncio.gather(*(store.put(record(number, at=number)) for number in range(50)))
        assert await held(store, range(50)) == list(range(20, 50))


async def test_what_a_dead_daemon_left_is_failed(file: Path, clock: Clock, opened: Any) -> None:
    settings = StoreSettings(url=f"sqlite:///{file}")
    dead = await ResponseStore.open(settings, clock)
    for number, status in enumerate(("queued", "in_progress", "completed")):
        await dead.put(record(number, status=status))
    async with opened() as store:
        await store.put(record("mine", status="in_progress"))
        assert await store.left_unfinished() == 0, "it may be a replica that lives"
        clock.now += LEASE_SECONDS + 1
        assert await store.left_unfinished() == 2
        assert await store.left_unfinished() == 0
        for number in (0, 1):
            found = await store.get(f"resp_{number}", ANNA)
            response = json.loads(found.response)
            assert found.status == response["status"] == "failed"
            assert response["error"] == {"code": "server_error", "message": LOST}
            assert response["id"] == f"resp_{number}"
        assert (await store.get("resp_2", ANNA)).status == "completed"
        assert (await store.get("resp_mine", ANNA)).status == "in_progress"
        # It lived after all.
        await dead.put(record(1, text="late"))
        assert await store.get("resp_1", ANNA) == record(1, text="late")
    await dead.close()


async def test_a_daemon_that_closed_its_store_left_at_once_what_it_had_not_finished(opened: Any) -> None:
    async with opened() as store:
        await store.put(record(1, status="in_progress"))
    async with opened() as store:
        assert await store.left_unfinished() == 1


async def test_watching_keeps_the_lease_and_purges(opened: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.store.response_store.BEAT_SECONDS", 0.01)
    async with opened(lifetime_seconds=100) as watched, opened(lifetime_seconds=100) as other:
        await watched.put(record(1, status="in_progress"))
        await watched.put(record(2))
        clock.now += 101
        watching = asyncio.create_task(watched.watch())
        await asyncio.sleep(0.2)
        assert await other.left_unfinished() == 0
        assert await other.purge() == 0, "it was done already"
        watching.cancel()
        clock.now += LEASE_SECONDS + 1
        await asyncio.sleep(0.05)
        assert await other.left_unfinished() == 1


async def test_the_file_is_for_its_owner_alone(opened: Any, file: Path) -> None:
    async with opened() as store:
        await store.put(record(1))
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (file.parent, *file.parent.iterdir())}
    assert modes == {
        "state": 0o700,
        "responses.sqlite": 0o600,
        "responses.sqlite-wal": 0o600,
        "responses.sqlite-shm": 0o600,
    }


async def test_by_default_it_lies_in_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    await (await ResponseStore.open(StoreSettings())).close()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    await (await ResponseStore.open(StoreSettings())).close()
    assert (tmp_path / "xdg/qwend/responses.sqlite").is_file()
    assert (tmp_path / "home/.local/state/qwend/responses.sqlite").is_file()


async def test_in_memory_it_needs_no_disk(opened: Any) -> None:
    async with opened(url="sqlite://", max_entries=2) as store:
        for number in range(3):
            await store.put(record(number))
        assert await held(store, range(3)) == [1, 2]
        assert await store.purge() == 0
