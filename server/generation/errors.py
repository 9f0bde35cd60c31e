"""What can go wrong with a request, in the words of the core; the api room turns these into HTTP.

Each error knows its HTTP status, the `type` and `code` of OpenAI's error envelope, so that every dialect says the same
of the same failure, and the outcome that the metrics count it as.
"""

from __future__ import annotations

from collections.abc import Mapping


class RequestFailed(Exception):
    """Base of all failures of one request. `param` names the request's field in question, if there is one.

    `retry_after` is in seconds; `headers` are what the answer says beside it.
    """

    status = 500
    type = "server_error"
    code: str | None = "internal_error"
    outcome = "error"
    retry_after: float | None = None
    headers: Mapping[str, str] = {}

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(RequestFailed):
    """The request can never succeed as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_value"
    outcome = "invalid_request"


class ContextTooLong(InvalidRequest):
    """Prompt and requested output do not fit into the model's context."""

    code = "context_length_exceeded"


class ModelNotFound(InvalidRequest):
    """The request names a model that is not served here."""

    status = 404
    code = "model_not_found"


class BodyTooLarge(InvalidRequest):
    """The request's body is over the configured limit."""

    status = 413
    code = "request_too_large"


class BodyTooSlow(InvalidRequest):
    """The request's body did not come in time. Its connection cannot be used again: the rest may still come."""

    status = 408
    code = "request_timeout"
    headers: Mapping[str, str] = {"connection": "close"}


class UnsupportedBody(InvalidRequest):
    """The request's body is not what its route takes."""

    status = 415
    code = "unsupported_media_type"


class Unavailable(RequestFailed):
    """The daemon takes no requests now: it is starting, draining or broken."""

    status = 503
    type = "service_unavailable"
    code = "unavailable"

    def __init__(self, message: str, *, code: str, retry_after: float) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after
        self.outcome = f"refused_{code}"


class EngineFailed(RequestFailed):
    """The engine could not finish this request; others may be well."""

    code = "engine_error"
    outcome = "engine_error"


class EngineDied(EngineFailed):
    """The engine is gone, and with it every running request."""

    code = "engine_dead"
    outcome = "engine_dead"


class Interrupted(RequestFailed):
    """The daemon ended this request before it was finished, at the end of a drain."""

    status = 503
    type = "service_unavailable"
    code = "shutting_down"
    outcome = "interrupted"
