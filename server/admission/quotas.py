"""Quotas: what a caller may use, reserved when its request comes and settled when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
import uuid
from collections.abc import Coroutine, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from server.admission.quota_memory import MemoryStore
from server.admission.quota_redis import LEASE_SECONDS, StoreLost
from server.admission.quota_rules import Charge, Kind, Rule, Standing, Store, Unit, Verdict, rules
from server.admission.rate_limited import rate_headers, refusal
from server.admission.tenants import Caller
from server.generation.errors import Unavailable
from server.telemetry.logs import get_logger
from server.telemetry.metrics import QUOTA_REFUSALS, QUOTA_STORE_FAILURES

_log = get_logger("quotas")

# How often a Redis that was lost is looked for.
_RETRY_SECONDS = 2.0


class RemoteStore(Store, Protocol):
    """A store that other replicas share, and that can be lost."""

    async def renew(self, holds: Mapping[str, Sequence[str]]) -> None:
        """Makes seats last longer. Raises StoreLost."""

    async def check(self) -> None:
        """Raises StoreLost unless the store answers."""

    async def close(self) -> None:
        """Closes the connections."""


class WhenLost(StrEnum):
    """What holds while the shared store does not answer."""

    LOCAL = "local"
    REFUSE = "refuse"
    ALLOW = "allow"


_MEANWHILE = {
    WhenLost.LOCAL: "quotas are counted in this process alone",
    WhenLost.REFUSE: "who has quotas is refused",
    WhenLost.ALLOW: "quotas do not hold",
}


class Hold:
    """What one request has reserved. Settle it whatever happens."""

    __slots__ = ("_charges", "_name", "_quotas", "_settled", "_store", "_times", "caller", "tokens")

    def __init__(
        self, quotas: Quotas, store: Store, caller: Caller, name: str, charges: Sequence[Charge], at: float, tokens: int
    ) -> None:
        self._quotas = quotas
        self._store = store
        self._name = name
        self._charges = charges
        # Tokens may be booked at several times; each is given back where it was booked.
        self._times = [(at, tokens)]
        self._settled = False
        self.caller = caller
        self.tokens = tokens

    @property
    def seats(self) -> list[str]:
        """The keys of the seats that it holds."""
        return [charge.rule.key for charge in self._charges if charge.rule.kind is Kind.SEATS]

    @property
    def store(self) -> Store:
        """Where it is booked."""
        return self._store

    async def correct(self, tokens: int) -> None:
        """Reserves `tokens` in all, once they are known better. Raises RateLimited and then keeps what it had.

        Does nothing once settled.
        """
        if self._settled or tokens == self.tokens:
            return
        if tokens < self.tokens:
            await self._give_back(self.tokens - tokens)
        else:
            more = tokens - self.tokens
            at = await self._quotas._book_more(self, self._tokens(more))
            self._times.append((at, more))
            self.tokens = tokens

    async def settle(self, tokens_used: int) -> None:
        """Ends it: gives back what was reserved and not used, or books what was used on top; frees the seats.

        Only the first call counts.
        """
        if self._settled:
            return
        self._settled = True
        self._quotas._ended(self._name)
        seats = [charge for charge in self._charges if charge.rule.kind is Kind.SEATS]
        if tokens_used > self.tokens:
            await self._quotas._book_over(self, self._tokens(tokens_used - self.tokens))
        await self._give_back(max(0, self.tokens - tokens_used), seats)

    async def cancel(self) -> None:
        """Ends it as if it had never been, the request's own count included: for a refusal that is our own fault."""
        if self._settled:
            return
        self._settled = True
        self._quotas._ended(self._name)
        others = [charge for charge in self._charges if charge.rule.unit is Unit.REQUESTS]
        booked = self._times[0][0]
        await self._give_back(self.tokens)
        await self._quotas._undo(self._store, others, booked, self._name)

    async def _give_back(self, tokens: int, others: Sequence[Charge] = ()) -> None:
        """Latest bookings first, since those still count the longest."""
        self.tokens -= tokens
        others = list(others)
        while tokens or others:
            at, booked = self._times.pop() if tokens else (0.0, 0)
            back = min(tokens, booked)
            if booked > back:
                self._times.append((at, booked - back))
            tokens -= back
            charges = [*(self._tokens(back) if back else ()), *others]
            others = []
            if charges:
                await self._quotas._undo(self._store, charges, at, self._name)

    def _tokens(self, count: int) -> list[Charge]:
        return [Charge(charge.rule, count) for charge in self._charges if charge.rule.unit is Unit.TOKENS]


