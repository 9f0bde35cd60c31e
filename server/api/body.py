"""Reading a request's body within a bound."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from server.generation.errors import BodyTooLarge, BodyTooSlow, UnsupportedBody


async def read_body(request: Request, limit: int, values: int, seconds: float | None = None) -> bytearray:
    """The body of JSON, at most `limit` bytes and about `values` values. Raises BodyTooLarge, before reading where the
    length is declared, and BodyTooSlow where it does not come in `seconds`.

    Parsing holds Python's interpreter lock, in whatever thread it runs, for as long as it takes; it takes long for many
    small values and not for a few long ones. Commas are counted for values: those in texts count as well, so that the
    bound must leave room for what a context can hold.

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
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit, values)
    except TimeoutError:
        raise BodyTooSlow(f"The request body did not come in {seconds:g} s.") from None


async def _read(request: Request, limit: int, values: int) -> bytearray:
    # All is done as it comes: to count, or to join chunks, in 20 MB at once would hold up the streams for 12 ms.
    body = bytearray()
    commas = 0
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
        commas += chunk.count(b",")
        if commas > values:
            raise BodyTooLarge(f"The request body has more than {values} values (its commas are counted).")
    return body


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {limit} bytes.")
