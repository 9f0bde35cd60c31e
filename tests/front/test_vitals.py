"""What a daemon says and does whose engine stops, dies, cannot start or is drained: the real daemon over an engine that
does so when it is told to."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.brittle.process import BrittleProcess
from tests.chat_client import Streamed, long_body, metric, stream

PROBE_SECONDS = 0.1
STREAMS = 64


@contextmanager
def daemon(*arguments: str, start: str = "", **settings: str) -> Iterator[BrittleProcess]:
    running = BrittleProcess(*arguments, start=start, settings={f"QWEND_{key}": each for key, each in settings.items()})
    try:
        yield running
    finally:
        running.stop()


@asynccontextmanager
async def streaming(
    running: BrittleProcess, count: int, tokens: int = 100_000
) -> AsyncIterator[tuple[httpx.AsyncClient, list[Streamed], list[asyncio.Task[Any]]]]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.url, timeout=60, limits=limits) as client:
        seen = [Streamed() for _ in range(count)]
        tasks = [asyncio.create_task(stream(client, long_body(tokens), each)) for each in seen]
        while not all(each.chunks for each in seen):
            await asyncio.sleep(0.02)
        yield client, seen, tasks
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(client: httpx.AsyncClient, path: str, wanted: Callable[[httpx.Response], bool]) -> httpx.Response:
    deadline = time.monotonic() + 15
    while True:
        try:
            answer = await client.get(path)
            if wanted(answer):
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < deadline, f"{path} never said so"
        await asyncio.sleep(0.02)


def gone(process: int) -> None:
    """Waits until it is."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{process}").exists():
        assert time.monotonic() < deadline, f"process {process} still runs"
        time.sleep(0.05)


