"""Tickets by the times at which they must have entered or ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from server.admission.policy.ticket import Stage, Ticket

# Entries of tickets that have ended are left where they are until there are so many times more than live tickets.
_SPARE_FACTOR, _SPARE = 4, 1024


class Deadlines:
    """A heap; a ticket may be in it twice, and stays in it when it ends."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Ticket]] = []
        self._pushed = 0

    @property
    def next(self) -> float | None:
        """The first of the times, None where there is none."""
        return self._heap[0][0] if self._heap else None

    def add(self, ticket: Ticket, live: int) -> None:
        """Adds the ticket's own deadlines. `live` is how many tickets there are that have not ended."""
        for deadline in (ticket.queue_deadline, ticket.total_deadline):
            if deadline is not None:
                self._pushed += 1
                heapq.heappush(self._heap, (deadline, self._pushed, ticket))
        if len(self._heap) > _SPARE_FACTOR * live + _SPARE:
            self._heap = [each for each in self._heap if each[2].stage is not Stage.ENDED]
            heapq.heapify(self._heap)

    def due(self, now: float) -> Iterator[Ticket]:
        """Takes out those whose time has come, the earliest first."""
        while self._heap and self._heap[0][0] <= now:
            yield heapq.heappop(self._heap)[2]
