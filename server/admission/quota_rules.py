"""What a quota comes to: rules that a store counts, and what it answers.

All of a request's rules are taken at once or not at all. A store is a place where they are counted: this process's
memory, or a Redis that several replicas share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute

from server.admission.tenants import Caller, Quota

SLOTS = 120
"""Into how many slots a window is cut: what was used is forgotten a slot at a time, never too early, and so by at most
one part in SLOTS too late."""

NEVER = -1.0
"""The wait of a request that is larger than a whole window."""


class Kind(StrEnum):
    """How a rule counts.

    A `window` bounds what is used in any span of its seconds. A `share` bounds how fast: it is a bucket that holds
    one second's share and fills in one second; who finds anything in it may overdraw it, which the following seconds
    pay for, so that a request larger than a second's share is possible. `seats` bound how many there are at a time.
    """

    WINDOW = "window"
    SHARE = "share"
    SEATS = "seats"


class Unit(StrEnum):
    """What is counted."""

    REQUESTS = "requests"
    TOKENS = "tokens"


@dataclass(frozen=True, slots=True)
class Rule:
    """One bound. `limit` is of units in `seconds`, for a share of units a second; `key` is where it is counted."""

    key: str
    kind: Kind
    unit: Unit
    limit: float
    seconds: int
    of_key: bool

    @property
    def slot_seconds(self) -> float:
        """Length of one slot of a window."""
        return self.seconds / SLOTS

    @property
    def daily(self) -> bool:
        """Whether this is a day's bound."""
        return self.seconds > 60


@dataclass(frozen=True, slots=True)
class Charge:
    """How much of a rule is taken; 0 only looks."""

    rule: Rule
    cost: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What is used of a rule, and in how many seconds all of it will be free."""

    used: float
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A store's answer to a charge: when it was booked (seconds, by the store's clock), or which charge was refused.

    `wait_seconds` is how long the refused charge would have to wait, or NEVER. `standings` are in the charges' order,
    after the booking.
    """

    at: float
    refused: int | None
    wait_seconds: float
    standings: Sequence[Standing]


class Store(Protocol):
    """A place where rules are counted."""

    async def take(self, charges: Sequence[Charge], hold: str, *, force: bool = False) -> Verdict:
        """Books all charges, or none when one is refused; with `force` none is. `hold` names who takes the seats."""

    async def give_back(self, charges: Sequence[Charge], at: float, hold: str) -> None:
        """Undoes so much of what was booked at `at`, as far as it still counts, and frees the seats of `hold`."""


def rules(caller: Caller) -> list[Rule]:
    """Every rule that a request of this caller comes under: the tenant's, and the key's own."""
    found = [*_rules(f"{{{caller.tenant.name}}}", caller.tenant.quota, of_key=False)]
    if (quota := caller.key_quota) is not None:
        found += _rules(f"{{{caller.tenant.name}}}/{caller.key_id}", quota, of_key=True)
    return found


# Each request asks four times.
@lru_cache(4096)
def _rules(owner: str, quota: Quota, *, of_key: bool) -> tuple[Rule, ...]:
    """The limit is no part of a rule's key: after a reload what was used still counts. Braces keep a tenant's keys on
    one node of a Redis cluster."""
    found: list[Rule] = []

    def add(kind: Kind, unit: Unit, item: RateLimitItem, limit: float) -> None:
        key = f"{owner}/{kind}/{unit}/{item.get_expiry()}"
        found.append(Rule(key, kind, unit, limit, item.get_expiry(), of_key))

    for unit, amount in ((Unit.REQUESTS, quota.requests_per_minute), (Unit.TOKENS, quota.tokens_per_minute)):
        if amount is not None:
            minute = RateLimitItemPerMinute(amount)
            add(Kind.WINDOW, unit, minute, amount)
            if quota.burst < minute.get_expiry():
                add(Kind.SHARE, unit, minute, amount / minute.get_expiry() * quota.burst)
    if quota.tokens_per_day is not None:
        add(Kind.WINDOW, Unit.TOKENS, RateLimitItemPerDay(quota.tokens_per_day), quota.tokens_per_day)
    if quota.concurrent_requests is not None:
        found.append(Rule(f"{owner}/seats", Kind.SEATS, Unit.REQUESTS, quota.concurrent_requests, 0, of_key))
    return tuple(found)
