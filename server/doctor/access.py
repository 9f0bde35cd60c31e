"""Who may ask, and where their quotas are counted."""

from __future__ import annotations

from dataclasses import dataclass

from server.doctor.findings import Check, Finding, counted
from server.doctor.start import Start

TENANTS = Check(
    "tenants file",
    "Access",
    "the tenants file is there and says something possible, every environment variable that it names included",
    warns="there is none, and the daemon listens on more than the loopback address",
    fails="it cannot be read or is wrong: the daemon would not start",
)
REDIS = Check(
    "Redis",
    "Access",
    "the Redis of `quotas.storage_url` answers, and soon enough",
    warns="an answer takes more than a quarter of the 0.2 s that a booking may take",
    fails="it does not answer: each replica would count alone",
)

_LOOPBACK = ("127.", "::1", "localhost")
_SLOW_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class TenantFacts:
    """What reading the tenants file gave: their number, or what is wrong. Never a key."""

    tenants: int = 0
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """A Redis that was asked: its address without the password, and how long a second answer took."""

    address: str
    seconds: float | None = None
    trouble: str = ""


def check_tenants(facts: TenantFacts | None, start: Start) -> Finding | None:
    """The line of the tenants, None on a node that does not serve; `facts` is None where no file is set."""
    if not start.serves:
        return None
    if facts is None:
        if start.host.startswith(_LOOPBACK):
            return TENANTS.ok(f"none: whoever reaches {start.host} is served")
        return TENANTS.warn(
            f"none: whoever reaches {start.host}:{start.port} is served without a key",
            "write one (config/tenants.example.yaml) and give it with --tenants, or listen on 127.0.0.1",
        )
    if facts.trouble:
        return TENANTS.fail(facts.trouble, "mend it; every field is in docs/reference.md")
    return TENANTS.ok(f"{start.tenants or start.keys}: {counted(facts.tenants, 'tenant')}")


def check_redis(facts: RedisFacts | None) -> Finding | None:
    """The line of Redis; None where none is configured."""
    if facts is None:
        return None
    if facts.seconds is None:
        return REDIS.fail(
            f"{facts.address} does not answer: {facts.trouble}",
            "check quotas.storage_url and the way there; without it the quotas hold for each replica and not for all",
        )
    told = f"{facts.address} answers in {facts.seconds * 1000:.1f} ms"
    if facts.seconds > _SLOW_SECONDS:
        return REDIS.warn(told, "every request books there twice: put it nearer")
    return REDIS.ok(told)