async def pour(port: int) -> None:
    """A stream that is read and not looked at, which costs this side nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = httpx.Request("POST", f"http://127.0.0.1:{port}", json=long_body(100_000, stream=True))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(request.content)}\r\n"
    writer.write(f"{head}content-type: application/json\r\n\r\n".encode() + request.content)
    try:
        while await reader.read(2**20):
            await asyncio.sleep(0.5)
    finally:
        writer.close()


async def test_health_answers_at_once_under_full_load() -> None:
    with daemon() as running:
        running.wait_ready()
        pouring = [asyncio.create_task(pour(running.port)) for _ in range(STREAMS)]
        async with httpx.AsyncClient(base_url=running.url) as prober:
            await until(prober, "/health", lambda answer: answer.json()["in_flight"] == STREAMS)
            took = []
            for _ in range(50):
                began = time.perf_counter()
                answer = await prober.get("/health")
                took.append(time.perf_counter() - began)
                assert (answer.status_code, answer.json()["in_flight"]) == (200, STREAMS)
                await asyncio.sleep(0.02)
        for each in pouring:
            each.cancel()
        await asyncio.gather(*pouring, return_exceptions=True)
        took.sort()
        print(f"/health under {STREAMS} streams: median {took[25] * 1e3:.1f} ms, slowest {took[-1] * 1e3:.1f} ms of 50")
        # The client shares the machine's cores with the daemon, so the slowest may be its own.
        assert took[-3] < PROBE_SECONDS


@pytest.mark.parametrize("admission", ["true", "false"])
async def test_the_metrics_say_what_the_probes_say(admission: str) -> None:
    settings = {"HEALTH__STEP_SECONDS": "1.5", "HEALTH__END_STALLED_SECONDS": "0", "ADMISSION__ENABLED": admission}
    with daemon(**settings) as running:
        running.wait_ready()
        async with streaming(running, 2) as (client, _, _):
            assert (await metric(client, "qwend_engine_heartbeat_age_seconds")) < 1.5
            running.stop_or_go_on()
            await until(client, "/health/ready", lambda answer: answer.json()["status"] == "stalled")
            assert (await metric(client, "qwend_engine_heartbeat_age_seconds")) >= 1.5
            text = (await client.get("/metrics")).text
            states = dict(re.findall(r'^qwend_state{state="(\w+)"} (\S+)$', text, re.MULTILINE))
            assert [state for state, on in states.items() if float(on)] == ["stalled"]


async def test_a_stalled_engine_is_told_shut_off_and_taken_back() -> None:
    with daemon(HEALTH__STEP_SECONDS="1.5", HEALTH__END_STALLED_SECONDS="0") as running:
        running.wait_ready()
        async with streaming(running, 4) as (client, seen, _):
            running.stop_or_go_on()
            stopped = time.monotonic()
            live = await until(client, "/health/live", lambda answer: answer.status_code == 503)
            print(f"stalled was told {time.monotonic() - stopped:.1f} s after the last step")
            assert 1.0 < time.monotonic() - stopped < 4.0
            assert live.json()["status"] == "stalled"
            assert "made no step for" in live.json()["reason"]
            ready = await client.get("/health/ready")
            assert (ready.status_code, ready.json()["status"]) == (503, "stalled")
            refused = await client.post("/v1/chat/completions", json=long_body(1))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_stalled")
            assert int(refused.headers["retry-after"]) > 0
            before = len(seen[0].chunks)
            running.stop_or_go_on()
            await until(client, "/health/ready", lambda answer: answer.status_code == 200)
            while len(seen[0].chunks) == before:
                await asyncio.sleep(0.02)
            assert seen[0].error is None


async def test_an_engine_that_stays_stalled_ends_the_daemon_with_its_streams() -> None:
    with daemon(HEALTH__STEP_SECONDS="1", HEALTH__END_STALLED_SECONDS="1") as running:
        running.wait_ready()
        async with streaming(running, 4) as (_, seen, tasks):
            running.stop_or_go_on()
            await asyncio.wait_for(asyncio.gather(*tasks), 10)
            assert [each.error["code"] for each in seen if each.error] == ["engine_dead"] * 4
        assert running.wait(10) == 1
        assert "stopped exit_code=1" in running.last_line
        assert "made no step for" in running.last_line


async def test_an_idle_engine_that_hangs_is_found_by_the_canary() -> None:
    settings = {"HEALTH__STEP_SECONDS": "1", "HEALTH__CANARY_SECONDS": "1", "HEALTH__END_STALLED_SECONDS": "0"}
    with daemon(**settings) as running:
        running.wait_ready()
        async with httpx.AsyncClient(base_url=running.url) as client:
            running.stop_or_go_on()
            await until(client, "/health/ready", lambda answer: answer.json()["status"] == "stalled")
            running.stop_or_go_on()
            await until(client, "/health/ready", lambda answer: answer.status_code == 200)


async def test_a_death_ends_streams_and_the_process_with_its_cause() -> None:
    with daemon() as running:
        running.wait_ready()
        async with streaming(running, 16) as (_, seen, tasks):
            running.die()
            died = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert [each.error["code"] for each in seen if each.error] == ["engine_dead"] * 16
        assert not any(each.done for each in seen)
        assert running.wait(10) == 1
        print(f"16 streams and the process ended {time.monotonic() - died:.1f} s after the death")
        assert time.monotonic() - died < 10
        assert "why='it was told to'" in running.last_line


@pytest.mark.parametrize(
    ("start", "settings", "says"),
    [
        ("fail", {}, "RuntimeError: it was told not to start"),
        ("hang", {"HEALTH__START_SECONDS": "1"}, "the start is not over after 1 s"),
        ("", {"ENGINE__KV_CACHE_MEMORY_BYTES": str(2**50)}, "engine.kv_cache_memory_bytes takes less"),
    ],
)
def test_a_start_that_cannot_succeed_says_why_in_the_last_line(start: str, settings: dict[str, str], says: str) -> None:
    with daemon(start=start, **settings) as running:
        assert running.wait(20) == 1
        assert says in running.last_line


async def test_a_drain_reports_what_became_of_whom() -> None:
    with daemon(SERVER__DRAIN_SECONDS="3") as running:
        running.wait_ready()
        async with streaming(running, 2) as (client, seen, tasks):
            short = Streamed()
            finishing = asyncio.create_task(stream(client, long_body(60), short))
            while not short.chunks:
                await asyncio.sleep(0.02)
            async with httpx.AsyncClient(base_url=running.admin_url) as admin:
                told = (await admin.post("/admin/drain")).json()
                assert (told["status"], told["running"]) == ("draining", 3)
                refused = await client.post("/v1/chat/completions", json=long_body(1))
                assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
                assert int(refused.headers["retry-after"]) > 0
                ready = await client.get("/health/ready")
                assert (ready.status_code, ready.json()["status"]) == (503, "draining")
                assert "are left for what runs" in ready.json()["reason"]
                assert (await client.get("/health/live")).status_code == 200
                await finishing
                told = (await admin.post("/admin/drain")).json()
                assert (told["finished"], told["refused"], told["ended_early"]) == (1, 1, 0)
            await asyncio.gather(*tasks)
        assert (short.done, short.error) == (True, None)
        assert [each.error["code"] for each in seen if each.error] == ["shutting_down"] * 2
        assert running.wait(20) == 0
        (report,) = re.findall(r"drained .*", running.log)
        for each in ("running=3", "finished=1", "ended_early=2", "left=0", "refused=1"):
            assert each in report


async def test_a_lame_duck_takes_requests_that_come_while_nobody_should_send_them() -> None:
    with daemon(SERVER__LAME_DUCK_SECONDS="2", SERVER__DRAIN_SECONDS="30") as running:
        running.wait_ready()
        async with streaming(running, 1, tokens=500) as (client, seen, tasks):
            before = await client.post("/v1/chat/completions", json=long_body(1))
            assert "connection" not in before.headers
            told = time.monotonic()
            running.terminate()
            ready = await until(client, "/health/ready", lambda answer: answer.status_code == 503)
            assert time.monotonic() - told < 1
            assert ready.json()["status"] == "draining"
            assert "it takes requests for" in ready.json()["reason"]
            async with httpx.AsyncClient(base_url=running.admin_url) as admin:
                assert (await admin.post("/admin/drain")).json()["status"] == "draining", "and begins nothing anew"
            taken = await client.post("/v1/chat/completions", json=long_body(1))
            assert taken.status_code == 200
            assert taken.headers["connection"] == "close", "who keeps its connection would come back to us"
            while taken.status_code == 200:
                taken = await client.post("/v1/chat/completions", json=long_body(1))
            assert (taken.status_code, taken.json()["error"]["code"]) == (503, "shutting_down")
            assert 2 <= time.monotonic() - told < 5
            await asyncio.gather(*tasks)
        assert (seen[0].done, seen[0].error, seen[0].finish_reason) == (True, None, "length")
        assert running.wait(20) == 0


async def test_a_second_signal_ends_a_lame_duck_at_once() -> None:
    with daemon(SERVER__LAME_DUCK_SECONDS="60") as running:
        running.wait_ready()
        running.terminate()
        async with httpx.AsyncClient(base_url=running.url) as client:
            await until(client, "/health/ready", lambda answer: answer.status_code == 503)
        running.terminate()
        assert running.wait(10) == 128 + signal.SIGTERM


async def test_a_death_in_a_drain_is_a_death() -> None:
    with daemon() as running:
        running.wait_ready()
        async with streaming(running, 2) as (_, seen, tasks):
            running.terminate()
            await asyncio.sleep(0.3)
            running.die()
            await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert [each.error["code"] for each in seen if each.error] == ["engine_dead"] * 2
        assert running.wait(10) == 1
        assert "why='it was told to'" in running.last_line


async def test_a_second_signal_ends_at_once() -> None:
    with daemon() as running:
        running.wait_ready()
        async with streaming(running, 2):
            running.terminate()
            await asyncio.sleep(0.3)
            assert running.process.poll() is None
            running.terminate()
            assert await asyncio.to_thread(running.wait, 3) == 128 + signal.SIGTERM


async def test_a_supervisor_keeps_the_port_and_starts_anew() -> None:
    with daemon("--supervise", SUPERVISE__BACKOFF_SECONDS="2") as running:
        running.wait_ready()
        (first,) = running.children()
        async with streaming(running, 4) as (client, seen, tasks):
            running.die(first)
            await asyncio.gather(*tasks)
            assert [each.error["code"] for each in seen if each.error] == ["engine_dead"] * 4
            ready = await until(client, "/health/ready", lambda answer: answer.json()["status"] == "restarting")
            assert "exit code 1" in ready.json()["reason"]
            refused = await client.post("/v1/chat/completions", json=long_body(1))
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "restarting")
            assert int(refused.headers["retry-after"]) > 0
            ready = await until(client, "/health/ready", lambda answer: answer.status_code == 200)
            assert ready.json()["restarts"] == 1
            assert (await client.post("/v1/chat/completions", json=long_body(2))).status_code == 200
        (second,) = running.children()
        assert second != first
        # Its daemon goes with it, even where it had no time to say so.
        os.kill(running.process.pid, signal.SIGKILL)
        await asyncio.to_thread(gone, second)


def test_quick_deaths_end_the_supervisor() -> None:
    settings = {"SUPERVISE__BACKOFF_SECONDS": "0.1", "SUPERVISE__QUICK_DEATHS": "2"}
    with daemon("--supervise", start="fail-again", **settings) as running:
        running.wait_ready()
        (daemon_process,) = running.children()
        running.die(daemon_process)
        assert running.wait(20) == 1
        assert "the last of 2 quick deaths in a row" in running.last_line


def test_what_never_served_is_not_started_anew() -> None:
    with daemon("--supervise", start="fail") as running:
        assert running.wait(20) == 1
        assert "it had never been ready" in running.last_line
