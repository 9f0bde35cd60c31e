"""The controller: who runs next, who waits, and who is told to come back.

Events come in with the time at which they happened; `decide` says what to do. It is the driver's duty to call `decide`
after each event, and at the time that `wake_at` names.
"""

from __future__ import annotations

from collections.abc import Iterator

from server.admission.classes import PriorityClass
from server.admission.policy.ageing import Ageing
from server.admission.policy.deadlines import Deadlines
from server.admission.policy.decisions import Decisions, Eviction
from server.admission.policy.door import Door
from server.admission.policy.engine_model import EngineModel, StepCosts
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.forecast import Forecast
from server.admission.policy.output_lengths import OutputLengths
from server.admission.policy.parameters import Rules
from server.admission.policy.room import Room
from server.admission.policy.selection import Selection
from server.admission.policy.shares import Shares
from server.admission.policy.ticket import Ask, Cost, Stage, Ticket
from server.admission.refusals import Reason, TooLarge
from server.generation.engine_state import EngineReport, EngineSize

# An answer that outgrew its prediction is expected to grow by a quarter more, and by no fewer tokens than these.
_GROWTH = 4
_LEAST_GROWTH = 16
# What rendering a prompt and the engine may take of an objective for the first token.
_WORK_PART = 0.85
_ENDLESS = float("inf")


