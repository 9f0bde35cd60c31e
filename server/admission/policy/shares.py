"""How full the room may be for a request to enter: higher classes keep a reserve, and each tenant its fair part."""

from __future__ import annotations

import math
from collections import OrderedDict

from server.admission.classes import PriorityClass
from server.admission.policy.parameters import Rules
from server.admission.policy.room import Held, Opening, Room
from server.admission.policy.ticket import Ask, Ticket

_NEVER = float("-inf")
_NOTHING = Held()
# Who has held no more than this part of its fair part over some time of late may for a while hold so many times of it:
# few requests come at even times.
_MODEST = 0.75
_BURST = 2.0
_BURST_SECONDS = 10.0
# A tenant with so much more than its fair part is far beyond it. Who is, is told from others who are by its counter
# alone: else it would be sequences that are shared by weight, not tokens.
_FAR = 0.5
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
        # No tenant that is there weighs more than this.
        self._heaviest = 0.0
        # Sequences that each of them has held of late, on average.
        self._held: dict[str, float] = {}

    def seen(self, now: float, ask: Ask) -> None:
        """A request came."""
        self._classes[ask.priority] = now
        last, _ = self._tenants.get(ask.tenant, (now, 0.0))
        held = self._room.held_by(ask.tenant) or _NOTHING
        mean = self._held.get(ask.tenant, 0.0)
        self._drop(ask.tenant)
        self._held[ask.tenant] = mean + (held.sequences - mean) * -math.expm1((last - now) / _BURST_SECONDS)
        self._tenants[ask.tenant] = now, ask.weight
        self._weight += ask.weight
        self._heaviest = max(self._heaviest, ask.weight)

    def parts(self) -> bool:
        """Whether any tenant has a part of its own, of a sequence or more. One that is alone has all and no part."""
        return len(self._tenants) > 1 and _BURST * self._room.sequence_limit * self._heaviest >= self._weight

    def of_class(self, priority: PriorityClass, now: float) -> float:
        """The part of the room open to a class: all of it, unless a higher one has been seen lately."""
        seen = max([self._classes[each] for each in _HIGHER[priority]], default=_NEVER)
        return self._rules.classes[priority].share if self._lately(seen, now) else 1.0

    def of(self, ticket: Ticket, now: float, ahead: int = 0) -> Opening:
        """What of the room is open to a ticket: its class's part, and while other tenants come too, less of it the
        further its tenant is beyond its fair part. Its tenant will have `ahead` more sequences by then.

        Within its fair part a tenant passes the limit on sequences: that is there to keep steps short, and a step that
        is somewhat longer for a while harms less than a wait for the others' requests to end. As the fair parts
        together are the limit, it is passed by no more than what tenants hold beyond theirs: a flood that was there
        before, or a burst of who has held little of late.
        """
        share = self.of_class(ticket.priority, now)
        self._forget(now)
        weight = ticket.ask.weight
        everyone = self._weight + (0.0 if ticket.tenant in self._tenants else weight)
        if everyone <= weight:
            return Opening(share)  # nobody else is there
        fair = weight / everyone
        held = self._room.held_by(ticket.tenant) or _NOTHING
        # What runs in idle capacity has no part of its own.
        mine = fair * share * self._room.sequence_limit if ticket.priority is not PriorityClass.BATCH else 0.0
        saved = self._held.get(ticket.tenant, 0.0) <= _MODEST * mine and self._room.spare(
            ticket, self._rules.tenant_share
        )
        if held.sequences + ahead + ticket.sequences <= mine * (_BURST if saved else 1.0):
            return Opening(share, own=True)
        excess = self._excess(ticket, held, fair)
        return Opening(share * (1 - (1 - self._rules.tenant_share) * excess), gentle=excess >= 1)

    def _excess(self, ticket: Ticket, held: Held, fair: float) -> float:
        """How far a tenant that has `held` would be beyond this part of the room with a ticket: 0 up to that, 1 from
        half as much again.

        In between for who comes in bursts: the part of one of many tenants is only a few. Its only request is never
        too much.
        """
        if not held.sequences:
            return 0.0
        room = self._room
        sequences = (held.sequences + ticket.sequences) / (fair * room.sequence_limit)
        kv_tokens = (held.kv_tokens + room.peak_need(ticket)) / (fair * room.kv_limit)
        return min(1.0, max(0.0, sequences - 1, kv_tokens - 1) / _FAR)

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
        self._held.pop(tenant, None)
        # No rounding is left over where nobody is.
        self._weight = self._weight - weight if self._tenants else 0.0
        self._heaviest = self._heaviest if self._tenants else 0.0
