"""The engine's processes killed, stopped and out of memory, at each moment of a real daemon's life."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.engine.process_tree import descendants
from tests.chaos.observer import Observer
from tests.chaos.table import Table
from tests.chat_client import Streamed, body, image_part, long_body, stream
from tests.daemon_process import DaemonProcess

pytestmark = [pytest.mark.engine, pytest.mark.slow]

STREAMS = 4
# From the fault on: a death is seen at once; one that is stopped first has to be silent for so long.
DEATH_SECONDS = 10.0
REST_SECONDS = 3.0
SILENCE = {"QWEND_HEALTH__STEP_SECONDS": "5", "QWEND_HEALTH__END_STALLED_SECONDS": "3"}
SILENCE_SECONDS = 5.0 + 3.0
# Workers begin later.
START_SECONDS = {"core": 25.0, "worker": 60.0}
# Two workers; each needs a core of its own, and vLLM's own choice finds too few on a machine of two.
TWO = {"QWEND_ENGINE__TENSOR_PARALLEL_SIZE": "2", "VLLM_CPU_OMP_THREADS_BIND": "0|1"}
# What an orchestrator's probe waits by default.
HEALTH_SECONDS = 1.0
_PAGE = resource.getpagesize()
LONG_PROMPT = "All that is gold does not glitter. " * 1600


def victim(daemon: DaemonProcess, target: str) -> int:
    """The process id of the engine core, or of the last of its workers."""
    (core,) = daemon.children()
    if target == "core":
        return core
    workers = [each.id for each in descendants([core]) if each.program.startswith(("VLLM::Worker", "VLLM::EngineCor"))]
    return workers[-1]


async def wait_for_process(daemon: DaemonProcess, target: str) -> int:
    """The same, while the daemon starts."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert daemon.process.poll() is None, daemon.log
        try:
            found = victim(daemon, target)
        except (ValueError, IndexError):
            await asyncio.sleep(0.1)
            continue
        await asyncio.sleep(3)  # into its loading
        return found
    raise AssertionError(f"no {target} was started")


def remaining(processes: list[int]) -> list[int]:
    """Those that are still there some seconds later: Python's resource trackers end a moment after who they served."""
    deadline = time.monotonic() + REST_SECONDS
    while left := [each for each in processes if Path(f"/proc/{each}").exists()]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return []


def told(seen: list[Streamed]) -> str:
    kinds = [each.error["code"] if each.error else each.finish_reason or "cut off" for each in seen]
    return ", ".join(f"{kinds.count(kind)} x `{kind}`" for kind in dict.fromkeys(kinds))


def asked(moment: str, number: int) -> dict[str, Any]:
    """A request of one stream; prompts are prefilled one by one and not found in the cache."""
    if moment == "prefill":
        return body(LONG_PROMPT, max_tokens=4, cache_salt=f"stream {number}")
    return long_body(20_000)


@pytest.mark.parametrize("moment", ["start", "prefill", "decode", "drain"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
@pytest.mark.parametrize("target", ["core", "worker"])
async def test_a_process_of_the_engine(target: str, number: signal.Signals, moment: str, table: Table) -> None:
    environment = dict(SILENCE)
    if target == "worker":
        environment |= TWO
    if moment == "start" and number is signal.SIGSTOP:
        environment["QWEND_HEALTH__START_SECONDS"] = str(START_SECONDS[target])
    daemon = DaemonProcess(environment=environment)
    seen = [Streamed() for _ in range(STREAMS)]
    tasks: list[asyncio.Task[None]] = []
    observer = None
    try:
        async with httpx.AsyncClient(base_url=daemon.url, timeout=90) as client:
            if moment == "start":
                process = await wait_for_process(daemon, target)
            else:
                await asyncio.to_thread(daemon.wait_ready)
                process = victim(daemon, target)
                tasks = [asyncio.create_task(stream(client, asked(moment, n), each)) for n, each in enumerate(seen)]
                if moment == "prefill":
                    await asyncio.sleep(0.7)
                while moment != "prefill" and not all(each.chunks for each in seen):
                    await asyncio.sleep(0.02)
            below = [each.id for each in descendants(daemon.children())]
            observer = Observer(daemon)
            await asyncio.sleep(0.3)
            if moment == "drain":
                daemon.terminate()
                await asyncio.sleep(0.3)
            os.kill(process, number)
            observer.mark()
            began = time.monotonic()
            silence = 0.0 if number is signal.SIGKILL else max(SILENCE_SECONDS, START_SECONDS[target])
            code = await asyncio.to_thread(daemon.wait, DEATH_SECONDS + silence)
            ended = time.monotonic() - began
            await asyncio.gather(*tasks)
    finally:
        if daemon.process.poll() is None:
            daemon.stop_hard()
        health = observer.stop() if observer is not None else ""
    assert observer.slowest < HEALTH_SECONDS, f"{health}; the slowest answer took {observer.slowest:.1f} s"
    log, last = daemon.log, daemon.last_line
    assert code == 1, log
    assert "stopped" in last, last
    assert "why=" in last, last
    if number is signal.SIGKILL:
        assert ("was ended by SIGKILL" if target == "core" else "died unexpectedly") in last
    assert not remaining(below), "processes were left"
    if tasks:
        assert [each.error["code"] for each in seen if each.error] == ["engine_dead"] * STREAMS
    where = "all streams" if tasks else "nothing: none was served"
    client_saw = told(seen) if tasks else "503 `starting`"
    cause = last.partition("why=")[2].strip("'\"")
    fault = f"{number.name} of the {target} in {moment}"
    table.add(fault, client_saw, f"{health}; ended after {ended:.1f} s", f"{code}: {cause}", where)


async def test_out_of_memory_in_the_engine(table: Table) -> None:
    daemon = DaemonProcess(environment=SILENCE)
    try:
        await asyncio.to_thread(daemon.wait_ready)
        process = victim(daemon, "core")
        seen = [Streamed()]
        async with httpx.AsyncClient(base_url=daemon.url, timeout=90) as client:
            observer = Observer(daemon)
            await asyncio.sleep(0.3)
            # Less than it has, so that it gets none of what it asks for from now on.
            resource.prlimit(process, resource.RLIMIT_AS, (_PAGE, _PAGE))
            observer.mark()
            began = time.monotonic()
            # What the model keeps for its prompts it has; a large picture's parts it has not.
            await stream(client, body([image_part((9, 9, 9), (1600, 1600))], max_tokens=4, stream=True), seen[0])
            assert seen[0].error is not None
            code = await asyncio.to_thread(daemon.wait, 20)
            ended = time.monotonic() - began
        health = observer.stop()
        log, last = daemon.log, daemon.last_line
        assert code == 1, log
        assert seen[0].error["code"] == "engine_dead"
        table.add(
            "no more memory for the engine core",
            told(seen),
            f"{health}; ended after {ended:.1f} s",
            f"{code}: {last.partition('why=')[2]}",
            "all streams",
        )
    finally:
        if daemon.process.poll() is None:
            daemon.stop_hard()
