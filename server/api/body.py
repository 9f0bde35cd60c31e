"""Reading a request's body within a bound."""

from __future__ import annotations

from starlette.requests import Request

from server.generation.errors import BodyTooLarge, UnsupportedBody


async def read_body(request: Request, limit: int) -> bytes:
    """The body of JSON, at most `limit` bytes. Raises BodyTooLarge, before reading where the length is declared.

    Raises UnsupportedBody where its headers say that it is something else, and ClientDisconnect when the client goes
    away in the middle. A body that says nothing of its type is taken; one that a web page could send anywhere without
    asking, such as text/plain, is not.
    """
    declared_type = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if declared_type != "application/json":
        raise UnsupportedBody("The body must be JSON, with the header 'content-type: application/json'.")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedBody(
            "The body must be sent as it is: a 'content-encoding' is not taken.", code="unsupported_content_encoding"
        )
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit} bytes.")
