"""What is done with every body after it was read: parsing off the loop, and the checks that all dialects share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from server.api.service import Service
from server.generation.errors import InvalidRequest

Parsed = TypeVar("Parsed")

# Above this size a body is parsed in a thread, so that it does not hold up other requests' tokens.
_PARSE_ON_LOOP_BYTES = 64 * 1024


async def parsed(body: bytearray, parse: Callable[[bytearray], Parsed]) -> Parsed:
    """What `parse` makes of the body, in a thread if it is large."""
    return parse(body) if len(body) <= _PARSE_ON_LOOP_BYTES else await asyncio.to_thread(parse, body)


def check_known(ignored: Sequence[str], at: Service) -> None:
    """Raises InvalidRequest for a field that nobody knows, if the settings say so."""
    if at.strict and ignored:
        name = ignored[0]
        raise InvalidRequest(f"Unknown parameter: {name!r}.", param=name, code="unknown_parameter")
