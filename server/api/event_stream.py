"""A response that streams frames and stops at once when the client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from server.api.disconnect import ClientGone, while_connected

_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # Asks nginx-like proxies not to hold frames back.
    "x-accel-buffering": "no",
}

COMMENT = b": keep-alive\n\n"


class EventStream(Response):
    """Sends each item of `frames` as it comes, then awaits `close`, also when not one frame was asked for.

    Where no frame comes for `keep_alive` seconds a `comment` is sent, which clients pass over and proxies count as
    life; 0 sends none.
    """

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        close: Callable[[], Awaitable[None]],
        headers: dict[str, str],
        keep_alive: float = 0.0,
        comment: bytes = COMMENT,
    ) -> None:
        super().__init__(headers={**_HEADERS, **headers})
        del self.headers["content-length"]
        self._frames = frames
        self._close = close
        self._keep_alive = keep_alive
        self._comment_frame = comment
        self._quiet = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the response (ASGI)."""
        try:
            with contextlib.suppress(ClientGone):
                await while_connected(receive, self._send(send))
        finally:
            await self._close()

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        keeping_alive = asyncio.ensure_future(self._comment(send)) if self._keep_alive else None
        try:
            async with contextlib.aclosing(self._frames) as frames:
                async for frame in frames:
                    self._quiet = False
                    await send({"type": "http.response.body", "body": frame, "more_body": True})
        finally:
            if keeping_alive is not None:
                keeping_alive.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _comment(self, send: Send) -> None:
        """One timer for the whole stream: a timeout on every frame would cost more than the frame."""
        while True:
            self._quiet = True
            await asyncio.sleep(self._keep_alive)
            if self._quiet:
                await send({"type": "http.response.body", "body": self._comment_frame, "more_body": True})
