"""The virtual clock: what happens next, and when it is."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[float], None]


class Events:
    """Events in the order of their times; of the same time, in the order in which they were planned."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Action]] = []
        self._planned = 0

    def at(self, time: float, action: Action) -> None:
        """Plans `action`, which is called with its time. A time that is past is now."""
        self._planned += 1
        heapq.heappush(self._heap, (max(time, self.now), self._planned, action))

    def run(self, until: float) -> None:
        """Runs what is planned up to `until`, and what that plans in turn."""
        while self._heap and self._heap[0][0] <= until:
            self.now, _, action = heapq.heappop(self._heap)
            action(self.now)
        self.now = max(self.now, until)
