"""How many steps' tokens a stream's frame carries: one, unless the event loop takes too much of a step to serve it.

What a token costs the front end is mostly what a frame costs: a task's turn, a write to a socket. Where a step's tokens
cannot be served well before the next step's come, streams are served every second, third, ... step in turn, so that the
cost falls as the load rises instead of the loop falling behind. A stream's first token and its end are never held, and
no token longer than `hold_seconds`.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

# Of each step in the moving averages: some ten steps back.
_LEARNING = 0.1


class Holding(Protocol):
    """A stream that has tokens and was not told."""

    def release(self) -> None:
        """Gives them out now."""


class Coalescer:
    """One for an engine. Streams ask `holds` at each of their deltas; `step_ended` is called after each step.

    `behind` is the part of the time between two steps above which the loop is taken to be behind.
    """

    def __init__(
        self,
        hold_seconds: float,
        behind: float,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hold_seconds = hold_seconds
        self._behind = behind
        self._clock = clock
        # Steps whose tokens one frame carries.
        self.steps = 1
        self._began: float | None = None
        self._last_began = 0.0
        self._step_seconds = 0.0
        self._serving_seconds = 0.0
        # Who holds tokens, and since when; the longest first.
        self._held: dict[Holding, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def holds(self, stream: Holding, deltas: int) -> bool:
        """Whether a stream that has so many deltas, this one with them, is to wait for more.

        It is told by `release` when it has waited for as long as it may.
        """
        now = self._began
        if now is None:
            now = self._began = self._clock()
        if deltas >= self.steps:
            self._held.pop(stream, None)
            return False
        if stream not in self._held:
            self._held[stream] = now
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._hold_seconds, self._release)
        return True

    def forget(self, stream: Holding) -> None:
        """The stream was served, or is gone."""
        self._held.pop(stream, None)

    def step_ended(self) -> None:
        """All tokens of a step were handed to their streams."""
        if self._began is not None:
            # After those that were woken, which are in the loop's queue by now.
            asyncio.get_running_loop().call_soon(self._served, self._began)
            self._began = None

    def _served(self, began: float) -> None:
        self.learn(began, self._clock() - began)

    def learn(self, began: float, serving: float) -> None:
        """A step's tokens came at `began` and took `serving` seconds to be given out, as frames of `steps`."""
        between = began - self._last_began
        self._last_began = began
        if between > 1.0:
            return  # the engine was idle
        self._step_seconds += _LEARNING * (between - self._step_seconds)
        self._serving_seconds += _LEARNING * (serving * self.steps - self._serving_seconds)
        wanted = math.ceil(self._serving_seconds / (self._behind * self._step_seconds)) if self._step_seconds else 1
        allowed = 1 + int(self._hold_seconds / self._step_seconds) if self._step_seconds else 1
        self.steps = max(1, min(wanted, allowed))

    def _release(self) -> None:
        self._timer = None
        now = self._clock()
        while self._held:
            stream, since = next(iter(self._held.items()))
            left = since + self._hold_seconds - now
            if left > 0:
                self._timer = asyncio.get_running_loop().call_later(left, self._release)
                return
            del self._held[stream]
            stream.release()