class Quotas:
    """Reserves and settles. Uses the shared store while it answers, else does what `when_lost` says: counts in this
    process alone, refuses who has limits, or counts nothing.

    One event loop's; nothing of it waits for longer than the shared store's own time limit of a quarter of a second.
    """

    def __init__(
        self, memory: MemoryStore, remote: RemoteStore | None = None, when_lost: WhenLost = WhenLost.LOCAL
    ) -> None:
        self._memory = memory
        self._remote = remote
        self._when_lost = when_lost
        self._lost = False
        self._holds: dict[str, Hold] = {}
        # What the shared store said last of each caller, and when, so that headers need no round trip.
        self._seen: dict[tuple[str, str], tuple[float, list[tuple[Rule, Standing]]]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._background: dict[str, asyncio.Task[None]] = {}

    async def reserve(self, caller: Caller, tokens: int) -> Hold:
        """Takes one request, one seat and `tokens` from every quota of the caller, or nothing at all.

        Raises RateLimited that says which quota refused, with the time until it might not; Unavailable where there are
        quotas, nobody knows what is used of them, and that is a reason to refuse.
        """
        name = uuid.uuid4().hex
        charges = [Charge(rule, tokens if rule.unit is Unit.TOKENS else 1) for rule in rules(caller)]
        store, verdict = await self._take(charges, name)
        if charges and store is self._memory and self._uncounted and self._when_lost is WhenLost.REFUSE:
            raise Unavailable(
                "What is used of your limits cannot be known now. Come again in a moment.",
                code="quota_store_unavailable",
                retry_after=math.ceil(_RETRY_SECONDS),
            )
        self._remember(caller, charges, verdict)
        self._check(charges, verdict)
        hold = Hold(self, store, caller, name, charges, verdict.at, tokens)
        if store is self._remote and hold.seats:
            self._holds[name] = hold
            self._run("renewing", self._renew)
        return hold

    def headers(self, caller: Caller) -> dict[str, str]:
        """The `x-ratelimit-*` headers of an answer to this caller; with a shared store, as it said last."""
        if self._uncounted:
            return {}
        if self._remote is None or self._lost:
            return rate_headers((rule, self._memory.standing(rule)) for rule in rules(caller))
        when, standings = self._seen.get((caller.tenant.name, caller.key_id), (0.0, []))
        known = {rule.key: standing for rule, standing in standings}
        age = time.monotonic() - when
        return rate_headers((rule, _aged(known.get(rule.key), age)) for rule in rules(caller))

    async def usage(self, caller: Caller) -> list[tuple[Rule, Standing]]:
        """What is used of each rule of the caller now."""
        charges = [Charge(rule, 0) for rule in rules(caller)]
        _, verdict = await self._take(charges, "")
        return [(charge.rule, standing) for charge, standing in zip(charges, verdict.standings, strict=True)]

    def forget(self, callers: set[tuple[str, str]]) -> None:
        """Drops what was remembered of callers that are not in `callers` (tenant's name and key id) any more."""
        self._seen = {who: seen for who, seen in self._seen.items() if who in callers}

    async def close(self) -> None:
        """Ends what runs in the background and closes connections."""
        for task in (*self._background.values(), *self._tasks):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, StoreLost):
                await task
        if self._remote is not None:
            await self._remote.close()

    def _check(self, charges: Sequence[Charge], verdict: Verdict) -> None:
        if verdict.refused is None:
            return
        charge, standing = charges[verdict.refused], verdict.standings[verdict.refused]
        error = refusal(charge.rule, verdict.wait_seconds, charge.cost, standing.used)
        QUOTA_REFUSALS.labels(error.code).inc()
        raise error

    async def _take(
        self, charges: Sequence[Charge], hold: str, *, store: Store | None = None, force: bool = False
    ) -> tuple[Store, Verdict]:
        remote = self._remote
        if remote is not None and not self._lost and store is not self._memory:
            asked = asyncio.ensure_future(remote.take(charges, hold, force=force))
            try:
                return remote, await asyncio.shield(asked)
            except asyncio.CancelledError:
                # The client has gone, but the store may have booked already.
                self._spawn(self._take_back(asked, charges, hold))
                raise
            except StoreLost as error:
                self._lose(error)
        if self._uncounted:
            charges = [Charge(charge.rule, 0) for charge in charges]
        return self._memory, await self._memory.take(charges, hold, force=force)

    @property
    def _uncounted(self) -> bool:
        """Whether the shared store is lost and nothing is counted meanwhile."""
        return self._lost and self._when_lost is not WhenLost.LOCAL

    async def _take_back(self, asked: asyncio.Future[Verdict], charges: Sequence[Charge], hold: str) -> None:
        with contextlib.suppress(StoreLost):
            verdict = await asked
            if verdict.refused is None and self._remote is not None:
                await self._remote.give_back(charges, verdict.at, hold)

    async def _book_more(self, hold: Hold, charges: Sequence[Charge]) -> float:
        store, verdict = await self._take(charges, hold._name, store=hold.store)
        self._check(charges, verdict)
        return verdict.at if store is hold.store else 0.0

    async def _book_over(self, hold: Hold, charges: Sequence[Charge]) -> None:
        """What was used on top of what was reserved cannot be refused any more."""
        if charges:
            await self._take(charges, hold._name, store=hold.store, force=True)

    async def _undo(self, store: Store, charges: Sequence[Charge], at: float, hold: str) -> None:
        if not charges:
            return
        if store is self._remote and self._lost:
            return  # it will be forgotten there by itself
        try:
            await store.give_back(charges, at, hold)
        except StoreLost as error:
            self._lose(error)

    def _remember(self, caller: Caller, charges: Sequence[Charge], verdict: Verdict) -> None:
        pairs = [(charge.rule, standing) for charge, standing in zip(charges, verdict.standings, strict=True)]
        self._seen[caller.tenant.name, caller.key_id] = (time.monotonic(), pairs)

    def _ended(self, name: str) -> None:
        self._holds.pop(name, None)

    def _lose(self, error: StoreLost) -> None:
        QUOTA_STORE_FAILURES.inc()
        if not self._lost:
            self._lost = True
            _log.warning(f"Redis does not answer; {_MEANWHILE[self._when_lost]}", why=str(error))
            self._run("finding", self._find)

    async def _find(self) -> None:
        assert self._remote is not None
        while self._lost:
            await asyncio.sleep(_RETRY_SECONDS)
            with contextlib.suppress(StoreLost):
                await self._remote.check()
                self._lost = False
                _log.info("Redis answers again; quotas are counted there")

    async def _renew(self) -> None:
        """Keeps this replica's seats while it lives."""
        assert self._remote is not None
        while self._holds:
            await asyncio.sleep(LEASE_SECONDS / 3)
            seats: dict[str, list[str]] = {}
            for name, hold in self._holds.items():
                for key in hold.seats:
                    seats.setdefault(key, []).append(name)
            try:
                if not self._lost:
                    await self._remote.renew(seats)
            except StoreLost as error:
                self._lose(error)

    def _run(self, name: str, work: Any) -> None:
        """Runs a background task unless it runs already."""
        if (task := self._background.get(name)) is None or task.done():
            self._background[name] = asyncio.create_task(work())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _aged(standing: Standing | None, seconds: float) -> Standing:
    """A standing as it will be by now, if nothing was used since."""
    if standing is None or standing.reset_seconds <= seconds:
        return Standing(0, 0.0)
    return Standing(standing.used, standing.reset_seconds - seconds)
