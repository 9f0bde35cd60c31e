"""Which requests have waited so long that they move up a class.

A line is due when nothing has entered from it for the class's `ageing_seconds`. While its class is served, its turn
comes by its counter, however long its requests wait behind each other.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from server.admission.classes import PriorityClass
from server.admission.policy.fair_queue import Line
from server.admission.policy.parameters import Rules
from server.admission.policy.ticket import Stage, Ticket


class Ageing:
    """A heap of (time, number, class, line): which line may be due then."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._heap: list[tuple[float, int, PriorityClass, Line]] = []
        self._pushed = 0
        # Who moved up last, by the class that it came to and its tenant.
        self._promoted: dict[tuple[PriorityClass, str], Ticket] = {}

    @property
    def next(self) -> float | None:
        """The first of the times, None where there is none."""
        return self._heap[0][0] if self._heap else None

    def look_later(self, now: float, priority: PriorityClass, line: Line) -> None:
        """Whoever is first in a line now may be due sooner than who was."""
        ageing = self._rules.classes[priority].ageing_seconds
        starving = line.starving() if ageing is not None else None
        if ageing is not None and starving is not None:
            self._schedule(max(now, starving[0] + ageing), priority, line)

    def due(self, now: float) -> Iterator[tuple[Ticket, PriorityClass]]:
        """The oldest request of each line that is due, one of a tenant at a time, with the class above its own. It must
        have been moved there before the next one is asked for.
        """
        while self._heap and self._heap[0][0] <= now:
            at, _, priority, line = heapq.heappop(self._heap)
            if line.ages != at:
                continue  # a look that came sooner took its place
            line.ages = None
            starving = line.starving()
            if starving is None:
                continue
            since, oldest = starving
            ageing = self._rules.classes[priority].ageing_seconds
            assert ageing is not None
            above = list(PriorityClass)[priority.rank - 1]
            due = since + ageing
            ahead = self._promoted.get((above, oldest.tenant))
            if due <= now and (ahead is None or ahead.stage is not Stage.WAITING or ahead.priority is not above):
                yield oldest, above
                self._promoted[above, oldest.tenant] = oldest
            if line.waiting:
                self._schedule(max(due, now + min(1.0, ageing)), priority, line)

    def _schedule(self, at: float, priority: PriorityClass, line: Line) -> None:
        if line.ages is not None and line.ages <= at:
            return
        line.ages = at
        self._pushed += 1
        heapq.heappush(self._heap, (at, self._pushed, priority, line))
