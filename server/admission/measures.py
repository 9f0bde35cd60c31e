"""Admission's own state and outcomes as metrics."""

from __future__ import annotations

from functools import partial

from server.admission.classes import PriorityClass
from server.admission.policy.controller import Controller
from server.admission.policy.room import KV, PREFILL, SEQUENCES
from server.admission.policy.ticket import Ticket
from server.telemetry.admission_metrics import (
    BACKLOG,
    FORECAST_BIAS,
    FORECAST_ERROR,
    LIMIT,
    OUTCOMES,
    SHORT_OF,
    STOPS,
    USED,
    WAIT_SECONDS,
    WAITING,
)


def show(controller: Controller) -> None:
    """Lets the gauges read `controller` when they are asked for."""
    room = controller.room
    for priority in PriorityClass:
        WAITING.labels(priority.value).set_function(partial(_waiting, controller, priority))
    BACKLOG.set_function(partial(_backlog, controller))
    USED.labels("sequences").set_function(lambda: float(room.sequences))
    USED.labels("kv_tokens").set_function(lambda: float(room.kv_held))
    USED.labels("prefill_tokens").set_function(lambda: float(sum(room.prefill.values())))
    LIMIT.labels("sequences").set_function(lambda: float(int(room.sequence_limit)))
    LIMIT.labels("kv_tokens").set_function(lambda: float(room.kv_limit))
    LIMIT.labels("prefill_tokens").set_function(lambda: float(room.prefill_limit))
    for resource, obstacle in (("sequences", SEQUENCES), ("kv_tokens", KV), ("prefill_tokens", PREFILL)):
        SHORT_OF.labels(resource).set_function(partial(_short_of, controller, obstacle))
    FORECAST_ERROR.set_function(lambda: controller.forecast.error)
    FORECAST_BIAS.set_function(lambda: controller.forecast.bias)


def _waiting(controller: Controller, priority: PriorityClass) -> float:
    return float(controller.queues[priority].waiting)


def _backlog(controller: Controller) -> float:
    return controller.forecast.backlog(controller.queues.values()) * controller.forecast.bias


def _short_of(controller: Controller, obstacle: str) -> float:
    return float(obstacle in controller.short_of)


def admitted(ticket: Ticket, now: float) -> None:
    """A ticket was let in, after waiting from its arrival to `now`."""
    WAIT_SECONDS.labels(ticket.ask.priority.value).observe(now - ticket.arrived)


def stopped() -> None:
    """A batch sequence gave its place to others."""
    STOPS.inc()


def ended(ticket: Ticket, outcome: str) -> None:
    """A ticket's one end."""
    OUTCOMES.labels(ticket.ask.priority.value, outcome).inc()
