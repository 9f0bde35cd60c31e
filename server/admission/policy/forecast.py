"""How long a request would wait for its first token, and how good such forecasts have been."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from server.admission.policy.appointments import NOBODY, Booked
from server.admission.policy.engine_model import EngineModel
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.room import EVERYTHING, Opening, Room
from server.admission.policy.ticket import Ticket
from server.generation.engine_state import EngineSize

_LEARNING = 0.05
# Waits shorter than this are noise of the machine and say nothing about the forecast.
_LEAST_SECONDS = 0.05
# What an error is measured against at least: half a second too much is no reason to distrust a limit of ten.
_FLOOR_SECONDS = 1.0
# How near to its objective a forecast may come at the door: less after one that was let wait and was late, more after
# one that was not, such that about one in twenty is late.
_REACH = (0.5, 1.0)
_LATE, _IN_TIME = 0.01, 0.0005
_BIAS = (0.25, 4.0)
_PACE, _PACE_SECONDS, _PACE_LEARNING = (0.25, 2.0), 2.0, 0.3
_FEW = 20
# Wrong by more than this part of the longer of both, forecast and truth, on average: no longer a forecast.
_TRUSTED_ERROR = 0.6


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds in the queue, and seconds from entering the engine to the first token.

    `work` is the wait before it was corrected by how long others had to wait.
    """

    wait: float
    prefill: float
    work: float

    @property
    def ttft(self) -> float:
        """Seconds from now to the first token."""
        return self.wait + self.prefill