class Controller:
    """One engine's admission. All times are in seconds on one clock, which the caller keeps."""

    def __init__(self, size: EngineSize, rules: Rules, *, prior: StepCosts | None = None, seed: int = 0) -> None:
        self.size = size
        self.rules = rules
        self.model = EngineModel(prior)
        self.room = Room(size, rules, self.model)
        self.forecast = Forecast(size, self.model, self.room)
        self.lengths = OutputLengths()
        self.queues = {each: FairQueue(rules.input_weight, rules.output_weight) for each in PriorityClass}
        self.shares = Shares(rules, self.room)
        self.door = Door(rules, self.room, self.forecast, self.queues, self.shares, seed)
        self.reserved = 0
        self._numbers = 0
        self._evictions: list[Eviction] = []
        self._deadlines = Deadlines()
        self._ageing = Ageing(rules)
        self._selection = Selection(rules, self.room, self.shares, self.queues)
        self._last_report = -_ENDLESS
        self._stop_after = -_ENDLESS
        self._stopping = 0
        # Whether somebody who waits does not fit, and whether stopping batch sequences would help.
        self._blocked = False
        self._wanting = False
        self._short_of: frozenset[str] = frozenset()
        # Whether all that waited was kept out when it was last looked at, and who has come since.
        self._settled = False
        self._newcomers: list[Ticket] = []

    @property
    def waiting(self) -> int:
        """Requests that wait, and those that are being rendered."""
        return self.reserved + sum(queue.waiting for queue in self.queues.values())

    @property
    def short_of(self) -> frozenset[str]:
        """What kept out who waits, in `room`'s words, when that was last decided; nothing where nobody waits."""
        return self._short_of if any(queue.waiting for queue in self.queues.values()) else frozenset()

    # Events

    def arrive(self, now: float, ask: Ask) -> Ticket:
        """Reserves a place and an estimated cost before anything is rendered. Raises Refused."""
        self.shares.seen(now, ask)
        ticket = self._new(ask, now)
        ticket.predicted_output = ask.answers * self.lengths.predict(
            ask.tenant, ask.thinking, ask.effort, ask.max_tokens
        )
        ticket.long = ticket.uncached >= self.rules.long_tokens
        first_try = self.door.appointments.keep(now, ask.fingerprint)
        if first_try is not None:
            ticket.order = first_try
        # In this order: nobody is displaced by who is then refused for another reason.
        self.door.check(now, ticket, self.waiting, blocked=self._blocked)
        self._make_place(now, ticket)
        self.reserved += 1
        self._work(ticket, 1)
        return ticket

    def price(self, now: float, ticket: Ticket, cost: Cost) -> None:
        """The prompt is rendered: the ticket's cost is known and it starts to wait.

        Raises TooLarge where it could never run, and Refused where its cost turns out to be more than can be served in
        time; the ticket has ended then.
        """
        if ticket.stage is not Stage.RESERVED:
            return
        self._work(ticket, -1)
        self.reserved -= 1
        ticket.prompt, ticket.cached, ticket.max_tokens = cost.prompt, cost.cached, cost.max_tokens
        ticket.uncached = cost.prompt - cost.cached
        ticket.resumable = cost.resumable
        ticket.long = ticket.uncached >= self.rules.long_tokens
        ask = ticket.ask
        ticket.predicted_output = ask.answers * self.lengths.predict(
            ask.tenant, ask.thinking, ask.effort, cost.max_tokens
        )
        ticket.stage = Stage.ENDED
        if self.room.never_fits(ticket):
            raise self._too_large(ticket)
        self.door.check(now, ticket, self.waiting, blocked=self._blocked)
        ticket.stage = Stage.WAITING
        self._wait(now, ticket)

    def made(self, now: float, ticket: Ticket, tokens: int, cached: int | None = None) -> None:
        """The engine made `tokens` for the ticket; with the first, `cached` says what of the prompt it had."""
        if ticket.slot is None:
            return
        if ticket.prefilling:
            self._settled = False
            self._first_token(now, ticket, cached)
        ticket.made += tokens
        if ticket.made > ticket.predicted_output:
            longest = ticket.max_tokens * ticket.sequences
            grown = ticket.made + max(_LEAST_GROWTH, ticket.made // _GROWTH)
            ticket.predicted_output = max(ticket.made, min(longest, grown))
        if ticket.made > ticket.charged_output:
            self.queues[ticket.charged].charge_output(ticket, ticket.made - ticket.charged_output)
        self.room.grow(ticket, tokens)

    def stopped(self, now: float, ticket: Ticket, cached: int) -> None:
        """The engine has let a stopped ticket go; it waits again where it was in its line.

        `cached` is how much of its prompt and answer so far the engine is expected to have when it goes on.
        """
        if ticket.stage is not Stage.STOPPING:
            return
        self._stopping -= 1
        self._settled = False
        self.room.leave(ticket)
        ticket.uncached = max(1, ticket.prompt + ticket.made - cached)
        ticket.long = ticket.uncached >= self.rules.long_tokens
        ticket.stage = Stage.WAITING
        self._wait(now, ticket)

    def leave(self, now: float, ticket: Ticket, *, complete: bool) -> bool:
        """The ticket ends, wherever it is; `complete` if the model ended it by itself. False if it had ended."""
        stage, ticket.stage = ticket.stage, Stage.ENDED
        queue = self.queues[ticket.priority]
        if stage is Stage.ENDED:
            return False
        self._settled = False
        if stage is Stage.RESERVED:
            self.reserved -= 1
            self._work(ticket, -1)
        elif stage is Stage.WAITING:
            queue.leave(ticket)
            self._work(ticket, -1)
            self._ageing.look_later(now, ticket.priority, queue.line(ticket))
        else:
            self._stopping -= stage is Stage.STOPPING
            self.room.leave(ticket)
        if ticket.admitted is not None:
            charged = self.queues[ticket.charged]
            # The prompt stays charged: the engine worked on it, whoever cancels before the first token.
            charged.charge_output(ticket, ticket.made - ticket.charged_output)
            if complete:
                ask = ticket.ask
                self.lengths.learn(ask.tenant, ask.thinking, ask.effort, ticket.made // ticket.sequences)
        return True

    def observe(self, now: float, report: EngineReport) -> None:
        """One step of the engine."""
        self._last_report = now
        self._settled = False
        if report.step_seconds is not None:
            tokens = report.prefill_tokens + report.decode_tokens
            self.model.learn(report.step_seconds, tokens, report.kv_used * self.size.kv_tokens)
        self.room.observe(now, report.step_seconds, report.preempted, report.prefill_tokens)

    # Decisions

    def decide(self, now: float) -> Decisions:
        """What is to be done now."""
        decisions = Decisions()
        self._expire(now)
        decisions.evict, self._evictions = self._evictions, []
        for ticket, above in self._ageing.due(now):
            self._promote(now, ticket, above)
        if self._settled and self._kept_out(now):
            if self.stale(now):
                self._short_of = frozenset()
            return decisions
        self._blocked = self._wanting = self._settled = False
        self._short_of = frozenset()
        self._newcomers.clear()
        if not self.stale(now):
            self._admit(now, decisions)
            self._settled = True
        return decisions

    def _kept_out(self, now: float) -> bool:
        """Whether who came since everybody was kept out is kept out as well. Then nothing is to be decided, unless
        something can be stopped for them.
        """
        newcomers, self._newcomers = self._newcomers, []
        if newcomers and (self.room.stoppable or not self.room.running):
            return False
        for ticket in newcomers:
            if ticket.stage is Stage.WAITING:
                ticket.why = self.obstacle(now, ticket)
                if not ticket.why:
                    return False
        return self._stop_after <= now or not self._wanting

    def stale(self, now: float) -> bool:
        """Whether the engine has work and has told nothing for too long; it counts as full then."""
        if not self.room.running:
            return False
        oldest = next(iter(self.room.running.values()))
        assert oldest.admitted is not None
        return now - max(self._last_report, oldest.admitted) > self.rules.stale_seconds

    def wake_at(self, now: float) -> float | None:
        """When `decide` must run although nothing happened; None where that is never. Ask after `decide`."""
        times = [each for each in (self._deadlines.next, self._ageing.next) if each is not None]
        if self._wanting and self._stop_after > now:
            times.append(self._stop_after)
        return min(times, default=None)

    def _admit(self, now: float, decisions: Decisions) -> None:
        selection = self._selection
        decisions.admit = selection.admit(now, self._enter)
        self._blocked = bool(selection.blockers)
        self._short_of = frozenset(ticket.why for ticket in selection.blockers)
        work = sum(self.forecast.engine_seconds(ticket.uncached, ticket.remaining_output) for ticket in decisions.admit)
        self.forecast.learn_pace(now, work, full=bool(selection.blockers or selection.held_back))
        self._wanting = selection.wanting
        if self._wanting:
            self._stop(now, decisions)

    def obstacle(self, now: float, ticket: Ticket) -> str:
        """What keeps a ticket out at this moment; empty where nothing does."""
        return self._selection.obstacle(now, ticket)

    def _enter(self, now: float, ticket: Ticket) -> None:
        queue = self.queues[ticket.priority]
        ticket.stage = Stage.RUNNING
        queue.leave(ticket)
        self._work(ticket, -1)
        line = queue.line(ticket)
        line.served[ticket.long] = now
        self._ageing.look_later(now, ticket.priority, line)
        if ticket.admitted is None:
            ticket.charged = ticket.priority
            queue.charge_input(ticket, ticket.uncached)
            queue.charge_output(ticket, ticket.predicted_output)
            if not ticket.returned:
                self.forecast.learn_wait(ticket.work_ahead, now - ticket.arrived)
        ticket.admitted = now
        ticket.bypassed = 0
        ticket.why = ""
        self.room.enter(ticket)

    def _stop(self, now: float, decisions: Decisions) -> None:
        """Batch sequences give way to what waits for room, the newest first, a few at a time."""
        if now < self._stop_after or self._stopping:
            return
        for ticket in reversed(self.room.stoppable.values()):
            if len(decisions.stop) == self.rules.stops_at_once:
                break
            if ticket.stage is Stage.RUNNING:
                ticket.stage = Stage.STOPPING
                self._stopping += 1
                decisions.stop.append(ticket)
        if decisions.stop:
            self._stop_after = now + self.rules.stop_grace_seconds

    # Waiting

    def _wait(self, now: float, ticket: Ticket) -> None:
        self._push(now, ticket)
        self._set_deadlines(ticket)

    def _push(self, now: float, ticket: Ticket) -> None:
        queue = self.queues[ticket.priority]
        ticket.queued = now
        self._newcomers.append(ticket)
        queue.push(ticket)
        self._work(ticket, 1)
        self._ageing.look_later(now, ticket.priority, queue.line(ticket))

    def _set_deadlines(self, ticket: Ticket) -> None:
        """Who has been admitted once has met its first deadline; only the last one holds when it is stopped."""
        objective, total = self.door.objectives(ticket.ask)
        ticket.queue_deadline = None
        if objective is not None and ticket.admitted is None:
            # When it is too late to enter, not when it is too late altogether; a prompt that takes longer to compute
            # than the objective may still wait that long.
            prefill = self.forecast.prefill(ticket)
            ticket.queue_deadline = ticket.arrived + (objective - prefill if prefill < objective else objective)
        ticket.total_deadline = None if total is None else ticket.arrived + total
        self._deadlines.add(ticket, live=self.waiting + len(self.room.running))

    def _expire(self, now: float) -> None:
        for ticket in self._deadlines.due(now):
            late = ticket.stage is Stage.WAITING and ticket.queue_deadline is not None and ticket.queue_deadline <= now
            over = ticket.total_deadline is not None and ticket.total_deadline <= now
            if ticket.stage is not Stage.ENDED and (late or over):
                waited = ticket.stage is Stage.WAITING
                if waited and late and not ticket.returned:
                    self.forecast.learn_late(ticket.work_ahead, now - ticket.arrived)
                self.leave(now, ticket, complete=False)
                retry = self.door.retry_after(now, ticket) if waited else None
                self._evictions.append(Eviction(ticket, Reason.DEADLINE_EXCEEDED, retry))

    def _promote(self, now: float, ticket: Ticket, above: PriorityClass) -> None:
        self._settled = False
        self._work(ticket, -1)
        self.queues[ticket.priority].leave(ticket)
        ticket.priority = above
        self._push(now, ticket)

    # The door

    def _new(self, ask: Ask, now: float) -> Ticket:
        self._numbers += 1
        return Ticket(self._numbers, ask, now)

    def _make_place(self, now: float, ticket: Ticket) -> None:
        """Refuses where too many wait, or displaces the newest of whoever has the most waiting, if that is another."""
        if self.waiting < self.rules.max_waiting:
            return
        for priority in reversed(PriorityClass):
            queue = self.queues[priority]
            if priority.rank < ticket.priority.rank or not queue.waiting:
                continue
            # From a lower class anybody; from the same one only who has more waiting than this tenant.
            least = queue.line(ticket).waiting + 1 if priority is ticket.priority else 0
            line = queue.largest(least)
            newest = line.newest() if line is not None else None
            if newest is not None:
                self.leave(now, newest, complete=False)
                self._evictions.append(Eviction(newest, Reason.DISPLACED, self.door.retry_after(now, newest)))
                return
        raise self.door.refusal(now, ticket, Reason.OVERLOADED)

    def _too_large(self, ticket: Ticket) -> TooLarge:
        blocks = self.size.footprint(ticket.prompt + ticket.max_tokens) // self.size.block_tokens * ticket.sequences
        if ticket.sequences > self.size.sequences:
            return TooLarge(
                f"This asks for {ticket.sequences} answers at once; this server runs {self.size.sequences}.", param="n"
            )
        return TooLarge(
            f"This needs up to {blocks} blocks of the KV cache ({ticket.prompt} prompt tokens and {ticket.max_tokens} "
            f"of each of {ticket.sequences} answers), and the server has {self.size.blocks}.",
            param="max_tokens",
        )

    # Work that waits, and tokens that came

    def _work(self, ticket: Ticket, sign: int) -> None:
        self.queues[ticket.priority].add_work(ticket, sign)

    def _first_token(self, now: float, ticket: Ticket, cached: int | None) -> None:
        self.room.prefilled(ticket)
        if ticket.first_token is not None:
            return
        ticket.first_token = now
        self.room.answered(slow=self._was_slow(now, ticket))
        if not ticket.returned:
            self.forecast.learn_ttft(ticket.predicted_ttft, now - ticket.arrived)
        if cached is not None:
            # What the engine found in its cache was not computed, whatever was estimated.
            self.queues[ticket.charged].charge_input(ticket, ticket.prompt - cached - ticket.charged_input)

    def _was_slow(self, now: float, ticket: Ticket) -> bool:
        """Whether all but its wait took more than its part of the class's objective for a first token that could have
        come in half of that; what is left of the objective is for waiting. Only the operator's objective counts, not
        what a client asks for.
        """
        objective = self.rules.classes[ticket.ask.priority].ttft_seconds
        if objective is None or ticket.admitted is None or ticket.queued is None:
            return False
        part = _WORK_PART * objective
        # Who moved up a class is queued anew.
        rendering = ticket.queued - ticket.arrived if ticket.priority is ticket.ask.priority else 0.0
        took = now - ticket.admitted + rendering
        return took > part and self.forecast.alone(ticket) < part / 2

    def waiting_tickets(self) -> Iterator[Ticket]:
        """Every waiting ticket, by class, then by tenant."""
        for queue in self.queues.values():
            for _, line in queue.items():
                yield from line.tickets()
