"""The door: who is refused because it cannot be served in time, and when it is told to come back."""

from __future__ import annotations

from collections.abc import Mapping

from server.admission.classes import PriorityClass
from server.admission.policy.appointments import NOBODY, Appointments, Booked
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.forecast import Expected, Forecast
from server.admission.policy.parameters import Rules
from server.admission.policy.room import Room
from server.admission.policy.shares import Shares
from server.admission.policy.ticket import Ask, Stage, Ticket
from server.admission.refusals import Reason, Refused

Queues = Mapping[PriorityClass, FairQueue]


class Door:
    """Looks at each request when it comes and again when its cost is known. All times are in seconds."""

    def __init__(self, rules: Rules, room: Room, forecast: Forecast, queues: Queues, shares: Shares, seed: int) -> None:
        self._rules = rules
        self._room = room
        self._forecast = forecast
        self._queues = queues
        self._shares = shares
        self.appointments = Appointments(rules.longest_retry_seconds, seed)

    def check(self, now: float, ticket: Ticket, waiting: int, *, blocked: bool) -> None:
        """Refuses who cannot have its first token in time. Who was told to come now is believed instead.

        `waiting` are those that wait or are being rendered, `blocked` whether one of them does not fit. Raises Refused.
        """
        objective, _ = self.objectives(ticket.ask)
        expected = self._expect(now, ticket, waiting, blocked)
        ticket.predicted_wait, ticket.predicted_ttft = expected.wait, expected.ttft
        ticket.work_ahead = expected.work
        if not self._forecast.trusted:
            if waiting >= self._rules.static_waiting and self._has_its_part(ticket):
                raise self.refusal(now, ticket, Reason.OVERLOADED)
            return
        if objective is None or ticket.returned:
            return
        if expected.work:
            # Who was told to come back in the meantime goes first. That is a promise, not a forecast: nothing is
            # learned from how it turns out.
            booked = self.appointments.booked(now, expected.wait, ticket.tenant)
            expected = self._expect(now, ticket, waiting, blocked, booked)
        if now - ticket.arrived + expected.ttft <= objective * self._forecast.reach:
            return
        # An engine that does nothing takes what it can do in time, whatever margin the door has come to keep: else a
        # door that has become too careful would refuse everything, and never learn that it could do more.
        if not self._room.running and not waiting and self._forecast.alone(ticket) <= objective:
            return
        # A class's objective is no reason to refuse a prompt that takes longer by itself; the request's own is.
        if self._forecast.alone(ticket) <= objective or ticket.ask.ttft_seconds is not None:
            message = (
                f"The first token would come in about {now - ticket.arrived + expected.ttft:.3g} s "
                f"({expected.wait:.3g} s of it waiting), and {objective:.3g} s are allowed."
            )
            raise self.refusal(now, ticket, Reason.DEADLINE_UNREACHABLE, message)

    def objectives(self, ask: Ask) -> tuple[float | None, float | None]:
        """Seconds allowed to the first token and to the last, each None where there is no bound."""
        rules = self._rules.classes[ask.priority]
        objective = rules.ttft_seconds if ask.ttft_seconds is None else ask.ttft_seconds
        return objective, rules.total_seconds if ask.total_seconds is None else ask.total_seconds

    def refusal(self, now: float, ticket: Ticket, reason: Reason, message: str | None = None) -> Refused:
        """Ends a ticket that never waited, and books when it may come back."""
        ticket.stage = Stage.ENDED
        return Refused(reason, retry_after=self.retry_after(now, ticket), evicted=False, message=message)

    def retry_after(self, now: float, ticket: Ticket) -> float:
        """When this ticket would be served in time, if nothing else came but those who were told to."""
        objective, _ = self.objectives(ticket.ask)
        ahead = [queue for priority, queue in self._queues.items() if priority.rank <= ticket.priority.rank]
        backlog = self._forecast.backlog(ahead) + self._forecast.prefill(ticket)
        if self._room.obstacle(ticket, self._shares.of(ticket, now)):
            backlog += self._forecast.first_leave()
        # Half of its objective is left for what the forecast is wrong by.
        free_at = now + max(0.0, backlog - 0.5 * (objective or 0.0))
        seconds = self._forecast.engine_seconds(ticket.uncached, ticket.predicted_output) / self._forecast.pace
        return self.appointments.book(
            now,
            ticket.ask.fingerprint,
            free_at,
            seconds,
            first_try=ticket.order,
            tenant=ticket.tenant,
            weight=ticket.ask.weight,
            patience=0.5 * (objective or 0.0),
        )

    def _has_its_part(self, ticket: Ticket) -> bool:
        """Whether a tenant has its weight's part of `static_waiting` waiting: no flood keeps others out."""
        queue = self._queues[ticket.priority]
        line = queue.line(ticket)
        everyone = queue.weight + (0.0 if line.waiting else line.weight)
        return line.waiting >= int(self._rules.static_waiting * line.weight / everyone)

    def _expect(self, now: float, ticket: Ticket, waiting: int, blocked: bool, booked: Booked = NOBODY) -> Expected:
        above = [queue for priority, queue in self._queues.items() if priority.rank < ticket.priority.rank]
        queue = self._queues[ticket.priority]
        opening = self._shares.of(ticket, now, queue.line(ticket).sequences)
        return self._forecast.expect(ticket, above, queue, opening, waiting, blocked=blocked, booked=booked)
