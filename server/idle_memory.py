"""Gives back, while nothing runs, the memory that a rush of requests has left behind.

The garbage collector comes round rarely (server/daemon.py says why), and what Python frees stays with the allocator. A
full collection and a trim take some tens of milliseconds, so they wait until no stream is there to notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
from collections.abc import Callable

_LOOK_SECONDS = 1.0


async def give_back_when_idle(in_flight: Callable[[], int]) -> None:
    """Runs for ever. Each time that the requests in flight have become none and stay so for a moment, it tidies up."""
    used = False
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if in_flight():
            used = True
        elif used:
            used = False
            tidy()


def tidy() -> None:
    """Collects all garbage and returns free memory to the system, where the C library can (glibc)."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
