"""Mixed load for a given time; at its end nothing may be more than after the warm-up.

python -m tests.soak --seconds 600

Ends with 1 where an answer was not the planned one, or where memory, open files, tasks of the event loop, threads or
sequences in the engine have grown. Bad input and cancels are planned; every other failure is not.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.chat_client import WEATHER, body, image_part, metric
from tests.daemon_process import MODEL, DaemonProcess
from tests.messages_client import body as message_body
from tests.responses_client import body as response_body

CLIENTS = 8
SAMPLE_SECONDS = 5.0
# Of the whole time: caches fill, and the allocator takes what it keeps.
WARM_UP = 0.3
SETTLE_SECONDS = 8.0
# Growth of resident memory that is noise of the allocator: MiB from after the warm-up to the end, each idle.
MEMORY_MIB = 24.0
# What is kept on purpose must be full before the warm-up ends: processed images, some 60 kB each.
SMALL_CACHE = {"QWEND_ENGINE__MM_PROCESSOR_CACHE_GB": "0.005"}
FILES, TASKS, THREADS = 3, 2, 2

SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "city",
        "schema": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]},
    },
}


@dataclass(frozen=True)
class Sample:
    moment: float
    memory: float
    files: int
    threads: int
    tasks: float
    inside: float
    sequences: float

    def __str__(self) -> str:
        return (
            f"{self.memory:.1f} MiB, {self.files} files, {self.threads} threads, {self.tasks:.0f} tasks, "
            f"{self.inside:.0f} requests inside, {self.sequences:.0f} sequences"
        )


def kinds(random_: random.Random) -> list[tuple[str, str, dict[str, Any], tuple[int, ...]]]:
    """Name, path, body and the planned statuses of each kind of request."""
    chat, raw, messages = "/v1/chat/completions", "/v1/completions", "/v1/messages"
    responses = "/v1/responses"
    text = f"Tell me about number {random_.randrange(10**6)}."
    color = (random_.randrange(256), random_.randrange(256), random_.randrange(256))
    good, bad = (200,), (400, 422)
    return [
        ("chat", chat, body(text, max_tokens=40), good),
        ("chat stream", chat, body(text, max_tokens=80, stream=True), good),
        ("tools", chat, body(text, max_tokens=60, stream=True, tools=[WEATHER]), good),
        ("image", chat, body([image_part(color), {"type": "text", "text": text}], max_tokens=20), good),
        ("schema", chat, body(text, max_tokens=60, response_format=SCHEMA), good),
        ("completion", raw, {"model": MODEL, "prompt": text, "max_tokens": 30, "n": 2}, good),
        ("completion stream", raw, {"model": MODEL, "prompt": text, "max_tokens": 30, "stream": True}, good),
        ("message", messages, message_body(text, max_tokens=40), good),
        ("message stream", messages, message_body(text, max_tokens=60, stream=True), good),
        ("response", responses, response_body(text, max_output_tokens=40, store=True), good),
        ("response stream", responses, response_body(text, max_output_tokens=60, stream=True, store=True), good),
        ("bad type", chat, body(text, max_tokens="many"), bad),
        ("bad schema", chat, body(text, response_format={"type": "json_schema", "json_schema": {"name": 1}}), bad),
        ("bad image", chat, body([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]), bad),
        ("bad token", raw, {"model": MODEL, "prompt": [10**9], "max_tokens": 3}, bad),
    ]


async def client(url: str, seed: int, until: float, counts: collections.Counter[str], wrong: list[str]) -> None:
    random_ = random.Random(seed)
    async with httpx.AsyncClient(base_url=url, timeout=120) as http:
        while time.monotonic() < until:
            name, path, request, planned = random_.choice(kinds(random_))
            cancel = random_.random() < 0.2 and 200 in planned
            counts["cancelled" if cancel else name] += 1
            try:
                async with asyncio.timeout(random_.uniform(0.01, 0.4) if cancel else 110):
                    async with http.stream("POST", path, json=request) as answer:
                        read = await answer.aread()
                if answer.status_code not in planned or (answer.status_code == 200 and b'"error":{' in read):
                    wrong.append(f"{name}: {answer.status_code} {read[-300:]!r}")
            except TimeoutError:
                if not cancel:
                    wrong.append(f"{name}: no answer in 110 s")
            except httpx.HTTPError as error:
                wrong.append(f"{name}: {type(error).__name__}: {error}")


async def sample(daemon: DaemonProcess, began: float) -> Sample:
    folder = Path(f"/proc/{daemon.process.pid}")
    status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
    async with httpx.AsyncClient(base_url=daemon.url, timeout=30) as http:
        running = await metric(http, "vllm:num_requests_running") + await metric(http, "vllm:num_requests_waiting")
        return Sample(
            time.monotonic() - began,
            int(status["VmRSS"].split()[0]) / 1024,
            len(list((folder / "fd").iterdir())),
            int(status["Threads"]),
            await metric(http, "qwend_event_loop_tasks"),
            await metric(http, "qwend_requests_in_flight"),
            running,
        )


async def load(daemon: DaemonProcess, seconds: float, seed: int, began: float, wrong: list[str]) -> list[Sample]:
    """Runs the load, then waits until all is quiet; samples of the while, the last one quiet."""
    counts: collections.Counter[str] = collections.Counter()
    until = time.monotonic() + seconds
    tasks = [asyncio.create_task(client(daemon.url, seed + n, until, counts, wrong)) for n in range(CLIENTS)]
    samples = []
    while time.monotonic() < until:
        await asyncio.sleep(min(SAMPLE_SECONDS, max(0.0, until - time.monotonic())))
        samples.append(await sample(daemon, began))
    await asyncio.gather(*tasks)
    await asyncio.sleep(SETTLE_SECONDS)
    print(f"{sum(counts.values())} requests: {dict(counts.most_common())}", flush=True)
    return [*samples, await sample(daemon, began)]


def slope(samples: list[Sample], name: str) -> float:
    """Least squares, per hour."""
    moments = [each.moment / 3600 for each in samples]
    return float(np.polyfit(moments, [getattr(each, name) for each in samples], 1)[0])


def grown(before: Sample, after: Sample) -> list[str]:
    bounds = {"memory": MEMORY_MIB, "files": FILES, "tasks": TASKS, "threads": THREADS}
    found = [name for name, most in bounds.items() if getattr(after, name) - getattr(before, name) > most]
    return found + [name for name in ("inside", "sequences") if getattr(after, name) != 0]


async def soak(daemon: DaemonProcess, seconds: float) -> int:
    began, wrong = time.monotonic(), list[str]()
    before = (await load(daemon, seconds * WARM_UP, 0, began, wrong))[-1]
    print(f"after warm-up: {before}", flush=True)
    samples = await load(daemon, seconds * (1 - WARM_UP), 100, began, wrong)
    after = samples[-1]
    print(f"at the end:    {after}")
    if len(samples) > 2:
        for name, unit in (("memory", "MiB"), ("files", "files"), ("tasks", "tasks"), ("threads", "threads")):
            print(f"slope of {name} under load: {slope(samples[:-1], name):+.1f} {unit} an hour")
    print(f"answers that were not planned: {len(wrong)}", *wrong[:10], sep="\n  ")
    found = grown(before, after)
    print(f"grown: {', '.join(found) or 'nothing'}")
    return 1 if wrong or found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    seconds = parser.parse_args().seconds
    daemon = DaemonProcess(environment=SMALL_CACHE)
    try:
        daemon.wait_ready()
        return asyncio.run(soak(daemon, seconds))
    finally:
        daemon.stop()


if __name__ == "__main__":
    sys.exit(main())
