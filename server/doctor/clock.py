"""The clock: certificates, quotas of several replicas and the logs of several nodes go by it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from server.doctor.findings import Check, Finding
from server.doctor.start import Start

CLOCK = Check(
    "clock",
    "Machine",
    "the time, against this installation's files and the hub's answer; whether anything keeps it right",
    warns="a minute or more off the hub's, or several nodes of which this one's clock is not synchronised",
    fails="earlier than this installation, or an hour or more off the hub's: certificates would not be valid",
)

_OFF_SECONDS = 60
_FAR_OFF_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """Seconds since 1970; `synchronised` is the kernel's word for it, None where it says nothing."""

    now: float
    installed: float
    synchronised: bool | None = None


def check_clock(facts: ClockFacts, start: Start, hub_ahead: float | None) -> Finding:
    """The clock's line; `hub_ahead` is by how many seconds the hub's clock is ahead, None where it was not asked."""
    told = f"{datetime.fromtimestamp(facts.now, UTC):%Y-%m-%d %H:%M:%S} UTC"
    todo = "`timedatectl set-ntp true`, or start chrony"
    # A day, for images that were built elsewhere.
    if facts.now < facts.installed - 86_400:
        return CLOCK.fail(f"{told}, earlier than this installation", todo)
    if hub_ahead is not None and abs(hub_ahead) >= _OFF_SECONDS:
        off = f"{told}, {abs(hub_ahead):,.0f} s {'behind' if hub_ahead > 0 else 'ahead of'} the hub's"
        return CLOCK.fail(off, todo) if abs(hub_ahead) >= _FAR_OFF_SECONDS else CLOCK.warn(off, todo)
    if facts.synchronised is False:
        told += ", not synchronised by this kernel"
        if start.nodes > 1:
            return CLOCK.warn(told, f"{todo}: the nodes' logs would not fit together")
        return CLOCK.ok(f"{told} (a host may keep it)")
    return CLOCK.ok(told + (", synchronised" if facts.synchronised else ""))
