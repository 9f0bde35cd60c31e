"""When a refused client should come back, such that it is let in then.

A refusal books engine time after all that waits and all that is booked already. Bookings hold no room: most clients
never come back. But one that comes back with the same request when it was told to is let in before newcomers.
"""

from __future__ import annotations

import random
from collections import OrderedDict, deque
from dataclasses import dataclass

_SHORTEST_SECONDS = 1.0
_JITTER = 0.1
# A second of work is booked as somewhat more, or the error of each adds up along a long row of bookings.
_SLACK = 1.2
# How long after its time a booking is still good.
_GRACE_SECONDS = 30.0
# And after which nobody is expected to come any more.
_LATE_SECONDS = 3.0
_MOST = 20_000
_LEARNING = 0.02
_LEAST_RETURN = 0.005


@dataclass(slots=True)
class _Booking:
    due: float
    first_try: float
    tenant: str
    weight: float
    seconds: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class Booked:
    """Engine seconds of those who were told to come back: of all of them, and of one tenant's. `weight` is that of all
    tenants that they belong to.
    """

    seconds: float
    own: float
    weight: float


NOBODY = Booked(0.0, 0.0, 0.0)


class Appointments:
    """`longest` is the most that a client is told to wait, in seconds: SDKs do not heed more than 60."""

    def __init__(self, longest: float = 60.0, seed: int = 0) -> None:
        self._longest = longest
        self._random = random.Random(seed)
        self._booked: OrderedDict[bytes, _Booking] = OrderedDict()
        # The engine is booked from `_head` to `_tail`, with so many seconds in all and for each tenant.
        self._head = 0.0
        self._tail = 0.0
        self._seconds = 0.0
        self._by_tenant: dict[str, float] = {}
        # And the weights of those tenants.
        self._weights: dict[str, float] = {}
        self._weight = 0.0
        # All bookings as they were made, so nearly in the order of their times, to see who is late.
        self._expected: deque[tuple[bytes, _Booking]] = deque()
        # The part of bookings whose client came back; only those cost engine time.
        self._return_rate = 1.0

    def __len__(self) -> int:
        return len(self._booked)

    def book(
        self,
        now: float,
        fingerprint: bytes | None,
        free_at: float,
        seconds: float,
        *,
        first_try: float,
        tenant: str,
        weight: float,
        patience: float,
    ) -> float:
        """Seconds to wait, from 1 to `longest`.

        `free_at` is when what waits is done, `seconds` what this one takes, `patience` how long it may be made to wait
        once it is back.
        """
        self._forget(now)
        due = max(now + _SHORTEST_SECONDS, free_at, self._tail)
        if self._tail <= now:
            self._head = due
        wait = (due - now) * (1 + _JITTER * self._random.random())
        # Who comes back a little early waits for the rest in the queue.
        if due - now <= self._longest + patience:
            wait = min(wait, self._longest)
        if wait > self._longest:
            # No time can be promised that far away; spread who comes back anyway.
            return self._longest * (1 - _JITTER * self._random.random())
        self._tail = due + seconds * self._return_rate * _SLACK
        if fingerprint is not None:
            if fingerprint in self._booked:
                self._take(fingerprint)
            booking = self._booked[fingerprint] = _Booking(now + wait, first_try, tenant, weight, seconds)
            self._expected.append((fingerprint, booking))
            self._seconds += seconds
            if tenant not in self._by_tenant:
                self._weights[tenant] = weight
                self._weight += weight
            self._by_tenant[tenant] = self._by_tenant.get(tenant, 0.0) + seconds
            if len(self._booked) > _MOST:
                self._take(next(iter(self._booked)))
        return wait

    def booked(self, now: float, within: float, tenant: str) -> Booked:
        """Who is expected back before one that would wait `within` seconds enters. As they fill the engine, that is
        either nobody or, one after the other, all.
        """
        self._forget(now)
        both = self._tail - max(now, self._head) if now + within > self._head else 0.0
        # What was booked while more came back than do now takes less time than was thought.
        both = min(both, self._seconds * self._return_rate * _SLACK)
        if both <= 0 or self._seconds <= 0:
            return NOBODY
        return Booked(both, both * self._by_tenant.get(tenant, 0.0) / self._seconds, self._weight)

    def _take(self, fingerprint: bytes) -> _Booking:
        booking = self._booked.pop(fingerprint)
        if not booking.late:
            self._give_up(booking)
        return booking

    def _give_up(self, booking: _Booking) -> None:
        booking.late = True
        self._seconds -= booking.seconds
        left = self._by_tenant[booking.tenant] - booking.seconds
        if left > 1e-9:
            self._by_tenant[booking.tenant] = left
        else:
            del self._by_tenant[booking.tenant]
            self._weight -= self._weights.pop(booking.tenant)

    def keep(self, now: float, fingerprint: bytes | None) -> float | None:
        """The time of the first try of a client that comes back when it was told to; None for all others."""
        booking = self._booked.get(fingerprint) if fingerprint is not None else None
        # Clocks of clients are a little fast at times.
        if fingerprint is None or booking is None or now < booking.due - 0.05 * _SHORTEST_SECONDS:
            return None
        self._take(fingerprint)
        if now > booking.due + _GRACE_SECONDS:
            return None
        self._learn(1.0)
        return booking.first_try

    def _forget(self, now: float) -> None:
        """Counts on nobody who is late, and drops bookings that nobody kept."""
        while self._expected and now > self._expected[0][1].due + _LATE_SECONDS:
            fingerprint, booking = self._expected.popleft()
            if self._booked.get(fingerprint) is booking:
                self._give_up(booking)
                self._learn(0.0)
        while self._booked:
            fingerprint, booking = next(iter(self._booked.items()))
            if now <= booking.due + _GRACE_SECONDS:
                return
            self._take(fingerprint)

    def _learn(self, returned: float) -> None:
        self._return_rate = max(_LEAST_RETURN, self._return_rate + _LEARNING * (returned - self._return_rate))
