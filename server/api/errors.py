"""Every failure leaves in its dialect's error envelope with its true status."""

from __future__ import annotations

from math import ceil
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from server.api.anthropic_shape import anthropic_shaped, request_id
from server.api.disconnect import ClientGone
from server.api.request_trails import note_failure
from server.api.routes import allowed_methods
from server.dialects.answer_parts import error_json, shortened
from server.dialects.messages_errors import message_error_json
from server.generation.errors import InvalidRequest, RequestFailed
from server.telemetry.logs import get_logger

_log = get_logger("api")

# What proxies log for a client that left; nobody is there to read it.
_CLIENT_CLOSED_REQUEST = 499


def install_error_handlers(app: FastAPI) -> None:
    """Makes `app` answer every exception in the envelope."""
    app.add_exception_handler(RequestFailed, _request_failed)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientGone, _client_gone)
    app.add_exception_handler(ClientDisconnect, _client_gone)
    app.add_exception_handler(Exception, _unexpected)


def error_response(request: Request, error: RequestFailed) -> Response:
    """The response for a failed request."""
    note_failure(error)
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(ceil(error.retry_after))
        headers["retry-after-ms"] = str(ceil(error.retry_after * 1000))
    if anthropic_shaped(request):
        told = headers["request-id"] = request_id(request)
        return _json(error.status, message_error_json(error, told), headers)
    return _json(error.status, error_json(error), headers)


async def _request_failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestFailed)
    return error_response(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    """Routing's own errors: unknown path, wrong method."""
    assert isinstance(error, HTTPException)
    failed = InvalidRequest(f"{request.method} {shortened(request.scope['path'])}: {error.detail}.", code="not_found")
    failed.status = error.status_code
    if error.status_code != 404:
        failed.code = "method_not_allowed" if error.status_code == 405 else "http_error"
    headers = failed.headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["allow"] = ", ".join(sorted(allowed_methods(request.app.routes, request.scope)))
    return error_response(request, failed)


async def _client_gone(request: Request, error: Exception) -> Response:
    return Response(status_code=_CLIENT_CLOSED_REQUEST)


async def _unexpected(request: Request, error: Exception) -> Response:
    """A defect of ours: logged with its trace, and told without it."""
    _log.error("request failed unexpectedly", path=request.scope["path"], exc_info=error)
    return error_response(request, RequestFailed("The server failed to process this request."))


def _json(status: int, body: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
