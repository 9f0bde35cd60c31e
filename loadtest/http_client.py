"""HTTP/1.1 as a load generator needs it: a request's bytes go out at once, an answer's bytes come in with their time.

Not httpx or aiohttp: at 50,000 pieces a second the client must not be what is measured. A request here costs one write
of bytes that were put together before the run, and a piece one callback from a parser in C (httptools). See
docs/loadtest.md for what that carries.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

import httptools


class Lost(Exception):
    """The connection ended before the answer. `unanswered` tells that not one byte of it had come."""

    def __init__(self, reason: str, *, unanswered: bool) -> None:
        super().__init__(reason)
        self.reason, self.unanswered = reason, unanswered


@dataclass(frozen=True)
class Target:
    """Where a base URL leads: `http://host:port/v1` or the same without `/v1`."""

    host: str
    port: int
    tls: bool
    root: str  # path in front of /v1

    @staticmethod
    def of(base_url: str) -> Target:
        """Raises ValueError for what is no HTTP URL."""
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a base URL begins with http:// or https:// and a host: `{parts.scheme}://...` does not")
        tls = parts.scheme == "https"
        return Target(
            parts.hostname, parts.port or (443 if tls else 80), tls, parts.path.rstrip("/").removesuffix("/v1")
        )

    @property
    def shown(self) -> str:
        """The URL for reports: without a user, a password or a query."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.root}/v1"

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
        """The bytes of a request. Raises ValueError for a header that would break out of its line."""
        given = {"host": f"{self.host}:{self.port}", "content-length": str(len(body)), **headers}
        for name, value in given.items():
            if any(c in "\r\n" for c in name + value):
                raise ValueError(f"the header `{name}` has a line break")
        lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        return f"{method} {self.root}{path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Taker(Protocol):
    """Who gets an answer."""

    def headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head; names are in lower case."""

    def body(self, data: bytes, now: float) -> None:
        """A part of its body, and the moment when it was read (`time.monotonic`)."""


class _Discarded:
    def headers(self, status: int, headers: Mapping[str, str]) -> None:
        pass

    def body(self, data: bytes, now: float) -> None:
        pass


_NOBODY = _Discarded()


class Connection(asyncio.Protocol):
    """One connection, one exchange at a time."""

    def __init__(self, idle: Callable[[Connection], None], gone: Callable[[Connection], None]) -> None:
        self._idle, self._gone = idle, gone
        self._transport: asyncio.Transport | None = None
        self._taker: Taker = _NOBODY
        self._done: asyncio.Future[None] | None = None
        self._answered = self._until_closed = False
        self._now = 0.0
        self._parser: Any = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open."""
        # uvloop's transports have the methods, but not the class.
        self._transport = cast("asyncio.Transport", transport)

    def start(self, payload: bytes, taker: Taker) -> asyncio.Future[None]:
        """Sends a request; the future ends with the answer, or with Lost."""
        assert self._transport is not None
        self._done = asyncio.get_running_loop().create_future()
        self._taker = taker
        self._answered = self._until_closed = False
        self._transport.write(payload)
        return self._done

    def abort(self) -> None:
        """Closes at once, as a client does that has gone."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._now = time.monotonic()
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"malformed_answer: {type(error).__name__}")
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """From the parser."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """From the parser."""
        # An answer that tells no length ends with its connection.
        self._until_closed = not self._headers.keys() & {"content-length", "transfer-encoding"}
        self._taker.headers(self._parser.get_status_code(), self._headers)
        self._headers = {}

    def on_body(self, data: bytes) -> None:
        """From the parser."""
        self._taker.body(data, self._now)

    def on_message_complete(self) -> None:
        """From the parser."""
        again = self._parser.should_keep_alive() and self._parser.get_status_code() >= 200
        done, self._done, self._taker = self._done, None, _NOBODY
        if done is not None and not done.done():
            done.set_result(None)
        if again and self._transport is not None and not self._transport.is_closing():
            self._idle(self)
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is closed."""
        if self._until_closed and error is None and self._done is not None and not self._done.done():
            self._done.set_result(None)
        self._fail("connection_closed" if error is None else type(error).__name__)
        self._transport = None
        self._gone(self)

    def _fail(self, reason: str) -> None:
        done, self._done, self._taker = self._done, None, _NOBODY
        if done is not None and not done.done():
            done.set_exception(Lost(reason, unanswered=not self._answered))


class Pool:
    """Connections to one server, kept open; there is no bound, since a bound would be a closed loop."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.opened = 0
        self._free: list[Connection] = []
        self._all: set[Connection] = set()
        self._tls = ssl.create_default_context() if target.tls else None

    async def connection(self, *, fresh: bool = False) -> tuple[Connection, bool]:
        """An open connection, and whether it has carried an answer before. Raises OSError."""
        if self._free and not fresh:
            return self._free.pop(), True
        loop = asyncio.get_running_loop()
        self.opened += 1
        _, connection = await loop.create_connection(
            lambda: Connection(self._free.append, self._gone), self.target.host, self.target.port, ssl=self._tls
        )
        self._all.add(connection)
        return connection, False

    def _gone(self, connection: Connection) -> None:
        self._all.discard(connection)
        if connection in self._free:
            self._free.remove(connection)

    def close(self) -> None:
        """Closes all of them."""
        for connection in list(self._all):
            connection.abort()


class Whole:
    """Takes a whole answer: for the few requests that are not load."""

    def __init__(self) -> None:
        self.status = 0
        self.text = b""

    def headers(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head."""
        self.status = status

    def body(self, data: bytes, now: float) -> None:
        """A part of its body."""
        self.text += data


async def ask(
    target: Target, method: str, path: str, headers: Mapping[str, str], body: bytes = b"", timeout: float = 30.0
) -> Whole:
    """One request on a connection of its own. Raises OSError, Lost or TimeoutError."""
    pool, whole = Pool(target), Whole()
    try:
        async with asyncio.timeout(timeout):
            connection, _ = await pool.connection()
            given = {"connection": "close", "content-type": "application/json", **headers}
            await connection.start(target.request(method, path, given, body), whole)
    finally:
        pool.close()
    return whole
