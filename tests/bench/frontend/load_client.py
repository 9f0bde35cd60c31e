"""Closed-loop load from a process of its own: a fixed number of streams, each sending its next request at once.

Hand-written on asyncio protocols, since a client that parses what it reads costs more than the server that is measured.
Reads a `Load` as JSON on its standard input and prints a `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from array import array
from dataclasses import asdict, dataclass, field
from typing import Any

_TOKENS = re.compile(rb'"completion_tokens":\s*(\d+)')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_TAIL = 4096


@dataclass
class Load:
    """`requests` in all over `streams` connections. `body` is a chat request without messages.

    With `until_told` there is no end of requests: it goes on until the standard input is closed. The first second is
    then not counted, in which all streams begin.
    """

    port: int
    streams: int
    requests: int
    body: dict[str, Any]
    path: str = "/v1/chat/completions"
    until_told: bool = False


@dataclass
class Result:
    """Seconds, but for counts. TTFT is from sending to the first token, ITL between reads that brought tokens."""

    tokens: int = 0
    frames: int = 0
    wall: float = 0.0
    client_cpu: float = 0.0
    ttft: dict[str, float] = field(default_factory=dict)
    itl: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


class Stream(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def send(self, request: bytes) -> None:
        self._sent = time.perf_counter()
        self._last = 0.0
        self._tail = b""
        self._length: int | None = None
        self._read = 0
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        run = self._run
        tail = self._tail = (self._tail + data)[-_TAIL:]
        if not self._read:
            if not data.startswith(b"HTTP/1.1 200"):
                run.result.failures.append(data[:900].decode(errors="replace"))
                self._transport.close()
                run.ended(self)
                return
            head, _, _ = data.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            self._length = None if length is None else len(head) + 4 + int(length[1])
        self._read += len(data)
        frames = data.count(b"data: ")
        run.result.frames += frames
        # The frame that says who speaks comes before any token.
        if frames - data.count(b'"role"') > 0:
            if self._last:
                run.gap(now - self._last, now)
            else:
                run.ttft.append(now - self._sent)
            self._last = now
        if self._length is None and tail.endswith(b"\r\n0\r\n\r\n"):
            run.result.tokens += int(_TOKENS.search(tail)[1])
            run.ended(self)
        elif self._length is not None and self._read >= self._length:
            run.ttft.append(now - self._sent)
            run.result.tokens += int(_TOKENS.search(tail)[1])
            run.ended(self)


class Run:
    """All streams of one load."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._next = 0
        self._ended = 0
        self.result = Result()
        self.ttft = array("d")
        self.itl = array("d")
        self._over: asyncio.Event
        self._counts_from = 0.0

    def gap(self, seconds: float, now: float) -> None:
        if now >= self._counts_from:
            self.itl.append(seconds)

    def _request(self) -> bytes:
        message = {"role": "user", "content": f"Tell me story number {self._next} please"}
        body = json.dumps({**self._load.body, "messages": [message]}).encode()
        head = f"POST {self._load.path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
        return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body

    def go_on(self, stream: Stream) -> None:
        if self._next < self._load.requests or self._load.until_told:
            stream.send(self._request())
            self._next += 1

    def ended(self, stream: Stream) -> None:
        self._ended += 1
        if (self._ended == self._load.requests and not self._load.until_told) or self.result.failures:
            self._over.set()
        else:
            self.go_on(stream)

    async def run(self) -> Result:
        loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        streams = []
        for _ in range(self._load.streams):
            _, stream = await loop.create_connection(lambda: Stream(self), "127.0.0.1", self._load.port)
            streams.append(stream)
        began, cpu = time.perf_counter(), time.process_time()
        for stream in streams:
            self.go_on(stream)
        if self._load.until_told:
            self._counts_from = began + 1.0
            await asyncio.to_thread(sys.stdin.read)
        else:
            await self._over.wait()
        result = self.result
        result.wall, result.client_cpu = time.perf_counter() - began, time.process_time() - cpu
        result.ttft, result.itl = quantiles(self.ttft), quantiles(self.itl)
        return result


def quantiles(values: array[float]) -> dict[str, float]:
    """p50, p99 and the most, in the unit of the values; nothing of nothing."""
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "max": ordered[-1],
    }


def main() -> None:
    import uvloop

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    load = Load(**json.loads(sys.stdin.readline()))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(Run(load).run()))))


if __name__ == "__main__":
    main()
