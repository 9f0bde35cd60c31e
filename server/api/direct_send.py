"""A way past the middleware for what no middleware looks at: the body of a stream.

Every layer wraps `send`, and every frame of every stream would go through all of them; they only care for the start of
an answer.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY = "qwend.send"


class DirectSend:
    """Outermost ASGI layer: keeps the server's own `send` where `direct_send` finds it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app (ASGI)."""
        scope.setdefault("extensions", {})[_KEY] = {"send": send}
        await self._app(scope, receive, send)


def direct_send(scope: Scope, send: Send) -> Send:
    """The server's `send`, for the parts of a body whose start went through `send`; that itself without DirectSend."""
    found: Send = scope.get("extensions", {}).get(_KEY, {}).get("send", send)
    return found
