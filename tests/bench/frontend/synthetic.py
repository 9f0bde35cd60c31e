"""The daemon over a synthetic engine: what it carries on one core, and what a connection costs in memory."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.bench.frontend.load_client import Load
from tests.bench.frontend.processes import cpu_seconds, drive, resident_bytes
from tests.bench.frontend.side_by_side import body
from tests.ports import free_port

# (streams, seconds of a step): some 6,000, 20,000 and more tokens a second than it can carry.
LOADS = ((256, 0.04), (512, 0.023), (1024, 0.025))
SECONDS = 20.0
IDLE, OPEN = 2000, 1000


@contextmanager
def serving(
    step_seconds: float, core: int | None = 0, environment: dict[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Port and process of a daemon, on one core if one is given."""
    port = free_port()
    cores = [] if core is None else [str(core)]
    command = [sys.executable, "-m", "tests.bench.frontend.synthetic_server", str(port), str(step_seconds), *cores]
    variables = {**os.environ, **(environment or {})}
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=variables) as process,
    ):
        try:
            deadline = time.monotonic() + 60
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise RuntimeError(f"the daemon did not start:\n{log.read()[-2000:].decode()}")
                time.sleep(0.1)
            yield port, process.pid
        finally:
            process.kill()


def carried() -> Iterator[dict[str, Any]]:
    """One row for each load: tokens a second that came, CPU for each, gaps beside the step."""
    client_core = (os.cpu_count() or 1) - 1
    for streams, step_seconds in LOADS:
        with serving(step_seconds) as (port, process):
            # Admission lets a new engine have more sequences second by second.
            for _ in range(7):
                drive(Load(port, streams, 2 * streams, body(int(0.6 / step_seconds), streamed=True)), client_core)
            before = cpu_seconds(process)
            load = Load(port, streams, streams, body(int(SECONDS / step_seconds), streamed=True))
            result = drive(load, client_core)
            used = cpu_seconds(process) - before
        if result.failures:
            raise RuntimeError(f"refused: {result.failures[0]}")
        yield {
            "streams": streams,
            "step_ms": step_seconds * 1e3,
            "offered_per_second": streams / step_seconds,
            "tokens_per_second": result.tokens / result.wall,
            "us_per_token": used / result.tokens * 1e6,
            "cores": used / result.wall,
            "tokens_per_frame": result.tokens / result.frames,
            "itl_p50_ms": result.itl["p50"] * 1e3,
            "itl_p99_ms": result.itl["p99"] * 1e3,
            "client_cores": result.client_cpu / result.wall,
        }


def memory() -> dict[str, float]:
    """Kilobytes of the daemon for each idle connection and each open stream, and what stays after they have gone.

    A process each, since memory that one has given back to the allocator would serve the other.
    """
    idle, *idle_after = _growth(idle=True)
    streams, *streams_after = _growth(idle=False)
    return {
        "idle_connections": IDLE,
        "kb_per_idle_connection": idle / IDLE / 1000,
        "mb_left": idle_after[0] / 1e6,
        "mb_left_third_time": idle_after[-1] / 1e6,
        "open_streams": OPEN,
        "kb_per_open_stream": streams / OPEN / 1000,
        "mb_left_streams": streams_after[0] / 1e6,
        "mb_left_third_time_streams": streams_after[-1] / 1e6,
    }


def _growth(*, idle: bool) -> list[int]:
    """Bytes more than before, while they are there and after they have gone, the first time and the third."""
    # An engine that is new is given few requests at once, and a thousand that come together are not all let in.
    with serving(0.05, None, {"QWEND_ADMISSION__ENABLED": "false"}) as (port, process):
        # Work as usual before and after, so that the garbage collector has come round both times.
        drive(Load(port, 64, 2000, body(4, streamed=True)))
        time.sleep(3.0)
        base = resident_bytes(process)
        found = []
        for _ in range(3):
            found.append(asyncio.run(_hold_idle(port, process) if idle else _hold_streams(port, process)) - base)
            time.sleep(3.0)
            drive(Load(port, 64, 2000, body(4, streamed=True)))
            time.sleep(3.0)
            found.append(resident_bytes(process) - base)
        return [found[0], found[1], found[5]]


async def _hold_idle(port: int, process: int) -> int:
    """The daemon's memory with idle connections, each of which has been used once."""
    connections = [await _sent(port, b"GET /health HTTP/1.1\r\nhost: bench\r\n\r\n") for _ in range(IDLE)]
    for reader, _ in connections:
        await reader.readuntil(b"\r\n\r\n")
    held = resident_bytes(process)
    _close(connections)
    return held


async def _hold_streams(port: int, process: int) -> int:
    """The daemon's memory while all streams get their tokens."""
    chat = json.dumps({**body(2000, streamed=True), "messages": [{"role": "user", "content": "Hello"}]})
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
    request = f"{head}content-length: {len(chat)}\r\n\r\n{chat}".encode()
    streams = [await _sent(port, request) for _ in range(OPEN)]
    began: list[bool] = []
    reading = [asyncio.create_task(_read(reader, began)) for reader, _ in streams]
    while len(began) < OPEN:
        await asyncio.sleep(0.5)
        for task in reading:
            if task.done():
                task.result()
    await asyncio.sleep(5.0)
    held = resident_bytes(process)
    for task in reading:
        task.cancel()
    _close(streams)
    return held


async def _sent(port: int, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    return reader, writer


async def _read(reader: asyncio.StreamReader, began: list[bool]) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"refused: {head.decode()}")
    began.append(True)
    while await reader.read(65536):
        pass


def _close(connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> None:
    for _, writer in connections:
        writer.transport.abort()


def _ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
