"""One priority class's waiting requests, fair between tenants by virtual token counters.

The rule is VTC's (Sheng et al., OSDI'24, arXiv:2401.00588, algorithm 2): whoever has had the least service for its
weight comes next, and who comes back after a pause is lifted to the least of those waiting, so that nobody saves up.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from server.admission.policy.ticket import Stage, Ticket

_LANES = (False, True)
_NEVER = float("-inf")


class Line:
    """One tenant's waiting requests of one class, short prompts and long ones apart, and its counter."""

    __slots__ = (
        "ages",
        "counter",
        "entry",
        "lanes",
        "output",
        "recent",
        "sequences",
        "served",
        "since",
        "tenant",
        "uncached",
        "waiting",
        "weight",
    )

    def __init__(self, tenant: str, weight: float) -> None:
        self.tenant = tenant
        self.counter = 0.0
        self.weight = weight
        # By lane: a heap of (order, number, ticket), oldest first; who has left is passed over when it comes up.
        self.lanes: tuple[list[tuple[float, int, Ticket]], ...] = ([], [])
        # By lane: the counter under which this line stands in the queue's heap, None where it does not.
        self.entry: list[float | None] = [None, None]
        # The same tickets as they came, to find the newest.
        self.recent: list[Ticket] = []
        self.waiting = 0
        # Which request of all it began to wait with; of lines with equal counters the older one comes first.
        self.since = 0
        # By lane: when the last ticket entered from here.
        self.served = [_NEVER, _NEVER]
        # When a look at the age of its first ticket is due.
        self.ages: float | None = None
        # Prompt tokens to compute, output tokens predicted, and sequences, of all that wait or are being rendered.
        self.uncached = 0
        self.output = 0
        self.sequences = 0

    def head(self, long: bool) -> Ticket | None:
        """The oldest ticket of a lane that still waits."""
        lane = self.lanes[long]
        while lane:
            _, number, ticket = lane[0]
            # Who was stopped waits for a second time, and may have left its first entry behind.
            if ticket.stage is Stage.WAITING and ticket.line is self and ticket.place == number:
                return ticket
            heapq.heappop(lane)
        return None

    def starving(self) -> tuple[float, Ticket] | None:
        """Since when nothing of a lane has entered although something waits in it, and its oldest ticket; of the lane
        for which that is longest. None where nothing waits.
        """
        found = [
            (max(head.queued or 0.0, self.served[long]), head)
            for long in _LANES
            if (head := self.head(long)) is not None
        ]
        return min(found, key=lambda each: each[0], default=None)

    def newest(self) -> Ticket | None:
        """The ticket that came last of those that still wait."""
        while self.recent and not self.holds(self.recent[-1]):
            self.recent.pop()
        return self.recent[-1] if self.recent else None

    def holds(self, ticket: Ticket) -> bool:
        """Whether the ticket waits here, and has not left or gone to another line."""
        return ticket.stage is Stage.WAITING and ticket.line is self

    def _current(self, entry: tuple[float, int, Ticket]) -> bool:
        return self.holds(entry[2]) and entry[2].place == entry[1]

    def tickets(self) -> Iterator[Ticket]:
        """All that wait, by lane."""
        for lane in self.lanes:
            yield from (entry[2] for entry in lane if self._current(entry))

    def add(self, number: int, ticket: Ticket) -> None:
        """Takes a ticket in."""
        ticket.line, ticket.place = self, number
        self.waiting += 1
        heapq.heappush(self.lanes[ticket.long], (ticket.order, number, ticket))
        if len(self.recent) > 2 * self.waiting + 16:
            self.recent = [each for each in self.recent if self.holds(each)]
        self.recent.append(ticket)


