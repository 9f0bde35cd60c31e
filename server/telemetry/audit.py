"""The audit log: what was done at the admin port, and keys that were refused.

Lines are `audit` events of the room `audit`, above every other line's level but errors', so that `log.level` does not
hide them unless it is `error`. Whoever tries keys by the thousand gets a bounded number of lines; all are counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

from prometheus_client import Counter

from server.telemetry.logs import get_logger

_log = get_logger("audit")

Event = Literal["admin", "auth_failure"]

EVENTS = Counter("qwend_audit_events", "Admin actions and refused keys, logged or not.", ["event"])
UNLOGGED = Counter("qwend_audit_unlogged", "Audit events over the log's rate, which were only counted.", ["event"])

_PER_SECOND, _BURST = 10.0, 50.0


class Audit:
    """Writes up to `burst` lines of an event at once and `per_second` on average."""

    def __init__(
        self,
        write: Callable[..., None] = _log.warning,
        *,
        per_second: float = _PER_SECOND,
        burst: float = _BURST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._write = write
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        # Of each event: the lines that may be written, when that was counted, and how many were left out.
        self._left: dict[str, tuple[float, float, int]] = {}

    def __call__(self, event: Event, **fields: Any) -> None:
        """Notes an event. `fields` must hold no secret and nothing that a client can make long."""
        EVENTS.labels(event).inc()
        now = self._clock()
        left, since, skipped = self._left.get(event, (self._burst, now, 0))
        left = min(self._burst, left + (now - since) * self._per_second)
        if left < 1:
            UNLOGGED.labels(event).inc()
            self._left[event] = (left, now, skipped + 1)
            return
        self._left[event] = (left - 1, now, 0)
        self._write("audit", action=event, **fields, **({"left_out_before": skipped} if skipped else {}))


audit = Audit()
"""The daemon's own."""
