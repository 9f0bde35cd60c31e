"""uvicorn's HTTP protocol with bounds: on the head of a request, the time that it and its body take to come, and the
number of connections.

And with a way for an answer to end its connection at once. ASGI has none: a server that is told to stop sending closes
politely, once all that is buffered has been sent, and to a client that has stopped reading that is never.

Headers that engines behind proxies trust are taken off here, so that nothing behind can come to trust them.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import orjson
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.api.doorman import Doorman
from server.dialects.answer_parts import error_json
from server.generation.errors import RequestFailed

_KEY = "qwend.abort"
# struct linger: on, for no time.
_RESET = struct.pack("ii", 1, 0)

# How long a refused connection may take to read why.
_TELL_SECONDS = 1.0
# The connection's own end comes after the answer that says it; see `server.api.body`.
_GRACE_SECONDS = 2.0

STRIPPED = frozenset(
    {
        # What vLLM's server reads from requests: which rank computes them, by what key, with what priority.
        b"x-data-parallel-rank",
        b"x-session-id",
        b"x-vllm-session-id",
        b"x-priority",
        b"x-vllm-priority",
        b"x-request-priority",
        b"endpoint-load-metrics-format",
        # By which frameworks let a request be another one than it is.
        b"x-http-method-override",
        b"x-http-method",
        b"x-method-override",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-forwarded-prefix",
        b"x-script-name",
        b"x-envoy-original-path",
    }
)
"""Headers of requests that are taken off."""

_REQUEST_ID = b"x-request-id"
_ANY_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")


class HeadRefused(Exception):
    """The head of a request is not taken; ends its parsing."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


class Connection(HttpToolsProtocol):
    """See the module; for `uvicorn.Config(http=...)`, with a `Doorman` that all connections of a listener share."""

    def __init__(self, *arguments: Any, doorman: Doorman, **rest: Any) -> None:
        super().__init__(*arguments, **rest)
        self._doorman = doorman
        self._rules = doorman.rules
        self._refused: HeadRefused | None = None
        self._let_in = self._told = False
        self._head_timer: asyncio.TimerHandle | None = None
        self._body_timer: asyncio.TimerHandle | None = None
        # Bytes of a head that came and were not parsed yet, as an upper bound; and those that were.
        self._head_came = self._head_parsed = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there; it may be one too many."""
        super().connection_made(transport)
        refusal = self._doorman.enter(self._address)
        if refusal is None:
            self._let_in = True
            self._await_head()
            return
        status, code = refusal
        self._refused = HeadRefused(status, "There are too many connections. Come again in a moment.", code)
        if not self._doorman.may_tell():
            transport.abort()
            return
        # Told when its request is here: what is closed with unread bytes is reset, and its answer lost.
        self._told = True
        self._doorman.being_told += 1
        self._head_timer = self.loop.call_later(_TELL_SECONDS, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._cancel_timers()
        if self._let_in:
            self._doorman.leave(self._address)
        elif self._told:
            self._doorman.being_told -= 1
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._refused is not None:
            if not self.transport.is_closing():
                self._tell(self._refused)
            return
        if self._head_timer is not None:
            self._head_came += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_timer is not None:
            if self._head_came > self._rules.head_bytes:
                self._tell(self._head_too_large())
        elif self._body_timer is None and (self.cycle is None or self.cycle.response_complete):
            # Line ends between requests, say, which end the time of being idle without beginning a request.
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Instead of uvicorn's own text: the envelope, with the reason."""
        self._tell(self._refused or HeadRefused(400, msg, "invalid_http"))

    # The request

    def on_message_begin(self) -> None:
        """A request begins (httptools)."""
        super().on_message_begin()
        self._head_parsed = 0
        if self._head_timer is None:
            self._await_head()
        self.scope["extensions"] = {_KEY: {"abort": self._abort}}

    def on_url(self, url: bytes) -> None:
        """A part of the request's target (httptools)."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header (httptools)."""
        self._count(len(name) + len(value) + 4)
        if len(self.headers) >= self._rules.headers:
            self._refuse(
                HeadRefused(431, f"The request has more than {self._rules.headers} headers.", "head_too_large")
            )
        lowered = name.lower()
        if lowered in STRIPPED or (lowered == _REQUEST_ID and not _ANY_REQUEST_ID.fullmatch(value)):
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole (httptools)."""
        self._cancel_timers()
        self._head_came = 0
        super().on_headers_complete()
        self._body_timer = self.loop.call_later(self._rules.body_seconds + _GRACE_SECONDS, self._body_too_slow)

    def on_message_complete(self) -> None:
        """The request is whole (httptools)."""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # Answered before it was whole: uvicorn's own timer ended with the bytes that came after the answer.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    # Bounds

    @property
    def _address(self) -> str | None:
        return self.client[0] if self.client else None

    def _count(self, size: int) -> None:
        self._head_parsed += size
        if self._head_parsed > self._rules.head_bytes:
            self._refuse(self._head_too_large())

    def _refuse(self, refusal: HeadRefused) -> None:
        """Ends the parser, which ends with `send_400_response`."""
        self._refused = refusal
        raise refusal

    def _head_too_large(self) -> HeadRefused:
        most = self._rules.head_bytes
        return HeadRefused(431, f"The head of the request is larger than {most} bytes.", "head_too_large")

    def _await_head(self) -> None:
        self._head_came = 0
        self._head_timer = self.loop.call_later(self._rules.head_seconds, self._head_too_slow)

    def _head_too_slow(self) -> None:
        self._head_timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # The next request of a pipeline began while this one is answered: its answer ends the connection.
            self.cycle.keep_alive = False
            return
        seconds = self._rules.head_seconds
        self._tell(HeadRefused(408, f"The head of the request did not come in {seconds:g} s.", "request_timeout"))

    def _body_too_slow(self) -> None:
        self._body_timer = None
        if not self.transport.is_closing():
            self._abort()

    def _cancel_timers(self) -> None:
        for timer in (self._head_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        self._head_timer = self._body_timer = None

    def _tell(self, refusal: HeadRefused) -> None:
        """Answers in the envelope, past the app, and closes."""
        self._refused = refusal
        failed = RequestFailed(refusal.message, code=refusal.code)
        failed.type = "server_error" if refusal.status >= 500 else "invalid_request_error"
        body = orjson.dumps(error_json(failed))
        retry = "retry-after: 1\r\n" if refusal.status in (429, 503) else ""
        head = (
            f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{retry}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _abort(self) -> None:
        # Reset: else the kernel would go on offering what is in its own buffer to a client that does not take it.
        raw = self.transport.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()


def abort_connection(scope: Scope) -> None:
    """Closes the connection that the request came on without sending what is buffered; nothing without `Connection`."""
    abort: Callable[[], None] | None = scope.get("extensions", {}).get(_KEY, {}).get("abort")
    if abort is not None:
        abort()
