"""Anthropic's error envelope: the same failures, and the same statuses, as in OpenAI's."""

from __future__ import annotations

from typing import Any

from server.dialects.answer_parts import shortened
from server.generation.errors import ContextTooLong, RequestFailed

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def message_error_json(error: RequestFailed, request_id: str) -> dict[str, Any]:
    """The envelope. It has no field of its own for the parameter in question, so that the message names it too."""
    message = error.message
    if error.param is not None and error.param not in message:
        message = f"{shortened(error.param)}: {message}"
    if isinstance(error, ContextTooLong):
        # By these words Anthropic's clients tell that they must shorten the conversation.
        message = f"prompt is too long: {message}"
    kind = _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    details = {"error_code": error.code, "param": None if error.param is None else shortened(error.param)}
    told = {"type": kind, "message": shortened(message), "details": details}
    return {"type": "error", "error": told, "request_id": request_id}
