"""Asks clients to come on a new connection once the daemon has been told to end.

A balancer that chooses by connection and not by request, as a Kubernetes service does, would go on sending what comes
on a connection that it has already; a new one leads elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Farewell:
    """ASGI middleware: answers that begin while `leaving` say `connection: close`."""

    def __init__(self, app: ASGIApp, leaving: Callable[[], bool]) -> None:
        self._app = app
        self._leaving = leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app (ASGI)."""

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start" and self._leaving():
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        await self._app(scope, receive, say if scope["type"] == "http" else send)