class FairQueue:
    """Lines of tenants. `input_weight` and `output_weight` are VTC's w_p and w_q.

    `head` costs O(log tenants) whatever the number of requests: counters that grew since a line was last looked at are
    put right only when that line comes up.
    """

    def __init__(self, input_weight: float, output_weight: float) -> None:
        self._input_weight = input_weight
        self._output_weight = output_weight
        self._lines: dict[str, Line] = {}
        self._heaps: tuple[list[tuple[float, int, str]], ...] = ([], [])
        self._last: Line | None = None
        self._pushed = 0
        # The lines that have so many waiting, by that number, and the largest such number.
        self._by_length: list[dict[str, Line]] = [{}]
        self._longest = 0
        self.waiting = 0
        # Sums over all lines, and the weight of those that wait.
        self.uncached = 0
        self.output = 0
        self.weight = 0.0

    def line(self, ticket: Ticket) -> Line:
        """The line of a ticket's tenant; the weight follows the ticket's, which may have been configured anew."""
        line = self._lines.get(ticket.tenant)
        if line is None:
            line = self._lines[ticket.tenant] = Line(ticket.tenant, ticket.ask.weight)
        elif line.weight != ticket.ask.weight:
            if line.waiting:
                self.weight += ticket.ask.weight - line.weight
            line.weight = ticket.ask.weight
        return line

    def __len__(self) -> int:
        return self.waiting

    def items(self) -> Iterator[tuple[str, Line]]:
        """Every tenant that has ever waited here, with its line."""
        return iter(self._lines.items())

    def push(self, ticket: Ticket) -> None:
        """A ticket starts to wait."""
        line = self.line(ticket)
        if not line.waiting:
            self._lift(line)
            self.weight += line.weight
            line.since = self._pushed
        self.waiting += 1
        self._pushed += 1
        line.add(self._pushed, ticket)
        self._lengthened(line, 1)
        if line.entry[ticket.long] is None:
            self._enter(ticket.tenant, line, ticket.long)

    def _lift(self, line: Line) -> None:
        """VTC's counter lift, before the line is among those waiting."""
        least = self._least()
        if least is None:
            least = self._last.counter if self._last is not None else 0.0
        line.counter = max(line.counter, least)

    def _least(self) -> float | None:
        counters = [line.counter for long in _LANES if (line := self._top(long)) is not None]
        return min(counters) if counters else None

    def leave(self, ticket: Ticket) -> None:
        """A ticket no longer waits, for whatever reason; its stage must have changed before."""
        line = self._lines[ticket.tenant]
        line.waiting -= 1
        self.waiting -= 1
        if not line.waiting:
            self.weight -= line.weight
            self._last = line
        self._lengthened(line, -1)

    def _lengthened(self, line: Line, by: int) -> None:
        """`line` has one more or one fewer waiting than before, `by` being 1 or -1."""
        if line.waiting - by > 0:
            del self._by_length[line.waiting - by][line.tenant]
        if line.waiting:
            if line.waiting == len(self._by_length):
                self._by_length.append({})
            self._by_length[line.waiting][line.tenant] = line
        self._longest = max(self._longest, line.waiting)
        while self._longest and not self._by_length[self._longest]:
            self._longest -= 1

    def largest(self, more_than: int) -> Line | None:
        """A line with the most tickets waiting if those are more than so many, else None."""
        return next(iter(self._by_length[self._longest].values())) if self._longest > more_than else None

    def head(self) -> Ticket | None:
        """The oldest ticket of the tenant with the smallest counter."""
        ranked = [(line.counter, line.since, long, line) for long in _LANES if (line := self._top(long)) is not None]
        if not ranked:
            return None
        _, _, long, line = min(ranked, key=lambda each: each[:3])
        return line.head(long)

    def ranked(self, count: int, *, short_only: bool = False) -> list[Ticket]:
        """The heads of up to `count` lines and lanes, smallest counter first."""
        lanes = [long for long in _LANES if self._heaps[long] and not (long and short_only)]
        found: list[Ticket] = []
        taken: list[tuple[bool, tuple[float, int, str]]] = []
        while len(found) < count:
            best, where = None, False
            for long in lanes:
                line = self._top(long)
                if line is not None and (best is None or (line.counter, line.since) < (best.counter, best.since)):
                    best, where = line, long
            if best is None:
                break
            # It stands on top with its first ticket.
            found.append(best.lanes[where][0][2])
            taken.append((where, heapq.heappop(self._heaps[where])))
        for long, entry in taken:
            heapq.heappush(self._heaps[long], entry)
        return found

    def counter(self, ticket: Ticket) -> float:
        """The counter of a ticket's tenant."""
        return self._lines[ticket.ask.tenant].counter

    def charge_input(self, ticket: Ticket, tokens: float) -> None:
        """Counts prompt tokens that the engine computes for the ticket's tenant; negative gives back."""
        ticket.charged_input += tokens
        self._charge(ticket, self._input_weight * tokens)

    def charge_output(self, ticket: Ticket, tokens: float) -> None:
        """Counts output tokens, predicted or made; negative gives back."""
        ticket.charged_output += tokens
        self._charge(ticket, self._output_weight * tokens)

    def _charge(self, ticket: Ticket, units: float) -> None:
        line = self.line(ticket)
        line.counter += units / line.weight
        if units < 0:
            # A counter that shrank must be found earlier than where it stands.
            for long in _LANES:
                if line.entry[long] is not None:
                    self._enter(ticket.tenant, line, long)

    def add_work(self, ticket: Ticket, sign: int) -> None:
        """Counts work that waits or is about to; a `sign` of -1 takes it off again."""
        line = self.line(ticket)
        uncached, output = sign * ticket.uncached, sign * ticket.remaining_output
        line.uncached += uncached
        line.output += output
        line.sequences += sign * ticket.sequences
        self.uncached += uncached
        self.output += output

    def _enter(self, tenant: str, line: Line, long: bool) -> None:
        line.entry[long] = line.counter
        heapq.heappush(self._heaps[long], (line.counter, line.since, tenant))

    def _top(self, long: bool) -> Line | None:
        """The line with the smallest counter that has a head in this lane; it stands on top of the heap then."""
        heap = self._heaps[long]
        while heap:
            key, since, tenant = heap[0]
            line = self._lines[tenant]
            if line.entry[long] != key:
                heapq.heappop(heap)  # it stands elsewhere by now
            elif line.head(long) is None:
                heapq.heappop(heap)
                line.entry[long] = None
            elif line.counter > key or line.since != since:
                line.entry[long] = line.counter
                heapq.heapreplace(heap, (line.counter, line.since, tenant))
            else:
                return line
        return None
