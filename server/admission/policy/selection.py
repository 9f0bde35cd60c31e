"""Who of those that wait enters now: by class, by the tenants' counters, and past those who do not fit yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from server.admission.classes import PriorityClass
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.parameters import Rules
from server.admission.policy.room import KV, LANE_TAKEN, RESERVED, SEQUENCES, Opening, Room
from server.admission.policy.shares import Shares
from server.admission.policy.ticket import Ticket

_ENDLESS = float("inf")


class Selection:
    """Looks through the queues once for each decision.

    Afterwards `blockers` do not fit, and so are in the way of others, and `held_back` would fit but have to leave
    something for other tenants.
    """

    def __init__(self, rules: Rules, room: Room, shares: Shares, queues: Mapping[PriorityClass, FairQueue]) -> None:
        self._rules, self._room, self._shares, self._queues = rules, room, shares, queues
        self._decision = 0
        self.blockers: list[Ticket] = []
        self.held_back: list[Ticket] = []

    @property
    def wanting(self) -> bool:
        """Whether stopping batch sequences would make room for somebody who is not of batch."""
        return any(
            ticket.why in (SEQUENCES, KV, RESERVED) and ticket.priority is not PriorityClass.BATCH
            for ticket in (*self.blockers, *self.held_back)
        )

    def admit(self, now: float, enter: Callable[[float, Ticket], None]) -> list[Ticket]:
        """All who enter now, in their order; `enter` takes each out of its queue and into the room."""
        self._decision += 1
        admitted: list[Ticket] = []
        blockers: list[Ticket] = []
        held_back: list[Ticket] = []
        self.blockers, self.held_back = blockers, held_back
        for priority, queue in self._queues.items():
            if (blockers or held_back) and priority is PriorityClass.BATCH:
                break  # batch runs in what is idle, and nothing is while somebody waits for room
            while queue.waiting:
                ticket = self._next(now, queue)
                if ticket is None:
                    break
                own = self._shares.of(ticket, now).own
                enter(now, ticket)
                admitted.append(ticket)
                for blocker in blockers:
                    # Who takes a sequence of its tenant's own part is in nobody's way who waits for one.
                    blocker.bypassed += not (own and blocker.why == SEQUENCES)
            if any(blocker.bypassed >= self._rules.bypasses for blocker in blockers):
                break
        return admitted

    def obstacle(self, now: float, ticket: Ticket) -> str:
        """What keeps a ticket out at this moment; empty where nothing does."""
        opening = self._shares.of(ticket, now)
        why = self._room.obstacle(ticket, opening)
        if why and why != LANE_TAKEN:
            full = Opening(self._shares.of_class(ticket.priority, now))
            # What it lacks is kept for tenants that have less.
            if opening.share < full.share and not self._room.obstacle(ticket, full):
                return RESERVED
        return why

    def _next(self, now: float, queue: FairQueue) -> Ticket | None:
        """The ticket of a class that enters next; those who do not are added to `blockers` or `held_back`."""
        blockers, held_back = self.blockers, self.held_back
        head = queue.head()
        if head is None:
            return None
        self._look(now, head)
        if not head.why and not blockers:
            return head
        if head.why == SEQUENCES and head.sequences == 1 and not self._shares.parts():
            # Then nobody else fits either.
            if head not in blockers:
                blockers.append(head)
            return None
        if any(blocker.bypassed >= self._rules.bypasses for blocker in blockers):
            return None
        # Tenants may get only so far ahead of the one of their class that they pass: that bounds the unfairness of many
        # such waits, as the number of times bounds each wait.
        passed = [queue.counter(each) for each in blockers if each.priority is head.priority]
        furthest = min(passed, default=_ENDLESS) + self._rules.bypass_units
        # Where the long prompts' lane is taken, none of them is looked at; that keeps nobody else out.
        for ticket in queue.ranked(self._rules.look_ahead, short_only=head.why == LANE_TAKEN):
            counter = queue.counter(ticket)
            if counter > furthest:
                return None
            self._look(now, ticket)
            if not ticket.why:
                return ticket
            if ticket.why == LANE_TAKEN:
                continue
            furthest = min(furthest, counter + self._rules.bypass_units)
            if ticket.why == RESERVED:
                if ticket not in held_back:
                    held_back.append(ticket)
            elif ticket not in blockers:
                blockers.append(ticket)
                if ticket.bypassed >= self._rules.bypasses:
                    return None
        return None

    def _look(self, now: float, ticket: Ticket) -> None:
        """Sets what keeps a ticket out. Within a decision the room gets only smaller: who is kept out stays so."""
        if ticket.looked != self._decision or not ticket.why:
            ticket.looked = self._decision
            ticket.why = self.obstacle(now, ticket)