class Forecast:
    """Engine time of what is ahead, over what the engine gives; corrected by how long others really waited."""

    def __init__(self, size: EngineSize, model: EngineModel, room: Room) -> None:
        self._size = size
        self._model = model
        self._room = room
        self.bias = 1.0
        self.error = 0.0
        self.reach = 0.9
        # Seconds of estimated engine time that the engine takes in a second while more waits than it takes.
        self.pace = 1.0
        self._taken = 0.0
        self._taken_since: float | None = None
        self._seen = 0

    @property
    def trusted(self) -> bool:
        """Whether recent forecasts were good enough to refuse somebody by."""
        return self._seen < _FEW or self.error < _TRUSTED_ERROR

    def engine_seconds(self, uncached: float, output: float, beside: int = 0) -> float:
        """Engine time of so many prompt and output tokens, the latter sharing steps with what runs now.

        `beside` sequences more will run by then, as far as there is room: where many come to an idle engine at once,
        its steps are shared by as many as may run, long before they do.
        """
        room = self._room
        sharing = max(room.sequences, min(int(room.sequence_limit), room.sequences + beside))
        decode = self._model.decode_seconds(sharing, room.kv_held)
        return self._model.costs.token * uncached + decode * output

    def backlog(self, queues: Iterable[FairQueue]) -> float:
        """Estimated engine time of all that waits in `queues`, in seconds at the pace of late."""
        uncached = output = waiting = 0
        for queue in queues:
            uncached += queue.uncached
            output += queue.output
            waiting += len(queue)
        return self.engine_seconds(uncached, output, waiting) / self.pace

    def expect(
        self,
        ticket: Ticket,
        above: list[FairQueue],
        queue: FairQueue,
        opening: Opening,
        inside: int,
        *,
        blocked: bool,
        booked: Booked = NOBODY,
    ) -> Expected:
        """What a ticket that is not yet counted in its `queue` has to expect; `above` are the classes before it.

        `inside` is how many wait or are being rendered, `blocked` whether one of those did not fit when that was last
        looked at: who came a moment ago is no queue yet. Of its own class at most its fair part is ahead of it: what
        its tenant has waiting, while every other tenant takes as much for its weight. Looks at the engine as it will
        be when the ticket enters: full, if it waits. `booked` are others who are expected to come
        first.
        """
        line = queue.line(ticket)
        room = self._room
        limit = room.sequence_limit * opening.share
        crowded = not opening.own and room.sequences + inside + ticket.sequences > limit
        if crowded:
            room.wanted()
        blocked = blocked or (crowded and bool(room.running)) or bool(room.obstacle(ticket, opening))
        higher = self.engine_seconds(sum(each.uncached for each in above), sum(each.output for each in above), inside)
        weight = max(queue.weight + (0.0 if line.waiting else line.weight), booked.weight)
        own = self.engine_seconds(line.uncached + ticket.uncached, line.output + ticket.predicted_output, inside)
        everyone = self.engine_seconds(queue.uncached, queue.output, inside) + booked.seconds / self.bias
        ahead = higher + min(everyone, (own + booked.own / self.bias) * weight / line.weight)
        work = ahead + self._next_leave() if blocked else 0.0
        coming = line.uncached if opening.own else queue.uncached + sum(each.uncached for each in above)
        return Expected(work * self.bias, self.prefill(ticket, opening, coming), work)

    def prefill(self, ticket: Ticket, opening: Opening = EVERYTHING, coming: int = 0) -> float:
        """Seconds in the engine until the first token, behind the prompts that are there and those that will have come
        before it, of which there may be as many as the limit lets in.
        """
        room = self._room
        rate = self._model.prefill_rate(self._size.step_tokens, room.sequences, room.kv_held)
        there = room.prefill[ticket.long]
        before = max(there, min(room.prefill_open(opening), there + coming))
        step = self._model.costs.seconds(room.sequences + 1, room.kv_held)
        return (before + ticket.uncached) / rate + step

    def alone(self, ticket: Ticket) -> float:
        """Seconds to the first token in an engine that does nothing else."""
        return ticket.uncached / self._model.prefill_rate(self._size.step_tokens, 0, 0) + self._model.costs.fixed

    def _next_leave(self) -> float:
        """Seconds until one of those that run is expected to leave, if they came at all times."""
        room = self._room
        if not room.sequences:
            return 0.0
        mean = max(0.0, room.remaining_output) / room.sequences
        return mean * self._model.decode_seconds(room.sequences, room.kv_held)

    def first_leave(self) -> float:
        """Seconds until the one of those that run which is expected to end first does.

        Where all came at once, that is as long as an answer, and then they leave together.
        """
        room = self._room
        return room.least_remaining * self._model.costs.seconds(room.sequences, room.kv_held)

    def learn_wait(self, work: float, waited: float) -> None:
        """How long a ticket waited for the work that was before it.

        Against the work, not against the corrected forecast: that was made some time ago, with another correction.
        """
        if work > _LEAST_SECONDS:
            ratio = max(_BIAS[0], min(_BIAS[1], waited / work))
            self.bias += _LEARNING * (ratio - self.bias)
            self.reach = min(_REACH[1], self.reach + _IN_TIME)

    def learn_late(self, work: float, waited: float) -> None:
        """A ticket waited in vain until its deadline: the wait was at least so long."""
        if waited > work * self.bias:
            self.learn_wait(work, waited)
        self.reach = max(_REACH[0], self.reach - _LATE)

    def learn_pace(self, now: float, work: float, *, full: bool) -> None:
        """Engine time that was let in now, by estimate, and whether something had to go on waiting for room."""
        if not full:
            self._taken_since = None
            return
        if self._taken_since is None:
            self._taken, self._taken_since = 0.0, now
            return
        self._taken += work
        passed = now - self._taken_since
        if passed >= _PACE_SECONDS:
            found = max(_PACE[0], min(_PACE[1], self._taken / passed))
            self.pace += _PACE_LEARNING * (found - self.pace)
            self._taken, self._taken_since = 0.0, now

    def learn_ttft(self, expected: float, took: float) -> None:
        """How long a first token took, beside what was expected."""
        self._seen += 1
        error = abs(took - expected) / max(took, expected, _FLOOR_SECONDS)
        self.error += max(_LEARNING, 1 / self._seen) * (error - self.error)
