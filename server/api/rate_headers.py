"""The headers that tell a caller its quotas, on every answer to a request that came with a caller: refusals too."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.admission.quotas import Quotas


class RateHeaders:
    """ASGI middleware that adds `x-ratelimit-*` to the start of an answer."""

    def __init__(self, app: ASGIApp, quotas: Quotas) -> None:
        self._app = app
        self._quotas = quotas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Made here, so that it is the same one however often the scope is copied on its way to the route.
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and (caller := state.get("caller")) is not None:
                MutableHeaders(scope=message).update(self._quotas.headers(caller))
            await send(message)

        await self._app(scope, receive, send_with_headers)
