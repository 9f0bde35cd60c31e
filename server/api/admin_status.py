"""The status page: GET / of the admin port, and the state that it shows, GET /admin/status."""

from __future__ import annotations

import time
from importlib import resources
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from server.admission.desk import Desk
from server.api.auth import ADMIN
from server.api.service import Service
from server.generation.errors import InvalidRequest
from server.telemetry.readings import read

router = APIRouter(dependencies=[ADMIN])

_MOST_RUNNING = 200
_MOST_TENANTS = 50

_PAGE_HEADERS = {
    "cache-control": "no-store",
    # It needs nothing but itself and its own state.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
}


class RunningSequence(BaseModel):
    """A request that the engine has: seconds since it was let in, and its tokens."""

    id: int
    tenant: str
    priority: str
    age: float
    prompt_tokens: int
    made_tokens: int
    predicted_tokens: int
    stage: str


class QueueLine(BaseModel):
    """Who waits of one tenant and class: how many, and how long the first of them has waited, in seconds."""

    tenant: str
    priority: str
    waiting: int
    oldest: float


class LastRefusal(BaseModel):
    """A request that ended otherwise than it should have; `ago` in seconds."""

    ago: float
    request_id: str
    tenant: str
    dialect: str
    priority: str
    status: int
    result: str
    outcome: str
    code: str | None


class Status(BaseModel):
    """What is going on now. Counters are totals since the start, for the page to make rates of."""

    state: str
    reason: str
    phase: str
    model: str
    version: str
    uptime: float
    time: float
    in_flight: int
    heartbeat_age: float
    queue: list[QueueLine]
    waiting: int
    running: list[RunningSequence]
    running_count: int
    kv_blocks_used: int
    kv_blocks: int
    kv_used_ratio: float
    limits: dict[str, list[float]]
    counters: dict[str, float]
    refusals: list[LastRefusal]
    dollars_per_million: dict[str, float] | None


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The status page: one self-contained document that shows `/admin/status` every second."""
    html = resources.files("server.api").joinpath("status.html").read_text(encoding="utf-8")
    return HTMLResponse(html, headers=_PAGE_HEADERS)


@router.get("/admin/status")
async def status(request: Request) -> Status:
    """What is going on now: the queue by tenant and class, what runs, the KV cache, rates, the last refusals."""
    get: Any = request.app.state.controls.status
    if get is None:
        raise InvalidRequest("There is no status here.", code="not_found")
    return _status(get())


def _status(at: Service) -> Status:
    now, desk, condition = time.time(), at.desk, at.vitals.condition()
    controller = desk.controller
    blocks = used = 0
    limits: dict[str, list[float]] = {}
    if controller is not None:
        room, size = controller.room, controller.size
        blocks, used = size.blocks, -(-room.kv_held // size.block_tokens)
        limits = {
            "sequences": [room.sequences, int(room.sequence_limit)],
            "kv_tokens": [room.kv_held, room.kv_limit],
            "prefill_tokens": [sum(room.prefill.values()), room.prefill_limit],
        }
    running = _running(desk)
    return Status(
        state=condition.status,
        reason=condition.reason,
        phase=condition.phase or "",
        model=at.model,
        version=at.version,
        uptime=now - at.started,
        time=now,
        in_flight=len(at.gate),
        heartbeat_age=at.vitals.silence,
        queue=_queue(desk),
        waiting=0 if controller is None else controller.waiting,
        running=running[:_MOST_RUNNING],
        running_count=len(running),
        kv_blocks_used=used,
        kv_blocks=blocks,
        kv_used_ratio=read("qwend_engine_kv_used_ratio"),
        limits=limits,
        counters={
            "requests": read("qwend_requests_received_total"),
            "finished": read("qwend_requests_total", result="finished"),
            "prefill_tokens": read("qwend_engine_step_tokens_total", kind="prefill"),
            "decode_tokens": read("qwend_engine_step_tokens_total", kind="decode"),
            "frames": read("qwend_stream_frames_total"),
            "cpu_seconds": read("process_cpu_seconds_total"),
        },
        refusals=_refusals(at, now),
        dollars_per_million=None if at.cost is None else {str(kind): each for kind, each in at.cost.prices().items()},
    )


def _running(desk: Desk) -> list[RunningSequence]:
    if desk.controller is None:
        return []
    now = desk.clock()
    return [
        RunningSequence(
            id=ticket.id,
            tenant=ticket.tenant,
            priority=ticket.ask.priority.value,
            age=now - (ticket.admitted if ticket.admitted is not None else ticket.arrived),
            prompt_tokens=ticket.prompt,
            made_tokens=ticket.made,
            predicted_tokens=ticket.predicted_output,
            stage="prefill" if ticket.prefilling else "stopping" if ticket.stage == "stopping" else "decode",
        )
        for ticket in desk.controller.room.running.values()
    ]


def _queue(desk: Desk) -> list[QueueLine]:
    if desk.controller is None:
        return []
    now = desk.clock()
    lines: dict[tuple[str, str], list[float]] = {}
    for ticket in desk.controller.waiting_tickets():
        lines.setdefault((ticket.tenant, ticket.priority.value), []).append(now - ticket.arrived)
    longest = sorted(lines.items(), key=lambda line: -len(line[1]))[:_MOST_TENANTS]
    return [
        QueueLine(tenant=tenant, priority=priority, waiting=len(waits), oldest=max(waits))
        for (tenant, priority), waits in longest
    ]


def _refusals(at: Service, now: float) -> list[LastRefusal]:
    if at.requests is None:
        return []
    shown = ("request_id", "tenant", "dialect", "priority", "status", "result", "outcome", "code")
    return [
        LastRefusal(ago=now - record.started - record.seconds, **{name: getattr(record, name) for name in shown})
        for record in reversed(at.requests.last_unfinished)
    ]
