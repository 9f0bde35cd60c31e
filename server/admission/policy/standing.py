"""Who waits, why, and when each is expected to start: for a person who looks."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from server.admission.policy.controller import Controller
from server.admission.policy.decisions import Waiting
from server.admission.policy.fair_queue import FairQueue
from server.admission.policy.ticket import Ticket


def standing(controller: Controller, now: float, most: int) -> list[Waiting]:
    """Up to `most` of those that wait, in the order in which they would run if nothing else came.

    Plays the fair queues forward without touching them. Costs O(waiting), so it is not for the path of requests.
    """
    shown: list[Waiting] = []
    ahead = 0.0
    for queue in controller.queues.values():
        for ticket in _in_order(queue, controller, most - len(shown)):
            shown.append(_waiting(ticket, now, ahead * controller.forecast.bias))
            ahead += controller.forecast.engine_seconds(ticket.uncached, ticket.remaining_output)
    return shown


def _in_order(queue: FairQueue, controller: Controller, most: int) -> Iterator[Ticket]:
    rules = controller.rules
    lines: list[tuple[float, str, int, list[Ticket]]] = []
    for tenant, line in queue.items():
        tickets = [ticket for lane in line.lanes for _, _, ticket in lane if line.holds(ticket)]
        first = heapq.nsmallest(most, tickets, key=lambda ticket: (ticket.order, ticket.id))
        if first:
            lines.append((line.counter, tenant, 0, first))
    heapq.heapify(lines)
    while lines and most > 0:
        counter, tenant, place, tickets = lines[0]
        ticket = tickets[place]
        yield ticket
        most -= 1
        units = rules.input_weight * ticket.uncached + rules.output_weight * ticket.predicted_output
        if place + 1 < len(tickets):
            heapq.heapreplace(lines, (counter + units / ticket.ask.weight, tenant, place + 1, tickets))
        else:
            heapq.heappop(lines)


def _waiting(ticket: Ticket, now: float, starts_in: float) -> Waiting:
    return Waiting(
        id=ticket.id,
        tenant=ticket.tenant,
        priority=ticket.priority,
        asked=ticket.ask.priority,
        waited=now - ticket.arrived,
        prompt_tokens=ticket.prompt,
        uncached_tokens=ticket.uncached,
        predicted_output=ticket.predicted_output,
        why=ticket.why or "behind others",
        starts_in=starts_in,
        deadline_in=None if ticket.queue_deadline is None else ticket.queue_deadline - now,
    )
