"""Full disks, locks and files that are gone: each fails the request, says why, and passes."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool

from server.store.response_store import ResponseStore, StoreStartError, StoreUnavailable
from server.store.workers import Workers
from server.store_settings import StoreSettings
from tests.unit.store.records_made import ANNA, record


@pytest.fixture
def disk() -> Iterator[dict[str, int]]:
    """How many pages SQLite's files may have: at the limit it fails as it does when its disk is full."""
    size = {"pages": 2**30}

    def bound(connection: Any, *_: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={size['pages']}").close()

    event.listen(Pool, "checkout", bound)
    yield size
    event.remove(Pool, "checkout", bound)


async def test_a_full_disk_fails_the_put_and_nothing_else(opened: Any, disk: dict[str, int]) -> None:
    async with opened() as store:
        await store.put(record(1))
        disk["pages"] = 1  # SQLite takes as many as there are already
        with pytest.raises(StoreUnavailable, match="their disk is full") as failed:
            await store.put(record(2, size=100_000))
        assert (failed.value.status, failed.value.type, failed.value.code) == (503, "server_error", "store_unavailable")
        assert failed.value.retry_after == 5
        assert await store.get("resp_1", ANNA) == record(1)
        assert await store.get("resp_2", ANNA) is None
        assert await store.delete("resp_1", ANNA)
        disk["pages"] = 2**30
        await store.put(record(2, size=100_000))
        assert await store.get("resp_2", ANNA) == record(2, size=100_000)


async def test_a_write_that_the_system_refuses_fails_the_put_and_nothing_else(opened: Any, file: Path) -> None:
    """No file may grow beyond what it has: the kernel refuses the write, as it does on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    async with opened() as store:
        await store.put(record(1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        grown = max(path.stat().st_size for path in file.parent.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (grown, before[1]))
        try:
            with pytest.raises(StoreUnavailable, match="disk"):
                await store.put(record(2, size=1_000_000))
            assert await store.get("resp_1", ANNA) == record(1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        await store.put(record(2, size=1_000_000))
        assert await store.get("resp_2", ANNA) is not None


async def test_a_locked_database_fails_writes_in_time_while_reading_goes_on(opened: Any, file: Path) -> None:
    async with opened(busy_seconds=0.5) as store:
        await store.put(record(1))
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        outcomes = await asyncio.gather(*(store.put(record(n)) for n in range(2, 22)), return_exceptions=True)
        assert time.monotonic() - began < 1.0
        assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
        assert "locked" in str(outcomes[0])
        assert await store.get("resp_1", ANNA) == record(1)
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.delete("resp_1", ANNA)
        holder.execute("ROLLBACK")
        holder.close()
        await store.put(record(30))
        # What was refused was not done later.
        assert [n for n in range(2, 22) if await store.get(f"resp_{n}", ANNA)] == []


async def test_a_short_lock_is_waited_for(opened: Any, file: Path) -> None:
    async with opened() as store:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        putting = asyncio.create_task(store.put(record(1)))
        await asyncio.sleep(0.2)
        assert not putting.done()
        holder.execute("ROLLBACK")
        holder.close()
        await putting
        assert await store.get("resp_1", ANNA) == record(1)


async def test_a_file_that_goes_away_and_comes_back(opened: Any, file: Path) -> None:
    async with opened() as store:
        await store.put(record(1))
        away = file.parent.with_name("away")
        file.parent.rename(away)
        for act in (store.put(record(2)), store.get("resp_1", ANNA), store.delete("resp_1", ANNA), store.purge()):
            with pytest.raises(StoreUnavailable, match="gone"):
                await act
        assert not file.exists(), "it must not be made anew where the disk is missing"
        away.rename(file.parent)
        assert await store.get("resp_1", ANNA) == record(1)
        await store.put(record(2))
        # Another, empty file in its place is taken, with tables of its own.
        for path in list(file.parent.iterdir()):
            path.rename(path.with_name(f"old-{path.name}"))
        file.touch()
        assert await store.get("resp_1", ANNA) is None
        await store.put(record(3))
        for path in file.parent.glob("responses.sqlite*"):
            path.unlink()
        file.write_bytes(b"something else" * 1000)
        with pytest.raises(StoreUnavailable, match="damaged"):
            await store.get("resp_3", ANNA)


async def test_failing_is_logged_once_and_so_is_its_end(
    opened: Any, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened() as store:
        hidden = file.rename(file.with_name("hidden"))
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await store.get("resp_1", ANNA)
        hidden.rename(file)
        for _ in range(2):
            await store.get("resp_1", ANNA)
    written = "".join(capsys.readouterr())
    assert written.count("is unavailable") == 1
    assert written.count("works again") == 1


def unfit(how: str, file: Path) -> None:
    file.parent.mkdir()
    if how == "no database":
        file.write_bytes(b"#!/bin/sh\necho no database\n" * 100)
    elif how == "damaged inside":
        with sqlite3.connect(file) as made:
            made.execute("CREATE TABLE filler (text)")
            made.executemany("INSERT INTO filler VALUES (?)", [("x" * 500,)] * 500)
        made.close()
        with file.open("r+b") as opened_file:
            opened_file.seek(4096 * 3)
            opened_file.write(os.urandom(4096 * 20))
    elif how == "a directory":
        file.mkdir()
    elif how == "below a file":
        file.parent.rmdir()
        file.parent.touch()
    elif how == "of a later qwend":
        with sqlite3.connect(file) as made:
            made.execute("CREATE TABLE qwend_responses_schema (version INTEGER PRIMARY KEY)")
            made.execute("INSERT INTO qwend_responses_schema VALUES (2)")
        made.close()
    elif how == "of another make":
        with sqlite3.connect(file) as made:
            made.execute("CREATE TABLE qwend_responses (id VARCHAR(64) PRIMARY KEY, size BIGINT, tenant VARCHAR(255))")
        made.close()
    elif how == "locked":
        holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        holder.execute("BEGIN EXCLUSIVE")
        _held.append(holder)


_held: list[sqlite3.Connection] = []


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("no database", "file is not a database"),
        ("damaged inside", "damaged|malformed"),
        ("a directory", "Is a directory"),
        ("below a file", "File exists|Not a directory"),
        ("of a later qwend", "version 2"),
        ("of another make", "qwend_responses is of another make: it lacks conversation, created_at"),
        ("locked", "locked"),
    ],
)
async def test_an_unfit_file_keeps_the_daemon_from_starting(opened: Any, file: Path, how: str, told: str) -> None:
    unfit(how, file)
    content = file.read_bytes() if file.is_file() else None
    try:
        with pytest.raises(StoreStartError, match=told) as refused:
            async with opened():
                pass
    finally:
        while _held:
            _held.pop().close()
    assert "`responses_store.url`" in str(refused.value)
    # All but the header, which says how SQLite writes to it.
    assert content is None or file.read_bytes()[100 : len(content)] == content[100:], "it is left as it was"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nosuch://user:hunter2@host/db", "SQLAlchemy knows no `nosuch`"),
        ("://user:hunter2@host:port", "no SQLAlchemy URL"),
        ("postgresql+asyncpg://user:hunter2@host/db", "driver for asyncio|not installed: asyncpg"),
        ("sqlite+aiosqlite://", "driver for asyncio|not installed: aiosqlite"),
        ("mssql+pymssql://user:hunter2@host/db", "not installed: pymssql"),
    ],
)
async def test_a_bad_url_is_told_without_its_password(url: str, told: str) -> None:
    with pytest.raises(StoreStartError, match=told) as refused:
        await ResponseStore.open(StoreSettings(url=url))
    assert "hunter2" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_settings_do_not_show_the_url() -> None:
    assert "hunter2" not in repr(StoreSettings(url="postgresql://user:hunter2@host/db"))


@pytest.mark.parametrize(
    "wrong",
    [{"url": "responses.sqlite"}, {"max_record_bytes": 2**28, "max_bytes_per_key": 2**27}, {"max_bytes": 2**20}],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        StoreSettings(**wrong)


async def test_errors_hold_no_path_no_sql_and_no_content(opened: Any, file: Path) -> None:
    async with opened() as store:
        with sqlite3.connect(file) as beside:
            beside.execute("DROP TABLE qwend_responses")
        beside.close()
        with pytest.raises(StoreUnavailable) as failed:
            await store.put(record(1, text="my secret"))
    assert failed.value.__cause__ is None
    assert failed.value.__suppress_context__
    for secret in (str(file), "my secret", "qwend_responses", "INSERT", "SELECT", "sqlite"):
        assert secret not in str(failed.value)


async def test_what_was_given_up_is_not_stored_later(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = ResponseStore._put

    def slowly(*arguments: Any) -> None:
        stored(*arguments)
        time.sleep(0.6)

    async with opened(busy_seconds=0.3) as store:
        monkeypatch.setattr(ResponseStore, "_put", slowly)
        with pytest.raises(StoreUnavailable, match="in time"):
            await store.put(record(1))
        monkeypatch.undo()
        await asyncio.sleep(0.6)  # until the thread is through
        assert await store.get("resp_1", ANNA) is None
        await store.put(record(1))
        assert await store.get("resp_1", ANNA) == record(1)


async def test_threads_that_hang_are_few_and_hold_nobody_up() -> None:
    workers = Workers(2)
    release, began = threading.Event(), []

    def hang(deadline: Any) -> bool:
        began.append(threading.current_thread().name)
        release.wait()
        return bool(deadline.abandoned)

    started = time.monotonic()
    outcomes = await asyncio.gather(*(workers.run(0.2, hang) for _ in range(100)), return_exceptions=True)
    assert time.monotonic() - started < 1
    assert {type(outcome) for outcome in outcomes} == {TimeoutError}
    assert len(began) == 2
    with pytest.raises(TimeoutError):
        await workers.run(0.05, lambda deadline: None)
    release.set()
    assert await workers.run(1, lambda deadline: "well again") == "well again"
    workers.stop()
