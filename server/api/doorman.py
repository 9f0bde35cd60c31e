"""How many connections there are, from where, and what one may cost before it has sent a request."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionRules:
    """Bounds on connections: bytes and header lines of a request's head, seconds for a head, for a body and between two
    requests, how many connections there may be and how many from one address; None is no bound.
    """

    head_bytes: int
    headers: int
    head_seconds: float
    body_seconds: float
    idle_seconds: float
    total: int | None = None
    per_address: int | None = None


class Doorman:
    """Counts the connections of one listener. Who is refused is counted too for the moment that telling it takes."""

    # Most that are told why at a time; what comes beyond is closed without a word.
    _MOST_TOLD = 256

    def __init__(self, rules: ConnectionRules) -> None:
        self.rules = rules
        self._from: Counter[str] = Counter()
        self.inside = 0
        self.being_told = 0

    def enter(self, address: str | None) -> tuple[int, str] | None:
        """A connection came: None where it may stay, else the status and code of the refusal."""
        rules, place = self.rules, _place(address)
        if rules.total is not None and self.inside >= rules.total:
            return 503, "too_many_connections"
        if rules.per_address is not None and self._from[place] >= rules.per_address:
            return 429, "too_many_connections_from_address"
        self.inside += 1
        self._from[place] += 1
        return None

    def leave(self, address: str | None) -> None:
        """One that was let in has gone."""
        place = _place(address)
        self.inside -= 1
        self._from[place] -= 1
        if not self._from[place]:
            del self._from[place]

    def may_tell(self) -> bool:
        """Whether one more refused connection may stay for its answer."""
        return self.being_told < self._MOST_TOLD


def _place(address: str | None) -> str:
    """Of IPv6 the first 64 bits, which is what one client has: it can choose the others as it likes."""
    if address is None or ":" not in address:
        return address or ""
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((found, 64), strict=False))
