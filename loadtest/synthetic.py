"""A server that computes nothing and whose times are known: what a load generator says can be held against it.

It speaks enough of OpenAI's API for one: /v1/models and streamed chat completions. Answers begin after a time that is
drawn by seed, and go on at a steady beat. It logs when it got each request and when it wrote its first and last token,
on the clock that all processes of the machine share (`time.monotonic`), so that truth is what was written, not what was
wished. It can stop doing anything for a while, and refuse beyond a number of running requests.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httptools
import orjson

from loadtest.distributions import log_normal

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
# All streams are looked after this often: a timer for each token would cost more than the tokens.
_BEAT = 0.002


@dataclass(frozen=True)
class Behaviour:
    """Times in seconds. `ttft` is the median of a log-normal distribution; `running` the most that are answered."""

    ttft: float = 0.1
    sigma: float = 0.4
    itl: float = 0.01
    tokens: int | None = None
    running: int | None = None
    retry_after: float = 1.0
    stall_at: float | None = None
    stall_seconds: float = 0.0
    seed: int = 1


@dataclass(slots=True)
class Served:
    """The truth about a request, by `time.monotonic`. `name` is its `x-request-id`."""

    name: str
    received: float
    first: float = 0.0
    last: float = 0.0
    tokens: int = 0
    refused: bool = False
    between: list[float] = field(default_factory=list)


@dataclass(slots=True)
class _Stream:
    served: Served
    write: Callable[[bytes], None]
    due: float
    left: int
    prompt_tokens: int


def _chunk(payload: bytes) -> bytes:
    frame = b"data: " + payload + b"\n\n"
    return b"%x\r\n" % len(frame) + frame + b"\r\n"


def _delta(delta: dict[str, str], reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": reason}
    frame = {"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 0, "model": "synthetic"}
    return _chunk(orjson.dumps({**frame, "choices": [choice]}))


_ROLE, _TOKEN, _STOP = _delta({"role": "assistant"}), _delta({"content": " word"}), _delta({}, "length")


class SyntheticServer:
    """Use `async with`; `log` has what was served so far."""

    def __init__(self, behaviour: Behaviour = Behaviour(), port: int = 0) -> None:
        self.behaviour, self.port = behaviour, port
        self.log: list[Served] = []
        self.stalled: tuple[float, float] | None = None
        self._rng = random.Random(f"{behaviour.seed}/synthetic")
        self._streams: list[_Stream] = []
        self._beat: asyncio.Task[None] | None = None
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def __aenter__(self) -> SyntheticServer:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Protocol(self), "127.0.0.1", self.port, family=socket.AF_INET, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]
        self._beat = asyncio.create_task(self._serve())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._beat is not None
        assert self._server is not None
        self._beat.cancel()
        self._server.close()

    def take(self, name: str, body: dict[str, Any], write: Callable[[bytes], None]) -> None:
        """Begins an answer, or refuses."""
        how, now = self.behaviour, time.monotonic()
        served = Served(name, now)
        self.log.append(served)
        if how.running is not None and len(self._streams) >= how.running:
            served.refused = True
            error = orjson.dumps({"error": {"message": "full", "type": "overloaded_error", "code": "overloaded"}})
            retry = f"retry-after: {-int(-how.retry_after // 1)}\r\nretry-after-ms: {how.retry_after * 1000:.0f}\r\n"
            write(f"HTTP/1.1 503 Full\r\n{retry}content-length: {len(error)}\r\n\r\n".encode() + error)
            return
        tokens = how.tokens or max(1, int(body.get("max_completion_tokens") or body.get("max_tokens") or 16))
        words = sum(len(str(each.get("content")).split()) for each in body.get("messages", ()))
        due = now + log_normal(self._rng, how.ttft, how.sigma)
        if not body.get("stream"):
            usage = {"prompt_tokens": words + 8, "completion_tokens": 1, "total_tokens": words + 9}
            choice = {"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "length"}
            write(_plain(orjson.dumps({"object": "chat.completion", "choices": [choice], "usage": usage})))
            self.log.remove(served)
            return
        write(_HEAD + _ROLE)
        self._streams.append(_Stream(served, write, due, tokens, words + 8))

    async def _serve(self) -> None:
        how, begun, stalled = self.behaviour, 0.0, False
        while True:
            await asyncio.sleep(_BEAT)
            if how.stall_at is not None and not stalled and self.log:
                begun = begun or self.log[0].received
                if time.monotonic() >= begun + how.stall_at:
                    stalled, at = True, time.monotonic()
                    time.sleep(how.stall_seconds)  # noqa: ASYNC251 - it is the point that nothing goes on
                    self.stalled = (at, time.monotonic())
            now = time.monotonic()
            ended = False
            for stream in self._streams:
                if stream.due <= now:
                    self._token(stream, now)
                    ended = ended or not stream.left
            if ended:
                self._streams = [each for each in self._streams if each.left]

    def _token(self, stream: _Stream, now: float) -> None:
        served = stream.served
        served.tokens += 1
        stream.left -= 1
        if served.tokens == 1:
            served.first = now
        else:
            served.between.append(now - served.last)
        served.last = now
        # From now, not from when it was due: what a stall held up does not come in one lump.
        stream.due = max(stream.due, now - self.behaviour.itl) + self.behaviour.itl
        if stream.left:
            stream.write(_TOKEN)
            return
        usage = {"prompt_tokens": stream.prompt_tokens, "completion_tokens": served.tokens}
        usage["total_tokens"] = sum(usage.values())
        last = _chunk(orjson.dumps({"object": "chat.completion.chunk", "choices": [], "usage": usage}))
        stream.write(_TOKEN + _STOP + last + _chunk(b"[DONE]") + b"0\r\n\r\n")

    def gone(self, write: Callable[[bytes], None]) -> None:
        """A client has left."""
        self._streams = [each for each in self._streams if each.write is not write]


def _plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body


class _Protocol(asyncio.Protocol):
    """One connection, on httptools as the client is."""

    def __init__(self, server: SyntheticServer) -> None:
        self._server = server
        self._parser: Any = httptools.HttpRequestParser(self)
        self._url, self._name, self._body = b"", "", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have the methods, but not the class.
        transport = cast("asyncio.Transport", transport)
        # Kept, since it is told by its identity.
        self._write = transport.write
        self._close = transport.close

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._close()

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._name = value.decode()

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body, self._body = self._body, b""
        if self._url.startswith(b"/v1/models"):
            self._write(_plain(orjson.dumps({"object": "list", "data": [{"id": "synthetic", "object": "model"}]})))
        elif self._url.startswith(b"/v1/chat/completions"):
            self._server.take(self._name, orjson.loads(body), self._write)
        elif self._url == b"/metrics":
            self._write(_plain(b"process_cpu_seconds_total %.3f\n" % time.process_time()))
        else:
            self._write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._server.gone(self._write)


def serve(behaviour: Behaviour, port: int, log: Path | None = None) -> None:
    """Runs one until SIGINT or SIGTERM, then writes its log as JSON lines. Prints the URL once it listens."""
    import uvloop

    async def forever() -> list[Served]:
        async with SyntheticServer(behaviour, port) as server:
            ended = asyncio.Event()
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, ended.set)
            print(server.url, flush=True)
            await ended.wait()
            return server.log

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        served = runner.run(forever())
    if log is not None:
        log.write_text("".join(map(_logged, served)), encoding="utf-8")


def _logged(served: Served) -> str:
    row = {name: getattr(served, name) for name in ("name", "received", "first", "last", "tokens", "refused")}
    return json.dumps({**row, "between": served.between}) + "\n"
