"""Notes in the audit log whatever changes something at the admin port, and who is turned away there."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.telemetry.audit import audit

_READING = ("GET", "HEAD")
_LONGEST_PATH = 128


class AuditedActions:
    """ASGI middleware of the admin app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            if scope["method"] not in _READING or status in (401, 403):
                client = scope.get("client")
                audit(
                    "admin",
                    method=scope["method"][:16],
                    path=scope["path"][:_LONGEST_PATH],
                    status=status,
                    client=client[0] if client else "",
                )
