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
# A tenant is far beyond its fair part with so much more of it, in sequences at least so many.
_RAMP = 0.25
_RAMP_SEQUENCES = 2.0
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

    def most(self, priority: PriorityClass, now: float) -> float:
        """The part of the room open to a tenant of a class that is within its fair part."""
        share = self.of_class(priority, now)
        return share * (2 - self._rules.tenant_share) if len(self._tenants) > 1 else share

    def of(self, ticket: Ticket, now: float) -> float:
        """The part of the room open to a ticket: that of its class; while other tenants come too, more of it within its
        tenant's fair part, and as much less far beyond that.

        So it may be more than 1: the limit on sequences is there to keep steps short, and a step that is a little
        longer harms less than a wait for somebody of the others to end.
        """
        share = self.of_class(ticket.priority, now)
        self._forget(now)
        weight = ticket.ask.weight
        everyone = self._weight + (0.0 if ticket.tenant in self._tenants else weight)
        if everyone <= weight:
            return share  # nobody else is there
        kept = 1 - self._rules.tenant_share
        return share * (1 + kept * (1 - 2 * self._excess(ticket, weight / everyone)))

    def _excess(self, ticket: Ticket, fair: float) -> float:
        """How far a tenant would be beyond this part of the room with a ticket: 0 up to that, 1 from a quarter more on.

        In between, and by a few sequences at least, for who comes in bursts: the part of one of many tenants is only a
        few. Its only request is never too much.
        """
        room = self._room
        held = room.held_by(ticket.tenant)
        if held is None:
            return 0.0
        sequences, kv_tokens = fair * room.sequence_limit, fair * room.kv_limit
        return min(
            1.0,
            max(
                0.0,
                (held.sequences + ticket.sequences - sequences) / max(_RAMP * sequences, _RAMP_SEQUENCES),
                (held.kv_tokens + room.peak_need(ticket) - kv_tokens) / (_RAMP * kv_tokens),
            ),
        )

    def _forget(self, now: float) -> None:
        while self._tenants:
            tenant, (seen, _) = next(iter(self._tenants.items()))
            if self._lately(seen, now):
                return
            self._drop(tenant)

    def _lately(self, seen: float, now: float) -> bool:
        return now - seen <= self._rules.reserve_memory_seconds

    def _drop(self, tenant: str) -> None:
        _, weight = self._tenants.pop(tenant, (0.0, 0.0))
        # No rounding is left over where nobody is.
        self._weight = self._weight - weight if self._tenants else 0.0
