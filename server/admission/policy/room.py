"""The engine's room: what runs in it, and how much may.

Three things run out: running sequences, KV tokens, and prefill tokens on their way (they delay everyone's next token
and each other's first). Each is held under a limit that follows the live engine.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from server.admission.classes import PriorityClass
from server.admission.policy.engine_model import EngineModel
from server.admission.policy.parameters import Rules
from server.admission.policy.peak_kv import PeakKv
from server.admission.policy.ticket import Ticket
from server.generation.engine_state import EngineSize

# What can keep a ticket out; the last is what is kept free for tenants that have less than their fair part.
SEQUENCES, KV, PREFILL, LANE_TAKEN, RESERVED = "sequences", "kv", "prefill", "long prompts", "reserved for others"

# Additive increase, multiplicative decrease, decided once in this many seconds. By long steps only where there are so
# many: one that stalls, as while a GPU's kernel is compiled for a shape that is new, says nothing of the others.
_WINDOW_SECONDS = 1.0
_LEAST_STEPS = 4
_PREEMPTED_DECREASE = 0.85
_SLOW_DECREASE = 0.9
# A part of the engine's sequences; less where steps take nearly as long as they may: all of it below this part of that.
_SEQUENCES_INCREASE = 0.02
_ROOMY = 0.75
# More slow first tokens than this part of a window's, and more than one, are a sign of too many sequences, if nearly so
# many run as may: else something else made them slow, such as an engine's first steps.
_SLOW_PART = 0.1
_REACHED = 0.8
_KV_DECREASE = 0.95
_KV_INCREASE = 0.005
_LEAST_SEQUENCES = 4
# Where a new engine begins; doubled in each window in which it is reached, until something first goes wrong.
_FIRST_SEQUENCES = 16
_LEAST_KV_SHARE = 0.5


@dataclass(slots=True)
class Held:
    """What one tenant has of the room: sequences, and KV tokens at their predicted peak."""

    sequences: int = 0
    kv_tokens: int = 0


class Opening(NamedTuple):
    """What of the room is open to a ticket.

    `share` is the part of each limit. With `own` the limit on sequences does not count; with `gentle` no more prompts
    enter than leave a step about as short as it should be.
    """

    share: float = 1.0
    own: bool = False
    gentle: bool = False


EVERYTHING = Opening()


class Room:
    """Counts what runs, and says whether a ticket fits beside it."""

    def __init__(self, size: EngineSize, rules: Rules, model: EngineModel) -> None:
        self._size = size
        self.rules = rules
        self._model = model
        self._kv = PeakKv(size.sequences)
        # Newest last, as batch sequences are stopped from the end.
        self.running: OrderedDict[int, Ticket] = OrderedDict()
        self.stoppable: OrderedDict[int, Ticket] = OrderedDict()
        self.sequences = 0
        self.prefill = {False: 0, True: 0}
        self.long_prompts = 0
        self.sequence_limit = float(min(size.sequences, _FIRST_SEQUENCES))
        self._doubling = True
        self.kv_share = rules.kv_share
        self._window_end = 0.0
        self._step_seconds: list[float] = []
        self._running = 0
        self._preempted = 0
        # The smallest part of the limit on sequences at which somebody was kept out; 0 where nobody was.
        self._full = 0.0
        self._wanted = False
        self._answered = 0
        self._slow = 0
        self._held: dict[str, Held] = {}
        # Looked up once a step, when it is asked for.
        self._least_remaining: int | None = None

    @property
    def kv_limit(self) -> int:
        """KV tokens that may be held at the peak."""
        return int(self._size.kv_tokens * self.kv_share)

    @property
    def kv_held(self) -> int:
        """KV tokens that what runs holds now, counted as `need` counts them."""
        return self._kv.held

    @property
    def remaining_output(self) -> int:
        """Tokens that what runs is expected to make yet."""
        return self._kv.total - self._kv.held

    @property
    def least_remaining(self) -> int:
        """Tokens that the one of the running sequences which ends first is expected to make yet; 0 where none runs.

        As of the last step: it costs a look at each of them.
        """
        if self._least_remaining is None:
            self._least_remaining = min(
                (ticket.remaining_output // ticket.sequences for ticket in self.running.values()), default=0
            )
        return self._least_remaining

    @property
    def prefill_limit(self) -> int:
        """Prompt tokens that may be on their way at once: what the engine computes in `prefill_seconds`."""
        return max(int(self.rules.prefill_seconds * self._prefill_rate()), self._size.step_tokens)

    def prefill_open(self, opening: Opening) -> float:
        """Prompt tokens that may be on their way at once, of the short ones while no long one is there."""
        limit = self.prefill_limit * opening.share
        return min(limit, self.rules.itl_seconds * self._prefill_rate()) if opening.gentle else limit

    def _prefill_rate(self) -> float:
        return self._model.prefill_rate(self._size.step_tokens, self.sequences, self._kv.held)

    def need(self, ticket: Ticket) -> int:
        """KV tokens of a ticket's prompt and what it has made, in whole blocks and one more for each sequence."""
        sequences = ticket.ask.answers
        return (self._size.footprint(ticket.prompt + ticket.made // sequences) + self._size.block_tokens) * sequences

    def peak_need(self, ticket: Ticket) -> int:
        """KV tokens of a ticket once it has made what is predicted of it."""
        return self.need(ticket) + ticket.remaining_output

    def held_by(self, tenant: str) -> Held | None:
        """What a tenant's running requests hold; None where it has none."""
        return self._held.get(tenant)

    def never_fits(self, ticket: Ticket) -> bool:
        """Whether the ticket could not run even alone in the engine, making all that it may."""
        longest = self._size.footprint(ticket.prompt + ticket.max_tokens) * ticket.sequences
        return ticket.sequences > self._size.sequences or longest > self._size.kv_tokens

    def obstacle(self, ticket: Ticket, opening: Opening) -> str:
        """What keeps the ticket out of what is open to it, empty where nothing does.

        What fits alone is never kept out of an empty room.
        """
        if not self.running:
            return ""
        sequences, share = ticket.ask.answers, opening.share
        # One of many answers counts for half of the limit at most: while others go on, it would never find more free.
        limit = self.sequence_limit * share
        crowded = self.sequences + min(sequences, max(1.0, limit / 2)) > limit and not opening.own
        if crowded or self.sequences + sequences > self._size.sequences:
            self._full = min(self._full or 1.0, share)
            return SEQUENCES
        capacity = int(self.kv_limit * share)
        if not self._kv.fits(self.need(ticket), ticket.remaining_output // sequences, sequences, capacity):
            return KV
        if ticket.long:
            # One at a time past its own share of the prefill: a prompt that is longer than that share still runs.
            limit = self.prefill_limit * self.rules.long_share
            return LANE_TAKEN if self.long_prompts and self.prefill[True] + ticket.uncached > limit else ""
        limit = self.prefill_open(opening) * (1 - self.rules.long_share if self.long_prompts else 1)
        if self.prefill[False] and self.prefill[False] + ticket.uncached > limit:
            return PREFILL
        return ""

    def enter(self, ticket: Ticket) -> None:
        """The ticket goes to the engine."""
        if not self.running:
            self._least_remaining = None
        self.running[ticket.id] = ticket
        if ticket.priority is PriorityClass.BATCH and ticket.resumable:
            self.stoppable[ticket.id] = ticket
        ticket.prefilling = True
        self.sequences += ticket.sequences
        self.prefill[ticket.long] += ticket.uncached
        self.long_prompts += ticket.long
        held = self._held.setdefault(ticket.tenant, Held())
        ticket.peak = self.peak_need(ticket)
        held.sequences += ticket.sequences
        held.kv_tokens += ticket.peak
        ticket.slot = self._kv.add(
            ticket, self.need(ticket), ticket.remaining_output // ticket.sequences, ticket.sequences
        )

    def prefilled(self, ticket: Ticket) -> None:
        """The ticket's first token is there, or it leaves without one."""
        ticket.prefilling = False
        self.prefill[ticket.long] -= ticket.uncached
        self.long_prompts -= ticket.long

    def grow(self, ticket: Ticket, tokens: int) -> None:
        """The ticket has made `tokens` more; its `made` and `predicted_output` are up to date."""
        assert ticket.slot is not None
        self._kv.grow(ticket.slot, tokens, ticket.remaining_output // ticket.sequences)

    def leave(self, ticket: Ticket) -> None:
        """The ticket is no longer in the engine."""
        del self.running[ticket.id]
        self.stoppable.pop(ticket.id, None)
        self.sequences -= ticket.sequences
        held = self._held[ticket.tenant]
        held.sequences -= ticket.sequences
        held.kv_tokens -= ticket.peak
        if not held.sequences:
            del self._held[ticket.tenant]
        if ticket.prefilling:
            self.prefilled(ticket)
        assert ticket.slot is not None
        moved = self._kv.remove(ticket.slot)
        if isinstance(moved, Ticket):
            moved.slot = ticket.slot
        ticket.slot = None

    def spare(self, ticket: Ticket, share: float) -> bool:
        """Whether with the ticket no more than this part of the engine's own number of sequences runs."""
        return self.sequences + ticket.sequences <= share * self._size.sequences

    def wanted(self) -> None:
        """Somebody would have entered if more sequences could run, and may be refused at the door for that."""
        self._wanted = True

    def answered(self, *, slow: bool) -> None:
        """A first token came; `slow` if the engine took longer for it than its objective leaves the engine."""
        self._answered += 1
        self._slow += slow

    def observe(self, now: float, step_seconds: float | None, preempted: int, prefill_tokens: int) -> None:
        """One report of the engine. Moves the limits at the end of each window.

        Never by how long requests take: that is how much they were asked to write. And not by the part of a step that
        computes prompts, which fewer sequences would not make shorter: it has its own limit. First tokens that are slow
        in the engine count, whatever makes them so: the engine's steps, or a front end that has no time for more.
        """
        self._least_remaining = None
        self._preempted += preempted
        if step_seconds is not None and self.sequences:
            self._step_seconds.append(max(0.0, step_seconds - self._model.costs.token * prefill_tokens))
            self._running += self.sequences
        steps = len(self._step_seconds)
        if now < self._window_end:
            return
        if 0 < steps < _LEAST_STEPS and max(self._step_seconds) > self.rules.itl_seconds and not self._preempted:
            return
        itl = median(self._step_seconds) if steps else 0.0
        running = self._running / steps if steps else float(self.sequences)
        if self._preempted:
            self.kv_share = max(self.kv_share * _KV_DECREASE, _LEAST_KV_SHARE)
            self._shrink(running * _PREEMPTED_DECREASE)
        elif itl > self.rules.itl_seconds:
            # A step's length grows no faster than its sequences, so that so many are few enough.
            self._shrink(running * self.rules.itl_seconds / itl)
        elif self._slow > max(1.0, _SLOW_PART * self._answered) and running > _REACHED * self.sequence_limit:
            self._shrink(running * _SLOW_DECREASE)
        else:
            self.kv_share = min(self.kv_share + _KV_INCREASE, self.rules.kv_share)
            if self._full or self._wanted:
                raised = self.sequence_limit + self._increase(itl)
                if self._doubling:
                    raised = max(
                        raised, min(2 * self.sequence_limit, running * self.rules.itl_seconds / max(itl, 1e-9))
                    )
                self.sequence_limit = min(raised, float(self._size.sequences))
        self._window_end = now + _WINDOW_SECONDS
        self._step_seconds = []
        self._running, self._preempted, self._full = 0, 0, 0.0
        self._answered = self._slow = 0
        self._wanted = False

    def _increase(self, itl: float) -> float:
        """Sequences that the limit grows by, after steps of `itl` seconds; the nearer to their objective the fewer."""
        headroom = (1 - itl / self.rules.itl_seconds) / (1 - _ROOMY)
        return max(1.0, _SEQUENCES_INCREASE * self._size.sequences * min(1.0, headroom))

    def _shrink(self, running: float) -> None:
        """So that no more run than `running`, which is less than do.

        From what runs, not from the limit: that may be one that nothing has reached, or one that those who run are
        still above, and then it has been lowered for the same reason already. But who runs may have been let in to a
        part of the limit only: then what is kept beyond that is still kept.
        """
        self._doubling = False
        least = float(min(_LEAST_SEQUENCES, self._size.sequences))
        self.sequence_limit = max(min(self.sequence_limit, running / (self._full or 1.0)), least)
