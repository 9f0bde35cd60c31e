"""The front desk: carries out, on the event loop, what the pure policy decides."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator

from server.admission import measures
from server.admission.classes import PriorityClass
from server.admission.gate import Gate, GatePermit
from server.admission.policy.controller import Controller
from server.admission.policy.decisions import Eviction, Waiting
from server.admission.policy.parameters import Rules
from server.admission.policy.prefix_index import PrefixIndex, prefix_chain
from server.admission.policy.standing import standing
from server.admission.policy.ticket import Ask, Cost, Ticket
from server.admission.quotas import Hold, Quotas
from server.admission.refusals import Refused, TooLarge
from server.admission.tenants import Caller
from server.generation.engine_state import EngineReport, EngineSize
from server.generation.ports import Price, Prompt

# Hashing this many tokens takes about as long as it takes to hand them to a thread.
_HASH_ON_LOOP_TOKENS = 4096
_COMPLETE = ("stop", "tool_calls")
# The policy counts KV cache in blocks of hundreds of tokens: it need not be told of each of them, which takes 3 us.
_TOLD_TOKENS = 8
# What settles in the background, which would be collected otherwise.
_settling: set[asyncio.Task[None]] = set()


class Desk:
    """Gives permits; each tells it how its request goes on. `enabled` False lets everyone straight to the engine."""

    def __init__(
        self,
        gate: Gate,
        quotas: Quotas,
        *,
        default_output_tokens: int = 4096,
        enabled: bool = True,
        overload_status: int = 503,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.gate = gate
        self.quotas = quotas
        # What an answer may cost its caller's quota where the request does not bound it.
        self.default_output_tokens = default_output_tokens
        self.overload_status = overload_status
        self.enabled = enabled
        self.clock = clock
        self.controller: Controller | None = None
        self.prefixes: PrefixIndex | None = None
        self._permits: dict[int, AdmissionPermit] = {}
        self._due = False
        self._timer: asyncio.TimerHandle | None = None

    def open(self, size: EngineSize, rules: Rules) -> None:
        """The engine is there: builds the policy for it and lets requests in."""
        if self.enabled:
            self.controller = Controller(size, rules)
            self.prefixes = PrefixIndex(size.block_tokens, size.blocks)
            measures.show(self.controller)
        self.gate.open()

    def enter(self) -> AdmissionPermit:
        """A permit, not yet priced. Raises Unavailable when the daemon is not serving."""
        return AdmissionPermit(self, self.gate.enter())

    def observe(self, report: EngineReport) -> None:
        """One step of the engine."""
        if self.controller is not None:
            self.controller.observe(self.clock(), report)
            if self.controller.waiting:
                self.poke()

    @property
    def waiting(self) -> int:
        """Requests that wait for room, and those that are being rendered."""
        return 0 if self.controller is None else self.controller.waiting

    def standing(self, most: int) -> list[Waiting]:
        """Who waits, in the order in which they would run."""
        return [] if self.controller is None else standing(self.controller, self.clock(), most)

    def poke(self) -> None:
        """Something happened: decides once for all that happens in this turn of the event loop."""
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._decide)

    def _decide(self) -> None:
        self._due = False
        controller = self.controller
        if controller is None:
            return
        now = self.clock()
        decisions = controller.decide(now)
        for eviction in decisions.evict:
            self._permits[eviction.ticket.id].evicted(eviction)
        for ticket in decisions.admit:
            self._permits[ticket.id].let_in()
        for ticket in decisions.stop:
            self._permits[ticket.id].give_way()
        self._wake_later(controller.wake_at(now), now)

    def _wake_later(self, at: float | None, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self.poke)


class AdmissionPermit:
    """One request's way through admission; see `server.generation.ports.Permit`.

    `reserve` must come before rendering and `admitted` after it. Ends exactly once.
    """

    def __init__(self, desk: Desk, door: GatePermit) -> None:
        self._desk = desk
        self._door = door
        self._ticket: Ticket | None = None
        self._chain: list[bytes] = []
        self._salt: str | None = None
        self._room: asyncio.Future[None] | None = None
        self._hold: Hold | None = None
        self._ended = False
        self.outcome = ""
        """How the request ended, once it has."""
        self._output_tokens = 0
        self._prompt_tokens = 0
        self._made = 0
        self._untold = 0
        self._stop: Callable[[], None] | None = None
        self._interrupt: Callable[[Exception], None] | None = None
        self._error: Exception | None = None

    async def reserve(self, caller: Caller, ask: Ask, *, bounded: bool) -> None:
        """Takes a place and an estimated cost, of the caller's quota and of the engine; `bounded` says that the request
        bounds its answers itself.

        Raises RateLimited where the caller has used up its quota, and Refused where there is no hope of being served
        in time, which costs no quota.
        """
        desk = self._desk
        output = ask.max_tokens if bounded else min(ask.max_tokens, desk.default_output_tokens)
        self._hold = await desk.quotas.reserve(caller, ask.prompt_tokens + output * ask.answers)
        self._output_tokens = output * ask.answers
        if desk.controller is None:
            return
        try:
            with self._refusals():
                self._ticket = desk.controller.arrive(desk.clock(), ask)
        except Refused:
            await self._hold.cancel()
            raise
        desk._permits[self._ticket.id] = self

    async def admitted(self, price: Price) -> None:
        """See `server.generation.ports.Permit`."""
        desk, ticket = self._desk, self._ticket
        if self._hold is not None:
            await self._hold.correct(price.prompt.tokens + self._output_tokens)
        self._prompt_tokens = price.prompt.tokens
        if desk.controller is None or ticket is None:
            return
        self._salt = price.cache_salt
        cached = await self._cached(price.prompt)
        cost = Cost(price.prompt.tokens, cached, price.max_tokens, resumable=price.resumable)
        with self._refusals():
            desk.controller.price(desk.clock(), ticket, cost)
        await self._wait_for_room()
        measures.admitted(ticket, desk.clock())

    @property
    def may_stop(self) -> bool:
        """See `server.generation.ports.Permit`."""
        return self._ticket is not None and self._ticket.ask.priority is PriorityClass.BATCH

    async def readmitted(self, prompt: Prompt) -> None:
        """See `server.generation.ports.Permit`."""
        desk, ticket = self._desk, self._ticket
        assert desk.controller is not None
        assert ticket is not None
        measures.stopped()
        if self._untold:  # none would tell the policy of a first token
            untold, self._untold = self._untold, 0
            desk.controller.made(desk.clock(), ticket, untold)
        desk.controller.stopped(desk.clock(), ticket, await self._cached(prompt))
        await self._wait_for_room()

    def made(self, tokens: int, cached: int) -> None:
        """See `server.generation.ports.Permit`."""
        desk, ticket = self._desk, self._ticket
        self._made += tokens
        if desk.controller is None or ticket is None:
            return
        self._untold += tokens
        first = ticket.prefilling
        if first or self._untold >= _TOLD_TOKENS:
            untold, self._untold = self._untold, 0
            desk.controller.made(desk.clock(), ticket, untold, cached)
        if first:
            self._computed(cached)
            desk.poke()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """See `server.generation.ports.Permit`."""
        self._stop = stop

    def on_interrupt(self, interrupt: Callable[[Exception], None]) -> None:
        """See `server.generation.ports.Permit`."""
        self._interrupt = interrupt
        self._door.on_interrupt(interrupt)
        if self._error is not None:
            interrupt(self._error)

    def end(self, outcome: str) -> None:
        """See `server.generation.ports.Permit`."""
        if self._ended:
            return
        self._ended = True
        self.outcome = outcome
        ticket, controller = self._ticket, self._desk.controller
        if self._hold is not None:
            # A request that never ran has used no tokens, and one that we refused is none of its caller's.
            used = self._prompt_tokens + self._made if self._made else 0
            ours = outcome.startswith(("rejected_", "evicted_")) and not self._made
            settling = asyncio.ensure_future(self._hold.cancel() if ours else self._hold.settle(used))
            _settling.add(settling)
            settling.add_done_callback(_settling.discard)
        if ticket is not None and controller is not None:
            if self._untold:
                controller.made(self._desk.clock(), ticket, self._untold)
            # Already out of the controller if that was what ended it.
            controller.leave(self._desk.clock(), ticket, complete=outcome in _COMPLETE)
            if self._desk._permits.pop(ticket.id, None) is not None:
                measures.ended(ticket, outcome)
                self._desk.poke()
        self._door.end(outcome)

    # What the desk tells

    def let_in(self) -> None:
        """There is room."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def evicted(self, eviction: Eviction) -> None:
        """The request must end."""
        error = Refused(eviction.reason, retry_after=eviction.retry_after, evicted=True)
        error.status = self._desk.overload_status
        self._fail(error)

    def give_way(self) -> None:
        """The request's place is needed."""
        assert self._stop is not None, "only resumable requests are stopped, and they said who does it"
        self._stop()

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Gives refusals for overload the status that the operator chose."""
        try:
            yield
        except TooLarge:
            raise
        except Refused as refused:
            refused.status = self._desk.overload_status
            raise

    def _fail(self, error: Exception) -> None:
        if self._room is not None:
            if not self._room.done():
                self._room.set_exception(error)
        elif self._interrupt is not None:
            self._interrupt(error)
        else:
            self._error = error  # it is on its way into the engine; told to whoever registers there

    async def _wait_for_room(self) -> None:
        self._room = asyncio.get_running_loop().create_future()
        self._interrupt = None
        self._door.on_interrupt(self._fail)
        self._desk.poke()
        try:
            await self._room
        finally:
            self._room = None

    async def _cached(self, prompt: Prompt) -> int:
        """Tokens of the prompt that the engine is expected to have computed already."""
        prefixes, controller = self._desk.prefixes, self._desk.controller
        assert prefixes is not None
        assert controller is not None
        block = controller.size.block_tokens
        if len(prompt.token_ids) < _HASH_ON_LOOP_TOKENS:
            self._chain = prefix_chain(prompt.token_ids, block, salt=self._salt, media=prompt.media)
        else:
            self._chain = await asyncio.to_thread(
                prefix_chain, prompt.token_ids, block, salt=self._salt, media=prompt.media
            )
        return prefixes.cached(self._chain, prompt.tokens)

    def _computed(self, cached: int) -> None:
        """The engine has computed the prompt; others that begin alike will find it."""
        prefixes = self._desk.prefixes
        assert prefixes is not None
        prefixes.learn(self._chain, cached)
        prefixes.add(self._chain)
