"""Writes the log lines of finished requests a moment later, when those who come next have been seen to.

A line takes 0.3 ms to make. Nobody waits for it, but a client that asks again at once, or a stream whose token comes in
the same turn of the event loop as the ends of many others, would.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

# Where a prompt is short, the engine computes by then.
_LATER_SECONDS = 0.005
# How long one turn of the event loop may be held up by lines, unless so many wait that they must go.
_TURN_SECONDS = 0.002
_MOST_WAITING = 512

Record = TypeVar("Record")


class Later(Generic[Record]):
    """Calls `write` with each record within some milliseconds, in the order in which they came."""

    def __init__(self, write: Callable[[Record], None]) -> None:
        self._write = write
        self._waiting: deque[Record] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, record: Record) -> None:
        """Has the record written; at once where no event loop runs that could do it later."""
        self._waiting.append(record)
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._timer = loop.call_later(_LATER_SECONDS, self._turn)

    def flush(self) -> None:
        """Writes what waits now, all of it. Any thread may: the one that ends a process whose event loop hangs."""
        with contextlib.suppress(IndexError):
            while True:
                self._write(self._waiting.popleft())

    def _turn(self) -> None:
        self._timer = None
        began = time.perf_counter()
        while self._waiting:
            if time.perf_counter() - began > _TURN_SECONDS and len(self._waiting) <= _MOST_WAITING:
                self._timer = asyncio.get_running_loop().call_later(_LATER_SECONDS, self._turn)
                return
            self._write(self._waiting.popleft())
