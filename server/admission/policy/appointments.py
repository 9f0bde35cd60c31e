"""When a refused client should come back, such that it is let in then.

A refusal books engine time after all that waits and all that is booked already. Bookings hold no room: most clients
never come back. But one that comes back with the same request when it was told to is let in before newcomers.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from dataclasses import dataclass

_SHORTEST_SECONDS = 1.0
_JITTER = 0.1
# How long after its time a booking is still good.
_GRACE_SECONDS = 30.0
_MOST = 20_000
_LEARNING = 0.02
_LEAST_RETURN = 0.05


@dataclass(slots=True)
class _Booking:
    due: float
    first_try: float


class Appointments:
    """`longest` is the most that a client is told to wait, in seconds: SDKs do not heed more than 60."""

    def __init__(self, longest: float = 60.0, seed: int = 0) -> None:
        self._longest = longest
        self._random = random.Random(seed)
        self._booked: OrderedDict[bytes, _Booking] = OrderedDict()
        self._tail = 0.0
        # The part of bookings whose client came back; only those cost engine time.
        self._return_rate = 1.0

    def __len__(self) -> int:
        return len(self._booked)

    def book(self, now: float, fingerprint: bytes | None, free_at: float, seconds: float, first_try: float) -> float:
        """Seconds to wait, from 1 to `longest`. `free_at` is when what waits is done, `seconds` what this one takes."""
        self._forget(now)
        due = max(now + _SHORTEST_SECONDS, free_at, self._tail)
        wait = (due - now) * (1 + _JITTER * self._random.random())
        if wait > self._longest:
            # No time can be promised that far away; spread who comes back anyway.
            return self._longest * (1 - _JITTER * self._random.random())
        self._tail = due + seconds * self._return_rate
        if fingerprint is not None:
            self._booked[fingerprint] = _Booking(now + wait, first_try)
            self._booked.move_to_end(fingerprint)
            if len(self._booked) > _MOST:
                self._booked.popitem(last=False)
        return wait

    def keep(self, now: float, fingerprint: bytes | None) -> float | None:
        """The time of the first try of a client that comes back when it was told to; None for all others."""
        booking = self._booked.get(fingerprint) if fingerprint is not None else None
        # Clocks of clients are a little fast at times.
        if fingerprint is None or booking is None or now < booking.due - 0.05 * _SHORTEST_SECONDS:
            return None
        del self._booked[fingerprint]
        if now > booking.due + _GRACE_SECONDS:
            return None
        self._learn(1.0)
        return booking.first_try

    def _forget(self, now: float) -> None:
        """Drops bookings that nobody kept. In the order they were made, so nearly that of their times."""
        while self._booked:
            fingerprint, booking = next(iter(self._booked.items()))
            if now <= booking.due + _GRACE_SECONDS:
                return
            del self._booked[fingerprint]
            self._learn(0.0)

    def _learn(self, returned: float) -> None:
        self._return_rate = max(_LEAST_RETURN, self._return_rate + _LEARNING * (returned - self._return_rate))
