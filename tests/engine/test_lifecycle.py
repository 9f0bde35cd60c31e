"""How a daemon starts, drains and dies. Each test has a daemon of its own, since it ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chat_client import Streamed, body, long_body, stream
from tests.daemon_process import DaemonProcess

pytestmark = pytest.mark.engine


@pytest.fixture
def mortal() -> Iterator[DaemonProcess]:
    running = DaemonProcess(environment={"QWEND_SERVER__DRAIN_SECONDS": "60"})
    try:
        yield running
    finally:
        running.stop()


async def streams_under_way(client: httpx.AsyncClient, count: int, tokens: int) -> list[tuple[Streamed, asyncio.Task]]:
    """`count` streams, each of which has sent some tokens."""
    running = []
    for _ in range(count):
        seen = Streamed()
        running.append((seen, asyncio.create_task(stream(client, long_body(tokens), seen))))
    while not all(len(seen.chunks) > 3 for seen, _ in running):
        await asyncio.sleep(0.02)
    return running


async def test_start_probes_then_kill_the_engine_under_load(mortal: DaemonProcess) -> None:
    async with httpx.AsyncClient(base_url=mortal.url, timeout=60) as client:
        while True:  # the port is open long before the engine is there
            try:
                early = await client.get("/health/ready")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.05)
        assert (early.status_code, early.json()["status"]) == (503, "starting")
        assert early.json()["phase"] in ("configuration", "engine process")
        assert (await client.get("/health/live")).status_code == 200
        refused = await client.post("/v1/chat/completions", json=body())
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "starting")
        assert int(refused.headers["retry-after"]) > 0

        await asyncio.to_thread(mortal.wait_ready)
        for phase in ("configuration", "engine process", "weights", "warm-up"):
            assert phase in mortal.log

        running = await streams_under_way(client, 8, 20_000)
        whole = asyncio.create_task(client.post("/v1/chat/completions", json=long_body(20_000)))
        await asyncio.sleep(0.3)
        (engine_core,) = mortal.children()
        killed = time.monotonic()
        os.kill(engine_core, signal.SIGKILL)
        await asyncio.gather(*(task for _, task in running))
        print(f"streams ended {time.monotonic() - killed:.1f} s after the kill")
        for seen, _ in running:
            assert seen.error is not None
            assert (seen.error["code"], seen.done, seen.finish_reason) == ("engine_dead", False, None)
        answer = await whole
        assert (answer.status_code, answer.json()["error"]["code"]) == (500, "engine_dead")
        code = await asyncio.to_thread(mortal.wait, 10)
        print(f"the daemon exited with {code} {time.monotonic() - killed:.1f} s after the kill")
        assert code == 1
        assert time.monotonic() - killed < 10
        assert "the engine process died" in mortal.log


async def test_sigterm_under_load_finishes_what_runs_and_refuses_what_comes(mortal: DaemonProcess) -> None:
    await asyncio.to_thread(mortal.wait_ready)
    async with httpx.AsyncClient(base_url=mortal.url, timeout=60) as client:
        running = await streams_under_way(client, 8, 600)
        mortal.terminate()
        refused = None
        while refused is None or refused.status_code == 200:
            refused = await client.post("/v1/chat/completions", json=body(max_tokens=1))
        assert not all(task.done() for _, task in running), "the streams were over before the refusal was seen"
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) > 0
        ready = await client.get("/health/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await client.get("/health/live")).status_code == 200
        await asyncio.gather(*(task for _, task in running))
        for seen, _ in running:
            assert (seen.done, seen.error, seen.finish_reason) == (True, None, "length")
    assert await asyncio.to_thread(mortal.wait, 30) == 0


async def test_streams_over_the_drain_limit_are_ended_with_an_event() -> None:
    short = DaemonProcess(environment={"QWEND_SERVER__DRAIN_SECONDS": "1"})
    try:
        await asyncio.to_thread(short.wait_ready)
        async with httpx.AsyncClient(base_url=short.url, timeout=60) as client:
            running = await streams_under_way(client, 2, 20_000)
            short.terminate()
            await asyncio.gather(*(task for _, task in running))
        for seen, _ in running:
            assert seen.error is not None
            assert (seen.error["code"], seen.done) == ("shutting_down", False)
        assert await asyncio.to_thread(short.wait, 30) == 0
    finally:
        short.stop()


def test_sigterm_while_starting_ends_at_once() -> None:
    starting = DaemonProcess()
    try:
        while "start" not in starting.log:  # configuration done: the engine's process is being started
            assert starting.process.poll() is None, starting.log
            time.sleep(0.1)
        began = time.monotonic()
        starting.terminate()
        assert starting.wait(10) == 0
        assert time.monotonic() - began < 5
    finally:
        starting.stop()


def test_a_killed_daemon_leaves_no_engine_behind() -> None:
    starting = DaemonProcess()
    try:
        while not starting.children():
            assert starting.process.poll() is None, starting.log
            time.sleep(0.1)
        children = [Path(f"/proc/{child}") for child in starting.children()]
        starting.process.kill()
        deadline = time.monotonic() + 10
        while any(child.exists() for child in children) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(child.exists() for child in children)
    finally:
        starting.stop()


def test_a_taken_port_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        daemon = DaemonProcess(port=taken.getsockname()[1])
        assert daemon.wait(90) == 2
        assert "cannot listen" in daemon.log


def test_a_taken_admin_port_is_told_like_a_taken_public_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        daemon = DaemonProcess(admin_port=taken.getsockname()[1])
        assert daemon.wait(90) == 2
        assert "cannot listen" in daemon.log
        assert "which=admin" in daemon.log


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--profile", "no-such"], 2, "there is no profile 'no-such'. There are: generic, "),
        (["--port", "99999"], 2, "server.port"),
        (["--tenants", "/no/such/tenants.yaml"], 2, "/no/such/tenants.yaml: No such file"),
        (["--model", "/no/such/checkpoint"], 1, "/no/such/checkpoint"),
    ],
)
def test_a_start_that_cannot_succeed_says_why(arguments: list[str], code: int, says: str) -> None:
    daemon = DaemonProcess(*arguments, environment={"HF_HUB_OFFLINE": "1"})
    try:
        assert daemon.wait(90) == code
        assert says in daemon.log
    finally:
        daemon.stop()
