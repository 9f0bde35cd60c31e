"""How full the room may be for a request to enter: higher classes keep a reserve, and so do tenants that have less than
their fair part of what runs.
"""

from __future__ import annotations

from collections import OrderedDict

from server.admission.classes import PriorityClass
from server.admission.policy.parameters import Rules
from server.admission.policy.room import Room
from server.admission.policy.ticket import Ask, Ticket

_NEVER = float("-inf")
_HIGHER = {priority: tuple(each for each in PriorityClass if each.rank < priority.rank) for priority in PriorityClass}


class Shares:
    """Remembers which classes and tenants have been seen lately. Nothing is kept free for anybody else."""

    def __init__(self, rules: Rules, room: Room) -> None:
        self._rules = rules
        self._room = room
        self._classes: dict[PriorityClass, float] = dict.fromkeys(PriorityClass, _NEVER)
        # When each was last seen, and its weight; longest ago first. And the sum of those weights.
        self._tenants: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._weight = 0.0

    def seen(self, now: float, ask: Ask) -> None:
        """A request came."""
        self._classes[ask.priority] = now
        self._drop(ask.tenant)
        self._tenants[ask.tenant] = now, ask.weight
        self._weight += ask.weight

    def of_class(self, priority: PriorityClass, now: float) -> float:
        """The part of the room open to a class: all of it, unless a higher one has been seen lately."""
        seen = max([self._classes[each] for each in _HIGHER[priority]], default=_NEVER)
        return self._rules.classes[priority].share if self._lately(seen, now) else 1.0

    def of(self, ticket: Ticket, now: float) -> float:
        """The part of the room open to a ticket: that of its class, and less of it beyond its tenant's fair part."""
        share = self.of_class(ticket.priority, now)
        return share * self._rules.tenant_share if self._beyond_fair(ticket, now) else share

    def _beyond_fair(self, ticket: Ticket, now: float) -> bool:
        """Whether a tenant would hold more than its weight among those seen lately gives it, with this ticket.

        Its only request is never too much.
        """
        while self._tenants and not self._lately(next(iter(self._tenants.values()))[0], now):
            self._drop(next(iter(self._tenants)))
        held = self._room.held_by(ticket.tenant)
        if held is None:
            return False
        weight = ticket.ask.weight
        everyone = self._weight + (0.0 if ticket.tenant in self._tenants else weight)
        if everyone <= weight:
            return False  # nobody else is there
        fair = weight / everyone
        room = self._room
        return (
            held.sequences + ticket.sequences > fair * room.sequence_limit
            or held.kv_tokens + room.peak_need(ticket) > fair * room.kv_limit
        )

    def _lately(self, seen: float, now: float) -> bool:
        return now - seen <= self._rules.reserve_memory_seconds

    def _drop(self, tenant: str) -> None:
        _, weight = self._tenants.pop(tenant, (0.0, 0.0))
        # No rounding is left over where nobody is.
        self._weight = self._weight - weight if self._tenants else 0.0
