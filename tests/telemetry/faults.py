"""Five faults as they are planted in a real daemon, and by what each of them is to be known."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from tests.chat_client import Streamed, body, long_body, stream
from tests.daemon_process import DaemonProcess
from tests.ports import free_port
from tests.unit.media.loopback_server import loopback

CALM, FLOOD = "sk-calm-0123456789abcdef", "sk-flood-0123456789abcdef"
TENANTS = f"""
tenants:
  - {{name: calm, keys: [{CALM}], max_class: interactive}}
  - {{name: flood, keys: [{FLOOD}], class: interactive, max_class: interactive, ttft_seconds: 5}}
"""
MEDIA_SECONDS = 4.0
LONG_PROMPT = "All that is gold does not glitter. " * 450
# What other users do all the while, in requests a second.
CALM_RATE = 2.0
FLOOD_RATE = 40.0


class Scene:
    """A daemon with its users: one who is calm all the time, and whoever makes the fault."""

    def __init__(self, environment: dict[str, str], module: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="qwend-fault-")
        tenants = Path(self._folder.name) / "tenants.yaml"
        tenants.write_text(TENANTS)
        self.daemon = DaemonProcess(
            *("--tenants", str(tenants), "--log-format", "json"), environment=environment, module=module
        )
        self._limits = httpx.Limits(max_connections=1000)
        self.tasks: set[asyncio.Task[Any]] = set()

    def client(self, key: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.daemon.url,
            timeout=60,
            limits=self._limits,
            headers={"authorization": f"Bearer {key}"},
        )

    def start(self, work: Awaitable[Any]) -> None:
        """Lets `work` run; a daemon that dies under it is no failure."""

        async def run() -> None:
            with contextlib.suppress(httpx.HTTPError):
                await work

        task = asyncio.create_task(run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def ask_steadily(self, client: httpx.AsyncClient, rate: float, request: Callable[[], dict[str, Any]]) -> None:
        """So many requests a second, whatever becomes of them."""
        while True:
            self.start(client.post("/v1/chat/completions", json=request()))
            await asyncio.sleep(1 / rate)

    async def stop(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.daemon.process.poll() is None:
            await asyncio.to_thread(self.daemon.stop_hard)
        self.daemon.stop()
        self._folder.cleanup()


Plant = Callable[[Scene], contextlib.AbstractAsyncContextManager[None]]
"""Begins a fault when it is entered."""


@dataclass(frozen=True)
class Fault:
    """A fault, how long it is watched (in seconds), and by what it is known: an alert, readiness, and an event of the
    log. `then` are alerts that follow where it ends in another fault.
    """

    alert: str
    plant: Plant
    seconds: int
    status: int
    condition: str
    reason: str
    event: str
    then: frozenset[str] = frozenset()
    environment: dict[str, str] = field(default_factory=dict)
    module: str = "server.cli"


def _signal_to_the_engine(number: signal.Signals) -> Plant:
    @contextlib.asynccontextmanager
    async def plant(scene: Scene) -> AsyncIterator[None]:
        async with scene.client(CALM) as client:
            streams = [Streamed() for _ in range(4)]
            for each in streams:
                scene.start(stream(client, long_body(20_000), each))
            while not all(each.chunks for each in streams):
                await asyncio.sleep(0.05)
            (core,) = scene.daemon.children()
            os.kill(core, number)
            yield

    return plant


@contextlib.asynccontextmanager
async def _flood(scene: Scene) -> AsyncIterator[None]:
    async with scene.client(FLOOD) as client:
        scene.start(scene.ask_steadily(client, FLOOD_RATE, lambda: long_body(256)))
        yield


@contextlib.asynccontextmanager
async def _slow_host(scene: Scene) -> AsyncIterator[None]:
    picture = io.BytesIO()
    Image.new("RGB", (64, 64), (255, 0, 0)).save(picture, "PNG")
    head = f"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: {len(picture.getvalue())}\r\n\r\n".encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(MEDIA_SECONDS)
        writer.write(head + picture.getvalue())

    async with loopback(port=MEDIA_PORT) as server, scene.client(CALM) as client:
        server.answers["/red.png"] = answer
        part = {"type": "image_url", "image_url": {"url": f"http://localhost:{MEDIA_PORT}/red.png"}}
        content = [part, {"type": "text", "text": "What color is this image?"}]
        scene.start(scene.ask_steadily(client, 1.0, lambda: body(content, max_tokens=8, enable_thinking=False)))
        yield


@contextlib.asynccontextmanager
async def _long_contexts(scene: Scene) -> AsyncIterator[None]:
    """More long conversations at a time than the cache holds, each asked again when it has been answered."""

    async def converse(client: httpx.AsyncClient, number: int) -> None:
        while True:
            asked = body(f"{number} {LONG_PROMPT}", max_tokens=400, ignore_eos=True, cache_salt=f"{number}")
            if (await client.post("/v1/chat/completions", json=asked)).status_code != 200:
                await asyncio.sleep(10)

    async with scene.client(CALM) as client:
        for number in range(CONVERSATIONS):
            scene.start(converse(client, number))
        yield


MEDIA_PORT = free_port()
CONVERSATIONS = 8

FAULTS: dict[str, Fault] = {
    "engine_stalled": Fault(
        alert="QwendEngineStalled",
        plant=_signal_to_the_engine(signal.SIGSTOP),
        # With the defaults it counts as stalled after 60 s, and the daemon gives it up after 60 more.
        seconds=190,
        status=503,
        condition="stalled",
        reason=r"the engine has work and has made no step for \d+ s",
        event="the engine is stalled",
        then=frozenset({"QwendEngineDead"}),
    ),
    "engine_dead": Fault(
        alert="QwendEngineDead",
        plant=_signal_to_the_engine(signal.SIGKILL),
        seconds=150,
        status=503,
        condition="dead",
        reason="the engine has died|was ended by SIGKILL",
        event="the engine process died",
    ),
    "tenant_floods": Fault(
        alert="QwendTenantFloods",
        plant=_flood,
        seconds=180,
        status=200,
        condition="serving",
        reason=r"[\d.]+ requests a second are refused, one tenant's",
        event="requests are refused for overload",
    ),
    "media_slow": Fault(
        alert="QwendMediaSlow",
        plant=_slow_host,
        seconds=120,
        status=200,
        condition="serving",
        reason=r"\d+ of the last \d+ images and videos from addresses took over 2 s",
        event="media come slowly from addresses",
        environment={
            "QWEND_MEDIA__FETCH": "hosts",
            "QWEND_MEDIA__FETCH_HOSTS": '["localhost"]',
            "QWEND_MEDIA__FETCH_PORTS": f"[{MEDIA_PORT}]",
        },
        module="tests.telemetry.loopback_cli",
    ),
    "kv_cache_full": Fault(
        alert="QwendKvCacheFull",
        plant=_long_contexts,
        seconds=150,
        status=200,
        condition="serving",
        reason=r"the KV cache is \d+% full and \d+ requests wait for room",
        event="the KV cache is full",
        environment={
            "QWEND_MODEL__MAX_MODEL_LEN": "8192",
            "QWEND_ENGINE__KV_CACHE_MEMORY_BYTES": str(16 * 2**20),
        },
    ),
}
