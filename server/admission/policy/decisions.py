"""What the controller decides, and what it shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from server.admission.classes import PriorityClass
from server.admission.policy.ticket import Ticket
from server.admission.refusals import Reason


@dataclass(frozen=True, slots=True)
class Eviction:
    """A waiting or running ticket must end now; it has been taken out already."""

    ticket: Ticket
    reason: Reason
    retry_after: float | None


@dataclass(slots=True)
class Decisions:
    """In this order: evict, admit, then stop (the driver reports each stop's end with `Controller.stopped`)."""

    evict: list[Eviction] = field(default_factory=list)
    admit: list[Ticket] = field(default_factory=list)
    stop: list[Ticket] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Waiting:
    """One waiting request, for a person who looks; times are in seconds.

    `priority` is the class that it waits in, `asked` the one that it came in: they differ once it has aged. `why` is
    what keeps it out.
    """

    id: int
    tenant: str
    priority: PriorityClass
    asked: PriorityClass
    waited: float
    prompt_tokens: int
    uncached_tokens: int
    predicted_output: int
    why: str
    starts_in: float
    deadline_in: float | None
