"""Counting quotas in this process's memory.

The `limits` library's moving window keeps an entry for each unit, which is too much for tokens, and its other windows
let through up to twice the limit at their seams. This one keeps a number for each slot of a window, so that it is exact
over any span but for the length of a slot, whatever is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from math import floor

from server.admission.quota_rules import NEVER, SLOTS, Charge, Kind, Rule, Standing, Verdict


class MemoryStore:
    """A `Store` in memory. Nothing in it waits, so that on one event loop each call is atomic."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._windows: dict[str, dict[int, float]] = {}
        self._full_at: dict[str, float] = {}
        self._seats: dict[str, set[str]] = {}

    async def take(self, charges: Sequence[Charge], hold: str, *, force: bool = False) -> Verdict:
        """Books all charges, or none; see `Store`."""
        now = self._clock()
        refused, wait = None, 0.0
        for place, charge in enumerate(charges):
            if charge.cost and not force and (needed := self._wait(charge, now)):
                refused, wait = place, needed
                break
        else:
            for charge in charges:
                if charge.cost:
                    self._book(charge, now, hold)
        return Verdict(now, refused, wait, [self._standing(charge.rule, now) for charge in charges])

    async def give_back(self, charges: Sequence[Charge], at: float, hold: str) -> None:
        """Undoes a booking in part or whole; see `Store`."""
        for charge in charges:
            rule = charge.rule
            if rule.kind is Kind.SEATS:
                if seats := self._seats.get(rule.key):
                    seats.discard(hold)
            elif rule.kind is Kind.SHARE:
                if rule.key in self._full_at:
                    self._full_at[rule.key] -= charge.cost / rule.limit
            else:
                slots = self._live(rule, self._clock())
                slot = floor(at / rule.slot_seconds)
                if slot in slots:
                    slots[slot] = max(0, slots[slot] - charge.cost)

    def standing(self, rule: Rule) -> Standing:
        """What is used of a rule now."""
        return self._standing(rule, self._clock())

    def _live(self, rule: Rule, now: float) -> dict[int, float]:
        """A window's slots, oldest first, without those that are over."""
        slots = self._windows.setdefault(rule.key, {})
        last_over = floor(now / rule.slot_seconds) - SLOTS - 1
        while slots and (oldest := next(iter(slots))) <= last_over:
            del slots[oldest]
        return slots

    def _wait(self, charge: Charge, now: float) -> float:
        """0 where the charge fits, else the seconds until it might, or NEVER."""
        rule, cost = charge.rule, charge.cost
        if rule.kind is Kind.SEATS:
            return 0.0 if len(self._seats.get(rule.key, ())) < rule.limit else 1.0
        if rule.kind is Kind.SHARE:
            return max(0.0, self._full_at.get(rule.key, 0.0) - now - 1.0 + 1e-9)
        if cost > rule.limit:
            return NEVER
        slots = self._live(rule, now)
        over = sum(slots.values()) + cost - rule.limit
        if over <= 0:
            return 0.0
        for slot, used in slots.items():
            over -= used
            if over <= 0:
                return (slot + SLOTS + 1) * rule.slot_seconds - now
        return float(rule.seconds)

    def _book(self, charge: Charge, now: float, hold: str) -> None:
        rule = charge.rule
        if rule.kind is Kind.SEATS:
            self._seats.setdefault(rule.key, set()).add(hold)
        elif rule.kind is Kind.SHARE:
            self._full_at[rule.key] = max(self._full_at.get(rule.key, 0.0), now) + charge.cost / rule.limit
        else:
            slots = self._live(rule, now)
            slot = floor(now / rule.slot_seconds)
            slots[slot] = slots.get(slot, 0) + charge.cost

    def _standing(self, rule: Rule, now: float) -> Standing:
        if rule.kind is Kind.SEATS:
            return Standing(len(self._seats.get(rule.key, ())), 0.0)
        if rule.kind is Kind.SHARE:
            missing = max(0.0, self._full_at.get(rule.key, 0.0) - now)
            return Standing(missing * rule.limit, missing)
        slots = self._live(rule, now)
        newest = max((slot for slot, used in slots.items() if used), default=None)
        if newest is None:
            return Standing(0, 0.0)
        return Standing(sum(slots.values()), (newest + SLOTS + 1) * rule.slot_seconds - now)
