"""Bad clients, many connections, and what stands beside the daemon gone: the real front end over a synthetic engine."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.brittle.process import BrittleProcess
from tests.chaos.observer import Observer
from tests.chaos.table import Table
from tests.chat_client import Streamed, body, long_body, stream
from tests.daemon_process import MODEL
from tests.redis_server import RedisServer

pytestmark = pytest.mark.slow

CONNECTIONS = 5000
LARGEST_FILE = 512 * 1024


@contextlib.contextmanager
def daemon(**settings: str) -> Iterator[BrittleProcess]:
    running = BrittleProcess(settings={f"QWEND_{name}": value for name, value in settings.items()})
    try:
        yield running.wait_ready()
    finally:
        running.stop()


def head(payload: bytes, length: int | None = None) -> bytes:
    told = len(payload) if length is None else length
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n" % told + payload
    )


def streamed(tokens: int) -> bytes:
    return httpx.Request("POST", "http://x", json=long_body(tokens, stream=True)).content


async def good_client(running: BrittleProcess) -> None:
    seen = Streamed()
    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        await stream(client, long_body(20), seen)
    assert (seen.done, seen.error) == (True, None)


async def in_flight(running: BrittleProcess) -> int:
    async with httpx.AsyncClient(base_url=running.url) as client:
        told: int = (await client.get("/health")).json()["in_flight"]
        return told


async def until_empty(running: BrittleProcess) -> None:
    deadline = time.monotonic() + 20
    while await in_flight(running):
        assert time.monotonic() < deadline, "requests of clients that are gone are still inside"
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("kind", ["slow", "half-closed", "resetting"])
async def test_bad_clients(kind: str, table: Table) -> None:
    with daemon(CONNECTIONS__BODY_SECONDS="2", STREAMING__UNREAD_SECONDS="2") as running:
        observer = Observer(running)
        sockets = [socket.create_connection(("127.0.0.1", running.port), timeout=10) for _ in range(100)]
        observer.mark()
        for each in sockets:
            if kind == "slow":
                each.sendall(head(b'{"model": "', 1000))
            else:
                each.sendall(head(streamed(1_000_000)))
        if kind == "half-closed":
            for each in sockets:
                each.shutdown(socket.SHUT_WR)
        elif kind == "resetting":
            await asyncio.sleep(0.5)
            for each in sockets:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                each.close()
        await good_client(running)
        if kind == "slow":
            answers = [await asyncio.to_thread(each.recv, 65536) for each in sockets]
            assert {answer.split(b" ")[1] for answer in answers} == {b"408"}
        await until_empty(running)
        for each in sockets:
            each.close()
        said = {"slow": "408", "half-closed": "cut off", "resetting": "gone"}[kind]
        health = observer.stop()
        assert observer.words == ["serving (200, live 200)"]
        table.add(f"100 {kind} clients", f"those {said}; others served", health, "runs on", "nothing of others")


async def test_many_connections(table: Table) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        # A new process starts with a small soft limit, as a shell's; the daemon must raise it itself.
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        with daemon() as running:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            observer = Observer(running)
            observer.mark()
            sockets = []
            for _ in range(CONNECTIONS):
                sockets.append(socket.create_connection(("127.0.0.1", running.port), timeout=10))
                if len(sockets) % 100 == 0:
                    await asyncio.sleep(0.01)
            await good_client(running)
            files = open_files(running.process.pid)
            assert files >= CONNECTIONS
            for each in sockets:
                each.close()
            deadline = time.monotonic() + 20
            while (left := open_files(running.process.pid)) > 200:
                assert time.monotonic() < deadline, f"{left} files stay open"
                await asyncio.sleep(0.1)
            health = observer.stop()
            assert observer.words == ["serving (200, live 200)"]
            table.add(
                f"{CONNECTIONS:,} connections",
                "all taken; others served",
                f"{health}, slowest answer {observer.slowest * 1e3:.0f} ms",
                "runs on",
                f"nothing; {files:,} files were open, {left} after",
            )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_redis_gone(table: Table, tmp_path: Path) -> None:
    redis = RedisServer()
    tenants = tmp_path / "tenants.yaml"
    tenants.write_text("tenants: []\nanonymous:\n  quotas:\n    requests_per_minute: 100000\n")
    try:
        with daemon(QUOTAS__STORAGE_URL=redis.url, TENANTS__FILE=str(tenants)) as running:
            observer = Observer(running)
            await good_client(running)
            redis.kill()
            observer.mark()
            for _ in range(5):
                await good_client(running)
            health = observer.stop()
            assert observer.words == ["serving (200, live 200)"]
            async with httpx.AsyncClient(base_url=running.url) as client:
                metrics = (await client.get("/metrics")).text
            (failures,) = [line for line in metrics.splitlines() if line.startswith("qwend_quota_store_failures_total")]
            assert float(failures.split()[1]) > 0
            table.add("Redis gone", "all served", health, "runs on", "quotas hold for each replica alone")
    finally:
        redis.close()


async def test_a_full_disk_under_the_store(table: Table, tmp_path: Path) -> None:
    """None of the daemon's files may grow beyond some size, which is what a full disk is to a large record."""
    with daemon(RESPONSES_STORE__URL=f"sqlite:///{tmp_path / 'responses.sqlite'}") as running:
        observer = Observer(running)
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
            asked = {"model": MODEL, "input": "Hello!", "max_output_tokens": 4}
            first = await client.post("/v1/responses", json=asked)
            assert first.status_code == 200, first.text
            soft, hard = resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (LARGEST_FILE, hard))
            observer.mark()
            large = random.Random(0).randbytes(LARGEST_FILE).hex()
            refused = await client.post("/v1/responses", json={**asked, "input": large})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable"), refused.text
            await good_client(running)
            resource.prlimit(running.process.pid, resource.RLIMIT_FSIZE, (soft, hard))
            kept = await client.get(f"/v1/responses/{first.json()['id']}")
            again = await client.post("/v1/responses", json=asked)
            assert (kept.status_code, again.status_code) == (200, 200)
        health = observer.stop()
        assert observer.words == ["serving (200, live 200)"]
        table.add("no room on the store's disk", "503 `store_unavailable`; others served", health, "runs on", "nothing")


async def test_a_stopped_daemon_is_not_its_engines_fault(table: Table) -> None:
    """What a machine that sleeps does: the daemon's own clock jumps on by longer than any limit."""
    with daemon(HEALTH__STEP_SECONDS="2", HEALTH__END_STALLED_SECONDS="1") as running:
        seen = Streamed()
        async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
            task = asyncio.create_task(stream(client, long_body(400), seen))
            while not seen.chunks:
                await asyncio.sleep(0.02)
            observer = Observer(running)
            await asyncio.sleep(0.2)
            os.kill(running.process.pid, signal.SIGSTOP)
            observer.mark()
            await asyncio.sleep(5)
            os.kill(running.process.pid, signal.SIGCONT)
            await task
            refused = await client.post("/v1/chat/completions", json=body(max_tokens=1))
        health = observer.stop()
        assert (seen.done, seen.error, refused.status_code) == (True, None, 200)
        assert not [each for each in observer.words if "stalled" in each or "dead" in each]
        table.add(
            "SIGSTOP of the daemon itself for 5 s (as a machine that sleeps)", "a pause", health, "runs on", "nothing"
        )


def open_files(process: int) -> int:
    return len(list(Path(f"/proc/{process}/fd").iterdir()))
