"""Which requests are answered in Anthropic's shape, and the id that their answers tell."""

from __future__ import annotations

import uuid

from starlette.requests import Request

VERSION_HEADER = "anthropic-version"
"""Sent by Anthropic's clients with every request. Any version is taken."""

_MESSAGES, _MODELS = "/v1/messages", "/v1/models"


def anthropic_shaped(request: Request) -> bool:
    """Whether the request is to one of Anthropic's routes; `/v1/models` is one by its header."""
    # Not `request.url`: that is put together from the Host header.
    path: str = request.scope["path"]
    if path == _MODELS or path.startswith(f"{_MODELS}/"):
        return VERSION_HEADER in request.headers
    return path == _MESSAGES or path.startswith(f"{_MESSAGES}/")


def request_id(request: Request) -> str:
    """The id of this request, the same however often it is asked for."""
    found = getattr(request.state, "request_id", None)
    if found is None:
        found = request.state.request_id = f"req_{uuid.uuid4().hex}"
    return str(found)
