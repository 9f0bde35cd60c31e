"""A response that streams frames and stops at once when the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.burst import Burst, Line, NotRead
from server.api.connection import abort_connection
from server.api.direct_send import direct_send
from server.api.disconnect import ClientGone, while_connected
from server.telemetry.metrics import CUT_OFF

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # Asks nginx-like proxies not to hold frames back.
    "x-accel-buffering": "no",
}

COMMENT = b": keep-alive\n\n"
_BURST = Burst()


class EventStream(Response):
    """Sends what `next_frames` gives until that is nothing, then awaits `close`, also when it was never asked.

    Where no frame comes for `keep_alive` seconds a `comment` is sent, which clients pass over and proxies count as
    life; 0 sends none. A client that reads nothing for `patience` seconds while there is more to send is cut off.
    """

    def __init__(
        self,
        next_frames: Callable[[], Awaitable[bytes]],
        close: Callable[[], Awaitable[None]],
        headers: dict[str, str],
        keep_alive: float = 0.0,
        comment: bytes = COMMENT,
        patience: float | None = None,
    ) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._next_frames = next_frames
        self._close = close
        self._keep_alive = keep_alive
        self._comment_frame = comment
        self._patience = patience
        self._quiet = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the response (ASGI)."""
        try:
            with contextlib.suppress(ClientGone):
                await while_connected(receive, self._send(scope, send))
        except NotRead:
            CUT_OFF.inc()
            abort_connection(scope)
        finally:
            await self._close()

    async def _send(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        line, next_frames = Line(_BURST, direct_send(scope, send), self._patience), self._next_frames
        keeping_alive = asyncio.ensure_future(self._comment(line)) if self._keep_alive else None
        try:
            while frames := await next_frames():
                self._quiet = False
                await line.write(frames)
            await line.drain()
        finally:
            if keeping_alive is not None:
                keeping_alive.cancel()
            line.close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _comment(self, line: Line) -> None:
        """One timer for the whole stream: a timeout on every frame would cost more than the frame."""
        while True:
            self._quiet = True
            await asyncio.sleep(self._keep_alive)
            if self._quiet:
                await line.write(self._comment_frame)
