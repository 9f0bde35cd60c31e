"""What can go wrong with the store, in words that hold no path, no SQL and no secret."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError

from server.generation.errors import InvalidRequest, RequestFailed

RETRY_SECONDS = 5.0
"""What `Retry-After` says: a lock is gone by then, and a full disk is not asked too often."""

_FULL = "their disk is full"
_LOCKED = "their database is locked"
SLOW = "their database does not answer in time"
GONE = "their database is gone"
_READ_ONLY = "their database cannot be written"
BROKEN = "their database is damaged"

# SQLite's primary result codes, https://www.sqlite.org/rescode.html
_OF_SQLITE = {
    "FULL": _FULL,
    "BUSY": _LOCKED,
    "LOCKED": _LOCKED,
    "READONLY": _READ_ONLY,
    "PERM": _READ_ONLY,
    "CANTOPEN": GONE,
    "CORRUPT": BROKEN,
    "NOTADB": BROKEN,
    # Of a statement that does not fit the tables.
    "ERROR": BROKEN,
}

# SQLSTATEs of PostgreSQL, its manual's appendix A: whole classes, or single codes.
_OF_POSTGRESQL = {
    "53100": _FULL,
    "55P03": _LOCKED,
    "40P01": _LOCKED,
    "57014": SLOW,
    "25006": _READ_ONLY,
}


class StoreUnavailable(RequestFailed):
    """The store cannot do this now. Nothing of the request was stored, and nothing else is hurt."""

    status = 503
    type = "server_error"
    code = "store_unavailable"
    outcome = "store_unavailable"
    retry_after = RETRY_SECONDS

    def __init__(self, why: str) -> None:
        super().__init__(f"Stored responses are unavailable: {why}. Try again later.")
        self.why = why


class RecordTooLarge(InvalidRequest):
    """The response with its conversation is larger than what is kept of one."""

    status = 413
    code = "response_too_large"


class StoreStartError(Exception):
    """The store cannot be used as it is set up; the daemon must not start. The text names the setting."""


def why(error: BaseException) -> str:
    """What a driver's error means, in a few words that are fit for a client."""
    original: Any = error.orig if isinstance(error, DBAPIError) else error
    name = getattr(original, "sqlite_errorname", None)
    if name:
        return _OF_SQLITE.get(name.removeprefix("SQLITE_").partition("_")[0], "their disk cannot be read or written")
    state = _state(original)
    return _OF_POSTGRESQL.get(state or "", "their database cannot be reached")


def _state(original: Any) -> str | None:
    """The SQLSTATE, where psycopg (both) and pg8000 keep it."""
    for attribute in ("sqlstate", "pgcode"):
        if isinstance(found := getattr(original, attribute, None), str):
            return found
    first = original.args[0] if getattr(original, "args", ()) else None
    return first.get("C") if isinstance(first, dict) else None
