"""What the probes say: one status with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    SERVING = "serving"
    SATURATED = "saturated"
    DRAINING = "draining"
    STALLED = "stalled"
    DEAD = "dead"
    RESTARTING = "restarting"


_READY = frozenset((Status.SERVING,))
_ALIVE = frozenset(Status) - {Status.STALLED, Status.DEAD}


@dataclass(frozen=True, slots=True)
class Condition:
    """The daemon now. `reason` is for people; it is empty while all is well. `phase` is that of a start."""

    status: Status
    reason: str = ""
    phase: str | None = None

    @property
    def ready(self) -> bool:
        """Whether requests should come here."""
        return self.status in _READY

    @property
    def live(self) -> bool:
        """Whether the daemon can still get well by itself: False asks for its end."""
        return self.status in _ALIVE
