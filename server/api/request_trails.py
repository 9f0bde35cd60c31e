"""The outermost layer of every request: its id in and out, and the trail of those that ask for generated text.

A trail begins before the request is read and ends when its last byte is out or its client is gone, so that refusals,
failures and what was cut off have one too, and each exactly one.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.generation.errors import RequestFailed
from server.telemetry import trail as trails
from server.telemetry.requests import Requests
from server.telemetry.tracing import Tracing
from server.telemetry.trail import Trail

REQUEST_ID = "x-request-id"

DIALECTS: Mapping[str, str] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/messages": "messages",
    "/v1/responses": "responses",
}
"""The dialect of each route that generates."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
_CLIENT_CLOSED_REQUEST = 499


class RequestTrails:
    """ASGI middleware. Without `requests` it only tells ids."""

    def __init__(self, app: ASGIApp, requests: Requests | None, tracing: Tracing | None = None) -> None:
        self._app = app
        self._requests = requests
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs the app (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        request_id = state["request_id"] = told_id(headers)
        trail = self._trail(scope, headers, request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = MutableHeaders(scope=message)
                told[REQUEST_ID] = request_id
                if trail is not None:
                    trail.status = message["status"]
                    if trail.span is not None:
                        told["traceparent"] = trail.span.traceparent
            await send(message)

        if trail is None or self._requests is None:
            await self._app(scope, receive, send_with_id)
            return
        state["trail"] = trail
        trails.follow(trail)
        try:
            await self._app(scope, receive, send_with_id)
        except BaseException:
            trail.outcome = trail.outcome or "error"
            raise
        finally:
            if not trail.detached:
                if not trail.outcome:
                    trail.outcome = "client_gone" if trail.status == _CLIENT_CLOSED_REQUEST else "error"
                self._requests.ended(trail)

    def _trail(self, scope: Scope, headers: Headers, request_id: str) -> Trail | None:
        dialect = DIALECTS.get(scope["path"]) if scope["method"] == "POST" else None
        if dialect is None or self._requests is None:
            return None
        trail = self._requests.arrived(dialect, request_id)
        trail.begin("receive")
        if self._tracing is not None:
            trail.span = self._tracing.begin(dialect, headers, trail.started)
        return trail


def told_id(headers: Headers) -> str:
    """The request's id as its client says it, if that can stand in a log, else a new one."""
    given = headers.get(REQUEST_ID, "")
    return given if _ID.fullmatch(given) else f"req_{uuid.uuid4().hex}"


def note_failure(error: RequestFailed) -> None:
    """The current request fails with `error`; if it had ended in some other way before, that stands."""
    trail = trails.current()
    if trail is not None:
        trail.outcome = trail.outcome or error.outcome
        trail.code = trail.code or error.code
