"""What a refusal says. Rejected means before waiting, evicted after."""

from __future__ import annotations

from enum import StrEnum

from server.generation.errors import RequestFailed


class Reason(StrEnum):
    """Why a request does not run; the code in its error and, with few values, a label of metrics."""

    TOO_LARGE = "request_too_large_for_engine"
    OVERLOADED = "overloaded"
    DEADLINE_UNREACHABLE = "deadline_unreachable"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DISPLACED = "displaced"


_MESSAGES = {
    Reason.OVERLOADED: "The server has more requests waiting than it can serve in time.",
    Reason.DEADLINE_UNREACHABLE: "The first token cannot come in time.",
    Reason.DEADLINE_EXCEEDED: "The request's time ran out before it was finished.",
    Reason.DISPLACED: "The queue is full, and this request's tenant has the most waiting.",
}


class Refused(RequestFailed):
    """A request that is not let run now; `retry_after` is when to come back, in seconds."""

    status = 503
    type = "service_unavailable"

    def __init__(self, reason: Reason, *, retry_after: float | None, evicted: bool, message: str | None = None) -> None:
        super().__init__(message or _MESSAGES[reason], code=reason.value)
        self.reason = reason
        self.retry_after = retry_after
        self.outcome = f"{'evicted' if evicted else 'rejected'}_{reason.value}"


class TooLarge(Refused):
    """A request that the engine could not hold even alone: the client's to change, not to send again."""

    status = 400
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None) -> None:
        super().__init__(Reason.TOO_LARGE, retry_after=None, evicted=False, message=message)
        self.param = param
